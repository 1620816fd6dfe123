"""Outgoing calls: what comes back is bounded, readable, and sent for only once."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import subprocess
import sys

import pytest
from aiohttp import web

from refold.engine.outbound import (
    OutboundClient,
    OutboundError,
    is_credential_name,
)
from tests.support.outbound_kit import LOOPBACK, client_of, echo, get, serving, serving_raw


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


def test_a_body_that_nobody_wants_can_be_cut_off_instead() -> None:
    """The status counts, whatever comes with it."""

    async def handle(request: web.Request) -> web.Response:
        del request
        return web.Response(status=202, body=bytes(1 << 20))

    async def scenario() -> None:
        made = client_of(max_response_bytes=1000, cuts_responses=True)
        async with serving(handle) as origin, made as client:
            answer = await get(client, origin)
            assert (answer.status, len(answer.body) <= 1000) == (202, True)

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
