"""The forms in which a secret may come back: encoded, escaped, in another case, reversed.

One step from the secret each; two steps, such as the base64 of it reversed, are not looked for.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, quote_plus

LONG_MIN: Final = 8
"""From this length on, in characters, parts of a secret are looked for too."""
SHORT_MIN: Final = 4
"""From this length on, a secret is looked for inside other words."""


def fold(text: str) -> str:
    """Give a text in lower case, character by character, so that each keeps its place."""
    folded = text.lower()
    if len(folded) == len(text):
        return folded
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


def forms_of(secret: str, *, wide: bool = True) -> set[str]:
    """Give the folded forms of a secret, those aside that only differ in case.

    Without `wide`, those are left out in which each character is escaped.
    """
    raw = secret.encode(errors="replace")
    forms = {secret, secret[::-1], secret.upper(), secret.lower(), raw.hex()}
    forms.update(_escaped(secret, raw))
    forms.update(_base64(raw))
    if wide:
        units = secret.encode("utf-16-be", errors="replace")
        forms.add("%" + raw.hex("%"))
        forms.add("\\u" + units.hex("_", 2).replace("_", "\\u"))
    return {folded for form in forms if len(folded := fold(form)) >= SHORT_MIN}


def _escaped(text: str, raw: bytes) -> Iterator[str]:
    yield quote(raw, safe="")
    yield quote(raw)
    yield quote_plus(raw)
    escaped = json.dumps(text)[1:-1]
    yield escaped
    yield escaped.replace("/", "\\/")
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield html.escape(text)
    yield html.escape(text).replace("&#x27;", "&#39;")


def _base64(raw: bytes) -> Iterator[str]:
    """Give base64 as it stands alone, and as a longer text holds it, which may begin anywhere.

    In a longer text, characters at its ends are made of neighbours too; those are left out.
    """
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        alone = encode(raw).decode()
        yield alone
        yield alone.rstrip("=")
        for shift in (0, 1, 2):
            encoded = encode(bytes(shift) + raw).decode().rstrip("=")
            whole = (shift + len(raw)) * 8 // 6
            yield encoded[-(-shift * 8 // 6) : whole]
