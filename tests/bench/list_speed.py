"""Measures lists of runs at 1,000, 10,000 and 1,000,000 runs: python -m tests.bench.list_speed

Fills one file for each size through the real projection: one workflow, runs of ten positions that
overlap, over 60 days, two of five failed, some resolved by a rerun. Then asks each file in turn for
the newest 50 runs by every filter and combination, a page from the middle by cursor, the hundredth
page, and the total. Prints microseconds of CPU, the least of some rounds, and how the largest file
compares with the smallest.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from hashlib import sha256
from pathlib import Path

import msgspec

from refold.journal import events as e
from refold.journal import ids
from refold.journal.envelope import Recorded
from refold.projections.applying import Applier
from refold.projections.generations import SCHEMA, create_generation
from refold.projections.log_views import select_stats
from refold.projections.run_counts import count_rows, count_tallied, is_tallied, range_of
from refold.projections.run_lists import RunFilter, select_runs
from refold.projections.runs_projection import RunsProjection
from refold.projections.view_rows import as_of, run_row
from refold.projections.views_file import connect
from tests.support.projection_kit import COMPLETED, START_US, STARTED, request, succeeded

SIZES = (1_000, 10_000, 1_000_000)
WORKFLOW = f"fl_{'a' * 26}"
SPAN_US = 60 * 24 * 3600 * 1_000_000
POSITIONS_A_RUN = 10
AT_WORK = 16
"""How many runs are under way at once."""
SHOWN = 50
LETTERS = ("", "s", "o", "so", "c", "co", "u", "uo", "uc", "uco", "w", "r", "rs", "ro", "rsc")
"""By status, origin, error code, unresolved, unfinished (w), of one original (r)."""


def run_id(number: int) -> str:
    """Name a run."""
    return f"{ids.RUN}{number:026}"


def history(runs: int) -> Iterator[Recorded]:
    """Make the events of overlapping runs."""
    step = SPAN_US // runs
    origins = ("execute", "webhook")
    for number in range(runs + AT_WORK // 2):
        at = START_US + number * step
        base = number * POSITIONS_A_RUN
        if number < runs:
            # Sixty runs of each thousand are reruns: of the first, and of one that failed.
            is_rerun = number % 1000 >= 900 and number % 2 == 0
            original = 0 if number < 1000 else number - 897
            root = run_id(original) if is_rerun else ""
            origin = "rerun" if is_rerun else origins[number // 5 % 2]
            yield event(number, base + 1, 1, at, request(WORKFLOW, origin, root))
            yield event(number, base + 2, 2, at, STARTED)
            yield event(number, base + 3, 3, at, succeeded("n1"))
        ended = number - AT_WORK
        if 0 <= ended < runs:
            codes = {0: "http_503", 1: "http_404"}
            code = "" if ended % 1000 >= 900 and ended >= 1000 else codes.get(ended % 5, "")
            end = e.RunFailed(code=code, node="n1") if code else COMPLETED
            yield event(ended, base + 9, 4, at, end)


def event(run: int, position: int, version: int, at: int, facts: e.Facts) -> Recorded:
    """Make one event."""
    leaf = sha256(str(position).encode()).digest()
    name = run_id(run)
    return Recorded(
        position, position, leaf, name, version, f"{position:026}", at, "acme", "", "r", "", "", "",
        facts,
    )  # fmt: skip


def fill(path: Path, runs: int) -> tuple[float, int]:
    """Make the rows as a rebuild does; returns seconds of CPU and the last position."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR))
    with closing(connect(path)) as connection:
        connection.executescript(SCHEMA)
        create_generation(connection, RunsProjection(), state="live")
        applier = Applier(connection, RunsProjection(), 1)
        began, last = time.process_time(), 0
        page: list[Recorded] = []
        for made in history(runs):
            page.append(made)
            if len(page) == 5000:
                last = apply(connection, applier, page)
                page = []
        last = apply(connection, applier, page) if page else last
        return time.process_time() - began, last


def apply(connection: sqlite3.Connection, applier: Applier, page: list[Recorded]) -> int:
    """Apply a page in a transaction."""
    connection.execute("BEGIN")
    applier.apply(page)
    connection.execute("COMMIT")
    return page[-1].position


def by_letters(letters: str, last: int) -> RunFilter:
    """Make the filter by some of the letters, as of the newest position."""
    return RunFilter(
        tenant="acme",
        workflow=WORKFLOW,
        status="running" if "w" in letters else "failed" if "s" in letters else None,
        origin="rerun"
        if "r" in letters and "o" in letters
        else "execute"
        if "o" in letters
        else None,
        error_code="http_503" if "c" in letters else None,
        is_unresolved="u" in letters,
        original_run=run_id(0) if "r" in letters else None,
        at_position=last,
    )


def questions(last: int) -> dict[str, tuple[RunFilter, int | None]]:
    """Name what is asked: a filter and the offset of a page, None for the total."""
    asked: dict[str, tuple[RunFilter, int | None]] = {}
    middle = START_US + SPAN_US // 2
    for letters in LETTERS:
        plain = by_letters(letters, last)
        bounded = msgspec.structs.replace(
            plain, created_from=START_US + SPAN_US // 10, created_to=START_US + 9 * SPAN_US // 10
        )
        hiding = msgspec.structs.replace(plain, hidden_until=last // 10)
        name = letters or "all"
        asked[f"{name:4} newest 50"] = (plain, 0)
        asked[f"{name:4} newest 50 of a time"] = (bounded, 0)
        asked[f"{name:4} newest 50, retention"] = (hiding, 0)
        if "w" not in letters and "r" not in letters:
            deep = msgspec.structs.replace(plain, before=last // 2)
            asked[f"{name:4} from the middle by cursor"] = (deep, 0)
            asked[f"{name:4} page 100"] = (plain, 99 * SHOWN)
        asked[f"{name:4} total"] = (plain, None)
        asked[f"{name:4} total of a time"] = (bounded, None)
        asked[f"{name:4} total to the middle"] = (
            msgspec.structs.replace(plain, created_to=middle),
            None,
        )
        asked[f"{name:4} total, retention"] = (hiding, None)
    return asked


def ask(connection: sqlite3.Connection, wanted: RunFilter, offset: int | None, last: int) -> int:
    """Ask as the service does; returns how many runs were listed or counted."""
    if offset is not None:
        rows = connection.execute(*select_runs(wanted, offset, SHOWN)).fetchall()
        return len([as_of(run_row(row), last) for row in rows])
    if not is_tallied(wanted, last):
        return int(connection.execute(*count_rows(wanted)).fetchone()[0])
    first, until = 1, wanted.at_position
    if wanted.created_from is not None or wanted.created_to is not None:
        first, until = connection.execute(*range_of(wanted)).fetchone()
    return int(connection.execute(*count_tallied(wanted, first, until)).fetchone()[0])


def least(rounds: int, files: list[Callable[[], int]]) -> list[tuple[float, int]]:
    """Ask each file in turn; return the least microseconds of CPU and the answer of each."""
    best = [(float("inf"), 0)] * len(files)
    for _ in range(rounds):
        for number, one in enumerate(files):
            began = time.process_time()
            answer = one()
            best[number] = min(best[number], ((time.process_time() - began) * 1e6, answer))
    return best


def measure(directory: Path, sizes: list[int], rounds: int) -> None:
    """Fill a file for each size, and compare."""
    with ExitStack() as stack:
        opened: list[tuple[sqlite3.Connection, int]] = []
        for size in sizes:
            path = directory / f"{size}.db"
            spent, last = fill(path, size)
            print(
                f"{size:>9} runs made in {spent:.1f} s of CPU, {spent / size * 1e6:.0f} us each, "
                f"{path.stat().st_size / 1e6:.0f} MB",
                flush=True,
            )
            opened.append((stack.enter_context(closing(connect(path))), last))
        heads = "".join(f"{f'{size} runs':>20}" for size in sizes)
        print(f"{'us of CPU (how many)':34}{heads}   times")
        names = list(questions(1))
        worst: dict[str, float] = {}
        for name in [*names, "statistics of 30 days"]:
            files: list[Callable[[], int]] = []
            for connection, last in opened:
                files.append(asking(connection, name, last))
            found = least(rounds, files)
            ratio = found[-1][0] / found[0][0]
            kind = name[5:]
            worst[kind] = max(worst.get(kind, 0.0), ratio)
            shown = "".join(f"{us:>10.0f} ({count:>7})" for us, count in found)
            print(f"{name:34}{shown}{ratio:>8.2f}", flush=True)
        for kind, ratio in worst.items():
            print(f"worst of {kind}: {ratio:.2f}")


def asking(connection: sqlite3.Connection, name: str, last: int) -> Callable[[], int]:
    """Return what asks one file one question."""
    if name == "statistics of 30 days":
        statement = select_stats("acme", WORKFLOW, last // 2, last)
        return lambda: int(connection.execute(*statement).fetchone()[-1])
    wanted, offset = questions(last)[name]
    return lambda: ask(connection, wanted, offset, last)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure lists of runs by their number.")
    parser.add_argument("sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        measure(Path(made), given.sizes, given.rounds)
