"""Logs of a workflow: lists with filters and cursors, the newest of each, and statistics."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.http_kit import (
    create,
    followed,
    hook_path,
    nothing_written,
    quick,
    refused,
    run,
    started,
)
from tests.support.service import Client, Endpoint, Reply, Service, chain, node

WAIT = {"Prefer": "wait=30"}


@pytest.fixture
def busy(client: Client, sink: Endpoint) -> tuple[str, list[dict[str, Any]]]:
    """A workflow with three runs, of which the last one failed at `n2`, and their run pages."""
    url = f"{sink.url}/{{{{ trigger.path }}}}"
    definition = chain(
        node("t", "manual_trigger"),
        node("n1", "text_transform", template="hi"),
        node("n2", "webhook", url=url),
    )
    workflow = create(client, definition)
    return workflow, [run(client, workflow, {"path": p}) for p in ("a", "b", "503/c")]


def _path(workflow: str, **query: Any) -> str:
    named = {name.rstrip("_"): value for name, value in query.items()}
    return f"/workflows/{workflow}/logs" + (f"?{urlencode(named)}" if named else "")


def _next(reply: Reply) -> str | None:
    found = re.fullmatch(r'<([^>]+)>; rel="next"', reply.headers.get("link", ""))
    return found[1] if found else None


def _sorted(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda entry: str(entry["created_at"]), reverse=True)


def test_the_logs_of_a_workflow_are_those_of_its_runs_newest_first(
    client: Client, busy: tuple[str, list[dict[str, Any]]]
) -> None:
    """Every entry as its run's page shows it, outputs included; other workflows stay out."""
    workflow, runs = busy
    run(client, create(client, quick()))
    reply = client.get(_path(workflow))
    assert reply.status == 200
    assert _next(reply) is None
    by_id = {entry["id"]: entry for one in runs for entry in one["logs"]}
    assert {entry["id"]: entry for entry in reply.json} == by_id
    assert len(reply.json) == 9
    assert reply.json == _sorted(reply.json)
    assert client.get(_path(create(client, quick()))).json == []


def test_a_list_of_logs_is_never_older_than_an_answer(client: Client) -> None:
    """What was disclosed with the run a moment ago is in it."""
    workflow = create(client, quick())
    for number in range(1, 6):
        made = run(client, workflow)
        found = client.get(_path(workflow)).json
        assert len(found) == 2 * number
        assert found[0] == made["logs"][-1]


def test_logs_are_filtered_by_level_node_run_and_time(
    client: Client, busy: tuple[str, list[dict[str, Any]]]
) -> None:
    """Each filter keeps what it says, both ends of a time included, and filters combine."""
    workflow, runs = busy
    entries = client.get(_path(workflow)).json

    def found(**query: str) -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = client.get(_path(workflow, **query)).json
        return shown

    assert [entry["node_id"] for entry in found(level="error")] == ["n2"]
    assert found(level="warning") == []
    assert len(found(level="success")) == 8
    assert found(node="n2") == [entry for entry in entries if entry["node_id"] == "n2"]
    assert found(node="nothing") == found(node="") == []
    assert found(run=runs[1]["id"]) == list(reversed(runs[1]["logs"]))
    assert found(run=runs[1]["id"], node="n1") == [runs[1]["logs"][1]]
    assert found(run=runs[1]["id"], level="error") == []
    first, last = entries[6]["created_at"], entries[2]["created_at"]
    between = [entry for entry in entries if first <= entry["created_at"] <= last]
    assert found(from_=first, to=last) == between
    of_run = [entry for entry in between if entry["execution_id"] == runs[1]["id"]]
    assert found(from_=first, to=last, run=runs[1]["id"]) == of_run
    assert found(from_=last, to=first) == []
    assert found(from_="9999-12-31T23:59:59Z") == []


def test_a_run_of_another_workflow_or_tenant_has_no_entries_here(
    api: Service, client: Client, busy: tuple[str, list[dict[str, Any]]]
) -> None:
    """The filter finds nothing, exactly as with an id that exists nowhere."""
    workflow, _ = busy
    other = run(client, create(client, quick()))["id"]
    stranger = api.client("stranger")
    foreign = run(stranger, create(stranger, quick()))["id"]
    for id_ in (other, foreign, "fl_run_none", "x", ""):
        reply = client.get(_path(workflow, run=id_))
        assert (reply.status, reply.json) == (200, [])
    stranger.close()


@pytest.mark.parametrize("of_run", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_the_link_leads_through_all_pages(
    client: Client, busy: tuple[str, list[dict[str, Any]]], limit: int, of_run: bool
) -> None:
    """Nothing is shown twice or left out, although new entries come in; filters are kept."""
    workflow, runs = busy
    kept = {"run": runs[0]["id"]} if of_run else {"to": runs[2]["completed_at"]}
    whole = client.get(_path(workflow, **kept)).json
    reply = client.get(_path(workflow, limit=limit, **kept))
    seen, pages = list(reply.json), 1
    while (path := _next(reply)) is not None:
        run(client, workflow, {"path": "more"})
        reply = client.get(path)
        assert 0 < len(reply.json) <= limit
        seen += reply.json
        pages += 1
    assert seen == whole
    assert pages == -(-len(whole) // limit)


def test_a_page_of_large_outputs_ends_early(client: Client) -> None:
    """A thousand outputs of 256 KiB are more than one answer should hold."""
    workflow = create(
        client,
        chain(
            node("t", "manual_trigger"),
            node("big", "text_transform", template="{{ trigger.text }}"),
        ),
    )
    run(client, workflow, {"text": "x" * 200_000})
    for _ in range(23):
        run(client, workflow, {"text": "x" * 200_000})
    reply = client.get(_path(workflow))
    assert 8 * 1024 * 1024 < len(reply.body) < 10 * 1024 * 1024
    seen = list(reply.json)
    path = _next(reply)
    assert path is not None
    rest = client.get(path)
    assert _next(rest) is None
    assert len({entry["id"] for entry in seen + rest.json}) == len(seen + rest.json) == 48


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("level=fatal", "level"),
        ("level=", "level"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=%D9%A1", "limit"),
        ("limit=999999999999999999999", "limit"),
        ("cursor=", "cursor"),
        ("cursor=5", "cursor"),
        ("cursor=1-", "cursor"),
        ("cursor=-1-2", "cursor"),
        ("cursor=%D9%A1-%D9%A1", "cursor"),
        ("cursor=99999999999999999-1", "cursor"),
        ("from=yesterday", "from"),
        ("to=2025-10-31T12:00:00", "to"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(client: Client, query: str, name: str) -> None:
    """422 rather than a list that isn't what was asked for."""
    path = f"{_path(create(client, quick()))}?{query}"
    assert list(refused(client.get(path), 422, "parameter_invalid")) == [name]


def test_replayed_entries_are_listed_where_they_were_made(
    client: Client, busy: tuple[str, list[dict[str, Any]]]
) -> None:
    """With their original times and `replayed_from`, as the resumed run's page has them."""
    workflow, runs = busy
    made = client.post(f"/workflows/runs/{runs[2]['id']}/resume-from/n1", None, **WAIT)
    resumed = made.json["new_run"]
    entries = client.get(_path(workflow)).json
    shown = {e["id"]: e for e in entries if e["execution_id"] == resumed["id"]}
    assert shown == {entry["id"]: entry for entry in resumed["logs"]}
    copies = [entry for entry in entries if entry["replayed_from"]]
    assert {copy["replayed_from"]["run_id"] for copy in copies} == {runs[2]["id"]}
    assert entries == _sorted(entries)
    assert client.get(_path(workflow, run=resumed["id"])).json == _sorted(
        list(reversed(resumed["logs"]))
    )


def test_entries_inside_iterators_say_which_item(client: Client) -> None:
    """The path of an item is an array of indexes, the outermost first."""
    inner = node("check", "text_transform", template="{{ item }}")
    body = node("deep", "iterator", items=[1, 2], nodes=[inner], edges=[])
    each = node("each", "iterator", items="{{ trigger.list }}", nodes=[body], edges=[])
    workflow = create(client, chain(node("t", "manual_trigger"), each))
    shown = run(client, workflow, {"list": [1, 2]})
    found = client.get(_path(workflow, node="check")).json
    assert sorted(entry["iteration"] for entry in found) == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert {e["id"]: e for e in found} == {
        e["id"]: e for e in shown["logs"] if e["node_id"] == "check"
    }
    (outer,) = client.get(_path(workflow, node="each")).json
    assert outer["iteration"] is None


def test_a_failure_inside_an_iterator_is_a_warning(client: Client, sink: Endpoint) -> None:
    """It fails its item; the run and its list of errors agree."""
    call = node("call", "webhook", url=f"{sink.url}/503/x")
    each = node("each", "iterator", items=[1], nodes=[call], edges=[])
    workflow = create(client, chain(node("t", "manual_trigger"), each))
    shown = run(client, workflow)
    assert shown["status"] == "completed"
    assert client.get(_path(workflow, level="error")).json == []
    (warning,) = client.get(_path(workflow, level="warning")).json
    assert (warning["node_id"], warning["iteration"]) == ("call", [0])
    assert warning in shown["logs"]


def test_the_newest_entry_of_each_workflow(
    client: Client, busy: tuple[str, list[dict[str, Any]]]
) -> None:
    """What a dashboard shows: one entry a workflow with its name, the busiest first."""
    workflow, runs = busy
    create(client, quick())
    other = create(client, quick() | {"name": "other"})
    newest = run(client, other)["logs"][-1]
    reply = client.get("/workflows/logs/recent")
    assert reply.status == 200
    assert [entry["workflow"]["id"] for entry in reply.json] == [other, workflow]
    first, second = ({k: v for k, v in entry.items() if k != "workflow"} for entry in reply.json)
    assert (first, second) == (newest, runs[2]["logs"][-1])
    shown = client.get(f"/workflows/{other}").json
    assert reply.json[0]["workflow"] == {
        k: v for k, v in shown.items() if k not in ("nodes", "edges")
    }
    assert len(client.get("/workflows/logs/recent?limit=1").json) == 1
    assert list(
        refused(client.get("/workflows/logs/recent?limit=0"), 422, "parameter_invalid")
    ) == ["limit"]
    client.post(f"/workflows/runs/{runs[2]['id']}/resume-from/n1", None, **WAIT)
    recent = client.get("/workflows/logs/recent").json
    assert recent[0]["workflow"]["id"] == workflow
    assert recent[0]["replayed_from"] is None
    assert client.call("DELETE", f"/workflows/{other}").status == 204
    assert [e["workflow"]["id"] for e in client.get("/workflows/logs/recent").json] == [workflow]


def test_the_newest_entries_hide_a_webhooks_token_from_readers(api: Service, org: str) -> None:
    """As every other list of workflows does."""
    writer, reader = api.client(org), api.client(org, scope="workflows:read")
    workflow = create(writer, chain(node("t", "webhook_trigger")))
    writer.post(hook_path(writer, workflow), {})
    run(writer, workflow)
    shown = [c.get("/workflows/logs/recent").json[0]["workflow"] for c in (writer, reader)]
    assert "whsec_" in shown[0]["webhook_url"]
    assert shown[1]["webhook_url"].endswith("whsec_***")
    for one in (writer, reader):
        one.close()


def test_statistics_count_attempts_and_runs(
    api: Service, client: Client, busy: tuple[str, list[dict[str, Any]]]
) -> None:
    """A run that has not ended is in the total alone; a replayed attempt counts once."""
    workflow, runs = busy
    path = f"/workflows/{workflow}/logs/stats"
    with nothing_written(api):
        assert client.get(path).json == {
            "log_statuses": {"success": 8, "error": 1, "warning": 0},
            "recent_runs": {"completed": 2, "failed": 1},
            "total_runs": 3,
            "success_rate": 66.67,
        }
    client.post(f"/workflows/runs/{runs[2]['id']}/resume-from/n1", None, **WAIT)
    after = client.get(path).json
    assert after["log_statuses"] == {"success": 8, "error": 2, "warning": 0}
    assert (after["total_runs"], after["success_rate"]) == (4, 50.0)


def test_statistics_of_a_workflow_that_did_nothing_are_zeros(client: Client) -> None:
    """Numbers all the same, so that a client needs no special case; so without an end."""
    path = "/workflows/{}/logs/stats"
    nothing = {
        "log_statuses": {"success": 0, "error": 0, "warning": 0},
        "recent_runs": {"completed": 0, "failed": 0},
        "total_runs": 0,
        "success_rate": 0.0,
    }
    assert client.get(path.format(create(client, quick()))).json == nothing
    slow = create(client, chain(node("t", "manual_trigger"), node("w", "delay", duration=600)))
    started(client, slow)
    shown = client.get(path.format(slow)).json
    assert (shown["total_runs"], shown["success_rate"]) == (1, 0.0)


@pytest.mark.parametrize("route", ["logs", "logs/stats"])
def test_logs_of_foreign_and_deleted_workflows_are_unknown(
    api: Service, client: Client, route: str
) -> None:
    """404 in the same words as for an id that exists nowhere, and 403 without the scope."""
    workflow = create(client, quick())
    run(client, workflow)
    path = f"/workflows/{workflow}/{route}"
    stranger, powerless = api.client("stranger"), api.client("acme", scope="journal:read")
    answers = [stranger.get(path), client.get(f"/workflows/fl_none/{route}")]
    client.call("DELETE", f"/workflows/{workflow}")
    answers.append(client.get(path))
    for reply in answers:
        refused(reply, 404, "resource_missing")
    assert len({reply.body for reply in answers}) == 1
    refused(powerless.get(path), 403, "insufficient_scope")
    refused(powerless.get("/workflows/logs/recent"), 403, "insufficient_scope")
    for one in (stranger, powerless):
        one.close()


def test_a_run_that_waits_for_a_person_is_found_by_its_status(client: Client) -> None:
    """The list, its filter, its count and the run itself say the same."""
    definition = chain(node("t", "manual_trigger"), node("ask", "form", title="Well?"))
    workflow = create(client, definition)
    waiting = started(client, workflow)
    path = f"/workflows/{workflow}/executions"
    for _ in range(2000):
        shown = client.get(f"/workflows/runs/{waiting}").json
        if shown["status"] == "awaiting_ui_interaction":
            break
    page = client.get(f"{path}?status=awaiting_ui_interaction").json
    assert [entry["id"] for entry in page["data"]] == [waiting]
    assert (page["data"][0]["status"], page["meta"]["total"]) == ("awaiting_ui_interaction", 1)
    assert client.get(f"{path}?status=running").json["meta"]["total"] == 0
    client.post(f"/workflows/runs/{waiting}/cancel")
    assert followed(client, waiting)["status"] == "failed"
    assert client.get(f"{path}?status=awaiting_ui_interaction").json["data"] == []
    assert client.get(f"{path}?status=failed").json["meta"]["total"] == 1
