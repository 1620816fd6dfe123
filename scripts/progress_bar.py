"""The progress bar of long commands: on standard error, and only where that is a terminal."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

_STEPS = 500
"""How often the bar hears of progress at most: drawing must cost nothing beside the work."""


@contextmanager
def progress_bar(title: str, unit: str) -> Generator[Callable[[int, int], None]]:
    """Show how far something is; the block calls what it gets with what is done, and of how much.

    Standard output stays the result alone.
    """
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
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} " + unit + "/s"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task(title, total=None, rate="-")
        began_at, shown = -1, 0

        def report(done: int, total: int) -> None:
            nonlocal began_at, shown
            if began_at < 0:
                # What an earlier attempt had done says nothing about the rate of this one.
                began_at = done
            if 0 <= done - shown < total // _STEPS and done < total:
                return
            shown = done
            seconds = bar.tasks[0].elapsed or 0.0
            rate = f"{(done - began_at) / seconds:,.0f}" if seconds else "-"
            bar.update(task, completed=done, total=total, rate=rate)

        yield report
