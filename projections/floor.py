"""The floor of a rebuild: reading, decoding and folding the same events, and writing nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ..journal.sqlite_file import JOURNAL_FILE
from .built_in import BUILT_IN
from .journal_file import open_journal_file
from .projection import Projection

_PAGE: Final = 2000


def fold_in_memory(
    directory: Path,
    projections: Sequence[Projection] = BUILT_IN,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Fold every event with every fold that wants it, forget what they say, and count the events.

    Raises:
        GapError: the journal's file has a hole.
        StoreError: the journal's file can't be read.
    """
    folds = [(frozenset(projection.events), projection.fold) for projection in projections]
    after = 0
    with open_journal_file(directory / JOURNAL_FILE) as journal:
        head = journal.head()
        while events := journal.page(after, _PAGE):
            for wanted, fold in folds:
                for event in events:
                    if type(event.facts) in wanted:
                        fold(event)
            after = events[-1].position
            report(after, max(after, head))
    return after
