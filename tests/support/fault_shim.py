"""The shim between a process and its disk: builds it, tells it what is to fail, reads its log."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

SOURCE: Final = Path(__file__).with_name("fault_shim.c")
OPEN, READ, WRITE, SYNC, TRUNCATE, RENAME, UNLINK, MKDIR = (1 << bit for bit in range(8))
GROWING: Final = OPEN | WRITE | TRUNCATE | MKDIR
"""What a full disk refuses, syncs apart."""
EVER: Final = -1
_CONTROL: Final = struct.Struct("8q192s")
_HEAD: Final = struct.Struct("<IIQQQ")
_CLOCK_AT: Final = 6 * 8


class Record(NamedTuple):
    """One line of the log; fault_shim.c says what each kind has."""

    kind: str
    """`C`reated, `W`ritten, `T`runcated, sync `B`egun, `E`nded and failed (`X`), `R`enamed,
    `L`inked, `U`nlinked, `M`ade and `D`eleted directories, `S`ent."""
    path: str
    """Below the root; two with a zero byte between them where a name got another."""
    file: int
    """The inode; of what was sent, the descriptor."""
    number: int
    """Where it was written, how long it is now, or which sync it was."""
    data: bytes


def built() -> Path:
    """Return the shim, compiled once; a test is skipped where that can't be done."""
    found = _build()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@cache
def _build() -> Path | str:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux":
        return f"the shim is written for Linux, this is {sys.platform}"
    if compiler is None:
        return "no C compiler is here, and the shim between process and disk is written in C"
    made = Path(tempfile.mkdtemp(prefix="refold-shim-")) / "shim.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(made), str(SOURCE), "-ldl"]
    done = subprocess.run([*command, "-lpthread"], capture_output=True, text=True, check=False)
    return made if done.returncode == 0 else f"the shim can't be compiled here: {done.stderr[:500]}"


class Shim:
    """What one process, or several in turn, is loaded with."""

    def __init__(self, root: Path, scratch: Path) -> None:
        """`root` is what is watched; in `scratch` the shim keeps its own files."""
        self._root = root.resolve()
        self._scratch = scratch
        scratch.mkdir(parents=True, exist_ok=True)
        self.log = scratch / "log"
        self._boot = scratch / "boot_id"
        self.new_boot("first")
        path = scratch / "control"
        path.write_bytes(bytes(_CONTROL.size))
        with path.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), _CONTROL.size)

    def environment(self, *, records: bool = False) -> dict[str, str]:
        """Return the variables that load it."""
        found = {
            "LD_PRELOAD": str(built()),
            "SHIM_ROOT": str(self._root),
            "SHIM_CONTROL": str(self._scratch / "control"),
            "SHIM_BOOT_ID": str(self._boot),
        }
        return found | ({"SHIM_LOG": str(self.log)} if records else {})

    def new_boot(self, name: str) -> None:
        """Let the machine have been started anew."""
        self._boot.write_text(f"{name}\n", encoding="ascii")

    def fail(
        self,
        operations: int,
        error: int = errno.EIO,
        path: str = "",
        *,
        after: int = 0,
        times: int = EVER,
        half: bool = False,
    ) -> None:
        """Make calls fail whose path, below the root, contains a text.

        `after` so many that succeed, `times` times; with `half`, the first write that fails
        still writes half of its bytes, and says so.
        """
        self.mend()
        clock = self._clock
        packed = (operations, error, after, times, int(half), self.faults, clock, 0)
        self._control[8:] = _CONTROL.pack(*packed, path.encode())[8:]
        # Last, since this is what makes the others count.
        self._control[:8] = struct.pack("q", operations)

    def mend(self) -> None:
        """Let every call succeed again."""
        self._control[:8] = bytes(8)

    @property
    def faults(self) -> int:
        """How many calls were made to fail, ever."""
        return int(struct.unpack_from("q", self._control, 5 * 8)[0])

    @property
    def _clock(self) -> int:
        return int(struct.unpack_from("q", self._control, _CLOCK_AT)[0])

    def set_clock(self, seconds: int) -> None:
        """Let the machine's clock be so far ahead of the real one, or behind it."""
        struct.pack_into("q", self._control, _CLOCK_AT, seconds * 1_000_000_000)

    def close(self) -> None:
        """Let go of the control file."""
        self._control.close()


def read_log(path: Path) -> Iterator[Record]:
    """Read what was recorded, in order; a process that was killed may have left half a record."""
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            kind, path_bytes, inode, number, data_bytes = _HEAD.unpack(head)
            name, data = file.read(path_bytes), file.read(data_bytes)
            if len(name) + len(data) < path_bytes + data_bytes:
                return
            yield Record(chr(kind), os.fsdecode(name), inode, number, data)
