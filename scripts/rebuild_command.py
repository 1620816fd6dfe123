"""`refold rebuild`: make projections anew from the journal, beside the ones in use."""

from __future__ import annotations

import time
from typing import Annotated

from cyclopts import Parameter

from ..http.settings import Settings
from ..projections.built_in import BUILT_IN
from .settings_flags import takes_settings


@takes_settings(("data", "projection", "search"))
def rebuild(
    settings: Settings,
    *names: Annotated[
        str,
        Parameter(
            help=f"Projections ({', '.join(p.name for p in BUILT_IN)}, and your own); "
            "all by default."
        ),
    ],
    roll_back: Annotated[
        bool,
        Parameter(
            negative="", help="Go back to the rows that were live before the last rebuild instead."
        ),
    ] = False,
    floor: Annotated[
        bool,
        Parameter(
            negative="",
            help="Measure the floor beside it: read, decode and fold the same events, no writes.",
        ),
    ] = False,
) -> int:
    """Make projections anew from the journal and let them take over when they are complete.

    It works while the service runs, which goes on serving the old rows until then, and while it
    does not run. Killed half-way, it changes nothing, and the same command goes on where it was.
    It prints how many rows each projection has and their digest, which depends on the journal
    alone. The old rows are kept until the next rebuild.
    """
    from ..projections import loading
    from ..projections import rebuild as rebuilding
    from ..projections.floor import fold_in_memory
    from ..projections.search_projections import references
    from .progress_bar import progress_bar

    named = [*settings.projection, *references(settings.search)]
    known = [*BUILT_IN, *(made.projection for made in loading.find(named))]
    began, used = time.perf_counter(), time.process_time()
    with progress_bar("rebuild", "events") as report:
        made = rebuilding.rebuild(
            settings.data, names, projections=known, roll_back=roll_back, report=report
        )
    seconds, busy = time.perf_counter() - began, time.process_time() - used
    for row in made:
        now = "live" if row.is_live else "ready for the next start,"
        print(f"{row.name}: {row.rows} rows at position {row.position}, {now} as {row.generation}")
        print(f"  digest {row.digest}")
    events = max(row.position for row in made)
    print(f"{events} events in {seconds:.1f} s, {events / seconds:,.0f} events/s")
    if floor:
        folds = rebuilding.chosen(names, known)
        began, used = time.perf_counter(), time.process_time()
        with progress_bar("floor", "events") as report:
            fold_in_memory(settings.data, folds, report)
        least, least_busy = time.perf_counter() - began, time.process_time() - used
        print(
            f"floor {least:.1f} s: {seconds / least:.1f} times as long, "
            f"{busy / least_busy:.1f} times the processor time"
        )
    return 0
