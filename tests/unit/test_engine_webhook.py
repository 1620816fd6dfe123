"""The webhook node: what it sends, what it journals, and how it fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web

from refold.engine.component import ConfigError, NodeError, Outcome
from refold.engine.nodes.webhook import Webhook, WebhookConfig
from refold.engine.outbound import REQUEST_BYTES_MAX, EgressRules, OutboundClient

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PUBLIC = "https://api.example/x"


class LentCall:
    """What the runner would lend for one effect."""

    effect_key = "fl_run_1:n2:-:1"
    timeout_s = 5.0
    mailer = None
    authorizations = None
    tenant = "acme"
    authorization_id = ""

    def __init__(self, outbound: OutboundClient) -> None:
        self.outbound = outbound


def node_of(**data: Any) -> Webhook:
    """Compile a node from its `data`, as it stands in a definition."""
    return Webhook(msgspec.convert(data, WebhookConfig))


def faults_of(**data: Any) -> dict[str, list[str]]:
    """Compile a faulty node and give its faults by field."""
    with pytest.raises(ConfigError) as caught:
        node_of(**data)
    return caught.value.errors


def prepared(context: dict[str, Any] | None = None, **data: Any) -> Any:
    """Give what a node would journal."""
    return node_of(**{"url": PUBLIC, **data}).prepare(context or {})


def failure_of(context: dict[str, Any] | None = None, **data: Any) -> NodeError:
    """Give the error of a node that can't be rendered."""
    with pytest.raises(NodeError) as caught:
        prepared(context, **data)
    return caught.value


def perform(
    handler: Handler, context: dict[str, Any] | None = None, path: str = "/", **data: Any
) -> Outcome:
    """Perform a node against `handler` on 127.0.0.1; the context gets its origin as `base`."""

    async def scenario() -> Outcome:
        app = web.Application(client_max_size=4 * REQUEST_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        client = OutboundClient(EgressRules.parse("127.0.0.0/8"))
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            base = f"http://127.0.0.1:{runner.addresses[0][1]}"
            node = node_of(**{"url": base + path, **data})
            full = {**(context or {}), "base": base}
            return await node.perform(full, LentCall(client))
        finally:
            await client.close()
            await runner.cleanup()

    return asyncio.run(scenario())


async def echo(request: web.Request) -> web.Response:
    """Answer with what was received."""
    return web.json_response(
        {
            "method": request.method,
            "target": request.raw_path,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": (await request.read()).decode(),
        }
    )


def answering(body: bytes, content_type: str = "application/json", status: int = 200) -> Handler:
    """Answer every request with these bytes."""

    async def handle(request: web.Request) -> web.Response:
        del request
        return web.Response(body=body, headers={"Content-Type": content_type}, status=status)

    return handle


def test_a_call_goes_out_with_its_key_and_comes_back_parsed() -> None:
    """The effect key is what lets a receiver recognise an automatic repetition."""
    outcome = perform(
        echo, {"n1": {"id": 7}}, path="/o/{{ n1.id }}?q=1", body={"id": "{{ n1.id }}"}
    )
    assert outcome.output["status"] == 200
    assert outcome.output["headers"]["content-type"].startswith("application/json")
    seen = outcome.output["body"]
    assert (seen["method"], seen["target"], seen["body"]) == ("POST", "/o/7?q=1", '{"id":7}')
    assert seen["headers"]["idempotency-key"] == "fl_run_1:n2:-:1"
    assert seen["headers"]["user-agent"] == "refold"
    assert seen["headers"]["content-type"] == "application/json"


def test_headers_of_the_author_win() -> None:
    """The key, the agent and the media type are only filled in where the author set none."""
    headers = [
        {"key": "idempotency-key", "value": "{{ n1.key }}"},
        {"key": "user-agent", "value": "mine"},
        {"key": "CONTENT-TYPE", "value": "application/vnd.x+json"},
    ]
    seen = perform(echo, {"n1": {"key": "k9"}}, headers=headers, body={"a": 1}).output["body"]
    assert seen["headers"]["idempotency-key"] == "k9"
    assert seen["headers"]["user-agent"] == "mine"
    assert seen["headers"]["content-type"] == "application/vnd.x+json"


@pytest.mark.parametrize(
    ("body", "sent", "media_type"),
    [
        ({"a": [1, "{{ n.s }}", "{{ n.l }}"]}, '{"a":[1,"a\\"b",[1,2]]}', "application/json"),
        ("{{ n.l }}", "[1,2]", "application/json"),
        ("{{ n.s }}", 'a"b', "text/plain; charset=utf-8"),
        ('{"s": "{{ n.s }}", "l": {{ n.l }}}', '{"s":"a\\"b","l":[1,2]}', "application/json"),
        ("[{{ n.s }}]", '["a\\"b"]', "application/json"),
        ("hello {{ n.s }}", 'hello a"b', "text/plain; charset=utf-8"),
        (17, "17", "application/json"),
        (False, "false", "application/json"),
        (None, "", None),
        ("", "", None),
        ("{{ n.missing }}", "", None),
    ],
)  # fmt: skip
def test_a_body_is_json_or_text_by_what_it_renders_to(
    body: Any, sent: str, media_type: str | None
) -> None:
    """Values keep their types and are escaped, so no value can change the document around it."""
    seen = perform(echo, {"n": {"s": 'a"b', "l": [1, 2]}}, body=body).output["body"]
    assert seen["body"] == sent
    assert seen["headers"].get("content-type") == media_type


def test_a_media_type_that_is_not_json_makes_the_body_text() -> None:
    """Text that begins like JSON is sent as it was written when the author says what it is."""
    headers = [{"key": "Content-Type", "value": "text/plain"}]
    seen = perform(echo, {"n": 1}, headers=headers, body="[{{ n }}] {not json").output["body"]
    assert seen["body"] == "[1] {not json"


@pytest.mark.parametrize(
    "url",
    ["https://api.example/{{ v }}", "https://api.example?q={{ v }}",
     "https://api.example/a#{{ v }}", "{{ base }}/{{ v }}", "{{ base }}?{{ v }}"],
)  # fmt: skip
@pytest.mark.parametrize(
    "value",
    ["@evil.example/", "//evil.example", "\\\\evil.example", ":80@evil.example", "\r\nHost: evil",
     "https://evil.example", "a b\tc", ".evil.example", "#@evil"],
)  # fmt: skip
def test_a_value_after_the_host_cannot_change_the_host(url: str, value: str) -> None:
    """Whatever a payload puts into path or query, the call stays with the author's host."""
    context = {"v": value, "base": "https://api.example/v1"}
    shown = prepared(context, url=url)["url"]
    assert shown.startswith(("https://api.example/", "https://api.example?"))
    assert not any(char.isspace() for char in shown)


@pytest.mark.parametrize(
    "value", ["a/", "evil.example/", "x?", "x#", "u@evil.example", "a\\", "a\r\nb"]
)
@pytest.mark.parametrize(
    "url", ["https://{{ v }}.example/p", "https://{{ v }}.example", "https://api.{{ v }}/",
            "{{ v }}://api.example/"],
)  # fmt: skip
def test_a_value_inside_the_host_cannot_end_it(url: str, value: str) -> None:
    """`{{ tenant }}.example` must not become another host by a slash in the value."""
    assert failure_of({"v": value}, url=url).code == "invalid_request"


def test_a_value_inside_the_host_may_be_a_part_of_a_name() -> None:
    """The ordinary use of a template in a host works."""
    assert prepared({"v": "acme"}, url="https://{{ v }}.example/p")["url"] == (
        "https://acme.example/p"
    )


def test_a_url_that_is_one_expression_takes_everything_from_it() -> None:
    """Callback URLs come whole in a payload; they are judged when they are rendered."""
    shown = prepared({"t": {"u": "https://cb.example/a b?x=ü"}}, url=" {{ t.u }} ")["url"]
    assert shown == "https://cb.example/a%20b?x=%C3%BC"
    assert failure_of({"t": {"u": "file:///etc/passwd"}}, url="{{ t.u }}").code == "invalid_request"
    assert failure_of({}, url="{{ t.u }}").code == "invalid_request"
    assert failure_of({"t": {"u": "http://0x7f.1/"}}, url="{{ t.u }}").code == "egress_refused"


@pytest.mark.parametrize("value", ["\x00", "a\x1b[0m", "\x7f", "\x85", "\ud800"])
def test_control_characters_in_a_url_are_refused(value: str) -> None:
    """They are never text, so encoding them would hide a fault."""
    assert failure_of({"v": value}, url="https://api.example/{{ v }}").code == "invalid_request"


@pytest.mark.parametrize(
    "url",
    ["", "api.example/x", "/x", "ftp://api.example/", "https://", "https://u:hush@api.example/",
     "https://api.example:99999/", "http://2130706433/", "https://api.example/{{ x",
     "{% if a %}https://a.example{% endif %}/", "x{{ a }}/", "{{ a }}{{ b }}/p", "{{ a }}.example/",
     "ftp://api.example/{{ x }}", "https://api.example{{ x }}", "https://api.example{{ x }}?y",
     "{{" * 30_000],
)  # fmt: skip
def test_an_unusable_url_is_a_fault_of_the_definition(url: str) -> None:
    """The author learns it when the workflow is saved, not when a run fails."""
    faults = faults_of(url=url)
    assert list(faults) == ["url"]
    assert "hush" not in str(faults)


def test_all_faults_of_a_node_are_told_at_once() -> None:
    """Each fault is under the field that it belongs to."""
    headers = [
        {"key": "X-Good", "value": "1"},
        {"key": "X Bad", "value": "1"},
        {"key": "Host", "value": "inner"},
        {"key": "X-C", "value": "{{ a"},
    ]
    faults = faults_of(url="nowhere", headers=headers, body={"a": ["{{ b"]})
    assert set(faults) == {
        "url", "headers[1].key", "headers[2].key", "headers[3].value", "body.a[0]",
    }  # fmt: skip


def test_headers_are_pairs_of_key_and_value() -> None:
    """A list item with other fields is refused before the node is made."""
    with pytest.raises(msgspec.ValidationError):
        node_of(url=PUBLIC, headers=[{"name": "X-A", "value": "1"}])


def test_what_is_journaled_holds_no_credentials() -> None:
    """The journal can't be rewritten, so a secret must not get into it."""
    names = [
        "Authorization",
        "proxy-authorization",
        "Cookie",
        "X-API-Key",
        "X-Auth-Token",
        "Secret-A",
    ]
    shown = prepared(
        {"v": "hush"},
        url="https://api.example/p?a=1&api_%6Bey={{ v }}&TOKEN={{ v }}&b=2;password={{ v }}#x",
        headers=[{"key": name, "value": "{{ v }}"} for name in names]
        + [{"key": "Idempotency-Key", "value": "k"}, {"key": "X-A", "value": "1"},
           {"key": "X-A", "value": "2"}],
        body={"a": "{{ v }}!"},
    )  # fmt: skip
    assert shown == {
        "method": "POST",
        "url": "https://api.example/p?a=1&api_%6Bey=***&TOKEN=***&b=2;password=***#x",
        "headers": dict.fromkeys(names, "***") | {"Idempotency-Key": "k", "X-A": "1, 2"},
        "body": {"a": "hush!"},
    }


def test_an_answer_shows_no_credentials() -> None:
    """Cookies that a server sets are not the workflow's business."""

    async def handle(request: web.Request) -> web.Response:
        del request
        return web.Response(
            text="ok", headers={"Set-Cookie": "s=hush", "Authorization": "hush", "X-A": "1"}
        )

    headers = perform(handle).output["headers"]
    assert (headers["set-cookie"], headers["authorization"], headers["x-a"]) == ("***", "***", "1")


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b'{"a": [1, 2.5, null]}', "application/json; charset=utf-8", {"a": [1, 2.5, None]}),
        (b'{"type": 1}', "application/problem+json", {"type": 1}),
        (b'{"a": 1}', "text/plain", '{"a": 1}'),
        (b"", "application/json", ""),
        (b"\xff\xfe", "application/octet-stream", "\ufffd\ufffd"),
        (b"{oops", "application/json", "{oops"),
        (b"NaN", "application/json", "NaN"),
        (b"[Infinity]", "application/json", "[Infinity]"),
        (b"1e999", "application/json", "1e999"),
        (b"18446744073709551615", "application/json", 2**64 - 1),
        (b"18446744073709551616", "application/json", "18446744073709551616"),
        (b'{"a": -9223372036854775809}', "application/json", '{"a": -9223372036854775809}'),
        (b'"\\ud800abcdef"', "application/json", '"\\ud800abcdef"'),
        (b"[" * 64 + b"]" * 64, "application/json", json.loads("[" * 64 + "]" * 64)),
        (b"[" * 65 + b"]" * 65, "application/json", "[" * 65 + "]" * 65),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "application/json", '{"a":' * 65 + "1" + "}" * 65),
        (b"[" * 9000 + b"]" * 9000, "application/json", "[" * 9000 + "]" * 9000),
    ],
)  # fmt: skip
def test_an_answer_is_json_only_when_it_can_be_stored(
    body: bytes, content_type: str, expected: Any
) -> None:
    """What every reader of the journal could not take back stays text."""
    output = perform(answering(body, content_type)).output
    assert output["body"] == expected
    msgspec.json.encode(output)


@pytest.mark.parametrize(("status", "message"), [
    (503, "Webhook request failed: 503 Service Unavailable"),
    (404, "Webhook request failed: 404 Not Found"),
    (302, "Webhook request failed: 302 Found"),
])  # fmt: skip
def test_a_status_that_is_not_2xx_fails_the_node(status: int, message: str) -> None:
    """The code names the status, so a retry policy can list it, and the answer is kept."""
    with pytest.raises(NodeError) as caught:
        perform(answering(b'{"why": "busy"}', status=status))
    assert caught.value.code == f"http_{status}"
    assert caught.value.message == message
    assert caught.value.received["status"] == status
    assert caught.value.received["body"] == {"why": "busy"}
    assert caught.value.received["headers"]["content-type"] == "application/json"


def test_a_refused_call_fails_with_the_reason_of_the_client() -> None:
    """The egress guard's sentence reaches the author, the query does not."""

    async def scenario() -> NodeError:
        client = OutboundClient()
        try:
            with pytest.raises(NodeError) as caught:
                await node_of(url="http://127.0.0.1/?token=hush").perform({}, LentCall(client))
            return caught.value
        finally:
            await client.close()

    error = asyncio.run(scenario())
    assert error.code == "egress_refused"
    assert error.message == (
        "Webhook request failed: The host '127.0.0.1' has a loopback address, which is not allowed."
    )


@pytest.mark.parametrize("body", ["{{ v }}", "x{{ v }}", {"a": "{{ v }}"}])
def test_a_body_over_the_limit_is_refused_before_it_is_journaled(body: Any) -> None:
    """1 MiB as it is sent, whatever the body was made of."""
    assert failure_of({"v": "x" * (REQUEST_BYTES_MAX + 1)}, body=body).code == "request_too_large"


def test_the_largest_body_is_sent() -> None:
    """The limit itself is allowed."""

    async def count(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    outcome = perform(count, {"v": "x" * REQUEST_BYTES_MAX}, body="{{ v }}")
    assert outcome.output["body"] == str(REQUEST_BYTES_MAX)


def test_what_cannot_be_written_is_a_failure_of_the_node() -> None:
    """A surrogate without its pair, or a line break in a header, is told and not sent."""
    assert failure_of({"v": "\ud800"}, body={"a": "{{ v }}"}).code == "invalid_request"
    assert failure_of({"v": "\ud800"}, body="{{ v }}").code == "invalid_request"
    header = {"key": "X-A", "value": "{{ v }}"}
    error = failure_of({"v": "hush\r\nX-B: 1"}, headers=[header])
    assert error.code == "invalid_request"
    assert "hush" not in error.message
