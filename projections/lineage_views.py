"""What the service asks about a run's family: what it was made of, and what was made of it.

Reruns and resumes of a run belong to its workflow and form a tree by `original_run`; the runs of
other workflows that they started hang beside it by `parent_run`. Every walk is bounded.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..journal.journal import LATEST
from .view_rows import RunRow, as_of
from .views import Views

SHOWN_MAX: Final = 1000
"""How many runs of a tree are shown, and how many runs that they started."""
WALKED_MAX: Final = 10_000
"""Among how many runs of a tree a success is looked for."""


class LineageRow(RunRow, frozen=True, gc=False):
    """A run and, where it is a sub-workflow, what started it."""

    parent_run: str = ""
    parent_node: str = ""
    parent_iteration: str = ""


class Lineage(msgspec.Struct, frozen=True):
    """The tree that a run belongs to, oldest run first, so that each comes after its original."""

    runs: list[LineageRow]
    children: list[LineageRow]
    """The runs of other workflows that these started."""
    succeeded_run: str
    """The run of the tree that completed, the newest if there are several, "" if there is none."""
    is_truncated: bool
    """True where there is more than is shown."""


_COLUMNS: Final = ", ".join(f"run.{field.name}" for field in msgspec.structs.fields(LineageRow))
# The depth is what ends a circle, which no service ever wrote.
_UP: Final = """WITH RECURSIVE up (run_id, original_run, depth) AS (
  SELECT run_id, original_run, 0 FROM run WHERE run_id = ?1
  UNION ALL
  SELECT run.run_id, run.original_run, up.depth + 1
  FROM up CROSS JOIN run ON run.run_id = up.original_run
  WHERE up.original_run != '' AND up.depth + 1 < ?2)"""
ORIGINALS: Final = (
    f"{_UP} SELECT {_COLUMNS} FROM up CROSS JOIN run ON run.run_id = up.run_id ORDER BY up.depth"
)
SUCCEEDED_ORIGINAL: Final = (
    f"{_UP} SELECT run.run_id FROM up CROSS JOIN run ON run.run_id = up.run_id "
    "WHERE up.depth > 0 AND run.status = 'completed' AND run.ended_position <= ?3 "
    "ORDER BY up.depth LIMIT 1"
)
# UNION meets no run twice; the tree is walked level by level.
_DOWN: Final = """WITH RECURSIVE down (run_id) AS (
  SELECT ?1
  UNION
  SELECT run.run_id FROM down CROSS JOIN run
  ON run.workflow = ?2 AND run.tenant = ?3 AND run.original_run = down.run_id
  AND run.original_run != '' AND run.requested_position <= ?5
  LIMIT ?4)"""
DESCENDANTS: Final = (
    f"{_DOWN} SELECT {_COLUMNS} FROM down CROSS JOIN run ON run.run_id = down.run_id"
)
SUCCEEDED: Final = (
    f"{_DOWN} SELECT run.run_id FROM down CROSS JOIN run ON run.run_id = down.run_id "
    "WHERE run.status = 'completed' AND run.ended_position <= ?5 "
    "ORDER BY run.ended_position DESC LIMIT 1"
)
# The runs of a deleted workflow are hidden, here as everywhere.
CHILDREN: Final = (
    f"SELECT {_COLUMNS} FROM json_each(?1) AS parent CROSS JOIN run "
    "ON run.parent_run = parent.value AND run.parent_run != '' AND run.tenant = ?2 "
    "AND run.requested_position <= ?4 "
    "CROSS JOIN workflow ON workflow.workflow_id = run.workflow "
    "AND (workflow.is_deleted = 0 OR workflow.deleted_position > ?4) LIMIT ?3"
)


async def lineage(views: Views, run_id: str, at_position: int = LATEST) -> Lineage | None:
    """Return the tree that a run belonged to at a position, by default the one it belongs to.

    None if the views know no such run, which must have been there at that position.

    Of a tree that is too large the run's own originals are shown first, then what is nearest to
    the oldest of them.
    """

    def rows_of(found: list[Any]) -> list[LineageRow]:
        return [as_of(LineageRow(*row), at_position) for row in found]

    line = rows_of(await views.select(ORIGINALS, (run_id, SHOWN_MAX)))
    if not line:
        return None
    root = line[-1]
    tree = (root.run_id, root.workflow, root.tenant)
    made = rows_of(await views.select(DESCENDANTS, (*tree, SHOWN_MAX + 1, at_position)))
    found = {row.run_id: row for row in [*line, *made]}
    shown = list(found.values())[:SHOWN_MAX]
    parents = msgspec.json.encode([row.run_id for row in shown]).decode()
    asked = (parents, root.tenant, SHOWN_MAX + 1, at_position)
    children = rows_of(await views.select(CHILDREN, asked))
    succeeded = await views.select(SUCCEEDED, (*tree, WALKED_MAX, at_position))
    return Lineage(
        sorted(shown, key=_age),
        sorted(children[:SHOWN_MAX], key=_age),
        succeeded[0][0] if succeeded else "",
        root.original_run != "" or max(len(found), len(children)) > SHOWN_MAX,
    )


async def succeeded_original(views: Views, run_id: str, at_position: int) -> str | None:
    """Return the nearest run that a run was made of and that had completed at a position.

    None if there is none; only the nearest 1,000 originals are looked at.
    """
    rows = await views.select(SUCCEEDED_ORIGINAL, (run_id, SHOWN_MAX, at_position))
    return str(rows[0][0]) if rows else None


def _age(row: LineageRow) -> int:
    return row.requested_position
