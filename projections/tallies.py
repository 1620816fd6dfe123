"""Tallies: how many runs and log entries there are in blocks of positions, so that nobody counts.

Positions are put into blocks of 2,048, those into blocks of 131,072, and those into blocks of
8,388,608. Once the journal has gone past a block, its runs and entries are tallied, all together,
since that costs a tenth of what it costs one by one. What comes after the last such block is few,
and is counted. A run that ends later is added to the blocks of its request.
"""

from __future__ import annotations

from typing import Final

from ..journal.envelope import Recorded
from .projection import Statement, Table

SHIFTS: Final = (11, 17, 23)
"""A block of each size is so many bits of a position."""
ANY: Final = ""
"""The state under which every run is tallied as soon as it is requested; others are of the end."""

RUN_TALLY: Final = Table(
    "run_tally",
    "workflow, tenant, shift, state, block, origin, error_code",
    (
        """CREATE TABLE run_tally_{g} (
  workflow   TEXT NOT NULL,
  tenant     TEXT NOT NULL,
  shift      INTEGER NOT NULL,
  state      TEXT NOT NULL,
  block      INTEGER NOT NULL,
  origin     TEXT NOT NULL,
  error_code TEXT NOT NULL,
  total      INTEGER NOT NULL,
  PRIMARY KEY (workflow, tenant, shift, state, block, origin, error_code)
) STRICT""",
    ),
)
LOG_TALLY: Final = Table(
    "log_tally",
    "workflow, shift, status, block",
    (
        """CREATE TABLE log_tally_{g} (
  workflow TEXT NOT NULL,
  shift    INTEGER NOT NULL,
  status   TEXT NOT NULL,
  block    INTEGER NOT NULL,
  total    INTEGER NOT NULL,
  PRIMARY KEY (workflow, shift, status, block)
) STRICT""",
    ),
)
TALLIED: Final = Table(
    "tallied",
    "one",
    (
        """CREATE TABLE tallied_{g} (
  one   INTEGER PRIMARY KEY CHECK (one = 1),
  until INTEGER NOT NULL
) STRICT""",
    ),
)
STATE: Final = (
    "CASE WHEN status = 'failed' AND recovered_position != 0 THEN 'recovered' ELSE status END"
)
"""A run's state in the tallies: its status, or `recovered` once its family has succeeded."""

_SHIFTS: Final = " UNION ALL ".join(f"SELECT {shift} AS shift" for shift in SHIFTS)
_UNTIL: Final = "coalesce((SELECT until FROM tallied_{g}), 0)"
_BLOCK: Final = f"?1 >> {SHIFTS[0]} << {SHIFTS[0]}"
_NEW_RUNS: Final = f"requested_position >= {_UNTIL} AND requested_position < {_BLOCK}"
_RUN_COLUMNS: Final = "(workflow, tenant, shift, state, block, origin, error_code, total)"
_ADD: Final = "DO UPDATE SET total = total + excluded.total"
_ADD_RUNS: Final = f"ON CONFLICT (workflow, tenant, shift, state, block, origin, error_code) {_ADD}"
_TALLY_REQUESTS: Final = f"""INSERT INTO run_tally_{{g}} {_RUN_COLUMNS}
SELECT workflow, tenant, shift, '{ANY}', requested_position >> shift, origin, '', count(*)
FROM run_{{g}} CROSS JOIN ({_SHIFTS}) WHERE {_NEW_RUNS} GROUP BY 1, 2, 3, 5, 6 {_ADD_RUNS}"""
_TALLY_ENDS: Final = f"""INSERT INTO run_tally_{{g}} {_RUN_COLUMNS}
SELECT workflow, tenant, shift, {STATE} AS state, requested_position >> shift, origin, error_code,
  count(*)
FROM run_{{g}} CROSS JOIN ({_SHIFTS}) WHERE {_NEW_RUNS} AND ended_position != 0
GROUP BY 1, 2, 3, 4, 5, 6, 7 {_ADD_RUNS}"""
_TALLY_LOG: Final = f"""INSERT INTO log_tally_{{g}} (workflow, shift, status, block, total)
SELECT workflow, shift, status, position >> shift, count(*)
FROM log_{{g}} CROSS JOIN ({_SHIFTS})
WHERE position >= {_UNTIL} AND position < {_BLOCK} AND source_id = ''
GROUP BY 1, 2, 3, 4 ON CONFLICT (workflow, shift, status, block) {_ADD}"""
_MOVE_ON: Final = f"""INSERT INTO tallied_{{g}} (one, until) VALUES (1, {_BLOCK})
ON CONFLICT (one) DO UPDATE SET until = excluded.until WHERE excluded.until > until"""
_TALLY_END: Final = f"""INSERT INTO run_tally_{{g}} {_RUN_COLUMNS}
SELECT workflow, tenant, shift, {STATE}, requested_position >> shift, origin, error_code, 1
FROM run_{{g}} CROSS JOIN ({_SHIFTS})
WHERE run_id = ? AND requested_position < {_UNTIL} {_ADD_RUNS}"""
# Of a run that is alone in its family nothing is found by its root.
_FAMILY: Final = (
    "root_run != '' AND root_run = (SELECT root_run FROM run_{g} WHERE run_id = ?1) "
    "AND recovered_position = 0"
)
_TALLY_RECOVERED: Final = f"""INSERT INTO run_tally_{{g}} {_RUN_COLUMNS}
SELECT workflow, tenant, shift, state, requested_position >> shift, origin, error_code, sum(change)
FROM run_{{g}} CROSS JOIN ({_SHIFTS})
CROSS JOIN (SELECT 'failed' AS state, -1 AS change UNION ALL SELECT 'recovered', 1)
WHERE {_FAMILY} AND status = 'failed' AND requested_position < {_UNTIL}
GROUP BY 1, 2, 3, 4, 5, 6, 7 {_ADD_RUNS}"""
_RECOVERED: Final = (
    f"UPDATE run_{{g}} SET recovered_position = ?2, is_unresolved = 0 WHERE {_FAMILY}"
)


def move_on(event: Recorded) -> tuple[Statement, ...]:
    """Tally the blocks that the journal has gone past, if there are any.

    Asked for at every eighth request, whichever the hash of its entry makes it, so that no rhythm
    of events keeps them from it.
    """
    if event.leaf[-1] & 7:
        return ()
    given = (event.position,)
    return (
        Statement(_TALLY_REQUESTS, given),
        Statement(_TALLY_ENDS, given),
        Statement(_TALLY_LOG, given),
        Statement(_MOVE_ON, given),
    )


def ended(event: Recorded) -> Statement:
    """Add a run that has ended to the blocks of its request, if these are tallied already."""
    return Statement(_TALLY_END, (event.stream,))


def recovered(event: Recorded) -> tuple[Statement, ...]:
    """Note that a family of reruns and resumes has succeeded, the first time that it does."""
    return (
        Statement(_TALLY_RECOVERED, (event.stream,)),
        Statement(_RECOVERED, (event.stream, event.position)),
    )
