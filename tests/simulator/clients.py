"""Clients of a simulated service: what they ask is chance, what they were promised is kept.

A promise is checked when it is given: what was acknowledged must be durable then. What clients
know outlives the service's process; what was under way at a kill they ask again, under its key.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from random import Random
from typing import Any

import msgspec

from refold.http.auth import SCOPES, mint
from tests.simulator.audit import Audit
from tests.simulator.life import SECRET, Life
from tests.simulator.outside import Outside
from tests.support.graphs import Case

TENANTS = ("acme", "bolt")


class Reply(msgspec.Struct):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Asked(msgspec.Struct):
    """A request that makes a run, and what was answered to it."""

    tenant: str
    path: str
    body: Any
    key: str
    run: str = ""
    accepted: bytes = b""


class Known(msgspec.Struct):
    """What the clients of one tenant know."""

    workflows: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """Id to kind, of those that are not deleted."""
    hooks: list[str] = msgspec.field(default_factory=list[str])
    asked: list[Asked] = msgspec.field(default_factory=list[Asked])
    runs: dict[str, Asked] = msgspec.field(default_factory=dict[str, Asked])
    secrets: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """Names of vault items and their ids."""
    seen: list[tuple[str, str, bytes]] = msgspec.field(default_factory=list[tuple[str, str, bytes]])
    """Answers to repeatable requests: path, position and body."""
    told: set[str] = msgspec.field(default_factory=set[str])
    """Where subscribers wait."""
    erasures: int = 0
    """How many erasures were asked for: what was seen before may read otherwise after."""


class Ledger(msgspec.Struct):
    """What was promised, outside of the service and of all its lives."""

    known: dict[str, Known]
    cases: dict[str, Case] = msgspec.field(default_factory=dict[str, Case])
    """Scripted workflows by id."""
    answers: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    deleted: set[str] = msgspec.field(default_factory=set[str])
    """Workflows that were deleted: nothing of theirs is shown again."""
    actions_total: int = 0


class Client:
    """One client during one life of the service."""

    def __init__(
        self, life: Life, ledger: Ledger, audit: Audit, outside: Outside, dice: Random, tenant: str
    ) -> None:
        self.life = life
        self.ledger = ledger
        self.audit = audit
        self.outside = outside
        self._dice = dice
        self.tenant = tenant
        self.known = ledger.known[tenant]
        self._token = ""
        self._token_ends = 0.0

    # Asking

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        token: str = "",
    ) -> Reply:
        """Send one request and return its answer; what may never be answered is noted."""
        named = {"authorization": f"Bearer {token or self._current_token()}"} | dict(headers or {})
        data = b"" if body is None else json.dumps(body).encode()
        if data:
            named["content-type"] = "application/json"
        reply = await ask(self.life, method, path, named, data)
        kind = f"{reply.status}"
        self.ledger.answers[kind] = self.ledger.answers.get(kind, 0) + 1
        if reply.status >= 500 and reply.status != 503:
            self.audit.wrong(f"{method} {path} answered {reply.status}: {reply.body!r}")
        self.audit.look_for_secrets(reply.body, f"the answer to {method} {path}")
        return reply

    def _current_token(self) -> str:
        now = self.audit.now_us() / 1e6
        if now >= self._token_ends - 1:
            self._token = self.token(3600)
            self._token_ends = now + 3600
        return self._token

    def token(self, seconds: int) -> str:
        """Mint a token of this client's tenant."""
        now = self.audit.now_us() / 1e6
        return mint(
            SECRET, subject="ada", tenant=self.tenant, scopes=SCOPES, ttl_s=seconds, now=now
        )

    def expect(self, reply: Reply, *statuses: int, what: str) -> bool:
        """See that an answer has one of these statuses; a 503 promises nothing and is allowed."""
        if reply.status not in (*statuses, 503):
            self.audit.wrong(f"{what} answered {reply.status}: {reply.body!r}")
        return reply.status in statuses

    def remember(self, path: str, reply: Reply) -> None:
        """Keep an answer that must be the same whenever it is asked for as of its position."""
        if reply.status == 200:
            self.known.seen.append((path, reply.headers["x-refold-position"], reply.body))

    # Promises

    async def start_run(self, asked: Asked, wait: int = 0) -> None:
        """Ask for a run, and hold the service to its answer."""
        headers = {"idempotency-key": asked.key} if asked.key else {}
        if wait:
            headers["prefer"] = f"wait={wait}"
        # A repeat may come while this one is under way: both must get the same.
        reply = await self.call("POST", asked.path, asked.body, headers)
        if reply.status not in (200, 202):
            self.expect(reply, 404, 409, 422, what=asked.path)
            is_gone = (
                self.audit.workflow_of(asked.run) in self.ledger.deleted if asked.run else False
            )
            if asked.run and reply.status != 503 and not is_gone:
                self.audit.wrong(f"a repeat of {asked.path} was refused: {reply.body!r}")
            return
        run = reply.headers.get("x-run-id", "")
        if not run:
            shown: dict[str, Any] = reply.json
            run = str(shown.get("new_run", shown)["id"])
        if asked.run and asked.run != run:
            self.audit.wrong(f"a repeat made another run: {asked.run} and {run}")
        is_other = asked.accepted not in (b"", reply.body) and b'{"erased":true}' not in reply.body
        if reply.status == 202 and is_other:
            self.audit.wrong(f"a repeat of {asked.path} got {reply.body!r}, not {asked.accepted!r}")
        asked.run = run
        if reply.status == 202 and asked.key:
            asked.accepted = reply.body
        elif reply.status == 200 and not self.audit.runs[run].is_ended:
            self.audit.wrong(f"{run} was shown as finished and is not")
        self.known.runs[run] = asked
        self.acknowledged(run, 1)

    def acknowledged(self, stream: str, version: int) -> None:
        """See that what is promised is durable."""
        events = self.life.store.disk.events(stream)
        if len(events) < version:
            self.audit.wrong(f"acknowledged and not written: {stream} {version}")
        elif not self.life.store.disk.is_synced(events[version - 1].position):
            self.audit.wrong(f"acknowledged and not durable: {stream} {version}")


async def ask(life: Life, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
    """Put a request before the application as its server does, on a task of its own."""
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    status, found, parts = 0, dict[str, str](), list[bytes]()
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    is_sent = False

    async def receive() -> Any:
        nonlocal is_sent
        if is_sent:
            await gone
            return {"type": "http.disconnect"}
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status, found
        if message["type"] == "http.response.start":
            status = message["status"]
            found = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            parts.append(message.get("body", b""))

    serving = asyncio.create_task(life.web(scope, receive, send), name="request")
    try:
        await asyncio.shield(serving)
    finally:
        # Who hangs up ends nothing but their own waiting.
        gone.set_result(None)
    return Reply(status, found, b"".join(parts))


def new_key(dice: Random) -> str:
    """Return an idempotency key."""
    return str(uuid.UUID(int=dice.getrandbits(128)))
