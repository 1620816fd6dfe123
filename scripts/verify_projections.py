"""Compares the rows in use with those of the journal, for the commands that are asked to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..projections.checking import Checked, check
from ..projections.projection import Projection
from .progress_bar import progress_bar


def verify_projections(
    directory: Path, names: Sequence[str], projections: Sequence[Projection]
) -> list[Checked]:
    """Fold the journal again, show how far that is, and return what came out.

    Raises:
        ProjectionError: it can't be done; the message says why.
        JournalError: the journal can't be read.
    """
    with progress_bar("verify projections", "events") as report:
        return check(directory, names, projections=projections, report=report)


def told(checked: Checked) -> str:
    """Tell one comparison in a line."""
    at = f"version {checked.version} at position {checked.position}"
    if checked.is_equal:
        return f"{checked.name}: {at}, the rows are those of the journal, {checked.digest}"
    return (
        f"{checked.name}: {at}, THE ROWS DIFFER: {checked.difference}; they have {checked.digest}, "
        f"the journal gives {checked.folded_digest}; "
        f"`refold rebuild {checked.name}` makes them anew"
    )
