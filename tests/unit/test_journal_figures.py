"""The figures of the journal and the engine: buckets, commits, and names from closed sets."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest

from refold.engine.run_figures import CALL_CODES, RunFigures, code_class
from refold.journal import events as e
from refold.journal.errors import ConflictError
from refold.journal.figures import Histogram
from tests.support.journal_kit import commit, opened, started, write

ENGINE = Path(__file__).parents[2] / "engine"
CALLING = ("outbound", "egress", "mailer", "oauth", "oauth_tokens", "authorizations", "calls")
CALLING_NODES = ("http_request", "webhook", "altostrat_api", "send_email")


def test_a_bucket_holds_what_is_at_most_its_bound() -> None:
    """As Prometheus' `le` means it; what is beyond every bound is counted too."""
    figures = Histogram((0.1, 1.0))
    for seconds in (0.0, 0.1, 0.11, 1.0, 7.0):
        figures.observe(seconds)
    assert figures.counts == [2, 2, 1]
    assert figures.total == pytest.approx(8.21)


def test_a_copy_of_the_counts_stays_as_it_was() -> None:
    """It is written out on another thread while the service goes on counting."""
    figures = Histogram((1.0,))
    before = figures.counts
    figures.observe(0.5)
    assert (before, figures.counts) == ([0, 0], [1, 0])


def test_commits_and_events_are_counted_and_refusals_are_not(tmp_path: Path) -> None:
    """A refused append writes nothing, and its empty transaction says nothing of the disk."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            figures = journal.figures
            before = sum(figures.groups.counts)
            for version in range(3):
                await journal.append(commit(write("a", version, started(b"x"))))
            with pytest.raises(ConflictError):
                await journal.append(commit(write("a", 0, started(b"x"))))
            assert sum(figures.groups.counts) == sum(figures.syncs.counts) == before + 3
            assert figures.events[e.RunStarted] == 3
            assert sum(figures.events.values()) == journal.head
            assert 0 < figures.syncs.total < figures.groups.total
            assert (figures.groups_failed, journal.queued_total) == (0, 0)

    asyncio.run(main())


def test_the_code_of_a_call_is_one_of_a_closed_set() -> None:
    """A status counts by its class, and what nobody listed as `other`: no text becomes a label."""
    assert code_class("timeout") == "timeout"
    assert code_class("http_503") == "http_5xx"
    assert code_class("smtp_421") == "smtp_4xx"
    for code in ("", "http_", "http_5xx", "http_1e3", "http_٥٠٣", "http_50", "xttp_503", "secret"):
        assert code_class(code) == "other"


def test_every_code_of_what_calls_out_is_listed() -> None:
    """Else a new kind of failure would hide among the others."""
    files = [ENGINE / f"{name}.py" for name in CALLING]
    files += [ENGINE / "nodes" / f"{name}.py" for name in CALLING_NODES]
    raisers = {"NodeError", "OutboundError", "_failure"}
    found: set[str] = set()
    for file in files:
        for made in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(made, ast.Call) or not made.args:
                continue
            name, code = made.func, made.args[0]
            if isinstance(name, ast.Name) and name.id in raisers and isinstance(code, ast.Constant):
                found.add(str(code.value))
    assert len(found) > 10
    assert found - {"output_invalid", "output_too_large"} <= CALL_CODES


def test_calls_are_told_apart_by_component_and_outcome_alone() -> None:
    """However many kinds of failure there are."""
    figures = RunFigures()
    for code in ("", "timeout", "http_503", "http_500", "cut_off"):
        figures.called("webhook", code, 0.1)
    assert {key: sum(made.counts) for key, made in figures.calls.items()} == {
        ("webhook", "succeeded"): 1,
        ("webhook", "failed"): 3,
        ("webhook", "cut_off"): 1,
    }
    assert dict(figures.call_failures) == {
        ("webhook", "timeout"): 1,
        ("webhook", "http_5xx"): 2,
    }
