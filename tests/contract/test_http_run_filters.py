"""Finding failed runs by their code, those that are still to be resolved, and retention."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_kit import calling, create, followed, quick, refused, run, slow
from tests.support.journal_kit import KEY
from tests.support.past_runs import past_runs
from tests.support.service import Client, Endpoint, running


def _calling(sink: Endpoint) -> dict[str, Any]:
    return calling(sink, "{{ trigger.path }}")


def _ids(page: Any) -> list[str]:
    return [entry["id"] for entry in page["data"]]


@pytest.fixture
def mixed(client: Client, sink: Endpoint) -> tuple[str, dict[str, str]]:
    """A workflow with two kinds of failures, one of them rerun and one resumed, oldest first."""
    workflow = create(client, _calling(sink))
    made = {
        name: run(client, workflow, {"path": path})["id"]
        for name, path in (
            ("fine", "200/x"),
            ("busy", "503/x"),
            ("gone", "404/x"),
            ("busy too", "503/y"),
        )
    }
    again = client.post(f"/workflows/runs/{made['gone']}/rerun", Prefer="wait=30").json
    made["gone again"] = again["new_run"]["id"]
    return workflow, made


def test_runs_are_found_by_their_error_code(
    client: Client, mixed: tuple[str, dict[str, str]]
) -> None:
    """Beside every other filter, with a total that is true."""
    workflow, made = mixed
    path = f"/workflows/{workflow}/executions"
    newest_first = list(reversed(made.items()))
    codes = {
        "busy": "http_503",
        "busy too": "http_503",
        "gone": "http_404",
        "gone again": "http_404",
    }
    start = client.get(f"/workflows/runs/{made['gone']}").json["created_at"]
    for code, status, origin, late in product(
        (None, "http_503", "http_404", "http_599"),
        (None, "failed", "completed"),
        (None, "execute", "rerun"),
        (False, True),
    ):
        expected = [
            run_id
            for name, run_id in newest_first
            if code in (None, codes.get(name))
            and status in (None, "failed" if name in codes else "completed")
            and origin in (None, "rerun" if name == "gone again" else "execute")
            and not (late and name in ("fine", "busy"))
        ]
        query = "".join(
            f"&{key}={value}"
            for key, value in (
                ("error_code", code),
                ("status", status),
                ("origin", origin),
                ("from", start if late else None),
            )
            if value
        )
        page = client.get(f"{path}?per_page=50{query}").json
        assert (_ids(page), page["meta"]["total"]) == (expected, len(expected)), query
    page = client.get(f"{path}?error_code=http_404&original_run_id={made['gone']}").json
    assert (_ids(page), page["meta"]["total"]) == ([made["gone again"]], 1)


def test_a_cancelled_run_is_found_by_the_code_of_its_end(client: Client) -> None:
    """Its status is `failed`, although no node failed."""
    workflow = create(client, slow())
    started = client.post(f"/workflows/{workflow}/execute").json["id"]
    assert client.post(f"/workflows/runs/{started}/cancel").status == 202
    assert followed(client, started)["status"] == "failed"
    page = client.get(f"/workflows/{workflow}/executions?error_code=cancelled").json
    assert _ids(page) == [started]


def test_what_was_resumed_with_success_is_resolved(
    client: Client, mixed: tuple[str, dict[str, str]], sink: Endpoint
) -> None:
    """A failed run is unresolved until any run of its lineage has completed."""
    workflow, made = mixed
    path = f"/workflows/{workflow}/executions?unresolved=true"
    failed = [run_id for name, run_id in reversed(made.items()) if name != "fine"]
    before = client.get(path)
    assert (_ids(before.json), before.json["meta"]["total"]) == (failed, 3 + 1)
    for run_id in failed:
        assert client.get(f"/workflows/runs/{run_id}/lineage").json["succeeded"] is False
    changed = _calling(sink)
    changed["nodes"][1]["data"]["url"] = f"{sink.url}/200/now"
    assert client.call("PUT", f"/workflows/{workflow}", changed).status == 200
    rerun = client.post(f"/workflows/runs/{made['gone again']}/rerun", Prefer="wait=30").json
    assert rerun["new_run"]["status"] == "completed"
    page = client.get(path).json
    assert (_ids(page), page["meta"]["total"]) == ([made["busy too"], made["busy"]], 2)
    assert _ids(client.get(f"{path}&status=completed").json) == []
    assert _ids(client.get(f"{path}&error_code=http_404").json) == []
    # As of then it was still to be resolved.
    position = before.headers["x-refold-position"]
    assert client.get(f"{path}&as_of=p{position}").body == before.body


def test_a_bulk_resume_takes_the_same_filters_and_goes_on_page_by_page(
    client: Client, mixed: tuple[str, dict[str, str]]
) -> None:
    """So whoever mends one cause resumes what it broke, however many runs that are."""
    workflow, made = mixed
    path = f"/workflows/{workflow}/executions/resume"

    def chosen(**body: Any) -> tuple[list[str], int | None]:
        reply = client.post(path, {"dry_run": True, **body}).json
        return [entry["original_run_id"] for entry in reply["accepted"]], reply["next_cursor"]

    assert chosen(filter={"error_code": "http_503"}) == ([made["busy"], made["busy too"]], None)
    first, cursor = chosen(filter={"error_code": "http_503"}, limit=1)
    assert (first, type(cursor)) == ([made["busy too"]], int)
    assert chosen(filter={"error_code": "http_503"}, limit=2, cursor=cursor) == (
        [made["busy"]],
        None,
    )
    assert len(chosen(filter={"unresolved": True})[0]) == 4
    assert (
        client.post(path, {"filter": {"error_code": "http_404", "origin": "execute"}}).json[
            "accepted"
        ][0]["original_run_id"]
        == made["gone"]
    )


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("error_code=", "error_code"),
        ("error_code=HTTP_503", "error_code"),
        ("error_code=http%00503", "error_code"),
        ("error_code=http_503%0A", "error_code"),
        (f"error_code={'a' * 101}", "error_code"),
        ("unresolved=1", "unresolved"),
        ("unresolved=", "unresolved"),
        ("unresolved=TRUE", "unresolved"),
    ],
)
def test_a_bad_filter_is_refused(client: Client, query: str, name: str) -> None:
    """And named; what can't be a code is no code that simply finds nothing."""
    path = f"/workflows/{create(client, quick())}/executions"
    assert list(refused(client.get(f"{path}?{query}"), 422, "parameter_invalid")) == [name]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"filter": {"error_code": "No!"}}, "filter.error_code"),
        ({"filter": {"unresolved": "yes"}}, "filter.unresolved"),
        ({"cursor": 0}, "cursor"),
        ({"cursor": "x"}, "cursor"),
    ],
)
def test_a_bad_bulk_filter_is_refused(client: Client, body: Any, path: str) -> None:
    """Before anything is resumed."""
    reply = client.post(f"/workflows/{create(client, quick())}/executions/resume", body)
    assert list(refused(reply, 422, "parameter_invalid")) == [path]


@pytest.fixture
def old(tmp_path: Path) -> Iterator[tuple[Client, str, str]]:
    """A service that shows ended runs for 30 days; three ended 60 days ago, one just now."""
    data = tmp_path / "data"
    data.mkdir()
    then = datetime.now(UTC) - timedelta(days=60)
    workflow, _ = past_runs(data, then, quick(), completed=2, failed=1)
    key = base64.b64encode(KEY).decode()
    with running(data, VAULT_KEY=key, RUN_RETENTION_DAYS="30") as service:
        client = service.client()
        yield client, workflow, run(client, workflow)["id"]
        client.close()


def test_runs_that_ended_long_ago_leave_the_lists_and_nothing_else(
    old: tuple[Client, str, str],
) -> None:
    """The journal keeps them, and whoever knows an id still reads everything about it."""
    client, workflow, new = old
    path = f"/workflows/{workflow}/executions"
    page = client.get(path).json
    assert (_ids(page), page["meta"]["total"]) == ([new], 1)
    for query in ("status=failed", "unresolved=true", "error_code=http_error"):
        page = client.get(f"{path}?{query}").json
        assert (page["data"], page["meta"]["total"]) == ([], 0)
    assert {entry["execution_id"] for entry in client.get(f"/workflows/{workflow}/logs").json} == {
        new
    }
    assert client.get("/workflows/logs/recent").json[0]["execution_id"] == new
    shown = client.get(f"/workflows/runs/{new}?include=workflow").json
    assert [entry["id"] for entry in shown["workflow"]["runs"]] == [new]
    assert client.post(f"{path}/resume", {"dry_run": True}).json["accepted"] == []


def test_as_of_a_time_the_window_is_the_one_of_then(old: tuple[Client, str, str]) -> None:
    """A window that moved with the clock would give a repeated question another answer."""
    client, workflow, new = old
    path = f"/workflows/{workflow}/executions"
    then = (datetime.now(UTC) - timedelta(days=40)).strftime("%Y-%m-%dT%H:%M:%SZ")
    page = client.get(f"{path}?as_of={then}").json
    assert page["meta"]["total"] == 3
    assert new not in _ids(page)
    for run_id in _ids(page):
        assert client.get(f"/workflows/runs/{run_id}").status == 200
        assert client.get(f"/workflows/runs/{run_id}/events").status == 200
        assert client.get(f"/workflows/runs/{run_id}/lineage").status == 200
        assert client.get(f"/workflows/{workflow}/logs?run={run_id}").json
