"""The floors: what the same work costs with nothing but what can't be left out.

HTTP is a bare ASGI application that reads the same request with msgspec and writes the same answer;
the journal is a `sqlite3` loop that inserts the same rows in groups of the same size; a replay is
reading, decoding and folding the same events, with nothing written. None of them has tokens,
tenants, hashes, a graph or a view.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from ...journal.sqlite_file import JOURNAL_FILE
from .clients import Load, Request, drive
from .service import cpu_of

_ANSWER: Final = "REFOLD_BENCH_ANSWER"
_ROWS: Final = """
CREATE TABLE event (position INTEGER PRIMARY KEY, stream TEXT NOT NULL, version INTEGER NOT NULL,
  at INTEGER NOT NULL, entry BLOB NOT NULL, leaf BLOB NOT NULL, body_at INTEGER NOT NULL,
  UNIQUE (stream, version)) STRICT;
CREATE TABLE body (position INTEGER PRIMARY KEY, salt BLOB NOT NULL, subject TEXT,
  data BLOB NOT NULL) STRICT;
"""


class Cost(msgspec.Struct, frozen=True):
    """What one piece of work took."""

    seconds: float
    cpu_s: float


class HttpFloor(msgspec.Struct, frozen=True):
    """A load on the bare application."""

    load: Load
    cpu_ms: float
    """CPU time of the server for one answer."""


def http_floor(
    request: Request, answer: Any, seconds: int, *, starlette: bool = False
) -> HttpFloor:
    """Let the clients ask a bare application that gives this answer to everything.

    With `starlette` it is a route of that framework, which is what a read is compared with.
    """
    with _bare_server(answer, starlette) as (process, port):
        asked = msgspec.structs.replace(request, path="/")
        drive(port, asked, 1)
        before = cpu_of(process.pid)
        load = drive(port, asked, seconds)
        spent = cpu_of(process.pid) - before
        return HttpFloor(load, 1000 * spent / load.answers)


@contextmanager
def _bare_server(
    answer: Any, starlette: bool
) -> Generator[tuple[subprocess.Popen[str], int], None, None]:
    with tempfile.TemporaryDirectory(prefix="refold-bench-") as directory:
        stored = Path(directory, "answer.json")
        stored.write_bytes(msgspec.json.encode(answer))
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, "starlette" if starlette else "asgi"],
            env={**os.environ, _ANSWER: str(stored)},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.terminate()
            process.communicate()


def journal_floor(data: Path, after: int, group: float) -> Cost:
    """Insert the rows that follow a position, in groups of this many, into a file of their own.

    The rows are those that a service has just written, entries and bodies byte for byte; each
    group is one commit with `synchronous=FULL`, as the service made it.
    """
    with closing(sqlite3.connect(f"file:{data / JOURNAL_FILE}?mode=ro", uri=True)) as source:
        events = source.execute(
            "SELECT position, stream, version, at, entry, leaf, body_at FROM event "
            "WHERE position > ?",
            (after,),
        ).fetchall()
        bodies = source.execute(
            "SELECT position, salt, subject, data FROM body WHERE position > ?", (after,)
        ).fetchall()
    step = max(1, round(group))
    groups: list[tuple[list[Any], list[Any]]] = []
    place = 0
    for first in range(0, len(events), step):
        rows = events[first : first + step]
        begin = place
        while place < len(bodies) and bodies[place][0] <= rows[-1][0]:
            place += 1
        groups.append((rows, bodies[begin:place]))
    with tempfile.TemporaryDirectory(prefix="refold-bench-", dir=data.parent) as directory:
        return _insert(Path(directory, "floor.db"), groups)


def _insert(path: Path, groups: list[tuple[list[Any], list[Any]]]) -> Cost:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_ROWS)
        began, spent = time.perf_counter(), time.process_time()
        for events, bodies in groups:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)", events)
            connection.executemany("INSERT INTO body VALUES (?, ?, ?, ?)", bodies)
            connection.execute("COMMIT")
        return Cost(time.perf_counter() - began, time.process_time() - spent)


class Calls(msgspec.Struct, frozen=True):
    """Calls that the client made alone."""

    calls: int
    seconds: float
    cpu_s: float


async def outgoing_floor(port: int, seconds: int, at_once: int) -> Calls:
    """Call the sink as nodes do, so many at once, with the client of nodes and nothing else."""
    import aiohttp

    made = 0
    url = f"http://127.0.0.1:{port}/"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def caller() -> None:
            nonlocal made
            while time.perf_counter() - began < seconds:
                async with session.post(url, data=b'{"id":"u1"}') as answer:
                    await answer.read()
                made += 1

        began, spent = time.perf_counter(), time.process_time()
        await asyncio.gather(*(caller() for _ in range(at_once)))
        return Calls(made, time.perf_counter() - began, time.process_time() - spent)


def _serve_bare(kind: str) -> None:
    """Serve the stored answer with the server that Refold runs on, and print the port first."""
    import uvicorn

    answer = msgspec.json.decode(Path(os.environ[_ANSWER]).read_bytes())
    application = _starlette(answer) if kind == "starlette" else _asgi(answer)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(
            application, loop="uvloop", log_level="warning", access_log=False, lifespan="off"
        )
        uvicorn.Server(config).run([listener])


def _asgi(answer: Any) -> Any:
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if body:
            decode(body)
        content = encode(answer)
        length = str(len(content)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return application


def _starlette(answer: Any) -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request as Asked
    from starlette.responses import Response
    from starlette.routing import Route

    encode = msgspec.json.Encoder().encode

    async def endpoint(request: Asked) -> Response:
        return Response(encode(answer), media_type="application/json")

    return Starlette(routes=[Route("/", endpoint)])


if __name__ == "__main__":
    _serve_bare(sys.argv[1])
