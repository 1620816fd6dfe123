"""JSON Patches (RFC 6902) between what two runs recorded, within bounds of time and size.

A patch that is made here, applied to the left document, gives the right one. Where making a fine
one would take long, or it would be larger than a large document, it replaces the whole document,
which takes no comparing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeGuard

import msgspec

COMPARED_BYTES_MAX: Final = 1024 * 1024
"""How much JSON is compared member by member, both sides together; four of the largest outputs."""
MEMBERS_MAX: Final = 1000
"""How many members may differ in all: each costs some 20 microseconds."""
PATCHES_BYTES_MAX: Final = 8 * 1024 * 1024
"""How large all patches of a comparison may be together."""

_SMALL: Final = 4096
"""Up to how many bytes a patch of single members is better, however small the document is."""
NO_CHANGE: Final = b"[]"
_canonical: Final = msgspec.json.Encoder(order="sorted").encode


class Patcher:
    """Makes the patches of one comparison; what they may cost is shared by all of them."""

    def __init__(
        self,
        compared_bytes_max: int = COMPARED_BYTES_MAX,
        members_max: int = MEMBERS_MAX,
        patches_bytes_max: int = PATCHES_BYTES_MAX,
    ) -> None:
        self._bytes_left = compared_bytes_max
        self._members_left = members_max
        self._room = patches_bytes_max

    def between(self, left: bytes, right: bytes) -> bytes | None:
        """Return the patch from one JSON document to another, None if there is no room for it."""
        if left == right:
            return NO_CHANGE
        made = b'[{"op":"replace","path":"","value":' + right + b"}]"
        fine = self._fine(left, right)
        if fine is not None and len(fine) < max(len(made), _SMALL):
            made = fine
        if len(made) > self._room:
            return None
        self._room -= len(made)
        return made

    def _fine(self, left: bytes, right: bytes) -> bytes | None:
        """Return a patch of single members, None where that would cost too much."""
        size = len(left) + len(right)
        if size > self._bytes_left or self._members_left <= 0:
            return None
        self._bytes_left -= size
        # Only who compares pays for it: the service starts without.
        from jsonpatch import JsonPatch

        try:
            a, b = msgspec.json.decode(left), msgspec.json.decode(right)
            apart = members_apart(a, b, self._members_left)
            if apart > self._members_left:
                return None
            self._members_left -= apart
            return _canonical(JsonPatch.from_diff(a, b, dumps=_text).patch)
        except (msgspec.DecodeError, OverflowError, RecursionError):
            # What was recorded by another version may be beyond what is decoded here.
            return None


def members_apart(left: object, right: object, enough: int) -> int:
    """Count the members that differ, as far as the work of making a patch depends on it.

    Counting ends soon after `enough`. Lists of the same length are compared item by item; of
    others all that stands between their common ends counts.
    """
    if _is_object(left) and _is_object(right):
        found = 0
        for name in {**left, **right}:
            if name in left and name in right:
                found += members_apart(left[name], right[name], enough - found)
            else:
                found += 1
            if found > enough:
                break
        return found
    if _is_list(left) and _is_list(right):
        return _items_apart(left, right, enough)
    return int(type(left) is not type(right) or left != right)


def _items_apart(left: list[Any], right: list[Any], enough: int) -> int:
    if len(left) == len(right):
        found = 0
        for a, b in zip(left, right, strict=True):
            found += members_apart(a, b, enough - found)
            if found > enough:
                break
        return found
    first = _common_start(left, right)
    last = min(_common_start(left[::-1], right[::-1]), min(len(left), len(right)) - first)
    return max(len(left), len(right)) - first - last


def _common_start(left: Sequence[Any], right: Sequence[Any]) -> int:
    """Return how many first items are the same, false and 0 among them: it is an estimate."""
    found = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        found += 1
    return found


def _text(value: Any) -> str:
    """Write a value; five times as fast as the library's own way."""
    return _canonical(value).decode()


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
