"""Compares the rows in use with the journal now and then, in a process beside the service.

Each projection in turn, in any order, by a process of the lowest priority that rests four fifths of
the time (`worker.py`). What differs is an alarm and is never mended by itself: rows depend on
nothing but the journal, so somebody should come and see who changed them. A rebuild, or going back
to other rows, ends the alarm.
"""

from __future__ import annotations

import logging
import random
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from .checking import Checked
from .faults import Fault, in_one_line
from .generations import Generation, live_generations
from .projection import Projection
from .status import Comparison
from .views_file import file_of, reader_uri
from .worker_state import SIZE
from .workers import FOLD_SECONDS, command

FIRST_PART: Final = 0.1
"""After which part of the interval the first comparison is: a service may be restarted daily."""
_LOOK_SECONDS: Final = 1.0
"""How often it is looked, while there is an alarm, whether the rows are still those in question."""
_log = logging.getLogger("refold.projections")


class BackgroundChecks:
    """The comparisons of one service, made on a thread of their own."""

    def __init__(
        self,
        directory: Path,
        projections: Mapping[str, tuple[str, Projection]],
        interval: float,
    ) -> None:
        """`projections` gives the `module:Class` of each; `interval` is in seconds, 0 for never."""
        self._directory = directory
        self._projections = projections
        self._interval = interval
        self._wake = threading.Condition()
        self._is_stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        self._last: dict[str, Comparison] = {}
        self._thread = threading.Thread(target=self._run, name="view checks", daemon=True)

    def last(self, name: str) -> Comparison | None:
        """Return the last comparison of a projection; may be called on any thread."""
        return self._last.get(name)

    def start(self) -> None:
        """Begin, unless it was switched off."""
        if self._interval:
            self._thread.start()

    def stop(self) -> None:
        """End at once. Blocks until it has ended."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
            if self._process is not None:
                self._process.kill()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        seconds = self._interval * FIRST_PART
        while self._rests(seconds):
            names = list(self._projections)
            random.shuffle(names)
            for name in names:
                self._check(name)
            seconds = self._interval

    def _rests(self, seconds: float) -> bool:
        """Wait, ending alarms of rows that are no more in use; False once it is to stop."""
        until = time.monotonic() + seconds
        while not self._is_stopping and (left := until - time.monotonic()) > 0:
            doubted = [name for name, each in self._last.items() if each.found.difference]
            with self._wake:
                self._wake.wait_for(
                    lambda: self._is_stopping, min(left, _LOOK_SECONDS) if doubted else left
                )
            if doubted and not self._is_stopping:
                self._end_alarms(doubted)
        return not self._is_stopping

    def _end_alarms(self, names: list[str]) -> None:
        live: dict[str, Generation] = {}
        try:
            for file in {file_of(self._projections[name][1]) for name in names}:
                path = self._directory / file
                with closing(sqlite3.connect(reader_uri(path), uri=True)) as connection:
                    live |= live_generations(connection)
        except sqlite3.Error:
            # The file is being made anew; what it is then is seen a moment later.
            return
        for name in names:
            row, found = live.get(name), self._last[name].found
            made_anew = row is not None and row.position < found.position
            if row is not None and (row.generation != found.generation or made_anew):
                _log.info("projection %s has other rows now: its alarm is over", name)
                del self._last[name]

    def _check(self, name: str) -> None:
        code, output = self._run_once(self._projections[name][0])
        if self._is_stopping:
            return
        if code == 0 and output:
            found = msgspec.json.decode(output, type=Checked)
            self._last[name] = Comparison(found, time.monotonic())
            if found.difference is not None:
                _log.critical(
                    "projection %s, version %d, is not as the journal says at position %d: %s; "
                    "`refold rebuild %s` makes its rows anew",
                    name,
                    found.version,
                    found.position,
                    found.difference,
                    name,
                )
        elif code:
            _log.warning(
                "the rows of projection %s were not compared: %s", name, _why(code, output)
            )

    def _run_once(self, reference: str) -> tuple[int, bytes]:
        with tempfile.TemporaryFile() as state:
            state.truncate(SIZE)
            handle = state.fileno()
            with self._wake:
                if self._is_stopping:
                    return 0, b""
                self._process = process = subprocess.Popen(
                    command("check", self._directory, reference, handle, FOLD_SECONDS),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    pass_fds=[handle],
                    start_new_session=True,
                )
            with process:
                assert process.stdout is not None, "it was asked for"
                output = process.stdout.read()
            with self._wake:
                self._process = None
            return process.returncode, output


def _why(code: int, output: bytes) -> str:
    """Say why a process could not compare."""
    if output:
        return in_one_line(msgspec.json.decode(output, type=Fault))
    if code == -signal.SIGPROF:
        return f"a step did not end within {FOLD_SECONDS:g} s of processor time"
    return f"its process ended with {code}"
