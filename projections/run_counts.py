"""How many runs a list has in all, and what a workflow did in a time: from tallies, not rows.

What is counted is a range of positions: all after its first less all after its last. Each of these
is a few hundred sums of blocks, and the rows of a part of a block and of what is not tallied yet.
"""

from __future__ import annotations

from typing import Final

from ..journal.journal import LATEST
from .projection import SqlValue
from .run_lists import (
    FIRST_AFTER,
    FIRST_FROM,
    UNFINISHED,
    RunFilter,
    Term,
    joined,
    parts_of,
    survivors,
)
from .tallies import ANY, SHIFTS
from .views import Views

_UNTIL: Final = "coalesce((SELECT until FROM tallied), 0)"
_NEVER: Final = 2**53
"""No position is greater."""
_Sum = tuple[str, list[SqlValue]]
"""A part of a sum, with its sign, and its parameters."""
_HAS_CODE: Final[Term] = ("error_code != ''", [])


async def count_runs(views: Views, wanted: RunFilter) -> int:
    """Count what `list_runs` would list in all; never mistaken, whatever the filter."""
    if not is_tallied(wanted, views.position):
        ((total,),) = await views.select(*count_rows(wanted))
        return int(total)
    first, last = 1, min(wanted.at_position, LATEST)
    if wanted.created_from is not None or wanted.created_to is not None:
        ((first, last),) = await views.select(*range_of(wanted))
    ((total,),) = await views.select(*count_tallied(wanted, first, last))
    return int(total)


def is_tallied(wanted: RunFilter, newest: int) -> bool:
    """Tell whether tallies help: not where few runs fit, nor with the distant past.

    A tally is of now; to say what it was, the runs that ended since are taken off one by one.
    """
    if wanted.is_empty or wanted.original_run is not None or wanted.status in UNFINISHED:
        return False
    is_of_ended = wanted.status is not None or wanted.is_failed
    return not is_of_ended or wanted.at_position > newest // 2


def count_rows(wanted: RunFilter) -> tuple[str, list[SqlValue]]:
    """Return the statement that counts runs one by one."""
    parts = parts_of(wanted)
    counts = [f"(SELECT count(*) FROM run WHERE {where})" for where, _ in parts]
    text = counts[0][1:-1] if len(counts) == 1 else f"SELECT {' + '.join(counts)}"
    return text, [value for _, values in parts for value in values]


def range_of(wanted: RunFilter) -> tuple[str, list[SqlValue]]:
    """Return the statement that says between which positions, ends included, the requests are."""
    at = wanted.at_position
    terms = ["1", "?"]
    values: list[SqlValue] = []
    if wanted.created_from is not None:
        terms[0] = FIRST_FROM
        values.append(wanted.created_from)
    values.append(at)
    if wanted.created_to is not None:
        terms[1] = f"min(?, {FIRST_AFTER} - 1)"
        values.append(wanted.created_to)
    return f"SELECT {', '.join(terms)}", values


def count_tallied(wanted: RunFilter, first: int, last: int) -> tuple[str, list[SqlValue]]:
    """Return the statement that counts the runs that were requested in a range of positions."""
    sums: list[_Sum] = []
    start = max(first, wanted.hidden_until + 1)
    if start <= last:
        sums += _tallied(wanted, start, last)
        if wanted.status is not None or wanted.is_failed:
            sums += _since(wanted, start, last)
    if first <= min(wanted.hidden_until, last):
        # What was hidden is in no list, and what was not was under way, so there are few.
        old: Term = ("+requested_position BETWEEN ? AND ?", [first, last])
        for terms in survivors(wanted):
            where, values = joined([*terms, old])
            sums.append((f"+ (SELECT count(*) FROM run WHERE {where})", values))
    return (
        f"SELECT 0 {' '.join(text for text, _ in sums)}",
        [value for _, values in sums for value in values],
    )


def count_log(workflow: str, status: str, first: int, last: int) -> tuple[str, list[SqlValue]]:
    """Return the statement that counts a workflow's entries in a range of positions.

    Replayed entries are not counted again.
    """
    if last < first:
        return "SELECT 0", []
    own: Term = ("workflow = ? AND status = ?", [workflow, status])
    # A plus sign keeps SQLite from any order but that of the positions.
    rows: Term = ("+workflow = ? AND +status = ? AND source_id = ''", [workflow, status])
    sums = [
        *_after("+", ("log_tally", own), ("log", rows), "position", first),
        *_after("-", ("log_tally", own), ("log", rows), "position", last + 1),
    ]
    return (
        f"SELECT 0 {' '.join(text for text, _ in sums)}",
        [value for _, values in sums for value in values],
    )


def _tallied(wanted: RunFilter, first: int, last: int) -> list[_Sum]:
    """Return what adds up to the runs of a range that fit now."""
    own: list[Term] = [("workflow = ? AND tenant = ?", [wanted.workflow, wanted.tenant])]
    blocks, rows = [*own], [*own]
    if wanted.is_unresolved:
        blocks.append(("state = 'failed'", []))
        rows.append(("is_unresolved = 1", []))
    elif wanted.is_failed:
        blocks.append(("state IN ('failed', 'recovered')", []))
        rows.append(("status = ?", ["failed"]) if wanted.error_code is None else _HAS_CODE)
    elif wanted.status is not None:
        blocks.append(("state = ?", [wanted.status]))
        rows.append(("status = ?", [wanted.status]))
    else:
        blocks.append(("state = ?", [ANY]))
    if wanted.origin is not None and wanted.status is not None:
        rows.append(("ended_position != 0", []))
    for column, value in (("origin", wanted.origin), ("error_code", wanted.error_code)):
        if value is not None:
            blocks.append((f"{column} = ?", [value]))
            rows.append((f"{column} = ?", [value]))
    found = (("run_tally", joined(blocks)), ("run", joined(rows)), "requested_position")
    return [*_after("+", *found, first), *_after("-", *found, last + 1)]


def _after(
    sign: str, tally: tuple[str, Term], rows: tuple[str, Term], column: str, position: int
) -> list[_Sum]:
    """Return what adds up to all that stands at a position or after it."""
    if position > _NEVER:
        return []
    (table, (blocks, of_blocks)), (source, (where, of_rows)) = tally, rows
    counted = f"{sign} (SELECT count(*) FROM {source} WHERE {where} AND {column}"
    summed = f"{sign} (SELECT coalesce(sum(total), 0) FROM {table} WHERE {blocks} AND shift = ?"
    sums: list[_Sum] = [(f"{counted} >= max(?, {_UNTIL}))", [*of_rows, position])]
    size = SHIFTS[0]
    block = -(-max(position, 0) >> size) if position > 1 else 0
    if position < block << size:
        bounds: list[SqlValue] = [*of_rows, position, block << size]
        sums.append((f"{counted} >= ? AND {column} < min(?, {_UNTIL}))", bounds))
    # Small blocks lead up to where a larger one begins, and the largest go on to the end.
    for shift, larger in zip(SHIFTS, [*SHIFTS[1:], 0], strict=True):
        if not larger:
            sums.append((f"{summed} AND block >= ?)", [*of_blocks, shift, block]))
            break
        begins = -(-block >> (larger - shift))
        until = begins << (larger - shift)
        if block < until:
            given: list[SqlValue] = [*of_blocks, shift, block, until]
            sums.append((f"{summed} AND block >= ? AND block < ?)", given))
        block = begins
    return sums


def _since(wanted: RunFilter, first: int, last: int) -> list[_Sum]:
    """Take off what came to fit only after the position, and add what fitted no longer."""
    at = wanted.at_position
    terms: list[Term] = [
        ("workflow = ?", [wanted.workflow]),
        ("+tenant = ?", [wanted.tenant]),
        ("+requested_position BETWEEN ? AND ?", [first, last]),
    ]
    for column, value in (("origin", wanted.origin), ("error_code", wanted.error_code)):
        if value is not None:
            terms.append((f"+{column} = ?", [value]))
    late = [*terms, ("ended_position != 0 AND ended_position > ?", [at])]
    late.append(("+status = ?", ["failed" if wanted.is_failed else wanted.status]))
    if wanted.is_unresolved:
        late.append(("+recovered_position = 0", []))
    text, values = joined(late)
    sums: list[_Sum] = [(f"- (SELECT count(*) FROM run WHERE {text})", values)]
    if wanted.is_unresolved:
        back = [
            *terms,
            ("status = 'failed' AND recovered_position != 0 AND recovered_position > ?", [at]),
            ("+ended_position <= ?", [at]),
        ]
        text, values = joined(back)
        sums.append((f"+ (SELECT count(*) FROM run WHERE {text})", values))
    return sums
