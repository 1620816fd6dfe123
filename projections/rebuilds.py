"""The rebuilds that a running service was asked for: each is a process beside it.

In a process of its own a rebuild takes no time from requests but that of another processor, and a
fold that loops is ended from outside. What a service that was killed had begun goes on at its next
start.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO

import msgspec

from .errors import NothingKeptError, UnknownProjectionError, ViewsBusyError
from .faults import TOO_SLOW, Fault, in_one_line
from .generations import Generation, generations
from .projection import Projection
from .views_file import connect, file_of, translated
from .worker_state import SIZE, WorkerState
from .workers import FOLD_SECONDS, command

_AT_ONCE = 2
_log = logging.getLogger("refold.projections")


class _Rebuild:
    """One rebuild at work, or the way back from one."""

    def __init__(self, name: str, directory: Path, reference: str, verb: str) -> None:
        self.name = name
        self._verb = verb
        self.process: subprocess.Popen[bytes] | None = None
        self._directory = directory
        self._reference = reference
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self.file.truncate(SIZE)
        self.state = WorkerState(self.file.fileno())

    def run(self) -> Fault | None:
        """Do it in a process; return why it failed, None if it did not."""
        handle = self.file.fileno()
        with subprocess.Popen(
            command(self._verb, self._directory, self._reference, handle, FOLD_SECONDS),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[handle],
            start_new_session=True,
        ) as process:
            self.process = process
            assert process.stdout is not None, "it was asked for"
            output = process.stdout.read()
        position = self.state.read()[0]
        if output:
            return msgspec.json.decode(output, type=Fault)
        if process.returncode == -signal.SIGALRM:
            message = f"the fold did not return within {FOLD_SECONDS:g} s"
            return Fault(code=TOO_SLOW, message=message, position=position)
        if process.returncode:
            return Fault(code="process_ended", message=f"exit code {process.returncode}")
        return None

    def close(self) -> None:
        """Let go of the file."""
        self.state.close()
        self.file.close()


class Rebuilds:
    """The rebuilds of one service."""

    def __init__(
        self,
        directory: Path,
        projections: Mapping[str, tuple[str, Projection]],
        ended: Callable[[str], None],
    ) -> None:
        """`projections` gives the `module:Class` of each; `ended` hears of each that succeeded."""
        self._directory = directory
        self._projections = projections
        self._ended = ended
        self._lock = threading.Lock()
        self._at_work: dict[str, _Rebuild] = {}
        # Each takes a processor, and more at once would end no sooner.
        self._turns = threading.Semaphore(_AT_ONCE)
        self._threads: list[threading.Thread] = []
        self._is_stopping = False

    @property
    def names(self) -> list[str]:
        """The projections that are being rebuilt."""
        return list(self._at_work)

    def start(self, name: str, *, roll_back: bool = False) -> None:
        """Make a projection's rows anew beside the live ones; returns at once.

        With `roll_back` the rows that were live before are brought to the journal's head instead.

        Raises:
            UnknownProjectionError: there is no projection of this name.
            ViewsBusyError: it is being rebuilt already.
            NothingKeptError: there are no rows to go back to.
            ViewsFailedError: the file of the views can't be read.
        """
        if name not in self._projections:
            raise UnknownProjectionError(name, self._projections)
        if roll_back:
            self._see_that_rows_were_kept(name)
        with self._lock:
            if name in self._at_work or self._is_stopping:
                raise ViewsBusyError(f"projection {name} is being rebuilt already")
            verb = "rollback" if roll_back else "rebuild"
            made = _Rebuild(name, self._directory, self._projections[name][0], verb)
            self._at_work[name] = made
            thread = threading.Thread(target=self._watch, args=(made,), daemon=True)
            self._threads.append(thread)
        thread.start()

    def _see_that_rows_were_kept(self, name: str) -> None:
        path = self._directory / file_of(self._projections[name][1])
        with translated(path), closing(connect(path)) as connection:
            rows = [row for row in generations(connection) if row.name == name]
        version = self._projections[name][1].version
        live = next((row.version for row in rows if row.state == "live"), version)
        if not any(row.state == "kept" and row.version == live for row in rows):
            raise NothingKeptError(name, live)

    def resume(self) -> None:
        """Go on with what was begun and not ended."""
        rows: list[Generation] = []
        for file in dict.fromkeys(file_of(known[1]) for known in self._projections.values()):
            # One that is apart makes its file itself, and did not do so yet where it is new.
            if (self._directory / file).exists():
                with closing(connect(self._directory / file)) as connection:
                    rows += generations(connection)
        live = {row.name: row.version for row in rows if row.state == "live"}
        for row in rows:
            known = self._projections.get(row.name)
            if (
                row.state == "growing"
                and known is not None
                and row.version == known[1].version == live.get(row.name)
                and row.name not in self._at_work
            ):
                _log.info("the rebuild of projection %s goes on", row.name)
                self.start(row.name)

    def stop(self) -> None:
        """Interrupt them; the next start goes on with them. Blocks until they have ended."""
        with self._lock:
            self._is_stopping = True
            for made in self._at_work.values():
                if made.process is not None:
                    made.process.kill()
        for thread in self._threads:
            thread.join()

    def _watch(self, made: _Rebuild) -> None:
        with self._turns:
            fault = None if self._is_stopping else made.run()
        made.close()
        with self._lock:
            del self._at_work[made.name]
        if self._is_stopping:
            return
        if fault is None:
            _log.info("projection %s was rebuilt", made.name)
            self._ended(made.name)
        else:
            _log.error("the rebuild of projection %s failed: %s", made.name, in_one_line(fault))
