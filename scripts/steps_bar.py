"""The progress of commands that do one thing after another: a bar for each step."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager

from .progress_bar import progress_bar


@contextmanager
def steps_bar(units: Mapping[str, str]) -> Generator[Callable[[str, int, int], None]]:
    """Show each step as a bar of its own; `units` says what the steps count."""
    with ExitStack() as stack:
        shown: list[tuple[str, Callable[[int, int], None]]] = []

        def tell(step: str, done: int, total: int) -> None:
            if not shown or shown[-1][0] != step:
                stack.close()
                report = stack.enter_context(progress_bar(step, units.get(step, "entries")))
                shown.append((step, report))
            shown[-1][1](done, total)

        yield tell
