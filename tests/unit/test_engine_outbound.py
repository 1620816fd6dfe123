"""The outgoing HTTP client: which hosts it calls, what it sends on, and what it takes back."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from refold.engine.outbound import (
    REQUEST_BYTES_MAX,
    RESPONSE_BYTES_MAX,
    EgressRules,
    OutboundClient,
    OutboundError,
    OutboundResponse,
    Resolve,
    is_credential_name,
)

LOOPBACK = EgressRules.parse("127.0.0.0/8")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[str]:
    """Serve `handler` for every path on a port of 127.0.0.1; give its origin."""
    app = web.Application(client_max_size=4 * REQUEST_BYTES_MAX)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving_raw(
    connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncGenerator[str]:
    """Serve raw bytes on a port of 127.0.0.1; give its origin."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await connected(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def client_of(
    rules: EgressRules = LOOPBACK,
    resolve: Resolve | None = None,
    max_response_bytes: int = RESPONSE_BYTES_MAX,
) -> AsyncGenerator[OutboundClient]:
    """Give a client and close it."""
    client = OutboundClient(rules, resolve=resolve, max_response_bytes=max_response_bytes)
    try:
        yield client
    finally:
        await client.close()


async def get(
    client: OutboundClient, url: str, headers: Sequence[tuple[str, str]] = ()
) -> OutboundResponse:
    """Send a GET without a body."""
    return await client.request("GET", url, headers, None, 5.0)


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


def test_a_body_is_bounded_after_decompression() -> None:
    """A few kilobytes of gzip must not become 64 MiB in memory."""
    bomb = gzip.compress(bytes(64 << 20))

    async def handle(request: web.Request) -> web.Response:
        data = {
            "/bomb": bomb,
            "/fits": gzip.compress(bytes(1000)),
            "/over": gzip.compress(bytes(1001)),
        }
        headers = {"Content-Encoding": "gzip"}
        return web.Response(body=data[request.path], headers=headers)

    async def scenario() -> None:
        async with serving(handle) as origin, client_of(max_response_bytes=1000) as client:
            assert (await get(client, f"{origin}/fits")).body == bytes(1000)
            for path in ("over", "bomb"):
                with pytest.raises(OutboundError) as caught:
                    await get(client, f"{origin}/{path}")
                assert caught.value.code == "response_too_large"

    asyncio.run(scenario())


def test_a_body_without_a_length_is_bounded_too() -> None:
    """A server that never stops sending is cut off."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(10_000))
        except ConnectionError:
            return response

    async def scenario() -> None:
        async with serving(handle) as origin, client_of(max_response_bytes=50_000) as client:
            with pytest.raises(OutboundError) as caught:
                await get(client, origin)
            assert caught.value.code == "response_too_large"

    asyncio.run(scenario())


def test_headers_come_back_as_text_that_can_be_stored() -> None:
    """Repeated names are joined; undecodable bytes and huge headers do no harm."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        await reader.readuntil(b"\r\n\r\n")
        extra = b"".join(b"X-%d: %s\r\n" % (n, b"y" * 8000) for n in range(10))
        writer.write(
            b"HTTP/1.1 200 F\xfcne\r\nX-A: 1\r\nx-a: 2\r\nX-B: \xff\r\nConnection: close\r\n"
            + (extra if b"large" in line else b"")
            + b"Content-Length: 2\r\n\r\nok"
        )
        await writer.drain()

    async def scenario() -> None:
        async with serving_raw(connected) as origin, client_of() as client:
            answer = await get(client, f"{origin}/")
            assert answer.headers["x-a"] == "1, 2"
            assert answer.headers["x-b"] == "\ufffd"
            answer.reason.encode()
            with pytest.raises(OutboundError) as caught:
                await get(client, f"{origin}/large")
            assert caught.value.code == "response_too_large"

    asyncio.run(scenario())


def test_cookies_are_not_kept() -> None:
    """One pool serves all tenants: a cookie set for one call must not ride on another."""
    cookies: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie", ""))
        return web.Response(headers={"Set-Cookie": "session=hush; Path=/"})

    async def scenario() -> None:
        async with serving(handle) as origin, client_of() as client:
            url = origin.replace("127.0.0.1", "localhost")
            await get(client, url)
            await get(client, url)

    asyncio.run(scenario())
    assert cookies == ["", ""]


def test_a_silent_server_costs_the_time_limit() -> None:
    """The limit covers the body as well as the head of an answer."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if b"/body" in line:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
        await reader.read()

    async def scenario() -> None:
        async with serving_raw(connected) as origin, client_of() as client:
            began = asyncio.get_running_loop().time()
            for path in ("head", "body"):
                with pytest.raises(OutboundError) as caught:
                    await client.request("GET", f"{origin}/{path}?hush", [], None, 0.05)
                assert caught.value.code == "timeout"
                assert "hush" not in caught.value.message
            assert asyncio.get_running_loop().time() - began < 2.0

    asyncio.run(scenario())


def test_a_request_is_sent_once_even_when_the_connection_dies() -> None:
    """aiohttp would repeat a GET or PUT on a stale connection; at_most_once forbids it."""
    seen = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        await reader.readuntil(b"\r\n\r\n")
        seen += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.readuntil(b"\r\n\r\n")
        seen += 1

    async def scenario() -> None:
        async with serving_raw(connected) as origin, client_of() as client:
            assert (await get(client, origin)).body == b"ok"
            with pytest.raises(OutboundError) as caught:
                await client.request("PUT", origin, [], None, 5.0)
            assert caught.value.code == "protocol_error"

    asyncio.run(scenario())
    assert seen == 2


@pytest.mark.parametrize(
    "answer",
    [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",
     b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab",
     b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"],
)  # fmt: skip
def test_an_answer_that_cannot_be_read_is_a_protocol_error(answer: bytes) -> None:
    """Broken servers are named as such, whatever way they are broken."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async def scenario() -> None:
        async with serving_raw(connected) as origin, client_of() as client:
            with pytest.raises(OutboundError) as caught:
                await get(client, origin)
            assert caught.value.code == "protocol_error"

    asyncio.run(scenario())


def test_failures_to_connect_are_told_apart() -> None:
    """DNS, TCP and TLS are mended in different places, so each has its code."""

    async def resolve(host: str, port: int) -> list[str]:
        if host == "known.example":
            return ["127.0.0.1"]
        raise socket.gaierror(socket.EAI_NONAME, f"{port}")

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed_port = unused.getsockname()[1]

    async def scenario() -> dict[str, str]:
        codes: dict[str, str] = {}
        async with serving(echo) as origin, client_of(resolve=resolve) as client:
            port = origin.rpartition(":")[2]
            for name, url in {
                "dns": "http://unknown.example/",
                "tcp": f"http://127.0.0.1:{closed_port}/",
                "tls": f"https://known.example:{port}/",
            }.items():
                with pytest.raises(OutboundError) as caught:
                    await get(client, url)
                codes[name] = caught.value.code
        return codes

    assert asyncio.run(scenario()) == {
        "dns": "dns_error", "tcp": "connect_error", "tls": "tls_error",
    }  # fmt: skip


def test_the_environment_does_not_choose_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would resolve names out of the guard's sight."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def scenario() -> None:
        async with serving(echo) as origin, client_of() as client:
            assert (await get(client, origin)).status == 200

    asyncio.run(scenario())


def test_many_first_calls_share_one_pool_and_a_closed_client_refuses() -> None:
    """Start and end of the pool are safe under concurrency."""
    ports: set[object] = set()

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername"))
        return web.Response()

    async def scenario() -> None:
        async with serving(handle) as origin:
            client = OutboundClient(LOOPBACK)
            await asyncio.gather(*(get(client, origin) for _ in range(8)))
            for _ in range(8):
                await get(client, origin)
            await client.close()
            await client.close()
            with pytest.raises(OutboundError) as caught:
                await get(client, origin)
            assert caught.value.code == "connect_error"

    asyncio.run(scenario())
    assert len(ports) <= 8


def test_aiohttp_is_not_loaded_before_the_first_call() -> None:
    """It is a good part of what an idle service would hold in memory."""
    script = (
        "import sys, refold.engine.nodes.webhook, refold.engine.outbound as o\n"
        "o.OutboundClient()\n"
        "sys.exit('aiohttp' in sys.modules or 'yarl' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], env=dict(os.environ), check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Authorization", True), ("x-api-key", True), ("X-Auth-Token", True), ("client_secret", True),
     ("Password", True), ("Set-Cookie", True), ("Idempotency-Key", False), ("Accept", False)],
)  # fmt: skip
def test_credential_names_are_recognised(name: str, expected: bool) -> None:
    """The one list that masking and redirects go by."""
    assert is_credential_name(name) is expected
