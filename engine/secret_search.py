"""Searches what comes back from outside for the secrets of a tenant, and masks what it finds.

Everything that Refold renders is masked by where it comes from (`secrets.py`); this is for bytes
of others, who may send a secret back in any form. Found are, for each secret:

- of 8 and more characters: each 8 and more in a row of the secret or of one of its forms (base64
  at each alignment, URL-encoded, JSON- and HTML-escaped, hex, other cases, reversed);
- of 4 to 7: the whole secret and whole forms of it, also inside other words;
- of 1 to 3: the secret itself, where it stands as a word. There is no hiding such a secret: put
  longer ones into the vault.

A text is searched as it is and with its escapes undone, so that it doesn't matter which of its
characters a sender escaped.

A vault is searched for as a whole. In one of more than some 50,000 characters, of its longest
secrets only parts from 21 characters on are found (`secret_index.py`): all else would take
gigabytes.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from .component import Json, NodeError, Outcome, is_list, is_object
from .secret_forms import LONG_MIN, SHORT_MIN, fold, forms_of
from .secret_index import DenseParts, Range, SparseParts, WholeForms
from .secrets import MASK

if TYPE_CHECKING:
    from .secret_source import TenantSecrets

DENSE_MAX: Final = 400_000
"""How many pieces of forms one search may hold for parts of eight characters: some 40 MB."""
HELD_MAX: Final = 1_000_000
"""How many the searches of all tenants may hold; beyond it the oldest are made anew on use."""
_PASSES_MAX: Final = 8
_LAYERS_MAX: Final = 3
"""How often escapes are undone, one inside the other."""

_ESCAPE = re.compile(
    r"%(?:[0-7][0-9a-f]|[c-f][0-9a-f](?:%[89ab][0-9a-f]){1,3})"
    r"|\\u(?:d[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|[0-9a-f]{4})"
    r"|\\x[0-9a-f]{2}"
    r"""|\\["'\\/bfnrt]"""
    r"|&(?:\#x[0-9a-f]{1,6}|\#[0-9]{1,7}|amp|lt|gt|quot|apos);"
)
_LETTERS: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_SPACED_HEX = re.compile(r"([ :-])[0-9a-f]{2}(?:\1[0-9a-f]{2}){6,}(?![0-9a-f])")
"""Hex with separators, from the second byte on. Fewer bytes make up times and addresses."""


class SecretSearch:
    """What looks for a set of secrets; made once for many texts, and never changed."""

    __slots__ = ("_dense", "_sparse", "_tokens", "_whole")

    def __init__(self, texts: Iterable[str]) -> None:
        self._dense, self._sparse = DenseParts(), SparseParts()
        whole: set[str] = set()
        tokens: list[str] = []
        # The longest come last: should there be too much to hold, theirs are the longest parts.
        for text in sorted(set(texts), key=lambda text: (len(text), text)):
            # What is made of the mask's own character can't be told from a mask.
            if not text.strip("*"):
                continue
            if len(text) >= LONG_MIN:
                if self._dense.size < DENSE_MAX:
                    for form in forms_of(text):
                        self._dense.add(form)
                else:
                    # Where each character is escaped it is found by undoing that.
                    for form in forms_of(text, wide=False):
                        self._sparse.add(form)
            elif len(text) >= SHORT_MIN:
                whole |= forms_of(text)
            else:
                before = r"(?<![0-9A-Za-z_])" if text[0].isalnum() else ""
                after = r"(?![0-9A-Za-z_])" if text[-1].isalnum() else ""
                tokens.append(f"{before}{re.escape(text)}{after}")
        self._whole = WholeForms(whole)
        self._tokens = re.compile("|".join(tokens)) if tokens else None

    @property
    def size(self) -> int:
        """How many pieces of text are held, at some 95 bytes each."""
        return self._dense.size + self._sparse.size + self._whole.size

    def mask_text(self, text: str) -> str:
        """Return a text with `***` in the place of whatever is found."""
        # What stands on both sides of a mask may make up another find, so it is searched again.
        for _ in range(_PASSES_MAX):
            ranges = self._ranges(text)
            if not ranges:
                return text
            masked = _cover(text, ranges)
            if masked == text:
                return text
            text = masked
        return MASK

    def mask_json(self, value: Json) -> Json:
        """Return a value with its texts, keys and numbers masked; itself where nothing is found.

        Keys that become equal are numbered, so that no value is lost.
        """
        leaves = list(_leaves(value))
        # All at once, since a value may have more leaves than it is worth to search one by one.
        ranges = self._ranges("\n".join(leaves))
        if not ranges:
            return value
        ends = list(accumulate(len(leaf) + 1 for leaf in leaves))
        hits: set[int] = set()
        for start, end in ranges:
            hits.update(range(bisect_right(ends, start), bisect_right(ends, end - 1) + 1))
        marks = iter([index in hits for index in range(len(leaves))])
        return self._masked(value, marks)

    def _masked(self, value: Json, marks: Iterator[bool]) -> Json:
        """Mask the leaves that are marked; one mark for each, in the order of `_leaves`."""
        if isinstance(value, str):
            return self.mask_text(value) if next(marks) else value
        if _is_number(value):
            return MASK if next(marks) and self._find(repr(value)) else value
        if is_list(value):
            return [self._masked(item, marks) for item in value]
        if not is_object(value):
            return value
        masked: dict[str, Json] = {}
        for key, item in value.items():
            shown = self.mask_text(key) if next(marks) else key
            name, number = shown, 2
            while name in masked:
                name, number = f"{shown} ({number})", number + 1
            masked[name] = self._masked(item, marks)
        return masked

    def _ranges(self, text: str) -> list[Range]:
        folded = fold(text)
        ranges = self._find(folded)
        if self._tokens is not None:
            ranges += [found.span() for found in self._tokens.finditer(text)]
        for found in _SPACED_HEX.finditer(folded):
            start = max(0, found.start() - 2)
            if self._find(re.sub("[ :-]", "", folded[start : found.end()])):
                ranges.append((start, found.end()))
        return ranges + self._find_escaped(folded)

    def _find(self, folded: str) -> list[Range]:
        """Find what is there in a folded text, in no order."""
        return self._whole.find(folded) + self._dense.find(folded) + self._sparse.find(folded)

    def _find_escaped(self, folded: str) -> list[Range]:
        """Find what escapes hide, layer by layer; give its places in the text itself."""
        ranges: list[Range] = []
        layers: list[_Layer] = []
        while len(layers) < _LAYERS_MAX and (layer := _unescape(folded)) is not None:
            layers.append(layer)
            folded = fold(layer.text)
            for found in self._find(folded):
                start, end = found
                for below in reversed(layers):
                    start, end = below.source(start), below.source(end)
                ranges.append((start, end))
        return ranges


def _leaves(value: Json) -> Iterator[str]:
    """Give the texts of a value in order: its strings, its keys, and its numbers in digits."""
    if isinstance(value, str):
        yield value
    elif _is_number(value):
        yield repr(value)
    elif is_list(value):
        for item in value:
            yield from _leaves(item)
    elif is_object(value):
        for key, item in value.items():
            yield key
            yield from _leaves(item)


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class _Layer:
    """A text with its escapes undone, and where each of its characters comes from."""

    __slots__ = ("_at", "_source", "text")

    def __init__(self, text: str, at: list[int], source: list[int]) -> None:
        """`at[i]` is a place from which on the source is `source[i]` and runs in step."""
        self.text = text
        self._at = at
        self._source = source

    def source(self, place: int) -> int:
        """Give the place in the source of a place in the text."""
        index = bisect_right(self._at, place) - 1
        return self._source[index] + place - self._at[index]


def _unescape(text: str) -> _Layer | None:
    """Undo the escapes of a folded text; None when it has none."""
    if "%" not in text and "\\" not in text and "&" not in text:
        return None
    pieces: list[str] = []
    at, source = [0], [0]
    end = length = 0
    for found in _ESCAPE.finditer(text):
        char = _unescaped(found.group())
        if len(char) != 1:
            continue
        pieces += (text[end : found.start()], char)
        length += found.start() - end + 1
        end = found.end()
        at.append(length)
        source.append(end)
    if not pieces:
        return None
    pieces.append(text[end:])
    return _Layer("".join(pieces), at, source)


def _unescaped(escape: str) -> str:
    """Give the one character that an escape stands for; it stays as it is if it is none."""
    try:
        if escape[0] == "%":
            return bytes.fromhex(escape.replace("%", "")).decode()
        if escape[0] == "&":
            name = escape[1:-1]
            if name[0] != "#":
                return _NAMED[name]
            return chr(int(name[2:], 16) if name[1] == "x" else int(name[1:]))
        if escape[1] == "u":
            units = bytes.fromhex(escape.replace("\\u", ""))
            return units.decode("utf-16-be")
        if escape[1] == "x":
            return chr(int(escape[2:], 16))
        return _LETTERS.get(escape[1], escape[1])
    except (ValueError, OverflowError):
        return escape


def _cover(text: str, ranges: Sequence[Range]) -> str:
    """Put a mask over ranges, one over those that touch."""
    pieces: list[str] = []
    at = -1
    for start, end in sorted(ranges):
        if start > at:
            pieces += (text[max(at, 0) : start], MASK)
        at = max(at, end)
    return "".join((*pieces, text[at:]))


class SecretSearches:
    """The searches of all tenants, each made when it is first needed for a state of its vault."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, tuple[int, SecretSearch | None]] = OrderedDict()

    def of(
        self, tenant: str, secrets: TenantSecrets, revealed: frozenset[str] = frozenset()
    ) -> SecretSearch | None:
        """Return the search for a tenant's secrets; None when there is nothing to look for.

        `revealed` are secrets that a call was given: should the vault have forgotten one since,
        what came back is searched for it all the same.
        """
        generation = secrets.generation
        known = self._made.get(tenant)
        if known is None or known[0] != generation:
            texts = secrets.all_texts()
            known = self._made[tenant] = (generation, SecretSearch(texts) if texts else None)
            self._made.move_to_end(tenant)
            self._shrink()
        self._made.move_to_end(tenant)
        if revealed and not revealed.issubset(secrets.all_texts()):
            return SecretSearch({*secrets.all_texts(), *revealed})
        return known[1]

    def _shrink(self) -> None:
        """Forget the searches that were used longest ago, if all together hold too much."""
        # A search for nothing is forgotten too some time, though it costs next to nothing.
        held = sum(_cost(search) for _, search in self._made.values())
        while held > HELD_MAX and len(self._made) > 1:
            _, (_, search) = self._made.popitem(last=False)
            held -= _cost(search)


def _cost(search: SecretSearch | None) -> int:
    return 10 + (search.size if search is not None else 0)


def masked_result(result: Outcome | NodeError, search: SecretSearch | None) -> Outcome | NodeError:
    """Return what is recorded of a call: its result, with whatever `search` finds in it masked.

    The failure of a call is made anew, without the exceptions that led to it, since their texts
    may quote a request.
    """
    if isinstance(result, Outcome):
        if search is None:
            return result
        output, message = search.mask_json(result.output), search.mask_text(result.message)
        return Outcome(output, result.handle, result.ends, message)
    message, received = result.message, result.received
    if search is not None:
        message, received = search.mask_text(message), search.mask_json(received)
    return NodeError(result.code, message, received)
