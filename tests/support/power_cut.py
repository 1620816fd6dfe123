"""A disk that loses its power: replays a recorded log up to a point, and leaves what may be left.

What was synced before the point is there. Of the rest, each write may be there, not be there, or
be there in some of its 512-byte sectors only, whatever became of the writes around it; a file may
be as long as a lost write made it. What a failed sync was asked for is lost for good on half of the
disks, whatever later syncs say: kernels take such pages for written.

A name that was made, changed or removed since its directory was synced may be as before, unless a
later change of the same name is there.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from tests.support.fault_shim import Record

SECTOR_BYTES: Final = 512
FATES: Final = ("lost", "kept", "front", "torn", "torn")
"""What becomes of all that was not synced: nothing is there, everything, what came first, bits."""


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list[tuple[int, bytes | None]])
    """Writes by their place; None where the file was cut to that length."""
    dropped: int = 0
    """How many changes were synced and are no longer pending."""

    def sync(self, upto: int) -> None:
        """Make durable what was written before a sync began."""
        count = upto - self.dropped
        for at, data in self.pending[: max(0, count)]:
            _change(self.durable, at, data)
        del self.pending[: max(0, count)]
        self.dropped = max(self.dropped, upto)

    def lose(self) -> None:
        """Forget what a sync failed to write."""
        self.dropped += len(self.pending)
        self.pending.clear()

    def left(self, fate: str, choice: random.Random) -> bytes:
        """Return what a power cut leaves."""
        found = bytearray(self.durable)
        upto = choice.randint(0, len(self.pending)) if fate == "front" else len(self.pending)
        share = choice.random()
        for at, data in self.pending[:upto] if fate != "lost" else ():
            if fate != "torn":
                _change(found, at, data)
            elif data is None:
                if choice.random() < share:
                    _change(found, at, None)
            else:
                _tear(found, at, data, share, choice)
        return bytes(found)


@dataclass
class _Directory:
    durable: dict[str, _Node] = field(default_factory=dict[str, "_Node"])


_Node: TypeAlias = _File | _Directory
_Names: TypeAlias = list[tuple[_Directory, str, _Node | None]]
"""Names that one call gave to a file or (None) took away: a journaling disk keeps them together."""


class Disk:
    """What is durable, and what is not yet."""

    def __init__(self, *, forgets: bool) -> None:
        """`forgets` says what becomes of writes whose sync has failed."""
        self._forgets = forgets
        self._root = _Directory()
        self._nodes: dict[int, _Node] = {}
        self._names: dict[str, _Node] = {"": self._root}
        self._renamed: list[tuple[int, _Names]] = []
        """What is not durable of the names, each with its number among all changes of names."""
        self._begun: dict[int, tuple[_Node, int]] = {}
        self._steps = 0

    def take(self, record: Record) -> None:
        """Take one record of the log."""
        kind, node = record.kind, self._nodes.get(record.file)
        if kind == "M":
            self._make(record, _Directory() if record.path else self._root)
        elif kind == "C":
            self._make(record, _File())
        elif kind in "WT" and isinstance(node, _File):
            node.pending.append((record.number, record.data if kind == "W" else None))
        elif kind == "B" and node is not None:
            began = node.dropped + len(node.pending) if isinstance(node, _File) else self._steps
            self._begun[record.number] = node, began
        elif kind == "X" and isinstance(node, _File) and self._forgets:
            node.lose()
        elif kind == "E" and record.number in self._begun:
            self._sync(*self._begun.pop(record.number))
        elif kind in "RLUD":
            self._rename(kind, *record.path.split("\0"))

    def cut(self, directory: Path, seed: int) -> str:
        """Write what a power cut at this point leaves into an empty directory; say what it did."""
        choice = random.Random(seed)
        fate, names_fate = choice.choice(FATES), choice.choice(FATES)
        entries: dict[int, dict[str, _Node]] = {}
        share, stays = choice.random(), set[tuple[int, str]]()
        upto = choice.randint(0, len(self._renamed))
        for index, (_, names) in enumerate(self._renamed):
            touched = {(id(where), name) for where, name, _ in names}
            is_kept = {
                "lost": False,
                "kept": True,
                "front": index < upto,
                "torn": choice.random() < share and not touched & stays,
            }[names_fate]
            if not is_kept:
                stays |= touched
                continue
            for where, name, node in names:
                _name(entries.setdefault(id(where), dict(where.durable)), name, node)
        self._write(self._root, directory, entries, fate, choice)
        return f"files {fate}, names {names_fate}"

    def _write(
        self,
        node: _Directory,
        path: Path,
        entries: dict[int, dict[str, _Node]],
        fate: str,
        choice: random.Random,
    ) -> None:
        path.mkdir(mode=0o700, exist_ok=True)
        for name, below in entries.get(id(node), node.durable).items():
            if isinstance(below, _Directory):
                self._write(below, path / name, entries, fate, choice)
            else:
                made = path / name
                made.write_bytes(below.left(fate, choice))
                made.chmod(0o600)

    def _make(self, record: Record, node: _Node) -> None:
        # The kernel gives the number of a file that is gone to the next one.
        self._nodes[record.file] = node
        if record.path:
            self._names[record.path] = node
            self._step([(*self._place(record.path), node)])

    def _rename(self, kind: str, one: str, two: str = "") -> None:
        node = self._names.get(one)
        if node is None:
            return
        names: _Names = []
        if kind != "L":
            del self._names[one]
            names.append((*self._place(one), None))
        if two:
            self._names[two] = node
            names.append((*self._place(two), node))
        self._step(names)

    def _step(self, names: _Names) -> None:
        self._renamed.append((self._steps, names))
        self._steps += 1

    def _place(self, path: str) -> tuple[_Directory, str]:
        above, _, name = path.rpartition("/")
        found = self._names[above]
        assert isinstance(found, _Directory), path
        return found, name

    def _sync(self, node: _Node, upto: int) -> None:
        if isinstance(node, _File):
            node.sync(upto)
            return
        still: list[tuple[int, _Names]] = []
        for number, names in self._renamed:
            if number < upto and any(where is node for where, _, _ in names):
                for where, name, below in names:
                    _name(where.durable, name, below)
            else:
                still.append((number, names))
        self._renamed = still


def _name(entries: dict[str, _Node], name: str, node: _Node | None) -> None:
    if node is None:
        entries.pop(name, None)
    else:
        entries[name] = node


def _change(content: bytearray, at: int, data: bytes | None) -> None:
    """Write at a place, or (None) make the content as long as that."""
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    if data is None:
        del content[at:]
    else:
        content[at : at + len(data)] = data


def _tear(content: bytearray, at: int, data: bytes, share: float, choice: random.Random) -> None:
    """Write some sectors of what was written; the length may be there although they are not."""
    end = at + len(data)
    if choice.random() < share and len(content) < end:
        content.extend(bytes(end - len(content)))
    start = at
    while start < end:
        stop = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if choice.random() < share:
            _change(content, start, data[start - at : stop - at])
        start = stop
