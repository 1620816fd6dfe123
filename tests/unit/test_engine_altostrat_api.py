"""The altostrat_api node: what it sends with a token, where it can't go, and how it fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from refold.engine.api_client import DEFAULT_URL, ApiClient, check_endpoint
from refold.engine.authorizations import Authorizations
from refold.engine.component import ConfigError, NodeError, Outcome
from refold.engine.egress import OutboundError
from refold.engine.fields import check_fields
from refold.engine.nodes.altostrat_api import AltostratApi, AltostratApiConfig
from refold.engine.nodes.catalogue import compile_node
from refold.engine.secrets import MaskedVault
from tests.support.authorization_server import scene
from tests.support.journal_kit import FakeClock
from tests.support.outbound_kit import Handler, echo, serving

KEY = "fl_run_1:n2:-:1"


class LentCall:
    """What the runner would lend for one effect."""

    effect_key = KEY
    timeout_s = 5.0
    outbound = None
    mailer = None
    tenant = "acme"

    def __init__(self, grants: Authorizations | None, authorization_id: str) -> None:
        self.authorizations = grants
        self.authorization_id = authorization_id


def node_of(**data: Any) -> AltostratApi:
    """Compile a node from its `data`, as it stands in a definition."""
    config, errors = check_fields(AltostratApiConfig, {"endpoint": "/sites", **data}, "")
    assert config is not None, errors
    return AltostratApi(config)


def prepared(context: dict[str, Any] | None = None, **data: Any) -> Any:
    """Give what a node would journal."""
    return node_of(**data).prepare(context or {})


def perform(
    directory: Path,
    handler: Handler,
    context: dict[str, Any] | None = None,
    *,
    prefix: str = "",
    before: Callable[[Any], Awaitable[None]] | None = None,
    **data: Any,
) -> Outcome:
    """Perform a node against an API on this machine, with a grant of its own."""

    directory.mkdir(exist_ok=True)

    async def scenario() -> Outcome:
        async with (
            serving(handler) as api_url,
            scene(directory, FakeClock(), api_url + prefix) as at,
        ):
            auth = await at.store()
            if before is not None:
                await before(at)
            return await node_of(**data).perform(context or {}, LentCall(at.grants, auth))

    return asyncio.run(scenario())


def failure(directory: Path, handler: Handler, **data: Any) -> NodeError:
    """Perform a node that fails and give its error."""
    with pytest.raises(NodeError) as caught:
        perform(directory, handler, **data)
    return caught.value


def test_a_request_goes_out_with_a_token_and_comes_back_parsed(tmp_path: Path) -> None:
    """The base address may be private and have a path; nothing had to be allowed for it."""
    outcome = perform(
        tmp_path, echo, {"t": {"site": "a/b", "q": "x&y=z", "n": 3}}, prefix="/v2/", method="POST",
        endpoint="sites/{{ t.site }}?first={{ t.n }}",
        query={"q": "{{ t.q }}", "n": "{{ t.n }}", "on": True, "none": "{{ missing }}"},
        headers=[{"key": "X-A", "value": "{{ t.n }}"}], body={"n": "{{ t.n }}"},
    )  # fmt: skip
    seen = outcome.output["body"]
    assert outcome.output["status"] == 200
    assert seen["target"] == "/v2/sites/a/b?first=3&q=x%26y%3Dz&n=3&on=true"
    assert (seen["method"], seen["body"]) == ("POST", '{"n":3}')
    headers = seen["headers"]
    assert (headers["idempotency-key"], headers["x-a"]) == (KEY, "3")
    assert headers["accept"] == headers["content-type"] == "application/json"
    assert headers["user-agent"] == "refold"


def test_the_token_reaches_the_api_and_nobody_else(tmp_path: Path) -> None:
    """An answer that repeats it is masked, in whatever form."""
    got: list[str] = []

    async def telling(request: web.Request) -> web.Response:
        token = request.headers["Authorization"]
        got.append(token)
        said = {"you": token, "hex": token[7:].encode().hex(), token: 1}
        return web.Response(text=json.dumps(said), headers={"X-You": token},
                            content_type="application/json")  # fmt: skip

    outcome = perform(tmp_path, telling)
    assert got == ["Bearer access-token-1"]
    assert "access-token-1" not in str(outcome.output)
    assert outcome.output["body"]["hex"] == "***"


def test_a_401_is_answered_by_one_new_token_and_one_repeat(tmp_path: Path) -> None:
    """A provider may withdraw a token before its time; the second 401 is final."""
    got: list[tuple[str, str]] = []

    async def picky(request: web.Request) -> web.Response:
        token = request.headers["Authorization"]
        got.append((token, request.headers["Idempotency-Key"]))
        return web.Response(status=200 if token.endswith("2") else 401)

    assert perform(tmp_path / "a", picky).output["status"] == 200
    assert got == [("Bearer access-token-1", KEY), ("Bearer access-token-2", KEY)]

    async def never(request: web.Request) -> web.Response:
        got.append((request.headers["Authorization"], ""))
        return web.Response(status=401)

    got.clear()
    error = failure(tmp_path / "b", never)
    assert (error.code, len(got)) == ("http_401", 2)
    assert error.message == "API request failed: 401 Unauthorized"


@pytest.mark.parametrize(("status", "reason"), [(503, "Service Unavailable"), (404, "Not Found")])
def test_a_status_that_is_not_2xx_fails_the_node(tmp_path: Path, status: int, reason: str) -> None:
    """The code names the status, so a retry policy can list it, and the answer is kept."""

    async def handle(request: web.Request) -> web.Response:
        del request
        return web.json_response({"why": "busy"}, status=status)

    error = failure(tmp_path, handle)
    assert (error.code, error.received["body"]) == (f"http_{status}", {"why": "busy"})
    assert error.message == f"API request failed: {status} {reason}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(tmp_path: Path, status: int) -> None:
    """Else a private address of the API would lead to every port beside it."""
    paths: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    error = failure(tmp_path, handle)
    assert (error.code, paths) == ("too_many_redirects", ["/sites"])


def test_without_an_authorization_nothing_is_sent() -> None:
    """Saving such a workflow is refused; one that was saved before fails with the reason."""
    with pytest.raises(NodeError) as caught:
        asyncio.run(node_of().perform({}, LentCall(None, "")))
    assert caught.value.code == "authorization_missing"


def test_a_grant_that_gives_no_token_fails_the_node_with_its_own_code(tmp_path: Path) -> None:
    """Refused and unavailable are told apart, since only one is worth a retry."""

    async def refuse(at: Any) -> None:
        at.server.answers = [web.json_response({"error": "invalid_grant"}, status=400)]

    async def fail(at: Any) -> None:
        at.server.answers = [web.Response(status=503)]

    for number, (before, code) in enumerate(
        ((refuse, "authorization_refused"), (fail, "authorization_unavailable"))
    ):
        assert failure(tmp_path / str(number), echo, before=before).code == code


def test_what_is_journaled_holds_no_credentials() -> None:
    """Values under credential-like names, and whatever comes from the vault, are masked."""
    shown = prepared(
        {"vault": MaskedVault(), "v": "hush"}, endpoint="/a/{{ vault.x }}",
        query={"api_key": "{{ v }}", "q": "{{ vault.x }}"},
        headers=[{"key": "X-Token", "value": "{{ v }}"}], body={"p": "{{ vault.x }}"},
    )  # fmt: skip
    assert shown == {
        "method": "GET",
        "endpoint": "/a/***?api_key=***&q=%2A%2A%2A",
        "headers": {"X-Token": "***"},
        "body": {"p": "***"},
    }


ESCAPES = [
    "../admin", "/../admin", "/a/../../b", "/a/..", "/.", "/a/./b", "/%2e%2e/admin", "/%2E./x",
    "/%252e%252e/admin", "/a/..;x=1/b", "/..%2fadmin", "/..%5cadmin", "//evil.example/x", "///x",
    "/a//b", "/%2f%2fevil", "\\\\evil.example", "/a\\..\\b", "/a#b", "/a\r\nX: y", "/a%0d%0aX",
    "/\x00", "/%00", "/\x7f", "/\ud800", "/%2525252525252e", "x" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("value", ESCAPES)
def test_no_value_leads_out_of_the_address_of_the_api(value: str) -> None:
    """Refused, encoded or not, whether it is the whole endpoint or a part of one."""
    for endpoint in ("{{ v }}", "/sites/{{ v }}"):
        with pytest.raises(NodeError) as caught:
            prepared({"v": value}, endpoint=endpoint)
        assert caught.value.code == "invalid_request"
        assert caught.value.message.startswith("API request failed: The endpoint ")
        assert "evil" not in caught.value.message


@pytest.mark.parametrize(
    ("data", "field"),
    [({"endpoint": ""}, "endpoint"), ({"endpoint": None}, "endpoint"),
     ({"endpoint": 7}, "endpoint"),
     ({"endpoint": "https://evil.example/x"}, "endpoint"), ({"endpoint": "/a/../b"}, "endpoint"),
     ({"endpoint": "//evil.example"}, "endpoint"), ({"endpoint": "/{{ x"}, "endpoint"),
     ({"endpoint": "http://{{ v }}/"}, "endpoint"), ({"endpoint": "/" + "x" * 70_000}, "endpoint"),
     ({"method": "TRACE"}, "method"), ({"query": ["a"]}, "query"),
     ({"query": {"a": "{{"}}, "query.a"),
     ({"headers": [{"key": "X A", "value": ""}]}, "headers[0].key"),
     ({"headers": [{"key": "authorization", "value": "x"}]}, "headers[0].key"),
     ({"headers": [{"key": "Host", "value": "x"}]}, "headers[0].key"), ({"body": "{{"}, "body")],
)  # fmt: skip
def test_what_can_never_be_sent_is_refused_when_it_is_saved(
    data: dict[str, Any], field: str
) -> None:
    """The author learns it before any run fails."""
    node = {"id": "n", "data": {"componentId": "altostrat_api", "endpoint": "/x", **data}}
    with pytest.raises(ConfigError) as caught:
        compile_node(node, "nodes[0]")
    assert list(caught.value.errors) == [f"nodes[0].data.{field}"]


@pytest.mark.parametrize(
    ("value", "data"),
    [("", {"endpoint": "{{ v }}"}), (None, {"endpoint": " {{ v }} "}),
     ([1], {"query": {"a": "{{ v }}"}}),
     ({"x": 1}, {"query": {"a": "{{ v }}"}}), ("\ud800", {"query": {"a": "{{ v }}"}}),
     ("a\r\nb", {"headers": [{"key": "X", "value": "{{ v }}"}]}), ("\ud800", {"body": "{{ v }}"})],
)  # fmt: skip
def test_what_renders_to_no_request_fails_before_it_is_journaled(
    value: Any, data: dict[str, Any]
) -> None:
    """Nothing, a list in the query, a line break in a header."""
    with pytest.raises(NodeError) as caught:
        prepared({"v": value}, **data)
    assert caught.value.code == "invalid_request"


def test_an_ordinary_endpoint_keeps_its_form() -> None:
    """What is refused above is the exception."""
    for written, sent in (
        ("sites", "/sites"), ("/sites/", "/sites/"), ("/a b/ü", "/a%20b/%C3%BC"),
        ("/a%20b", "/a%20b"), ("/a...b/.well-known", "/a...b/.well-known"),
        ("/x?q=a b&r", "/x?q=a%20b&r"),
        ("/x?next=//y/../z", "/x?next=//y/../z"), ("/a@b:c;d=1", "/a@b:c;d=1"),
    ):  # fmt: skip
        assert check_endpoint(written) == sent


@given(st.text(max_size=40) | st.text(st.sampled_from("./%25eEfF2\\?#@:;a"), max_size=30))
def test_whatever_is_let_pass_stays_below_the_address(text: str) -> None:
    """Read by another parser, the host is the operator's and no part of the path climbs."""
    try:
        sent = check_endpoint(text)
    except OutboundError:
        return
    parts = urlsplit(f"https://api.example/v1{sent}")
    assert parts.netloc == "api.example"
    assert parts.path.startswith("/v1/")
    assert not {".", ".."} & set(parts.path.split("/"))
    assert sent.isascii()


@pytest.mark.parametrize(
    "url", ["", "ftp://a", "https://u:p@a", "https://a/?q=1", "https://a:0", "a"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """The service would not start with it."""
    with pytest.raises(OutboundError):
        ApiClient(url, max_response_bytes=1)


def test_the_usual_address_is_the_public_one() -> None:
    """Without a setting, the node calls the API that the workflows were written for."""
    assert ApiClient(DEFAULT_URL, max_response_bytes=1).host == "v1.api.altostrat.io"


def test_the_fields_are_those_of_the_page() -> None:
    """A field that is added must be described."""
    page = (Path(__file__).parents[2] / "engine/nodes/altostrat_api.md").read_text("utf-8")
    for field in msgspec.structs.fields(AltostratApiConfig):
        assert f"| `{field.encode_name}` |" in page
