"""The world that workflows call: an endpoint that fails, hangs, answers late, and points astray.

Calls under `/wild/` are answered by chance. Those of a scripted workflow are answered by what its
script says of the node's attempt, which is read off the audit: so whatever happens to the service,
a twin of it that was never disturbed would have got the same answers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from random import Random
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from refold.engine.egress import EgressRules
from refold.engine.outbound import _GuardedResolver  # pyright: ignore[reportPrivateUsage]
from tests.simulator.audit import Audit
from tests.support.simulated import Reply, digest

HOST = "endpoint.test"
TRAPS = (
    "http://169.254.169.254/latest/meta-data",
    "http://evil.test/inside",
    "http://[::ffff:10.0.0.1]/",
    "http://127.0.0.1:8080/journal",
)
"""Where an answer may point that nobody may follow."""
ADDRESSES = {HOST: "127.0.0.1", "evil.test": "10.0.0.7"}
FORBIDDEN = "a forbidden address was called"


class Answer:
    """What came back, as the outgoing client reads it."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.reason = ""
        self.headers = dict(headers)
        self.content = self
        self._rest = [body] if body else []

    async def readany(self) -> bytes:
        """Return the next bytes of the body."""
        return self._rest.pop() if self._rest else b""


class Outside:
    """Everything beyond the service's own process, seen through its calls."""

    def __init__(self, audit: Audit, dice: Random) -> None:
        self.audit = audit
        self._dice = dice
        self.is_healed = False
        """Whether everything answers at once, and well."""
        self.scripts: dict[str, tuple[Mapping[str, Sequence[Reply]], ...]] = {}
        """What happens to a workflow's calls: in a world where some fail, and in a mended one."""
        self.secrets: list[str] = []
        self.heard: dict[str, set[int]] = {}
        """Which positions each subscriber has taken."""
        self.calls_total = 0
        self.faults_total = 0

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Look a name up."""
        del port
        await asyncio.sleep(0)
        if host not in ADDRESSES:
            raise OSError("no such name")
        return [ADDRESSES[host]]

    def is_mended(self, run: str) -> bool:
        """Tell in which of a script's worlds a run lives: chance, but the same every time."""
        return sha256(run.encode()).digest()[0] % 2 == 0

    async def answer(
        self, url: str, headers: Sequence[tuple[str, str]], body: bytes | None
    ) -> Answer:
        """Take one request and answer it."""
        named = {name.lower(): value for name, value in headers}
        parts = urlsplit(url)
        if parts.hostname != HOST:
            self.audit.wrong(f"{FORBIDDEN}: {parts.hostname}")
        self.calls_total += 1
        key, run = named.get("idempotency-key", ""), named.get("x-run", "")
        if parts.path.startswith("/told"):
            return await self._hear(parts.path, json.loads(body or b"[]"))
        if not parts.path.startswith("/moved"):
            self.audit.called(run, key)
        name = parts.path.rpartition("/")[2]
        if parts.path.startswith(("/wild", "/moved")):
            return await self._wild(name, body)
        return await self._scripted(run, name, key, body)

    async def _scripted(self, run: str, name: str, key: str, body: bytes | None) -> Answer:
        effect = self.audit.effects.get((run, key))
        worlds = self.scripts[self.audit.workflow_of(run)]
        replies = worlds[self.is_mended(run)].get(name) or [Reply()]
        reply = replies[min(effect.attempt if effect else 1, len(replies)) - 1]
        began = self.audit.now_us()
        # What is cut off and made again is answered when the first would have been.
        due = (effect.began if effect else began) + round(reply.seconds * 1e6)
        await asyncio.sleep(max(0, due - began) / 1e6)
        answer = {"node": name, "digest": digest(json.loads(body or b"null"))}
        return Answer(reply.status, _JSON, json.dumps(answer).encode())

    async def _hear(self, path: str, events: list[dict[str, Any]]) -> Answer:
        """Be told of events: those of a stream in order, none of them left out."""
        tenant = path.rpartition("/")[2]
        taken = self.heard.setdefault(path, set())
        sent = {int(event["sequence"]) for event in events}
        for (whose, stream), positions in self.audit.told.items():
            of_stream = sent.intersection(positions) if whose == tenant else None
            if of_stream:
                sent -= of_stream
                before = positions[: positions.index(max(of_stream))]
                if not of_stream.union(taken).issuperset(before):
                    self.audit.wrong(f"{path} is told of {stream} with a hole: {sorted(of_stream)}")
        if sent:
            self.audit.wrong(f"{path} is told of {sorted(sent)[:5]}, which is none of its business")
        kind = 0.0 if self.is_healed else self._dice.random()
        if kind >= 0.7:
            self.faults_total += 1
            await asyncio.sleep(self._dice.choice((0.0, 1.0, 100.0)))
            if kind >= 0.9:
                raise ConnectionResetError("the connection was lost")
            return Answer(503, {}, b"")
        await asyncio.sleep(0.01)
        taken.update(int(event["sequence"]) for event in events)
        return Answer(200, {}, b"")

    def unheard(self) -> list[str]:
        """Return who was not told of everything."""
        found: list[str] = []
        for path, taken in self.heard.items():
            wanted = {
                position
                for (tenant, _), positions in self.audit.told.items()
                if tenant == path.rpartition("/")[2]
                for position in positions
            }
            if missing := sorted(wanted - taken):
                found.append(f"{path} was not told of {missing[:5]}")
        return found

    async def _wild(self, name: str, body: bytes | None) -> Answer:
        if self.is_healed:
            return Answer(200, _JSON, b'{"ok":true}')
        dice = self._dice
        kind = 0.9 if name == "s" and dice.random() < 0.7 else dice.random()
        if kind < 0.55:
            await asyncio.sleep(dice.choice((0.0, 0.01, 0.2)))
            return Answer(200, _JSON, b'{"ok":true}')
        self.faults_total += 1
        if kind < 0.65:
            await asyncio.sleep(30 * dice.random())
            return Answer(dice.choice((200, 500, 503, 429)), {}, b"late")
        if kind < 0.72:
            await asyncio.sleep(1000)
        if kind < 0.79:
            raise ConnectionResetError("the connection was lost")
        if kind < 0.85:
            target = dice.choice(TRAPS)
            return Answer(dice.choice((301, 302, 303, 307, 308)), {"Location": target}, b"")
        if kind < 0.89:
            return Answer(307, {"Location": f"http://{HOST}/moved/x"}, b"")
        if kind < 0.95:
            # What was sent comes back, secrets and all.
            sent = [secret for secret in self.secrets if secret.encode() in (body or b"")]
            return Answer(dice.choice((200, 400)), {"x-echo": " ".join(sent)}, body or b"")
        return Answer(dice.choice((500, 503)), {}, b"no")


_JSON = {"content-type": "application/json"}


class SimulatedSession:
    """The connections of the outgoing client, in the place of the library's."""

    def __init__(self, outside: Outside, rules: EgressRules) -> None:
        self.closed = False
        self._outside = outside
        self._resolver = _GuardedResolver(rules, outside.resolve)

    def request(
        self,
        method: str,
        url: Any,
        *,
        headers: Sequence[tuple[str, str]],
        data: bytes | None,
        allow_redirects: bool,
    ) -> _Exchange:
        """Begin one request."""
        del method
        assert not allow_redirects, "redirects are followed, and judged, by the client itself"
        return _Exchange(self._outside, self._resolver, url, headers, data)

    async def close(self) -> None:
        """Refuse what comes after."""
        self.closed = True


class _Exchange:
    def __init__(
        self,
        outside: Outside,
        resolver: _GuardedResolver,
        url: Any,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
    ) -> None:
        self._outside = outside
        self._resolver = resolver
        self._url = url
        self._headers = headers
        self._body = body

    async def __aenter__(self) -> Answer:
        host = str(self._url.host)
        if not _is_address(host):
            await self._resolver.resolve(host, self._url.port)
        return await self._outside.answer(str(self._url), self._headers, self._body)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
