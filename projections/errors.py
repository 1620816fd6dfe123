"""The projections' errors, sorted by who must act.

ProjectionError
├── StaleViewsError     a retry, later: the views have not reached what was asked for
├── ViewsFailedError    the operator: views.db can't be used
├── ViewsBusyError      the operator: another process rebuilds the same views
├── UnknownProjectionError  the operator: there is no projection of that name
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


class ViewsBusyError(ProjectionError):
    """Another process is rebuilding the views of this data directory."""

    code = "views_busy"


class UnknownProjectionError(ProjectionError):
    """There is no projection of that name."""

    code = "unknown_projection"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"there is no projection {name!r}; known are {', '.join(known)}")
        self.name = name


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
