"""A service on a journal that a newer version has written to: it stops where it can't know."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from refold.journal.errors import UnknownEventError
from refold.journal.sqlite_file import JOURNAL_FILE
from refold.projections.generations import live_generations
from refold.projections.rebuild import rebuild
from refold.projections.views_file import VIEWS_FILE
from tests.support.http_kit import create, followed, quick, refused, run, started
from tests.support.newer_events import append_entry
from tests.support.service import Client, Service, chain, node, running


@dataclass
class Past:
    """What was there before, and where the newer version wrote."""

    service: Service
    client: Client
    run: str
    run_at: int
    other_run: str
    workflow: str
    workflow_at: int


@pytest.fixture(scope="module", name="past")
def restarted_on_newer_events(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    """Serve two unfinished runs, stop, let a future version go on with one of them, and serve."""
    data = tmp_path_factory.mktemp("newer") / "data"
    with running(data) as service:
        client = service.client()
        form = chain(node("t", "manual_trigger"), node("w", "form"))
        waiting = create(client, form)
        stopped, other = started(client, waiting), started(client, waiting)
        changed = create(client, quick())
        client.close()
        service.stop()
        with closing(sqlite3.connect(data / JOURNAL_FILE, isolation_level=None)) as journal:
            run_at = append_entry(journal, stopped, "run.paused", 1, b'{"until":1}', b"{}")
            workflow_at = append_entry(journal, changed, "workflow.defined", 2, b"{}", b"{}")
        # So that the views have to come from the start, over a page with the newer event in it.
        for made in data.glob(f"{VIEWS_FILE}*"):
            made.unlink()
        service.log.clear()
        service.start()
        client = service.client()
        yield Past(service, client, stopped, run_at, other, changed, workflow_at)
        client.close()


def test_the_run_that_a_newer_version_went_on_with_is_refused_by_name(past: Past) -> None:
    """Each read and each decision says which event, where, and what to do; none guesses."""
    path = f"/workflows/runs/{past.run}"
    for reply in (
        past.client.get(path),
        past.client.get(f"{path}/events"),
        past.client.post(f"{path}/cancel"),
        past.client.post(f"{path}/rerun"),
    ):
        refused(reply, 503, "unknown_event")
        assert reply.json["message"] == (
            f"the event at position {past.run_at} is newer than this version: no event "
            "'run.paused' of schema 1 is known (nor any of that type); "
            "upgrade Refold to go on, nothing was skipped"
        )
    reply = past.client.post(f"/workflows/{past.workflow}/execute", {})
    refused(reply, 503, "unknown_event")
    assert f"position {past.workflow_at} is newer" in reply.json["message"]
    assert "'workflow.defined' of schema 2 is known (schemas up to 1 are)" in reply.json["message"]


def test_the_run_is_left_alone_once_and_the_log_says_why(past: Past) -> None:
    """It is not tried again and again: only another version can go on with it."""
    told = [line for line in past.service.log if f"run {past.run} is left as it is" in line]
    assert len(told) == 1
    assert f"the event at position {past.run_at} is newer than this version" in told[0]


def test_other_runs_go_on(past: Past) -> None:
    """Those that were waiting, and new ones, also of a new workflow."""
    answer = past.client.post(f"/workflows/runs/{past.other_run}/cancel")
    assert answer.status == 202
    assert followed(past.client, past.other_run)["status"] == "failed"
    assert run(past.client, create(past.client, quick()))["status"] == "completed"


def test_projections_stand_right_before_the_newer_event(past: Past) -> None:
    """All that comes before it is in the views, nothing after it, and lists say so."""
    ready = past.client.get("/readyz")
    assert (ready.status, ready.json["projections"]) == (503, "stopped")
    refused(past.client.get("/workflows"), 503, "overloaded")
    halted = [line for line in past.service.log if "the projector stopped at position" in line]
    assert len(halted) == 1
    assert f"position {past.run_at - 1}, " in halted[0]
    assert f"the event at position {past.run_at} is newer" in halted[0]
    assert _checkpoints(past.service.data) == {past.run_at - 1}


def test_a_rebuild_stops_there_too_and_leaves_the_live_views(past: Past) -> None:
    """It would otherwise go live without what it doesn't know."""
    with pytest.raises(UnknownEventError) as caught:
        rebuild(past.service.data)
    assert caught.value.position == past.run_at
    assert _checkpoints(past.service.data) == {past.run_at - 1}


def _checkpoints(data: Path) -> set[int]:
    with closing(sqlite3.connect(data / VIEWS_FILE)) as views:
        return {row.position for row in live_generations(views).values()}
