"""The example of a subscriber as a process that can be killed, and what it has kept."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "projections" / "examples" / "webhook_subscriber.py"
_LISTENS = re.compile(r"listening on port (\d+)")


@dataclass
class SubscriberProcess:
    """Keeps its port and its file from one start to the next."""

    file: Path
    secret: str = "whsec_bm90IGtub3du"
    port: int = 0
    process: subprocess.Popen[str] | None = None
    _reader: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it is told."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start it and return when it listens."""
        self.process = subprocess.Popen(
            [sys.executable, str(EXAMPLE), str(self.port), str(self.file)],
            env={**os.environ, "REFOLD_WEBHOOK_SECRET": self.secret},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        found = _LISTENS.match(self.process.stdout.readline())
        assert found, "it did not start"
        self.port = int(found[1])
        # What it goes on saying must not fill the pipe.
        self._reader = threading.Thread(target=self.process.stdout.read, daemon=True)
        self._reader.start()

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None and self.process.stdout is not None:
            self.process.kill()
            self.process.wait(30)
            if self._reader is not None:
                self._reader.join(10)
            self.process.stdout.close()
            self.process = None

    def kept(self) -> dict[str, list[int]]:
        """Return the positions of what it has kept by stream, in the order in which they came."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True, timeout=30)) as db:
            for stream, position in db.execute("SELECT stream, position FROM seen ORDER BY rowid"):
                found[stream].append(position)
        return found
