"""What a worker tells the service all the time: a few numbers in a file that both have mapped.

Each number is written by one side alone and is eight bytes, so nobody waits for anybody.
"""

from __future__ import annotations

import mmap
import struct
from typing import Final

_CELL: Final = struct.Struct("<q")
SIZE: Final = 7 * _CELL.size
_FOLDING, _REACHED, _DOING, _VERSION, _GROWN, _FED, _CLEAN = (
    place * _CELL.size for place in range(7)
)
STARTING, LIVE, GROWING = 0, 1, 2


class WorkerState:
    """The numbers of one worker."""

    def __init__(self, handle: int) -> None:
        """`handle` is an open file of `SIZE` bytes."""
        self._map = mmap.mmap(handle, SIZE)

    def folding(self, position: int) -> None:
        """Note the event that is folded, 0 for none."""
        _CELL.pack_into(self._map, _FOLDING, position)

    def reached(self, position: int) -> None:
        """Note how far the live rows are."""
        _CELL.pack_into(self._map, _REACHED, position)

    def doing(self, what: int) -> None:
        """Note what the worker does: one of the constants above."""
        _CELL.pack_into(self._map, _DOING, what)

    def version(self, number: int) -> None:
        """Note the version of the code that was loaded."""
        _CELL.pack_into(self._map, _VERSION, number)

    def progress(self, position: int, head: int) -> None:
        """Note how far the rows are that grow."""
        del head
        _CELL.pack_into(self._map, _GROWN, position)

    def is_fed(self) -> None:
        """Note that the live rows have been at the journal's head."""
        _CELL.pack_into(self._map, _FED, 1)

    def clean(self, position: int) -> None:
        """Note that nothing is left in the file of what was erased up to a position."""
        _CELL.pack_into(self._map, _CLEAN, position)

    def is_clean(self, position: int) -> bool:
        """Tell whether nothing is left in the file of what was erased up to a position."""
        cleaned: int = _CELL.unpack_from(self._map, _CLEAN)[0]
        return cleaned >= position

    def clear(self, *, keep: int) -> None:
        """Begin again; the live rows stay where they are."""
        self._map[:] = bytes(SIZE)
        self.reached(keep)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()

    def read(self) -> tuple[int, int, int, int, int, int]:
        """Return: folding, reached, doing, version, grown, fed."""
        a, b, c, d, e, f = struct.unpack_from("<6q", self._map)
        return a, b, c, d, e, f
