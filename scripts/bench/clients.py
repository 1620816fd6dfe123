"""The clients of a load: so many connections that each send a request, wait, and send the next.

They are wrk where it is installed, since a compiled client takes least from the service on the
same machine; else a small one of ours. Each load is a process of its own, so that its CPU time can
be told apart.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec

CLIENTS: Final = 64


class Request(msgspec.Struct, frozen=True):
    """What every client of a load sends, over and over."""

    method: str
    path: str
    body: str = ""
    headers: dict[str, str] = {}


class Load(msgspec.Struct, frozen=True):
    """What the clients saw."""

    client: str
    answers: int
    refused: int
    """Answers that were not of class 2xx."""
    seconds: float
    p50_ms: float
    p99_ms: float
    client_cpu_s: float = 0.0

    @property
    def per_second(self) -> float:
        """Answers of class 2xx a second."""
        return (self.answers - self.refused) / self.seconds


def drive(port: int, request: Request, seconds: int, clients: int = CLIENTS) -> Load:
    """Let `clients` send a request again and again, for some seconds.

    Raises:
        OSError: the client program failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wrk = shutil.which("wrk")
    try:
        if wrk:
            made = _wrk(wrk, port, request, seconds, clients)
        else:
            made = _own(port, request, seconds, clients)
    except subprocess.CalledProcessError as error:
        raise OSError(f"the load's client failed: {error.stderr.strip()[-300:]}") from error
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return msgspec.structs.replace(made, client_cpu_s=cpu)


def _wrk(wrk: str, port: int, request: Request, seconds: int, clients: int) -> Load:
    lines = [f"wrk.method = {_lua(request.method)}"]
    lines += [f"wrk.headers[{_lua(name)}] = {_lua(v)}" for name, v in request.headers.items()]
    if request.body:
        lines.append(f"wrk.body = {_lua(request.body)}")
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory, "load.lua")
        script.write_text("\n".join(lines))
        command = f"{wrk} -t1 -c{clients} -d{seconds}s --latency --timeout 30s -s {script}"
        said = subprocess.run(
            [*command.split(), f"http://127.0.0.1:{port}{request.path}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    answered = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", said)
    assert answered is not None, "wrk prints how many requests were answered"
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return Load(
        "wrk",
        int(answered[1]),
        int(refused[1]) if refused else 0,
        float(answered[2]) * {"ms": 0.001, "s": 1, "m": 60}[answered[3]],
        _milliseconds(said, "50%"),
        _milliseconds(said, "99%"),
    )


def _lua(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _milliseconds(said: str, share: str) -> float:
    found = re.search(rf"{share}\s+([\d.]+)(us|ms|s)", said)
    assert found is not None, "wrk prints its latencies"
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]


def _own(port: int, request: Request, seconds: int, clients: int) -> Load:
    said = subprocess.run(
        [sys.executable, "-m", __name__, str(port), str(seconds), str(clients)],
        input=msgspec.json.encode(request),
        capture_output=True,
        check=True,
        env=dict(os.environ),
    ).stdout
    return msgspec.json.decode(said, type=Load)


async def _client(port: int, request: Request, seconds: int, clients: int) -> Load:
    body = request.body.encode()
    headers = {"Host": "127.0.0.1", "Content-Length": str(len(body)), **request.headers}
    head = f"{request.method} {request.path} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    message = head.encode() + b"\r\n" + body
    times: list[float] = []
    refused = 0
    begin = time.perf_counter()

    async def one() -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() - begin < seconds:
            sent = time.perf_counter()
            writer.write(message)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", answer)
            assert length is not None
            await reader.readexactly(int(length[1]))
            times.append(time.perf_counter() - sent)
            refused += not answer.startswith(b"HTTP/1.1 2")
        writer.close()

    await asyncio.gather(*(one() for _ in range(clients)))
    took = time.perf_counter() - begin
    times.sort()
    p50, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
    return Load("built in (Python)", len(times), refused, took, p50, p99)


def main() -> None:
    """Be the client: the request comes on standard input, the figures go to standard output."""
    import uvloop

    port, seconds, clients = (int(argument) for argument in sys.argv[1:4])
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    made = uvloop.run(_client(port, request, seconds, clients))
    print(msgspec.json.encode(made).decode())


if __name__ == "__main__":
    main()
