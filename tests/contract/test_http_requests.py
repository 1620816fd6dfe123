"""How a request is read: methods, media types, sizes, hostile JSON, hostile HTTP, request ids."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from tests.support.http_kit import (
    create,
    exchange,
    nothing_written,
    position,
    quick,
    refused,
    run,
    slow,
    started,
)
from tests.support.service import Client, Service, running, token

MEGABYTE = 1024 * 1024
JSON = {"Content-Type": "application/json"}


def _nested(levels: int, inner: str = "") -> bytes:
    # The context is the second level, after the body itself.
    return b'{"context":{"x":' + b"[" * (levels - 2) + inner.encode() + b"]" * (levels - 2) + b"}}"


@pytest.fixture
def workflow(client: Client) -> str:
    """A workflow that takes any payload."""
    return create(client, quick())


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/workflows", "GET, HEAD, POST"),
        ("GET", "/workflows/x/execute", "POST"),
        ("PATCH", "/workflows/x", "DELETE, GET, HEAD, PUT"),
        ("POST", "/workflows/runs/x", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("GET", "/workflows/validate", "POST"),
        ("POST", "/workflows/runs/execute", "GET, HEAD"),
        ("GET", "/workflows/webhooks/versions", "POST"),
        ("OPTIONS", "/openapi.json", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_refused_and_the_right_ones_are_named(
    client: Client, method: str, path: str, allowed: str
) -> None:
    """405 comes with `Allow`, and in the same form as every other refusal."""
    reply = client.call(method, path)
    refused(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/", "/workflow", "/workflows/", "/docs/", "/workflows/a/b/c/d"])
def test_an_unknown_path_is_not_found(client: Client, path: str) -> None:
    """404 in the form of the API, never a page of the server's."""
    refused(client.get(path), 404, "resource_missing")


def test_head_answers_like_get_without_a_body(client: Client, workflow: str) -> None:
    """Proxies and link checkers ask with HEAD; a live tail must not keep them waiting."""
    got = client.get(f"/workflows/{workflow}")
    headed = client.call("HEAD", f"/workflows/{workflow}")
    assert (headed.status, headed.body) == (200, b"")
    assert headed.headers["content-length"] == str(len(got.body))
    unfinished = started(client, create(client, slow()))
    for accept in ("text/event-stream", "application/x-ndjson"):
        path = f"/workflows/runs/{unfinished}/events"
        headed = client.call("HEAD", path, headers={"Accept": accept})
        assert (headed.status, headed.body) == (200, b"")
        assert headed.headers["content-type"] == accept


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "json", ""])
def test_a_body_of_another_media_type_is_refused(
    api: Service, client: Client, workflow: str, media: str
) -> None:
    """What isn't sent as JSON is not guessed at."""
    with nothing_written(api):
        reply = client.call(
            "POST", f"/workflows/{workflow}/execute", raw=b"{}", headers={"Content-Type": media}
        )
        refused(reply, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "media",
    ["application/json", "APPLICATION/JSON; charset=utf-8", "application/cloudevents+json", None],
)
def test_a_body_of_any_json_type_is_taken(client: Client, workflow: str, media: str | None) -> None:
    """`+json` types are JSON, and so is a body of which nothing was said."""
    headers = {} if media is None else {"Content-Type": media}
    path = f"/workflows/{workflow}/execute"
    assert client.call("POST", path, raw=b"{}", headers=headers).status == 202


def test_a_body_over_a_megabyte_is_refused_before_it_is_read(api: Service, workflow: str) -> None:
    """By its declared length, so that the bytes need not even be sent."""
    with nothing_written(api):
        answer = exchange(
            api.port,
            f"POST /workflows/{workflow}/execute HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Authorization: Bearer {token()}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {MEGABYTE + 1}\r\n\r\n".encode(),
        )
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert json.loads(body)["code"] == "payload_too_large"


def test_a_chunked_body_over_a_megabyte_is_refused(api: Service, workflow: str) -> None:
    """Without a declared length it is refused as soon as it is too long."""
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with nothing_written(api):
        answer = exchange(
            api.port,
            f"POST /workflows/{workflow}/execute HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Authorization: Bearer {token()}\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
            + chunk * 17
            + b"0\r\n\r\n",
        )
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_of_exactly_a_megabyte_is_taken(client: Client, workflow: str) -> None:
    """The limit itself is allowed, sent with a length or in chunks."""
    body = b'{"context":{"x":"' + b"y" * (MEGABYTE - 20) + b'"}}'
    assert len(body) == MEGABYTE
    path = f"/workflows/{workflow}/execute"
    assert client.call("POST", path, raw=body, headers=JSON).status == 202
    refused(client.call("POST", path, raw=body + b" ", headers=JSON), 413, "payload_too_large")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b'{"a":1}}',
        b"{'a':1}",
        b'{"context":{"a":1,"a":2}}',
        b'{"context":{},"context":{}}',
        b'{"context":{"a":NaN}}',
        b'{"context":{"a":Infinity}}',
        b'{"context":{"a":-Infinity}}',
        b'{"context":{"a":1e999}}',
        b'{"context":{"a":18446744073709551616}}',
        b'{"context":{"a":-9223372036854775809}}',
        b'{"context":{"a":' + b"9" * 5000 + b"}}",
        b'{"context":{"a":01}}',
        b'{"context":{"a":"\xff"}}',
        b'{"context":{"a":"\xed\xa0\x80"}}',
        b'{"context":{"a":"\\ud800"}}',
        b'{"context":{"\\udfff":1}}',
        b'\xef\xbb\xbf{"context":{}}',
        _nested(65),
        _nested(65, "1"),
        _nested(100_000),
        b'{"context":' * 65 + b"{}" + b"}" * 65,
    ],
)
def test_json_that_two_readers_could_understand_differently_is_refused(
    api: Service, client: Client, workflow: str, body: bytes
) -> None:
    """400 for what isn't JSON, or isn't the same JSON for everybody; nothing is written."""
    with nothing_written(api):
        path = f"/workflows/{workflow}/execute"
        reply = client.call("POST", path, raw=body or b" ", headers=JSON)
        assert refused(reply, 400, "invalid_json") == {}


@pytest.mark.parametrize(
    "context",
    [
        {"a": 18446744073709551615, "b": -9223372036854775808, "c": 1.5e300},
        {"deep": json.loads(_nested(64).decode())["context"]["x"]},
        {"text": '\u0000\u001f"\\/\u2028 \U0001f600'},
        {"": {"": []}},
    ],
)
def test_what_is_taken_comes_back_as_it_was_sent(
    client: Client, workflow: str, context: dict[str, object]
) -> None:
    """Extreme numbers, deepest nesting and control characters survive the journal."""
    finished = run(client, workflow, context)
    assert finished["trigger_payload"] == context
    shown = client.get(f"/workflows/runs/{finished['id']}").json
    assert shown == finished
    assert {k: v for k, v in shown["logs"][0]["output"].items() if k in context} == context


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ([], "", "parameter_invalid"),
        ("x", "", "parameter_invalid"),
        ({"context": []}, "context", "parameter_invalid"),
        ({"context": None}, "context", "parameter_invalid"),
        ({"contxt": {}}, "contxt", "parameter_invalid"),
    ],
)
def test_a_body_of_the_wrong_shape_is_refused_with_its_path(
    api: Service, client: Client, workflow: str, body: object, path: str, code: str
) -> None:
    """A field that isn't known is a fault too: a typo must not start a run without its payload."""
    with nothing_written(api):
        reply = client.post(f"/workflows/{workflow}/execute", body)
        assert list(refused(reply, 422, code)) == [path]


def test_a_query_that_cant_be_read_is_refused(client: Client, workflow: str) -> None:
    """Bytes that are no UTF-8 are not replaced by something else."""
    refused(client.get(f"/workflows/{workflow}/executions?status=%ff"), 422, "parameter_invalid")
    many = "&".join(f"a{i}=1" for i in range(100))
    refused(client.get(f"/workflows/{workflow}/executions?{many}"), 422, "parameter_invalid")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /workflows HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_the_same_form(api: Service, request_bytes: bytes) -> None:
    """Also below the routes an answer is JSON with a code; smuggling is not let through."""
    head, _, body = exchange(api.port, request_bytes).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["code"] == "invalid_http"


def _pipelined(api: Service, *parts: bytes) -> list[bytes]:
    """Send requests at once and return the status of each answer, in order."""
    return re.findall(rb"HTTP/1\.1 (\d+) ", exchange(api.port, b"".join(parts)))


def test_what_follows_a_good_request_and_is_none_is_answered_after_it(
    api: Service, org: str
) -> None:
    """Each answer is that of its request, and none is written to a connection that was closed."""
    good = f"GET /workflows HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token(org)}\r\n\r\n"
    half = b"POST /workflows HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"
    before = len(api.log)
    assert _pipelined(api, good.encode(), b"GARBAGE\r\n\r\n") == [b"200", b"400"]
    assert _pipelined(api, good.encode() * 3, b"\x00\x01\r\n") == [b"200", b"200", b"200", b"400"]
    whole = half.replace(
        b"Host: x\r\n", f"Host: x\r\nAuthorization: Bearer {token(org)}\r\n".encode()
    )
    assert _pipelined(api, whole, b"1234\r\nzz\r\n") == [b"400"]
    assert _pipelined(api, good.encode(), whole, b"1234\r\nzz\r\n") == [b"200", b"400"]
    assert _pipelined(api, good.encode(), b"GET /" + b"x" * 40_000) == [b"200", b"431"]
    assert not [line for line in api.log[before:] if "Traceback" in line or "ERROR" in line]


@pytest.mark.parametrize("end", [b"\r\n\r\n", b""])
@pytest.mark.parametrize("part", [b"/", b"/healthz HTTP/1.1\r\nHost: x\r\nA: "])
def test_a_head_without_end_is_refused(api: Service, part: bytes, end: bytes) -> None:
    """Addresses and headers are bounded, also when the sender never finishes."""
    head, _, body = exchange(api.port, b"GET " + part + b"x" * 40_000 + end).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert json.loads(body)["code"] == "headers_too_large"


def test_a_long_but_bounded_head_is_served(client: Client) -> None:
    """Large tokens and many cookies are everyday."""
    assert client.get("/healthz", Cookie="x" * 20_000).status == 200


def test_a_request_id_is_made_returned_and_recorded(client: Client, workflow: str) -> None:
    """Every event that the request caused names it, the last of the run included."""
    made = client.post(f"/workflows/{workflow}/execute", Prefer="wait=30")
    request = made.headers["x-request-id"]
    events = client.get(f"/workflows/runs/{made.json['id']}/events").json["data"]
    assert request.startswith("req_")
    assert {event["corr"] for event in events} == {request}
    assert events[-1]["type"] == "run.completed"


def test_a_request_id_of_the_client_is_kept(client: Client, workflow: str) -> None:
    """So that a trace which began elsewhere goes on in the journal."""
    made = client.post(
        f"/workflows/{workflow}/execute", Prefer="wait=30", X_Request_Id="trace-7f:1.a_b"
    )
    events = client.get(f"/workflows/runs/{made.json['id']}/events").json["data"]
    assert made.headers["x-request-id"] == "trace-7f:1.a_b"
    assert {event["corr"] for event in events} == {"trace-7f:1.a_b"}


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", 'a"b', "ä"])
def test_a_request_id_that_could_do_harm_is_replaced(client: Client, given: str) -> None:
    """It lands in logs and events, so only plain characters of a bounded number pass."""
    reply = client.call("GET", "/healthz", headers={"X-Request-Id": given})
    assert reply.headers["x-request-id"].startswith("req_")


def test_refusals_carry_a_request_id_too(client: Client) -> None:
    """What went wrong is what people ask about."""
    assert client.get("/nowhere").headers["x-request-id"].startswith("req_")
    reply = client.call("GET", "/workflows/x", headers={"X-Request-Id": "mine"})
    assert (reply.status, reply.headers["x-request-id"]) == (404, "mine")


def test_answers_are_not_stored_or_sniffed(client: Client) -> None:
    """They hold tenants' data, and may hold text that looks like a page."""
    headers = client.get("/workflows").headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


def test_a_client_that_hangs_up_while_sending_writes_nothing(
    api: Service, org: str, workflow: str
) -> None:
    """Half a body is no request."""
    before = position(api)
    with socket.create_connection(("127.0.0.1", api.port)) as connection:
        connection.sendall(
            f"POST /workflows/{workflow}/execute HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {token(org)}\r\nContent-Length: 10\r\n\r\n{{}}".encode()
        )
    client = Client(api.port)
    assert client.get("/healthz").status == 200
    client.close()
    assert position(api) == before


def test_a_late_request_takes_its_turn_behind_the_answers_that_are_owed(tmp_path: Path) -> None:
    """Half a request behind one that is being answered: first that answer, then the refusal."""
    with running(tmp_path / "data", REQUEST_SECONDS_MAX="1") as service:
        client = service.client()
        workflow = create(client, slow())
        head = f"Host: x\r\nAuthorization: Bearer {client.token}\r\n"
        waits = f"POST /workflows/{workflow}/execute HTTP/1.1\r\n{head}Prefer: wait=3\r\n"
        late = f"POST /workflows/{workflow}/execute HTTP/1.1\r\n{head}Content-Length: 9\r\n\r\n{{"
        answers = exchange(service.port, f"{waits}Content-Length: 0\r\n\r\n{late}".encode())
        client.close()
    first, second = answers.find(b"HTTP/1.1 202"), answers.find(b"HTTP/1.1 408")
    assert 0 == first < second
