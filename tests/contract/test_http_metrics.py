"""`/metrics` says exactly what was done, also after failures, and never to or of anybody else."""

from __future__ import annotations

import json
import random
import socket
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.http_kit import (
    calling,
    create,
    exchange,
    held,
    quick,
    refused,
    run,
    slow,
    started,
)
from tests.support.metrics_kit import OPENMETRICS, Scraped, scraped, scraped_once
from tests.support.service import Client, Endpoint, Service, chain, node, running

REQUESTS = "refold_http_request_duration_seconds_count"
REFUSALS = "refold_http_refusals_total"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service of this test's own: its figures are those of what the test does."""
    with running(tmp_path / "data") as made:
        yield made


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    """A client with all scopes."""
    made = service.client()
    yield made
    made.close()


def event_counts(service: Service) -> Counter[str]:
    """Count the journal's events by type, past the service."""
    with closing(sqlite3.connect(f"file:{service.data / 'journal.db'}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT entry FROM event").fetchall()
    return Counter(str(json.loads(entry)["type"]) for (entry,) in rows)


def test_what_was_done_is_counted_exactly(service: Service, client: Client, sink: Endpoint) -> None:
    """Requests by route, runs by origin and end, calls by outcome, events by type."""
    fine, failing = create(client, quick()), create(client, calling(sink, "ok", "503/x"))
    runs = [run(client, fine) for _ in range(3)] + [run(client, failing) for _ in range(2)]
    assert [made["status"] for made in runs] == 3 * ["completed"] + 2 * ["failed"]
    again = client.post(f"/workflows/runs/{runs[-1]['id']}/resume-from/n1", Prefer="wait=30")
    assert again.json["new_run"]["status"] == "failed"
    for made in runs:
        assert client.get(f"/workflows/runs/{made['id']}").status == 200
    found = scraped(client)
    assert found.series(REQUESTS) == {
        ("POST", "/workflows", "2xx"): 2,
        ("POST", "/workflows/{workflowId}/execute", "2xx"): 5,
        ("POST", "/workflows/runs/{runId}/resume-from/{nodeId}", "2xx"): 1,
        ("GET", "/workflows/runs/{runId}", "2xx"): 5,
    }
    assert found.series("refold_runs_requested_total") == {("execute",): 5, ("resume",): 1}
    assert found.series("refold_run_duration_seconds_count") == {
        ("execute", "completed"): 3,
        ("execute", "failed"): 2,
        ("resume", "failed"): 1,
    }
    assert found("refold_run_start_delay_seconds_count") == 6
    assert found.series("refold_call_duration_seconds_count") == {
        ("webhook", "succeeded"): 2,
        ("webhook", "failed"): 3,
    }
    assert found.series("refold_call_failures_total") == {("http_5xx", "webhook"): 3}
    assert found.series(REFUSALS) == {}
    events = event_counts(service)
    counted = {kind: n for (kind,), n in found.series("refold_journal_events_total").items()}
    assert counted == dict(events)
    assert found("refold_journal_position") == sum(events.values())
    commits = found("refold_journal_commit_duration_seconds_count")
    assert commits == found("refold_journal_sync_duration_seconds_count")
    assert 0 < commits <= found("refold_journal_append_duration_seconds_count")
    assert found("refold_runs_unfinished") == found("refold_runs_active") == 0
    assert found("refold_http_requests_in_progress") == 1


def test_each_refusal_is_counted_by_its_code_and_route(service: Service, client: Client) -> None:
    """Also of what is no HTTP, of which no handler ever hears."""
    workflow = create(client, quick())
    path = f"/workflows/{workflow}/execute"
    with closing(Client(service.port)) as nobody:
        refused(nobody.get("/workflows"), 401, "unauthorized")
    with closing(service.client(scope="vault:read")) as other:
        refused(other.get("/workflows"), 403, "insufficient_scope")
    for _ in range(2):
        refused(client.get("/workflows/none"), 404, "resource_missing")
    refused(client.get("/nowhere"), 404, "resource_missing")
    refused(client.call("DELETE", "/workflows"), 405, "method_not_allowed")
    refused(client.post(path, {"context": 1}), 422, "parameter_invalid")
    refused(client.call("POST", path, raw=b"{"), 400, "invalid_json")
    assert exchange(service.port, b"GARBAGE\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    large = b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + 40_000 * b"x" + b"\r\n\r\n"
    assert exchange(service.port, large).startswith(b"HTTP/1.1 431 ")
    found = scraped(client)
    assert {code: n for (code,), n in found.series(REFUSALS).items()} == {
        "unauthorized": 1,
        "insufficient_scope": 1,
        "resource_missing": 3,
        "method_not_allowed": 1,
        "parameter_invalid": 1,
        "invalid_json": 1,
        "invalid_http": 1,
        "headers_too_large": 1,
    }
    assert found.series(REQUESTS) == {
        ("POST", "/workflows", "2xx"): 1,
        ("GET", "/workflows", "4xx"): 2,
        ("GET", "/workflows/{workflowId}", "4xx"): 2,
        ("POST", "/workflows/{workflowId}/execute", "4xx"): 2,
        ("none", "none", "4xx"): 4,
    }
    assert found("refold_http_requests_in_progress") == 1


def test_a_client_that_hangs_up_early_is_counted(service: Service, client: Client) -> None:
    """It gets no answer, so it is in no route's figures; and it is not open any more."""
    request = (
        "POST /workflows HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
        f"Authorization: Bearer {client.token}\r\n\r\nhalf"
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as leaving:
        leaving.sendall(request.encode())
        scraped_once(client, lambda found: found("refold_http_requests_in_progress") == 2)
    found = scraped_once(client, lambda found: found("refold_http_disconnects_total") == 1)
    assert found("refold_http_requests_in_progress") == 1
    assert not [key for key in found.series(REQUESTS) if key[1] == "/workflows"]


def test_hostile_requests_make_no_series(service: Service, client: Client, seed: int) -> None:
    """A path, a method, an id, a header or a tenant is never a label: memory stays as it is."""
    dice = random.Random(seed)
    for known in ("/workflows/x", "/x"):
        client.get(known)
    client.post("/workflows/webhooks/x")
    scraped(client)
    before = scraped(client)
    words = [f"canary{dice.randrange(10**12)}" for _ in range(300)]
    for word in words:
        headers = {"X-Request-Id": word, "User-Agent": word, "Accept": word, "X-Api-Key": word}
        where = dice.choice(("/workflows/{}", "/{}", "/workflows/webhooks/{}", "/{}/../metrics"))
        method = dice.choice(("GET", "POST", "PUT", word.upper()))
        assert client.call(method, where.format(word), headers=headers).status >= 400
        with closing(service.client(org=word)) as tenant:
            assert tenant.get(f"/workflows/{word}?{word}={word}").status == 404
    found = scraped(client)
    assert "canary" not in found.text.lower()
    new = found.samples.keys() - before.samples.keys()
    routes = {dict(labels).get("route") for _, labels in new}
    # A method that a known path does not take, and one that it does.
    assert routes <= {"/workflows/{workflowId}", "none", "/workflows/webhooks/{token}"}
    assert len(new) <= 3 * 17
    assert len(found.samples) < 1000


def test_who_may_read_is_a_setting(tmp_path: Path) -> None:
    """By default a token with `journal:read`; anybody; or nobody, and then it is not there."""
    with running(tmp_path / "token") as service:
        with closing(Client(service.port)) as nobody:
            refused(nobody.get("/metrics"), 401, "unauthorized")
        with closing(service.client(scope="workflows:read admin")) as other:
            refused(other.get("/metrics"), 403, "insufficient_scope")
        with closing(service.client(scope="journal:read")) as scraper:
            assert scraped(scraper).media == "text/plain; version=0.0.4; charset=utf-8"
            headed = scraper.call("HEAD", "/metrics")
            assert (headed.status, headed.body) == (200, b"")
            refused(scraper.post("/metrics"), 405, "method_not_allowed")
            refused(scraper.get("/metrics?as_of=p1"), 422, "parameter_invalid")
    for access, status in (("open", 200), ("off", 404)):
        with (
            running(tmp_path / access, METRICS=access) as service,
            closing(Client(service.port)) as nobody,
        ):
            assert nobody.get("/metrics").status == status
            described = nobody.get("/openapi.json").json["paths"].get("/metrics")
            assert (described is not None) == (access == "open")
            assert "security" not in (described or {"get": {}})["get"]


@pytest.mark.parametrize(
    ("accept", "is_openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        (OPENMETRICS, True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3", True),
        ("application/openmetrics-text;version=1.0.0;q=0.3,text/plain;q=0.9", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;version=a.b.c;escaping=canary", False),
        ("application/openmetrics-text;version=canary\xe9", False),
        ("text/plain;version=canary;escaping=canary", False),
        ("application/openmetrics-text;q=nan", False),
        ("application/openmetrics-text;q=1e9;=;;,,;", False),
    ],
)
def test_the_format_is_what_the_client_prefers(
    api: Service, accept: str, *, is_openmetrics: bool
) -> None:
    """What it says besides is neither obeyed nor repeated."""
    with closing(api.client(scope="journal:read")) as client:
        found = Scraped(client.get("/metrics", Accept=accept))
    assert ("openmetrics" in found.media) == is_openmetrics
    assert found.text.endswith("# EOF\n") == is_openmetrics
    assert "canary" not in found.media + found.text


def test_both_formats_say_the_same(client: Client) -> None:
    """Each read by its own parser."""
    run(client, create(client, quick()))
    scraped(client)
    plain, other = scraped(client), scraped(client, Accept=OPENMETRICS)
    assert {key[0] for key in plain.samples} == {key[0] for key in other.samples}
    for name in ("refold_runs_requested_total", "refold_journal_events_total", REFUSALS):
        assert plain.series(name) == other.series(name)


def test_what_the_service_is_full_of_is_seen(tmp_path: Path) -> None:
    """Active and waiting runs and their limits, calls on the wire, parked runs, open forms."""
    with (
        running(tmp_path / "data", MAX_ACTIVE_RUNS="1") as service,
        closing(service.client()) as client,
        held() as (gate, url),
    ):
        asking = create(client, chain(node("t", "manual_trigger"), node("ask", "form")))
        client.post(f"/workflows/{asking}/execute", Prefer="wait=30")
        started(client, create(client, slow()))
        scraped_once(client, lambda found: found("refold_runs_parked") == 2)
        call = create(client, chain(node("t", "manual_trigger"), node("n", "webhook", url=url)))
        first, second = started(client, call), started(client, call)
        assert gate.arrived.wait(30)
        found = scraped(client)
        assert found("refold_runs_active") == found("refold_runs_active_limit") == 1
        assert found("refold_runs_waiting") == found("refold_calls_in_progress") == 1
        assert found("refold_runs_parked") == 2
        assert found("refold_runs_awaiting_person") == 1
        assert found("refold_runs_unfinished") == 4
        gate.release.set()
        for made in (first, second):
            client.get(f"/workflows/runs/{made}/events", Accept="text/event-stream")
        after = scraped_once(client, lambda found: found("refold_runs_unfinished") == 2)
        assert after("refold_calls_in_progress") == after("refold_runs_waiting") == 0
        assert after.series("refold_call_duration_seconds_count") == {("webhook", "succeeded"): 2}


def test_an_open_stream_is_seen_while_it_lasts(service: Service, client: Client) -> None:
    """A live tail may last for hours, and its time is no request's."""
    unfinished = started(client, create(client, slow()))
    request = (
        f"GET /workflows/runs/{unfinished}/events HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {client.token}\r\nAccept: text/event-stream\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as reader:
        reader.sendall(request.encode())
        assert reader.recv(65536).startswith(b"HTTP/1.1 200 ")
        found = scraped(client)
        assert found("refold_http_streams_open") == 1
        assert found("refold_http_requests_in_progress") == 1
    scraped_once(client, lambda found: found("refold_http_streams_open") == 0)


def test_a_call_that_a_kill_left_in_doubt_is_counted(tmp_path: Path) -> None:
    """Figures begin anew with the process; what the crash left shows up in them."""
    with (
        held() as (gate, url),
        running(tmp_path / "data") as service,
    ):
        with closing(service.client()) as client:
            call = node("n", "webhook", url=url, delivery="at_most_once")
            made = started(client, create(client, chain(node("t", "manual_trigger"), call)))
            assert gate.arrived.wait(30)
        service.kill()
        service.start()
        with closing(service.client()) as client:
            client.get(f"/workflows/runs/{made}/events", Accept="text/event-stream")
            found = scraped_once(client, lambda found: found("refold_runs_unfinished") == 0)
        assert found("refold_calls_in_doubt_total") == 1
        assert found.series("refold_run_duration_seconds_count") == {("execute", "failed"): 1}
        assert found.series("refold_runs_requested_total") == {}


def test_every_metric_is_documented(client: Client) -> None:
    """The table in the room's page is what is served, with its kind and labels."""
    run(client, create(client, quick()))
    found = scraped(client)
    page = (Path(__file__).parents[2] / "http" / "metrics.md").read_text("utf-8")
    served = {name for name in found.kinds if name.startswith("refold_")}
    for name in served:
        kind = found.kinds[name]
        shown = f"{name}_total" if kind == "counter" else name
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{shown}` ")]
        assert f"| {kind} |" in line
        labels = {
            label
            for (sample, pairs) in found.samples
            for label, _ in pairs
            if sample.removesuffix("_bucket").removesuffix("_total") == name
        }
        assert all(f"`{label}`" in line for label in labels - {"le"})
    assert page.count("\n| `refold_") == len(served)
