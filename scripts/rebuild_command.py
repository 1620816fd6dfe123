"""`refold rebuild`: make projections anew from the journal, beside the ones in use."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import Parameter

from ..http.settings import Settings
from ..projections.built_in import BUILT_IN
from ..projections.rebuild import Report
from .settings_flags import takes_settings


@takes_settings(("data",))
def rebuild(
    settings: Settings,
    *names: Annotated[
        str, Parameter(help=f"Projections ({', '.join(p.name for p in BUILT_IN)}); all by default.")
    ],
) -> int:
    """Make projections anew from the journal and let them take over when they are complete.

    It works while the service runs, which goes on serving the old rows until then, and while it
    does not run. Killed half-way, it changes nothing. It prints how many rows each projection has
    and their digest, which depends on the journal alone.
    """
    from ..projections import rebuild as rebuilding

    began = time.perf_counter()
    with _progress() as report:
        made = rebuilding.rebuild(settings.data, names, report=report)
    seconds = time.perf_counter() - began
    for row in made:
        print(f"{row.name}: {row.rows} rows at position {row.position}, live as {row.generation}")
        print(f"  digest {row.digest}")
    events = max(row.position for row in made)
    print(f"{events} events in {seconds:.1f} s, {events / seconds:,.0f} events/s")
    return 0


@contextmanager
def _progress() -> Generator[Report]:
    """Show on a terminal how far the rebuild is; standard output stays the result alone."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} events/s"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task("rebuild", total=None, rate="-")

        def report(position: int, head: int) -> None:
            seconds = bar.tasks[0].elapsed or 0.0
            rate = f"{position / seconds:,.0f}" if seconds else "-"
            bar.update(task, completed=position, total=head, rate=rate)

        yield report
