"""Hostile requests to a running service: made from a seed, sent as raw bytes, and judged."""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from refold.http.auth import SCOPES
from refold.http.endpoint import Endpoint
from refold.http.endpoints import ENDPOINTS

from . import hostile_values as values
from .foreign_ids import KINDS, NO_IDS, belongings, unknown_like
from .http_kit import create, hook_path, quick, run
from .service import SECRET, Client, Service, chain, node, token

SECRET_OF_THE_OWNER = "the-owners-own-business"
"""Stands in everything that the owner keeps, and in nothing that is ever sent."""
OWNER, ATTACKER = "the-owner", "the-attacker"
ALLOWED_5XX = {503: None, 500: "run_failed", 504: "run_still_running"}
"""Statuses of 5xx that are no fault, and the code that must come with them; the last two are what
a synchronous call is told of its run."""
_TIMEOUT_S = 40
_HEADERS = (
    "Idempotency-Key", "X-Request-Id", "X-Api-Key", "If-Match", "Range", "Accept", "Prefer",
    "Accept-Encoding", "Content-Encoding", "X-Forwarded-For", "X-HTTP-Method-Override", "Cookie",
    "Expect", "Upgrade", "Last-Event-ID", "TE",
)  # fmt: skip


class Request(msgspec.Struct, frozen=True):
    """What is sent, as bytes, and what is to be known about it."""

    method: str
    path: str
    head: bytes
    body: bytes
    names_foreign: bool
    """True where the path names something of the owner's by its true id."""


class World(msgspec.Struct, frozen=True):
    """Two tenants: one with something to lose, and one that is after it."""

    foreign: dict[str, str]
    own: dict[str, str]
    hook: str
    ids: list[str]


def populated(service: Service) -> World:
    """Make both tenants' belongings."""
    owner, attacker = service.client(OWNER), service.client(ATTACKER)
    # A network for documents: nobody is there, and the service is told that it may be called.
    url = "https://192.0.2.1"
    foreign = belongings(owner, url)
    private = quick() | {"name": SECRET_OF_THE_OWNER, "description": SECRET_OF_THE_OWNER}
    foreign["workflowId"] = create(owner, private)
    kept = run(owner, foreign["workflowId"], {"name": SECRET_OF_THE_OWNER})
    foreign["runId"] = kept["id"]
    name = {"name": SECRET_OF_THE_OWNER, "secret": f"{SECRET_OF_THE_OWNER} itself"}
    foreign["itemId"] = owner.post("/workflows/vault", name).json["id"]
    own = belongings(attacker, url)
    hook = hook_path(attacker, create(attacker, chain(node("t", "webhook_trigger"))))
    owner.close()
    attacker.close()
    named = [
        *(id_ for known in (own, foreign) for id_ in known.values()),
        *(unknown_like(foreign[name]) for name in KINDS),
    ]
    return World(foreign, own, hook, named)


def _part(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _forged(head: dict[str, Any], claims: dict[str, Any], key: bytes) -> str:
    said = f"{_part(head)}.{_part(claims)}"
    return f"{said}.{_part(hmac.digest(key, said.encode(), 'sha256'))}"


def forged_tokens() -> list[str]:
    """Return tokens of the owner that the service did not sign, or that do not hold at present."""
    now = int(time.time())
    claims = {"sub": "me", "org_id": OWNER, "exp": now + 3600, "scope": " ".join(SCOPES)}
    good = token(OWNER)
    head, payload, signature = good.split(".")
    kid = {"alg": "HS256", "kid": "../../../../dev/null"}
    return [
        f"{_part({'alg': 'none'})}.{_part(claims)}.",
        f"{_part({'alg': 'nOnE'})}.{_part(claims)}.{signature}",
        _forged({"alg": "HS256"}, claims, b""),
        _forged({"alg": "HS256"}, claims, b"secret"),
        _forged(kid, claims, b""),
        _forged({"alg": "HS512"}, claims, SECRET.encode()),
        _forged({"alg": "HS256", "crit": ["x"]}, claims, SECRET.encode()),
        _forged({"alg": "HS256", "jwk": {"kty": "oct", "k": _part(b"x")}}, claims, b"x"),
        _forged({"alg": "HS256"}, claims | {"exp": now - 60}, SECRET.encode()),
        _forged({"alg": "HS256"}, claims | {"nbf": now + 600}, SECRET.encode()),
        _forged({"alg": "HS256"}, claims | {"exp": "never"}, SECRET.encode()),
        _forged({"alg": "HS256"}, claims | {"exp": 1e400}, SECRET.encode()),
        f"{head}.{_part(claims)}.{signature}",
        f"{head}.{payload}.",
        f"{head}.{payload}.{signature}.{signature}",
        good[:-3] + "AAA",
        "A" * 9000,
        good + "\x00",
    ]


class Attacker:
    """Makes requests from a seed."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self._world = world
        self._dice = dice
        self._bodies = values.bodies([world.own["workflowId"], world.own["authorizationId"]])
        self._forged = forged_tokens()
        self._good = [token(ATTACKER, f"{n}") for n in range(4)]
        self._good.append(token(ATTACKER, "y", "journal:read"))

    def requests(self, count: int) -> Iterator[Request]:
        """Make so many."""
        for _ in range(count):
            yield self._request()

    def _request(self) -> Request:
        dice = self._dice
        endpoint = dice.choice(ENDPOINTS)
        method = endpoint.method
        if dice.random() < 0.05:
            method = dice.choice(("PATCH", "TRACE", "OPTIONS", "HEAD", "DELETE", "get", "FOO"))
        path, names_foreign = self._path(endpoint)
        body = b""
        good = self._bodies.get(endpoint.path)
        if method in ("POST", "PUT", "PATCH", "DELETE") and dice.random() < 0.9:
            basis: Any = dice.choice(good) if good else {}
            body = values.encoded(dice, values.spoiled(dice, basis, self._world.ids))
        head = "".join(f"{name}: {text}\r\n" for name, text in self._headers(endpoint, body))
        line = f"{method} {path} HTTP/1.1\r\n"
        return Request(method, path, (line + head).encode("utf-8", "replace"), body, names_foreign)

    def _path(self, endpoint: Endpoint) -> tuple[str, bool]:
        dice, world = self._dice, self._world
        params = NO_IDS | world.own | {"token": world.hook.rsplit("/", 1)[1]}
        foreign = ""
        for name in params:
            chance = dice.random()
            if chance < 0.25 and name in KINDS:
                params[name] = foreign = world.foreign[name]
            elif chance < 0.35:
                params[name] = dice.choice(world.ids)
            elif chance < 0.45:
                params[name] = _quoted(dice, values.text(dice, world.ids)) or "x"
        path = endpoint.path.format(**params)
        # What is named twice may be shown once, so only a route's last word is judged by.
        names_foreign = foreign != "" and endpoint.path.count("{") == 1 and foreign in path
        if dice.random() < 0.08:
            path = dice.choice(
                ("/" + path, path + "/", path + "/..", path.replace("/", "//", 2), path + "%00",
                 path.upper(), path + "/../../journal.db", path + ";a=b", "/./" + path[1:],
                 path.replace("/workflows", "/%77orkflows"), "http://127.0.0.1:9" + path, "*")
            )  # fmt: skip
        return path + self._query(endpoint), names_foreign

    def _query(self, endpoint: Endpoint) -> str:
        dice = self._dice
        names = [q.name for q in endpoint.parameters if q.place == "query"] or ["as_of"]
        pairs: list[str] = []
        for _ in range(dice.choice((0, 0, 0, 1, 1, 2, 60))):
            name = dice.choice((*names, "as_of", "page", "x[]", "__proto__"))
            pairs.append(f"{name}={_quoted(dice, values.text(dice, self._world.ids))}")
        return "?" + "&".join(pairs) if pairs else ""

    def _headers(self, endpoint: Endpoint, body: bytes) -> Iterator[tuple[str, str]]:
        dice = self._dice
        yield "Host", dice.choice(("127.0.0.1", "h.example", "169.254.169.254", ""))
        chance = dice.random()
        if chance < 0.75:
            yield "Authorization", f"Bearer {dice.choice(self._good)}"
        elif chance < 0.95:
            given = dice.choice(self._forged)
            yield "Authorization", dice.choice(("Bearer ", "bearer  ", "Basic ", "")) + given
        if body or dice.random() < 0.5:
            yield "Content-Length", str(len(body))
        odd = ("text/xml", "application/json; charset=utf-16", "multipart/form-data", "/", "+json")
        if dice.random() < 0.9:
            is_odd = dice.random() < 0.15
            yield "Content-Type", dice.choice(odd) if is_odd else "application/json"
        named = [q.name for q in endpoint.parameters if q.place == "header"]
        for _ in range(dice.choice((0, 0, 1, 2))):
            name = dice.choice((*named, *_HEADERS))
            # A longer wait is a slower test and no other case.
            if name in ("Prefer", "Expect"):
                yield name, dice.choice(("wait=0", "wait=1", "wait=-1", "wait=x", "100-continue"))
            else:
                yield name, _one_line(dice, values.text(dice, self._world.ids))
        if dice.random() < 0.1:
            media = (
                "text/event-stream",
                "application/x-ndjson",
                "text/csv",
                "*/*;q=x",
                "text/html",
            )
            yield "Accept", dice.choice(media)


def _quoted(dice: random.Random, text: str) -> str:
    """Write a text for an address: escaped, or as it is where it then still is one word."""
    raw = "".join(c for c in text if c.isascii() and c.isprintable() and c not in " #?")
    if dice.random() < 0.2:
        return raw[:2000]
    return "".join(f"%{byte:02x}" if byte > 0x7E or chr(byte) in " %#?/\r\n\x00\x1b\"<>\\" else
                   chr(byte) for byte in text.encode()[:2000])  # fmt: skip


def _one_line(dice: random.Random, text: str) -> str:
    """Write a text for a header; one in ten may end its line."""
    return text if dice.random() < 0.1 else " ".join(text.replace("\x00", " ").split())


class Judge:
    """Sends requests on one connection and keeps what is wrong with the answers."""

    def __init__(self, service: Service, world: World) -> None:
        self._service = service
        self._world = world
        self._socket: socket.socket | None = None
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []
        self.foreign_reads: list[str] = []
        self.broken_off = 0

    def send(self, request: Request) -> None:
        """Send one request and judge its answer."""
        try:
            status, headers, body = self._exchange(request)
        except (http.client.HTTPException, ConnectionError) as error:
            # A body that is refused before it is read ends in a reset now and then.
            self.broken_off += 1
            self.close()
            if isinstance(error, TimeoutError):
                self.faults.append(f"no answer: {request.method} {request.path}")
            return
        except TimeoutError:
            self.close()
            self.faults.append(f"no answer in {_TIMEOUT_S} s: {request.method} {request.path}")
            return
        self.statuses[status] += 1
        self._judge(request, status, headers, body)

    def _exchange(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        if self._socket is None:
            address = ("127.0.0.1", self._service.port)
            self._socket = socket.create_connection(address, timeout=_TIMEOUT_S)
        self._socket.sendall(request.head + b"\r\n" + request.body)
        response = http.client.HTTPResponse(self._socket, method=request.method)
        response.begin()
        headers = {name.lower(): text for name, text in response.getheaders()}
        if headers.get("content-type", "").startswith("text/event-stream"):
            # It may go on for ever.
            self.close()
            return response.status, headers, b""
        body = response.read()
        if response.will_close or response.status >= 400:
            # What is left of a request that was refused early is not the next request.
            self.close()
        return response.status, headers, body

    def _judge(self, request: Request, status: int, headers: dict[str, str], body: bytes) -> None:
        what = f"{status} to {request.method} {request.path[:300]} {request.body[:300]!r}"
        if SECRET_OF_THE_OWNER.encode() in body or SECRET_OF_THE_OWNER in str(headers):
            self.foreign_reads.append(what)
        if request.names_foreign and status < 300:
            self.foreign_reads.append(what)
        if SECRET.encode() in body:
            self.faults.append(f"the service's secret in {what}")
        if headers.get("x-content-type-options") != "nosniff":
            self.faults.append(f"no guards in {what}")
        if "set-cookie" in headers or "x-injected" in headers:
            self.faults.append(f"a header came in by {what}")
        if status < 400 or request.method == "HEAD":
            return
        for hush in (b"Traceback", b"sqlite3.", b"journal.db", b'File "'):
            if hush in body:
                self.faults.append(f"{hush!r} in {what}")
        code = msgspec.json.decode(body).get("code") if body else "no body"
        if status >= 500 and ALLOWED_5XX.get(status, "never") not in (None, code):
            self.faults.append(f"{code}: {what}")

    def close(self) -> None:
        """Give the connection back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def owner_is_whole(service: Service, world: World) -> bool:
    """Tell whether everything of the owner's is still as it was made."""
    client: Client = service.client(OWNER)
    workflow = client.get(f"/workflows/{world.foreign['workflowId']}").json
    kept = client.get(f"/workflows/runs/{world.foreign['runId']}").json
    item = client.get(f"/workflows/vault/{world.foreign['itemId']}").status
    runs = client.get(f"/workflows/{world.foreign['workflowId']}/executions").json["data"]
    client.close()
    return (
        (workflow.get("version"), workflow.get("name")) == (1, SECRET_OF_THE_OWNER)
        and kept["trigger_payload"] == {"name": SECRET_OF_THE_OWNER}
        and item == 200
        and len(runs) == 1
    )
