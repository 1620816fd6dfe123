"""Lists of runs: pages, cursors, links, filters, and bad values of each."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_kit import create, hook_path, quick, refused, run, slow, started
from tests.support.service import Client, Endpoint, chain, node


@pytest.fixture
def listed(client: Client) -> tuple[str, list[str]]:
    """A workflow and its seven runs, newest first."""
    workflow = create(client, quick())
    return workflow, [run(client, workflow, {"n": n})["id"] for n in range(7)][::-1]


def _ids(page: Any) -> list[str]:
    return [entry["id"] for entry in page["data"]]


def test_an_empty_list_is_a_page(client: Client) -> None:
    """Without rows there is no from and no to, and one page."""
    path = f"/workflows/{create(client, quick())}/executions"
    assert client.get(path).json == {
        "data": [],
        "links": {
            "first": f"{path}?page=1",
            "last": f"{path}?page=1",
            "prev": None,
            "next": None,
        },
        "meta": {
            "current_page": 1,
            "from": None,
            "last_page": 1,
            "path": path,
            "per_page": 15,
            "to": None,
            "total": 0,
            "next_cursor": None,
        },
    }


def test_runs_are_listed_newest_first_without_logs(
    client: Client, listed: tuple[str, list[str]]
) -> None:
    """Each entry is what a GET shows, but for the logs."""
    workflow, newest_first = listed
    page = client.get(f"/workflows/{workflow}/executions").json
    assert _ids(page) == newest_first
    for entry in page["data"]:
        shown = client.get(f"/workflows/runs/{entry['id']}").json
        assert shown.pop("logs")
        assert entry == shown


def test_a_list_is_never_older_than_an_answer(client: Client) -> None:
    """What was accepted a moment ago is in it, with its end if that was disclosed."""
    workflow = create(client, quick())
    for n in range(1, 11):
        made = client.post(f"/workflows/{workflow}/execute", Prefer="wait=30").json["id"]
        page = client.get(f"/workflows/{workflow}/executions?per_page=1").json
        assert (_ids(page), page["meta"]["total"]) == ([made], n)
        assert page["data"][0]["status"] == "completed"


def test_pages_follow_one_another(client: Client, listed: tuple[str, list[str]]) -> None:
    """Links keep the filters; following `next` shows each run once."""
    workflow, newest_first = listed
    path = f"/workflows/{workflow}/executions"
    page = client.get(f"{path}?per_page=3&status=completed").json
    assert page["meta"] == {
        "current_page": 1,
        "from": 1,
        "last_page": 3,
        "path": path,
        "per_page": 3,
        "to": 3,
        "total": 7,
        "next_cursor": page["meta"]["next_cursor"],
    }
    assert page["links"]["prev"] is None
    seen = _ids(page)
    while page["links"]["next"]:
        assert "status=completed" in page["links"]["next"]
        page = client.get(page["links"]["next"]).json
        seen += _ids(page)
    assert seen == newest_first
    assert (page["meta"]["current_page"], page["meta"]["from"], page["meta"]["to"]) == (3, 7, 7)
    assert _ids(client.get(page["links"]["prev"]).json) == newest_first[3:6]
    assert _ids(client.get(page["links"]["first"]).json) == newest_first[:3]
    assert _ids(client.get(page["links"]["last"]).json) == newest_first[6:]


def test_a_page_past_the_end_is_empty(client: Client, listed: tuple[str, list[str]]) -> None:
    """An answer, not an error: runs may have been fewer than somebody thought."""
    page = client.get(f"/workflows/{listed[0]}/executions?page=9&per_page=3").json
    assert (page["data"], page["meta"]["from"], page["links"]["next"]) == ([], None, None)
    assert page["meta"]["total"] == 7


def test_a_cursor_goes_on_where_a_page_ended(client: Client, listed: tuple[str, list[str]]) -> None:
    """New runs in between shift nothing, as they do with numbered pages."""
    workflow, newest_first = listed
    path = f"/workflows/{workflow}/executions"
    page = client.get(f"{path}?per_page=3").json
    seen = _ids(page)
    run(client, workflow)
    page = client.get(f"{path}?per_page=3&cursor={page['meta']['next_cursor']}").json
    assert (page["meta"]["current_page"], page["meta"]["total"]) == (None, 8)
    while True:
        seen += _ids(page)
        if not page["links"]["next"]:
            break
        page = client.get(page["links"]["next"]).json
    assert seen == newest_first
    assert page["meta"]["next_cursor"] is None


def test_a_cursor_ends_also_when_the_last_page_is_full(
    client: Client, listed: tuple[str, list[str]]
) -> None:
    """Seven runs a page of seven: following the cursors comes to an end."""
    path = f"/workflows/{listed[0]}/executions?per_page=7"
    page, pages = client.get(path).json, 1
    while page["meta"]["next_cursor"]:
        page = client.get(f"{path}&cursor={page['meta']['next_cursor']}").json
        pages += 1
    assert pages <= 2
    assert page["links"]["next"] is None


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=1.0", "page"),
        ("page=x", "page"),
        ("page=", "page"),
        ("page=%D9%A1", "page"),
        ("page=1000001", "page"),
        ("per_page=0", "per_page"),
        ("per_page=101", "per_page"),
        ("per_page=99999999999999999999", "per_page"),
        ("cursor=0", "cursor"),
        ("cursor=abc", "cursor"),
        ("cursor=1&page=1", "cursor"),
        ("status=done", "status"),
        ("status=", "status"),
        ("origin=magic", "origin"),
        ("from=yesterday", "from"),
        ("from=2025-10-31", "from"),
        ("from=2025-10-31T12:00:00", "from"),
        ("to=2025-13-01T00:00:00Z", "to"),
        ("to=12345", "to"),
        ("to=", "to"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(client: Client, query: str, name: str) -> None:
    """422 rather than a list that isn't what was asked for."""
    path = f"/workflows/{create(client, quick())}/executions"
    assert list(refused(client.get(f"{path}?{query}"), 422, "parameter_invalid")) == [name]


def test_runs_are_filtered_by_status(client: Client, sink: Endpoint) -> None:
    """Each run is under the status that it has now."""
    workflow = create(
        client,
        chain(
            node("t", "manual_trigger"),
            node("a", "webhook", url=f"{sink.url}/{{{{ trigger.path }}}}"),
        ),
    )
    good = run(client, workflow, {"path": "fine"})["id"]
    bad = run(client, workflow, {"path": "503/x"})["id"]
    path = f"/workflows/{workflow}/executions"
    assert _ids(client.get(f"{path}?status=completed").json) == [good]
    assert _ids(client.get(f"{path}?status=failed").json) == [bad]
    assert _ids(client.get(f"{path}?status=awaiting_ui_interaction").json) == []
    failed = client.get(f"{path}?status=failed").json["data"][0]
    assert failed["error_message"] == "Webhook request failed: 503 Service Unavailable"
    assert failed["failed_node_id"] == "a"


def test_a_waiting_run_is_running(client: Client) -> None:
    """Neither ended filter shows it; it may become running between two questions."""
    workflow = create(client, slow())
    made = started(client, workflow)
    path = f"/workflows/{workflow}/executions"
    shown = {
        entry
        for status in ("pending", "running")
        for entry in _ids(client.get(f"{path}?status={status}").json)
    }
    assert shown == {made}
    assert _ids(client.get(f"{path}?status=completed").json) == []


def test_runs_are_filtered_by_where_they_come_from(client: Client) -> None:
    """By origin and by the run that they were made of, alone and together."""
    workflow = create(client, chain(node("t", "webhook_trigger")))
    first = run(client, workflow)["id"]
    hooked = client.post(hook_path(client, workflow), {}).headers["x-run-id"]
    rerun = client.post(f"/workflows/runs/{first}/rerun").json["new_run"]["id"]
    client.post(f"/workflows/runs/{first}/rerun", Prefer="wait=30")
    resumed = client.post(
        f"/workflows/runs/{first}/resume-from/t", {"allow_completed": True}, Prefer="wait=30"
    ).json["new_run"]["id"]
    path = f"/workflows/{workflow}/executions"
    assert _ids(client.get(f"{path}?origin=execute").json) == [first]
    assert _ids(client.get(f"{path}?origin=webhook").json) == [hooked]
    assert rerun in _ids(client.get(f"{path}?origin=rerun").json)
    of_first = f"{path}?original_run_id={first}"
    assert client.get(of_first).json["meta"]["total"] == 3
    assert _ids(client.get(f"{of_first}&origin=resume").json) == [resumed]
    assert _ids(client.get(f"{path}?original_run_id=nothing").json) == []


def test_runs_are_filtered_by_time(client: Client, listed: tuple[str, list[str]]) -> None:
    """Both ends are included, down to the microsecond, in any time zone."""
    workflow, newest_first = listed
    path = f"/workflows/{workflow}/executions"
    times = [entry["created_at"] for entry in client.get(path).json["data"]]
    assert times == sorted(times, reverse=True)
    between = client.get(f"{path}?from={times[4]}&to={times[2]}").json
    assert _ids(between) == newest_first[2:5]
    assert _ids(client.get(f"{path}?from={times[0]}").json) == newest_first[:1]
    assert _ids(client.get(f"{path}?to=1969-12-31T23:59:59Z").json) == []
    assert len(_ids(client.get(f"{path}?from=2000-01-01T00:00:00%2B14:00").json)) == 7
    assert _ids(client.get(f"{path}?from=9999-12-31T23:59:59Z").json) == []
    page = client.get(f"{path}?from={times[4]}&per_page=2").json
    assert page["meta"]["total"] == 5
