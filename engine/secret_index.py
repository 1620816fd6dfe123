"""Finds forms of secrets in a folded text: whole ones, and parts of eight characters and more.

Three ways, by what there is to find. All of them take time in proportion to the text, however many
secrets there are and however often they are found.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from .secret_forms import LONG_MIN, SHORT_MIN

Range: TypeAlias = "tuple[int, int]"
"""From a place in a text up to another, which is no part of it."""

_GRAM: Final = 6
_STRIDE: Final = LONG_MIN - _GRAM + 1
_SPACING: Final = 16
SPARSE_MIN: Final = _SPACING + _GRAM - 1
"""The shortest part of a form that `SparseParts` is sure to find, in characters."""
_LIKE_MAX: Final = 8
_FEW: Final = 100


class WholeForms:
    """Forms of short secrets, each of them found as a whole."""

    __slots__ = ("_by_start", "_forms")

    def __init__(self, forms: Iterable[str]) -> None:
        self._forms = tuple(sorted(set(forms), key=len, reverse=True))
        self._by_start: dict[str, list[str]] = {}
        for form in self._forms:
            self._by_start.setdefault(form[:SHORT_MIN], []).append(form)

    @property
    def size(self) -> int:
        """How many pieces of text are held."""
        return len(self._forms)

    def find(self, folded: str) -> list[Range]:
        """Find all of them."""
        if not self._forms:
            return []
        return self._few(folded) if len(self._forms) <= _FEW else self._many(folded)

    def _few(self, folded: str) -> list[Range]:
        ranges: list[Range] = []
        for form in self._forms:
            at = folded.find(form)
            while at >= 0:
                ranges.append((at, at + len(form)))
                at = folded.find(form, at + 1)
        return ranges

    def _many(self, folded: str) -> list[Range]:
        starts = self._by_start
        places = range(len(folded) - SHORT_MIN + 1)
        return [
            (at, at + len(form))
            for at in [at for at in places if folded[at : at + SHORT_MIN] in starts]
            for form in starts[folded[at : at + SHORT_MIN]]
            if folded.startswith(form, at)
        ]


class DenseParts:
    """Forms of long secrets, of which each part of eight characters and more is found.

    Eight characters in a row hold six that begin at a place divisible by three. So a text is
    probed at each third place, and only round a hit at all of them. A part is found where all
    its sixes belong to forms; that they do so by chance, of different forms, only masks more.
    """

    __slots__ = ("_grams",)

    def __init__(self) -> None:
        self._grams: set[str] = set()

    @property
    def size(self) -> int:
        """How many pieces of text are held, at some 95 bytes each."""
        return len(self._grams)

    def add(self, form: str) -> None:
        """Look for a form from now on."""
        self._grams.update(form[at : at + _GRAM] for at in range(len(form) - _GRAM + 1))

    def find(self, folded: str) -> list[Range]:
        """Find all parts."""
        grams = self._grams
        if not grams:
            return []
        ranges: list[Range] = []
        end = 0
        last = len(folded) - _GRAM
        for hit in [at for at in range(0, last + 1, _STRIDE) if folded[at : at + _GRAM] in grams]:
            if hit < end:
                continue
            left = right = hit
            while left > 0 and folded[left - 1 : left - 1 + _GRAM] in grams:
                left -= 1
            while right < last and folded[right + 1 : right + 1 + _GRAM] in grams:
                right += 1
            end = right + 1
            if right + _GRAM - left >= LONG_MIN:
                ranges.append((left, right + _GRAM))
        return ranges


class SparseParts:
    """Forms of the longest secrets of a large vault: parts from `SPARSE_MIN` characters on.

    Held are only the sixes at each sixteenth place of a form, and the text is probed everywhere.
    """

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[str, list[tuple[str, int]]] = {}

    @property
    def size(self) -> int:
        """How many pieces of text are held."""
        return len(self._places)

    def add(self, form: str) -> None:
        """Look for a form from now on."""
        for at in range(0, len(form) - _GRAM + 1, _SPACING):
            places = self._places.setdefault(form[at : at + _GRAM], [])
            # Of what repeats itself without end, a few places lead to all of it.
            if len(places) < _LIKE_MAX:
                places.append((form, at))

    def find(self, folded: str) -> list[Range]:
        """Find all parts."""
        places = self._places
        if not places:
            return []
        ranges: list[Range] = []
        following = 0
        last = len(folded) - _GRAM
        for hit in [at for at in range(last + 1) if folded[at : at + _GRAM] in places]:
            if hit < following:
                continue
            for form, at in places[folded[hit : hit + _GRAM]]:
                start, end = _common(folded, hit, form, at)
                if end - start >= LONG_MIN:
                    ranges.append((start, end))
                    # What begins before this end and goes on beyond it holds another six.
                    following = max(following, end - SPARSE_MIN + 1)
        return ranges


def _common(text: str, hit: int, form: str, at: int) -> Range:
    """Give what a text and a form have in common round places where they agree."""
    before = 0
    most = min(hit, at)
    while before < most and text[hit - before - 1] == form[at - before - 1]:
        before += 1
    after = _GRAM
    most = min(len(text) - hit, len(form) - at)
    while after < most and text[hit + after] == form[at + after]:
        after += 1
    return hit - before, hit + after
