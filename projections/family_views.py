"""What the service asks when data is to be erased: which runs were made of the same data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from .views import Views


class Relative(msgspec.Struct, frozen=True, gc=False):
    """A run, and what started it as a sub-workflow, "" for nothing."""

    run_id: str
    parent_run: str


# UNION meets no run twice, so a circle, which no service ever wrote, ends as well.
_BEGIN: Final = """WITH RECURSIVE down (run_id, workflow, tenant) AS (
  SELECT run.run_id, run.workflow, run.tenant FROM json_each(?1) AS given
  CROSS JOIN run ON run.run_id = given.value
  UNION
  SELECT run.run_id, run.workflow, run.tenant FROM down CROSS JOIN run
  ON run.workflow = down.workflow AND run.tenant = down.tenant
  AND run.original_run = down.run_id AND run.original_run != ''"""
_STARTED: Final = """
  UNION
  SELECT run.run_id, run.workflow, run.tenant FROM down CROSS JOIN run
  ON run.parent_run = down.run_id AND run.parent_run != '' AND run.tenant = down.tenant"""
_END: Final = """)
SELECT run.run_id, run.parent_run FROM down CROSS JOIN run ON run.run_id = down.run_id
ORDER BY run.requested_position DESC"""
_OF_WORKFLOW: Final = (
    "SELECT run_id, parent_run FROM run WHERE workflow = ? AND tenant = ? "
    "ORDER BY requested_position DESC"
)


async def lineages_of(views: Views, runs: Sequence[str]) -> list[Relative]:
    """Return runs, their reruns and resumes, theirs, and so on, newest first."""
    rows = await views.select(_BEGIN + _END, (msgspec.json.encode(runs).decode(),))
    return [Relative(*row) for row in rows]


async def families_of(views: Views, runs: Sequence[str]) -> list[Relative]:
    """Return runs and all that was made of them, newest first.

    That is their reruns and resumes, the runs of other workflows that they started, those of
    deleted ones included, and all that was made of these.
    """
    rows = await views.select(_BEGIN + _STARTED + _END, (msgspec.json.encode(runs).decode(),))
    return [Relative(*row) for row in rows]


async def runs_of(views: Views, tenant: str, workflow: str) -> list[Relative]:
    """Return all runs that a workflow ever had, newest first."""
    return [Relative(*row) for row in await views.select(_OF_WORKFLOW, (workflow, tenant))]
