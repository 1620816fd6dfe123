"""What is done about projections beside reading them: status, rebuilds, retries, checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import structs

from .background_checks import BackgroundChecks
from .clearing import Clearing
from .errors import NotStoppedError, UnknownProjectionError
from .projection import Projection
from .projector import Projector
from .rebuilds import Rebuilds
from .status import ProjectionStatus
from .views_file import VIEWS_FILE
from .workers import Workers


class Upkeep:
    """Looks after the projections of one service: the built-in ones and those of developers."""

    def __init__(
        self,
        directory: Path,
        projector: Projector,
        workers: Workers,
        projections: Sequence[Projection],
        check_seconds: float,
    ) -> None:
        """Each `check_seconds` all rows are compared with the journal, never if that is 0."""
        self._projector = projector
        self.workers: Final = workers
        references = workers.references(projections)
        self.rebuilds: Final = Rebuilds(directory, references, workers.rebuilt)
        self.checks: Final = BackgroundChecks(directory, references, check_seconds)
        self.clearing: Final = Clearing(directory / VIEWS_FILE)

    def status(self) -> list[ProjectionStatus]:
        """Tell how each projection stands, those of developers too."""
        found = [*self._projector.status(), *self.workers.status()]
        rebuilding = self.rebuilds.names
        return [
            structs.replace(
                status,
                state="rebuilding"
                if status.name in rebuilding and status.state != "stopped"
                else status.state,
                compared=self.checks.last(status.name),
            )
            for status in found
        ]

    def rebuild(self, name: str) -> None:
        """Make a projection's rows anew beside the live ones; returns once that has begun.

        Raises:
            UnknownProjectionError: there is no projection of this name.
            ViewsBusyError: it is being rebuilt already.
        """
        self.rebuilds.start(name)

    def roll_back(self, name: str) -> None:
        """Go back to the rows that were live before the last rebuild; returns once that has begun.

        Raises:
            UnknownProjectionError: there is no projection of this name.
            ViewsBusyError: it is being rebuilt already.
            NothingKeptError: there are no rows to go back to.
            ViewsFailedError: the file of the views can't be read.
        """
        self.rebuilds.start(name, roll_back=True)

    def retry(self, name: str) -> None:
        """Let a stopped projection try again; one of a developer with the code that is there now.

        Raises:
            UnknownProjectionError: there is no projection of this name.
            NotStoppedError: it did not stop.
        """
        known = {status.name: status for status in self.status()}
        if name not in known:
            raise UnknownProjectionError(name, known)
        if known[name].state != "stopped":
            raise NotStoppedError(name)
        if name in self.workers.names:
            self.workers.retry(name)
        else:
            self._projector.retry(name)

    def stop(self) -> None:
        """End the processes and threads. Blocks until they have ended."""
        self.clearing.stop()
        self.checks.stop()
        self.rebuilds.stop()
        self.workers.stop()
