"""The outgoing HTTP client: which hosts it calls, what it sends on, and what it takes back."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from refold.engine.outbound import (
    REQUEST_BYTES_MAX,
    EgressRules,
    OutboundError,
)
from tests.support.outbound_kit import Handler, client_of, echo, get, serving


def test_only_the_allowed_addresses_of_a_name_are_connected_to() -> None:
    """A name with an inner and an allowed address is called at the allowed one."""

    async def resolve(host: str, port: int) -> list[str]:
        del host, port
        return ["127.0.0.2", "10.0.0.1", "127.0.0.1"]

    async def scenario() -> None:
        async with (
            serving(echo) as origin,
            client_of(EgressRules.parse("127.0.0.1"), resolve=resolve) as client,
        ):
            url = origin.replace("127.0.0.1", "service.example") + "/x"
            assert (await get(client, url)).status == 200

    asyncio.run(scenario())


def test_an_allowed_host_name_may_have_a_private_address() -> None:
    """`EGRESS_ALLOW` takes names too, and only the very name that was given."""

    async def resolve(host: str, port: int) -> list[str]:
        del host, port
        return ["127.0.0.1"]

    async def scenario() -> None:
        rules = EgressRules.parse("Internal.Example.")
        async with serving(echo) as origin, client_of(rules, resolve=resolve) as client:
            port = origin.rpartition(":")[2]
            assert (await get(client, f"http://internal.example:{port}/")).status == 200
            with pytest.raises(OutboundError) as caught:
                await get(client, f"http://a.internal.example:{port}/")
            assert caught.value.code == "egress_refused"

    asyncio.run(scenario())


def test_a_request_arrives_as_it_was_given() -> None:
    """Method, target, headers and body reach the server, and nothing is added about the caller."""

    async def scenario() -> None:
        async with serving(echo) as origin, client_of() as client:
            answer = await client.request(
                "PATCH", f"{origin}/a%2Fb?q=1", [("X-One", "grün")], b"body", 5.0
            )
            seen = json.loads(answer.body)
        assert (seen["method"], seen["target"], seen["body"]) == ("PATCH", "/a%2Fb?q=1", "body")
        assert seen["headers"]["x-one"] == "grün"
        assert {"user-agent", "content-type", "cookie"}.isdisjoint(seen["headers"])
        assert (answer.status, answer.reason) == (200, "OK")
        assert answer.headers["content-type"].startswith("application/json")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "1\r\nX-B: 2"), ("X-A", "1\n2"), ("X-A", "\x00"), ("X-A", "\x7f"), ("X-A", "\x85"),
        ("X-A", "\ud800"), ("X A", "1"), ("", "1"), ("X:A", "1"), ("X-Ä", "1"), ("X\r\n", "1"),
        ("Host", "inner"), ("content-length", "0"), ("Transfer-Encoding", "chunked"),
        ("Connection", "close"), ("Expect", "100-continue"), ("Upgrade", "h2c"),
    ],
)  # fmt: skip
def test_a_header_that_could_break_the_framing_is_refused(name: str, value: str) -> None:
    """A line break or a length of the caller's could smuggle in a second request."""

    async def scenario() -> None:
        async with serving(echo) as origin, client_of() as client:
            with pytest.raises(OutboundError) as caught:
                await get(client, origin, [(name, value)])
            assert caught.value.code == "invalid_request"

    asyncio.run(scenario())


@pytest.mark.parametrize("method", ["", "GET /x HTTP/1.1\r\nX:", "GÈT"])
def test_a_method_that_is_no_token_is_refused(method: str) -> None:
    """The method is the first word on the wire."""

    async def scenario() -> None:
        async with client_of() as client:
            with pytest.raises(OutboundError) as caught:
                await client.request(method, "http://127.0.0.1:9/", [], None, 5.0)
            assert caught.value.code == "invalid_request"

    asyncio.run(scenario())


def test_a_body_or_headers_over_the_limit_are_not_sent() -> None:
    """The largest body still goes out; one byte more is an error of the request."""

    async def count(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async def scenario() -> None:
        async with serving(count) as origin, client_of() as client:
            full = b"x" * REQUEST_BYTES_MAX
            with pytest.raises(OutboundError) as caught:
                await client.request("POST", origin, [], full + b"x", 5.0)
            assert caught.value.code == "request_too_large"
            with pytest.raises(OutboundError) as caught:
                await get(client, origin, [("X-A", "x" * 70_000)])
            assert caught.value.code == "request_too_large"
            answer = await client.request("POST", origin, [], full, 5.0)
            assert answer.body == str(REQUEST_BYTES_MAX).encode()

    asyncio.run(scenario())


def redirecting(status: int, location: str) -> Handler:
    """Redirect from `/start`, echo elsewhere."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/start":
            return web.Response(status=status, headers={"Location": location})
        return await echo(request)

    return handle


@pytest.mark.parametrize(
    "location",
    ["http://10.0.0.1/", "http://169.254.169.254/latest", "file:///etc/passwd", "http://2130706433/",
     "http://[::1]/", "//0x7f.1/", "http://user:hush@127.0.0.1/", "http://[bad", "ftp://127.0.0.1/",
     "http://inner.example/"],
)  # fmt: skip
def test_a_redirect_is_judged_like_a_first_url(location: str) -> None:
    """A public server must not be able to send the caller inwards."""

    async def resolve(host: str, port: int) -> list[str]:
        del host, port
        return ["10.0.0.1"]

    async def scenario() -> None:
        async with (
            serving(redirecting(302, location)) as origin,
            client_of(resolve=resolve) as client,
        ):
            with pytest.raises(OutboundError) as caught:
                await get(client, f"{origin}/start")
            assert caught.value.code == "egress_refused"
            assert "hush" not in caught.value.message

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "method", "sent_on", "body"),
    [
        (301, "POST", "GET", ""), (302, "POST", "GET", ""), (303, "PUT", "GET", ""),
        (302, "PUT", "PUT", "data"), (307, "POST", "POST", "data"), (308, "POST", "POST", "data"),
    ],
)  # fmt: skip
def test_a_redirect_keeps_or_drops_method_and_body_by_its_status(
    status: int, method: str, sent_on: str, body: str
) -> None:
    """RFC 9110 section 15.4, with the old custom for 301 and 302 after a POST."""

    async def scenario() -> None:
        async with serving(redirecting(status, "next?a=1")) as origin, client_of() as client:
            headers = [("Content-Type", "text/plain"), ("Authorization", "hush")]
            answer = await client.request(method, f"{origin}/start", headers, b"data", 5.0)
        seen = json.loads(answer.body)
        assert (seen["method"], seen["body"], seen["target"]) == (sent_on, body, "/next?a=1")
        assert ("content-type" in seen["headers"]) is bool(body)
        assert seen["headers"]["authorization"] == "hush"

    asyncio.run(scenario())


def test_credentials_stay_with_the_origin_they_were_meant_for() -> None:
    """Another port is another origin: whoever listens there must not get the caller's keys."""

    async def scenario() -> None:
        headers = [
            ("Authorization", "hush"), ("Cookie", "a=hush"), ("X-Api-Key", "hush"),
            ("X-Auth-Token", "hush"), ("Idempotency-Key", "k1"), ("X-Other", "o"),
        ]  # fmt: skip
        async with (
            serving(echo) as other,
            serving(redirecting(307, f"{other}/end")) as origin,
            client_of() as client,
        ):
            answer = await client.request("POST", f"{origin}/start", headers, b"data", 5.0)
        seen = json.loads(answer.body)
        assert "hush" not in answer.body.decode()
        assert seen["headers"]["idempotency-key"] == "k1"
        assert seen["headers"]["x-other"] == "o"

    asyncio.run(scenario())


def test_redirects_end_after_five() -> None:
    """A loop of redirects costs six requests, not a time limit."""
    paths: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=302, headers={"Location": f"/{len(paths)}"})

    async def scenario() -> None:
        async with serving(handle) as origin, client_of() as client:
            with pytest.raises(OutboundError) as caught:
                await get(client, origin)
            assert caught.value.code == "too_many_redirects"

    asyncio.run(scenario())
    assert len(paths) == 6


def test_a_redirect_without_a_target_is_an_answer() -> None:
    """304 and a 302 without Location are given back as they came."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=int(request.path[1:]))

    async def scenario() -> None:
        async with serving(handle) as origin, client_of() as client:
            assert (await get(client, f"{origin}/304")).status == 304
            assert (await get(client, f"{origin}/302")).status == 302

    asyncio.run(scenario())
