"""Archives a data directory in a process of its own, and dies at a chosen moment.

    python -m tests.support.archive_victim DIRECTORY FOLDER MOMENT

The moments are the steps that the archiving tells of and the changes that it makes to files,
counted together; at the one that is asked for the process kills itself. Moment 0 prints what each
of them is, one a line.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from refold.journal import archive
from tests.support.archive_kit import LATER

BATCH = 4
"""How many bodies a commit releases here, so that there are several."""
_CHANGES = frozenset({"os.rename", "os.mkdir", "os.remove", "os.rmdir"})
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Moments:
    """Counts, and kills."""

    def __init__(self, last: int) -> None:
        self.names: list[str] = []
        self._last = last

    def next(self, name: str) -> None:
        """Count one moment."""
        self.names.append(name)
        if len(self.names) == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        """Hear of what the interpreter is about to do."""
        flags = arguments[2] if event == "open" else 0
        if event in _CHANGES or (isinstance(flags, int) and flags & _WRITES):
            self.next(event)

    def tell(self, step: str, done: int, total: int) -> None:
        """Hear of a step."""
        if step != "look":
            self.next(f"{step} {done}")


def main(directory: Path, folder: Path, moment: int) -> None:
    """Archive everything."""
    moments = Moments(moment)
    name = "GONE_MAX"
    setattr(archive, name, BATCH)
    sys.addaudithook(moments.hear)
    archive.archive(directory, folder, LATER, moments.tell)
    print(*moments.names, sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
