"""The whole service in the test's own process, asked without a socket; and what it did for that."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from refold.http.app import Application
from refold.http.assembly import assemble
from refold.http.auth import Authenticator
from refold.http.auth_keys import AuthSettings
from refold.http.endpoints import ENDPOINTS
from refold.http.settings import Settings

from .service import SECRET, Reply, token

_VALUE = re.compile(r"'[^']*'|x'[0-9a-f]*'|\b[0-9]+\b", re.IGNORECASE)


class InProcess:
    """A service that is called like uvicorn calls it."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def call(
        self, method: str, path: str, body: Any = None, org: str = "acme", **headers: str
    ) -> Reply:
        """Send one request of a tenant that has all scopes."""
        data = b"" if body is None else json.dumps(body).encode()
        given = {"authorization": f"Bearer {token(org)}", "content-type": "application/json"}
        target, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": target,
            "query_string": query.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in (given | headers).items()],
        }
        sent: list[Mapping[str, Any]] = []
        asked = False

        async def receive() -> Mapping[str, Any]:
            nonlocal asked
            if asked:
                await asyncio.get_running_loop().create_future()
            asked = True
            return {"type": "http.request", "body": data, "more_body": False}

        async def send(message: Mapping[str, Any]) -> None:
            sent.append(message)

        await self._application(scope, receive, send)  # type: ignore[arg-type]
        names = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
        return Reply(sent[0]["status"], names, b"".join(part["body"] for part in sent[1:]))


@asynccontextmanager
async def in_process(data: Path, **environ: str) -> AsyncGenerator[InProcess]:
    """Serve a data directory for the length of a block."""
    named = {f"REFOLD_{name}": value for name, value in environ.items()}
    settings = Settings.load({}, {"REFOLD_DATA": str(data), **named})
    await asyncio.to_thread(data.mkdir, parents=True, exist_ok=True)
    authenticator = Authenticator(AuthSettings(secret=SECRET))
    async with assemble(settings, "http://test") as (app, ids):
        await app.engine.recover()
        try:
            yield InProcess(Application(app, authenticator, ids, ENDPOINTS, {}))
        finally:
            await app.engine.stop(1)


@contextmanager
def statements_told(
    replace: Callable[[object, str, object], None],
) -> Generator[list[str]]:
    """Tell every SQL statement that connections opened in the block run, without its values.

    `replace` puts something in the place of an attribute until the test is over.
    """
    told: list[str] = []
    connect = sqlite3.connect

    def traced(*places: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*places, **named)
        connection.set_trace_callback(lambda text: told.append(_VALUE.sub("?", text)))
        return connection

    replace(sqlite3, "connect", traced)
    yield told


@contextmanager
def calls_counted() -> Generator[list[int]]:
    """Count the Python functions that this thread enters within a block; the sum comes last."""
    count = 0
    sums: list[int] = []

    def hear(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(hear)
    try:
        yield sums
    finally:
        sys.setprofile(before)
        sums.append(count)
