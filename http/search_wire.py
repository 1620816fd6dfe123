"""What a search answers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from . import wire


class FoundRuns(msgspec.Struct, frozen=True):
    """Runs that a search found."""

    data: Sequence[wire.Run]
    next_cursor: str | None
    """Where the search goes on; null at its end. A page may have fewer runs than asked for."""


class FoundLogs(msgspec.Struct, frozen=True):
    """Log entries that a search found."""

    data: Sequence[wire.Log]
    next_cursor: str | None
    """Where the search goes on; null at its end. A page may have fewer entries than asked for."""
