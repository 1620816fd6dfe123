"""Starts and watches the processes of developers' projections; what one does hurts nobody else.

A worker that stopped for a reason stays stopped, and says why, until it is asked to try again: a
new process then loads the code that is there now. One that just ended is started again, with a
pause that doubles, and is given up when it ends again and again.
"""

from __future__ import annotations

import logging
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from .faults import ENDED, TOO_SLOW, Fault, in_one_line, told
from .loading import Loaded
from .projection import Projection, is_apart
from .status import ProjectionStatus, State
from .views_file import close_cleanly, connect, file_of, remove
from .worker_state import GROWING, LIVE, SIZE, WorkerState

FOLD_SECONDS: Final = 10.0
"""How long the fold of one event may take before its process is ended."""
_STOPPED, _AGAIN = 3, 4
_PAUSE_SECONDS: Final = 0.25
_DEATHS_MAX: Final = 5
_STOP_SECONDS: Final = 5.0
_log = logging.getLogger("refold.projections")


def command(verb: str, directory: Path, reference: str, handle: int, seconds: float) -> list[str]:
    """Return how a worker is started: its arguments are places and numbers, never secrets."""
    return [
        sys.executable,
        "-m",
        "refold.projections.worker",
        verb,
        str(directory.absolute()),
        reference,
        str(handle),
        str(seconds),
    ]


class Worker:
    """One projection's process, and the thread that waits for its end."""

    def __init__(self, directory: Path, loaded: Loaded) -> None:
        self.name = loaded.projection.name
        self.loaded = loaded
        self._directory = directory
        self._seconds = FOLD_SECONDS
        self._wake = threading.Condition()
        self._is_stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        self.fault: Fault | None = None
        """Why it stopped, None while it works."""
        self._position = 0
        self._moved_at = time.monotonic()
        # Unnamed: gone with the last process that has it open.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the worker
        self._file.truncate(SIZE)
        self._state = WorkerState(self._file.fileno())
        self._thread = threading.Thread(target=self._watch, name=f"worker {self.name}", daemon=True)

    def start(self) -> None:
        """Let it follow the journal."""
        self._thread.start()

    def retry(self) -> None:
        """Start it again with the code that is there now."""
        with self._wake:
            self.fault = None
            self._wake.notify()

    def ask_to_stop(self) -> None:
        """Let the process end after its transaction; a fold that goes on is not waited for."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()

    def join(self) -> None:
        """Wait for its end."""
        if self._thread.ident is not None:
            self._thread.join(_STOP_SECONDS)
            with self._wake:
                if self._process is not None and self._process.poll() is None:
                    self._process.kill()
            self._thread.join()
            self._close_cleanly()
        self._state.close()
        self._file.close()

    def _close_cleanly(self) -> None:
        """Note that the file of a projection apart is whole: else a restart makes it anew."""
        if is_apart(self.loaded.projection):
            try:
                close_cleanly(connect(self.path))
            except sqlite3.Error as error:
                _log.warning("%s was not closed cleanly: %s", self.path, told(error))

    @property
    def path(self) -> Path:
        """The file that its rows are in."""
        return self._directory / file_of(self.loaded.projection)

    @property
    def reached(self) -> int:
        """The newest position that its live rows include."""
        return self._state.read()[1]

    def has_forgotten(self, position: int) -> bool:
        """See that nothing is left in its file, if it is apart, of what was erased by a position.

        One that stopped does not take anything out any more, so its file is deleted.
        """
        if not is_apart(self.loaded.projection) or self._state.is_clean(position):
            return True
        with self._wake:
            if self.fault is None or self._process is not None:
                return False
            remove(self.path)
            return True

    @property
    def pid(self) -> int:
        """The id of its process, 0 while it has none."""
        process = self._process
        return 0 if process is None else process.pid

    def status(self) -> ProjectionStatus:
        """Tell how it stands."""
        _, position, doing, version, _, is_fed = self._state.read()
        if position != self._position:
            self._position, self._moved_at = position, time.monotonic()
        fault = self.fault
        state: State = "catching_up"
        if fault is not None:
            state = "stopped"
        elif doing == GROWING:
            state = "rebuilding"
        elif doing == LIVE and is_fed:
            state = "live"
        return ProjectionStatus(
            self.name,
            version or self.loaded.projection.version,
            state,
            position,
            time.monotonic() - self._moved_at,
            fault,
            self.loaded.reference,
        )

    def _watch(self) -> None:
        deaths = 0
        while True:
            began = time.monotonic()
            code, output = self._run_once()
            with self._wake:
                self._process = None
                if self._is_stopping:
                    return
                # A process that worked for a while is not one that can't be started.
                deaths = 1 if time.monotonic() - began > self._seconds else deaths + 1
                self.fault = None if code == _AGAIN else self._reason(code, output, deaths)
                if self.fault is None:
                    _log.warning("projection %s: its process ended and is started again", self.name)
                    self._wake.wait_for(
                        lambda: self._is_stopping,
                        min(5.0, _PAUSE_SECONDS * 2 ** min(deaths, 5)),
                    )
                else:
                    _log.critical(
                        "projection %s stopped, and the others go on: %s",
                        self.name,
                        in_one_line(self.fault),
                    )
                    self._wake.wait_for(lambda: self._is_stopping or self.fault is None)
                    deaths = 0
                if self._is_stopping:
                    return

    def _run_once(self) -> tuple[int, bytes]:
        self._state.clear(keep=self._position)
        handle = self._file.fileno()
        with self._wake:
            if self._is_stopping:
                return 0, b""
            self._process = process = subprocess.Popen(
                command("follow", self._directory, self.loaded.reference, handle, self._seconds),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[handle],
                start_new_session=True,
            )
        assert process.stdout is not None, "it was asked for"
        with process.stdout:
            output = process.stdout.read()
        code = process.wait()
        if process.stdin is not None:
            process.stdin.close()
        return code, output

    def _reason(self, code: int, output: bytes, deaths: int) -> Fault | None:
        """Say why a process ended for good, None if it is worth another start."""
        if code == _STOPPED:
            return msgspec.json.decode(output, type=Fault)
        position = self._state.read()[0]
        if code == -signal.SIGALRM:
            return Fault(
                code=TOO_SLOW,
                message=f"the fold did not return within {self._seconds:g} s",
                position=position,
            )
        if deaths < _DEATHS_MAX:
            return None
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Fault(
            code=ENDED, message=f"its process ended {deaths} times, by {how}", position=position
        )


class Workers:
    """The processes of all developers' projections."""

    def __init__(self, directory: Path, loaded: Sequence[Loaded]) -> None:
        self._workers = {made.projection.name: Worker(directory, made) for made in loaded}

    @property
    def names(self) -> list[str]:
        """The names of the projections."""
        return list(self._workers)

    def find(self, name: str) -> Worker | None:
        """Return the one of a name, None if there is none."""
        return self._workers.get(name)

    def have_forgotten(self, position: int) -> bool:
        """See that nothing is left in the files apart of what was erased up to a position."""
        return all(worker.has_forgotten(position) for worker in self._workers.values())

    def references(self, built_in: Sequence[Projection]) -> dict[str, tuple[str, Projection]]:
        """Return every projection by name, with the `module:Class` that a process loads it by."""
        found = {
            made.name: (f"{type(made).__module__}:{type(made).__qualname__}", made)
            for made in built_in
        }
        for name, worker in self._workers.items():
            found[name] = (worker.loaded.reference, worker.loaded.projection)
        return found

    def rebuilt(self, name: str) -> None:
        """Let one that stopped because its code was not that of its rows try again."""
        worker = self._workers.get(name)
        if worker is not None and worker.fault is not None:
            worker.retry()

    def start(self) -> None:
        """Let them follow the journal."""
        for worker in self._workers.values():
            worker.start()

    def retry(self, name: str) -> None:
        """Start a stopped one again."""
        self._workers[name].retry()

    def pid(self, name: str) -> int:
        """Return the id of a projection's process, 0 while it has none."""
        return self._workers[name].pid

    def stop(self) -> None:
        """End them all. Blocks until they have ended."""
        for worker in self._workers.values():
            worker.ask_to_stop()
        for worker in self._workers.values():
            worker.join()

    def status(self) -> list[ProjectionStatus]:
        """Tell how each stands."""
        return [worker.status() for worker in self._workers.values()]
