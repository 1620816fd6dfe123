"""The journal's file as projections read it: up to what is newer than this version, no further."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from refold.journal.errors import UnknownEventError
from refold.journal.sqlite_file import JOURNAL_FILE
from refold.projections.journal_file import open_journal_file
from tests.support.journal_kit import commit, opened, raw, write
from tests.support.newer_events import append_entry

RUN = f"fl_run_{'0' * 26}"


def test_a_page_ends_before_a_newer_event_and_the_next_one_says_so(tmp_path: Path) -> None:
    """All before it is applied; what comes after it is not reached, however it is asked for."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await journal.append(commit(write(RUN, 0), write(f"{RUN[:-1]}1", 0)))

    asyncio.run(main())
    path = tmp_path / JOURNAL_FILE
    with raw(path) as connection:
        assert append_entry(connection, RUN, "run.paused", 1) == 4
        assert (
            append_entry(connection, RUN, "run.started", 1, b'{"limit_us":1,"started_at":1}') == 5
        )
        leaf = connection.execute("SELECT leaf FROM event WHERE position = 4").fetchone()[0]
    with open_journal_file(path) as journal:
        assert [event.position for event in journal.page(0, 10)] == [1, 2, 3]
        assert [event.position for event in journal.page(2, 10)] == [3]
        with pytest.raises(UnknownEventError, match="the event at position 4 is newer"):
            journal.page(3, 10)
        assert [event.position for event in journal.page(4, 10)] == [5]
        # Views that the newer version has made are compared by the leaf, whatever it is of.
        assert journal.leaf(4) == leaf
        assert journal.leaf(9) == b""
