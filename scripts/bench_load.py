"""The load of `refold bench`: clients that wait for completion, and the sink that nodes call.

Clients are wrk where it is installed, since a compiled client takes least from the service on
the same machine; else a small one of ours. Each runs as a process of its own, so that its CPU
time can be told apart.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import msgspec

CLIENTS = 64
_SINK_ANSWER = (
    b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"ok":true}'
)
_WRK_SCRIPT = """wrk.method = "POST"
wrk.body = '{"context":{"user":{"id":"u1","name":"Ada"},"amount":42}}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Prefer"] = "wait=30"
wrk.headers["Authorization"] = "Bearer %s"
"""
BODY = b'{"context":{"user":{"id":"u1","name":"Ada"},"amount":42}}'


class Load(msgspec.Struct, frozen=True):
    """What the clients saw."""

    client: str
    answers: int
    refused: int
    seconds: float
    p50_ms: float
    p99_ms: float
    client_cpu_s: float

    @property
    def per_second(self) -> float:
        """Completed runs a second."""
        return (self.answers - self.refused) / self.seconds


def drive(port: int, path: str, token: str, seconds: int, clients: int = CLIENTS) -> Load:
    """Let `clients` execute a workflow, each waiting for completion, for some seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wrk = shutil.which("wrk")
    made = (
        _wrk(wrk, port, path, token, seconds, clients)
        if wrk
        else _own(port, path, token, seconds, clients)
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return msgspec.structs.replace(made, client_cpu_s=cpu)


@contextmanager
def sink() -> Generator[int, None, None]:
    """Run an endpoint that answers every request with 200; yields its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "refold.scripts.bench_load", "sink"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _wrk(wrk: str, port: int, path: str, token: str, seconds: int, clients: int) -> Load:
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory, "load.lua")
        script.write_text(_WRK_SCRIPT % token)
        said = subprocess.run(
            [
                wrk,
                "-t1",
                f"-c{clients}",
                f"-d{seconds}s",
                "--latency",
                "--timeout",
                "30s",
                "-s",
                str(script),
                f"http://127.0.0.1:{port}{path}",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    answered = re.search(r"(\d+) requests in ([\d.]+)s", said)
    assert answered is not None, "wrk prints how many requests were answered"
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return Load(
        "wrk",
        int(answered[1]),
        int(refused[1]) if refused else 0,
        float(answered[2]),
        _milliseconds(said, "50%"),
        _milliseconds(said, "99%"),
        0.0,
    )


def _milliseconds(said: str, share: str) -> float:
    found = re.search(rf"{share}\s+([\d.]+)(us|ms|s)", said)
    assert found is not None, "wrk prints its latencies"
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]


def _own(port: int, path: str, token: str, seconds: int, clients: int) -> Load:
    said = subprocess.run(
        [
            sys.executable,
            "-m",
            "refold.scripts.bench_load",
            "client",
            str(port),
            path,
            str(seconds),
            str(clients),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "BENCH_TOKEN": token},
    ).stdout
    return msgspec.convert(json.loads(said), Load)


async def _client(port: int, path: str, seconds: int, clients: int) -> Load:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {os.environ['BENCH_TOKEN']}\r\nPrefer: wait=30\r\n"
        f"Content-Length: {len(BODY)}\r\n\r\n"
    ).encode()
    times: list[float] = []
    refused = 0
    begin = time.perf_counter()

    async def one() -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() - begin < seconds:
            sent = time.perf_counter()
            writer.write(head + BODY)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", answer)
            assert length is not None
            await reader.readexactly(int(length[1]))
            times.append(time.perf_counter() - sent)
            refused += not answer.startswith(b"HTTP/1.1 200")
        writer.close()

    await asyncio.gather(*(one() for _ in range(clients)))
    took = time.perf_counter() - begin
    times.sort()
    p50, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
    return Load("built in (Python)", len(times), refused, took, p50, p99, 0.0)


class _Sink(asyncio.Protocol):
    """Answers each request once its head and body are in."""

    def __init__(self) -> None:
        self._waiting = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by class, only by behaviour.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while (end := self._waiting.find(b"\r\n\r\n")) >= 0:
            length = re.search(rb"(?i)content-length: *(\d+)", self._waiting[:end])
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._waiting) < size:
                return
            self._waiting = self._waiting[size:]
            assert self._transport is not None
            self._transport.write(_SINK_ANSWER)


async def _serve_sink() -> None:
    server = await asyncio.get_running_loop().create_server(_Sink, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Be the sink or the client, as the first argument says."""
    import uvloop

    if sys.argv[1] == "sink":
        try:
            uvloop.run(_serve_sink())
        except KeyboardInterrupt:
            return
    else:
        port, path, seconds, clients = sys.argv[2:6]
        made = uvloop.run(_client(int(port), path, int(seconds), int(clients)))
        print(json.dumps(msgspec.to_builtins(made)))


if __name__ == "__main__":
    main()
