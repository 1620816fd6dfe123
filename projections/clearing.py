"""Takes the rows of generations that were given up out of `views.db`, while the service serves.

A start gives up rows after a change of version, and leaves it to this thread to delete them: a
million take ten seconds. It rests for most of the time, so that the projector and a rebuild find
the file free. What it does not get done goes on at the next start.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from .generations import drop_some, generations
from .sqlite_errors import is_passing
from .views_file import connect

_REST_TIMES: Final = 4
"""How much longer than a piece of the work took the thread rests after it."""
_RETRY_SECONDS: Final = 1.0
_log = logging.getLogger("refold.projections")


class Clearing:
    """One pass over what was given up until now, on a thread of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="view clearing", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the piece that it is at. Blocks until it has ended."""
        self._leaving.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._leaving.is_set():
            try:
                with closing(connect(self._path)) as connection:
                    self._clear(connection)
                return
            except sqlite3.Error as error:
                if not is_passing(error):
                    # The projector comes upon damage too, and makes the file anew.
                    _log.warning("old rows of the views stay until the next start: %s", error)
                    return
            self._leaving.wait(_RETRY_SECONDS)

    def _clear(self, connection: sqlite3.Connection) -> None:
        for row in generations(connection):
            is_left = row.state == "leaving"
            while is_left and not self._leaving.is_set():
                began = time.perf_counter()
                is_left = drop_some(connection, row)
                self._leaving.wait(_REST_TIMES * (time.perf_counter() - began))
