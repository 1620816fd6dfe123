"""The projections' errors, sorted by who must act.

ProjectionError
├── StaleViewsError     a retry, later: the views have not reached what was asked for
├── ViewsFailedError    the operator: views.db can't be used
├── ViewsBusyError      the operator: another process rebuilds the same views
├── UnknownProjectionError  the operator: there is no projection of that name
├── ProjectionRefusedError  the developer: a projection breaks a rule of the interface
├── ChangedFoldError    the developer: a fold is not the one that made its rows
├── FoldTooSlowError    the developer: a fold does not come back
├── PoisonEventError    the developer: a fold can't take an event
├── NothingKeptError    the operator: there are no rows to go back to
├── NotStoppedError     a caller: there is nothing to retry
├── ViewsReplacedError  nobody: views.db is another file now, and is made anew
├── SearchTooSlowError  a caller: what is searched for is too common
├── ExportRefusedError  the operator: there is nothing to export like that, or nowhere to put it
├── ExportFailedError   the operator: the file of an export can't be written
└── GapError            the operator: the journal is missing a position
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class ProjectionError(Exception):
    """The root: everything the projections refuse or fail at."""

    code: ClassVar[str] = "projection_error"


class StaleViewsError(ProjectionError):
    """The views have not reached a position in time, or stand still."""

    code = "overloaded"

    def __init__(self, wanted: int, reached: int, fault: str = "") -> None:
        because = f": {fault}" if fault else ""
        super().__init__(f"the views stand at position {reached}, not yet at {wanted}{because}")
        self.wanted = wanted
        self.reached = reached
        self.fault = fault


class ViewsFailedError(ProjectionError):
    """The file of the views can't be read or written; a restart makes it anew if it is damaged."""

    code = "overloaded"


class ViewsReplacedError(ProjectionError):
    """The file of the views was deleted, replaced or cut while it was in use."""

    code = "views_replaced"


class ViewsBusyError(ProjectionError):
    """Another process is rebuilding the same views of this data directory."""

    code = "views_busy"


class UnknownProjectionError(ProjectionError):
    """There is no projection of that name."""

    code = "unknown_projection"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"there is no projection {name!r}; known are {', '.join(known)}")
        self.name = name


class ProjectionRefusedError(ProjectionError):
    """A projection breaks a rule of the interface; the message is for its developer."""

    code = "projection_refused"

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"projection {name}: {message}")
        self.name = name


class ChangedFoldError(ProjectionError):
    """A fold is not the one that made the rows, and has the same version."""

    code = "changed_fold"

    def __init__(self, name: str, version: int) -> None:
        super().__init__(
            f"projection {name}: its code changed, and is still version {version}; count the "
            f"version up and restart, or make the rows anew with `refold rebuild {name}`"
        )
        self.name = name
        self.version = version


class FoldTooSlowError(ProjectionError):
    """A fold that shares its thread with others did not come back in time."""

    code = "fold_too_slow"

    def __init__(self) -> None:
        # It is raised by the interpreter, which knows no arguments.
        super().__init__("the fold did not return in time")


class PoisonEventError(ProjectionError):
    """A fold could not take an event; the rows end right before it."""

    code = "poison_event"

    def __init__(self, name: str, why: str, position: int, type_: str, told: str) -> None:
        super().__init__(f"projection {name} can't fold {type_} at position {position}: {told}")
        self.name = name
        self.why = why
        """The code of the reason."""
        self.position = position
        self.type = type_
        self.told = told


class NothingKeptError(ProjectionError):
    """There is no generation to go back to that this program could go on with."""

    code = "nothing_kept"

    def __init__(self, name: str, version: int) -> None:
        super().__init__(
            f"projection {name} has no kept rows of version {version} to go back to; for those of "
            "another version start the program that has it, which takes them up"
        )
        self.name = name


class NotStoppedError(ProjectionError):
    """A retry was asked for of a projection that is at work."""

    code = "not_stopped"

    def __init__(self, name: str) -> None:
        super().__init__(f"projection {name} is at work; there is nothing to retry")
        self.name = name


class SearchTooSlowError(ProjectionError):
    """A search took longer than one may; it was broken off."""

    code = "search_too_broad"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The search took longer than {seconds:g} s; search for rarer words or in one workflow."
        )


class ExportRefusedError(ProjectionError):
    """There is nothing to export as it was asked for, or the file may not be replaced."""

    code = "export_refused"


class ExportFailedError(ProjectionError):
    """The file of an export can't be written; what is safe of it is taken up again."""

    code = "export_failed"


class GapError(ProjectionError):
    """The journal's file does not hold the position that comes next; nothing is skipped."""

    code = "gap"

    def __init__(self, wanted: int, found: int) -> None:
        super().__init__(f"the journal goes on at position {found} where {wanted} should be")
        self.wanted = wanted
        self.found = found
