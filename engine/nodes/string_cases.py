"""Capitals, titles and slugs of text in any script."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"\S+")
_MARKS_ON_LATIN = re.compile("([a-z])[\u0300-\u036f]+")
_BETWEEN_WORDS = re.compile(r"[\W_]+")
_LATIN = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th"})


def to_capitalized(text: str) -> str:
    """Make the first character large (as in a title) and all others small."""
    return text[:1].title() + text[1:].lower()


def to_title(text: str) -> str:
    """Do the same with each word, which white space parts: `don't` has one capital."""
    return _WORD.sub(lambda word: to_capitalized(word.group()), text)


def to_slug(text: str, separator: str) -> str:
    """Keep letters and digits in lower case, with one separator for all that is between them.

    Latin letters lose their marks (`é` is `e`, `ß` is `ss`); other scripts stay as they are.
    """
    # An apostrophe parts no word.
    bare = text.replace("'", "").replace("’", "").casefold().translate(_LATIN)
    latin = _MARKS_ON_LATIN.sub(r"\1", unicodedata.normalize("NFKD", bare))
    return _BETWEEN_WORDS.sub(separator, unicodedata.normalize("NFC", latin)).strip(separator)
