"""The outgoing HTTP client: one guarded connection pool for every node that calls out.

Rules of this file:

1. A request is sent once. aiohttp repeats idempotent requests on a connection that died; a node
   with `"delivery": "at_most_once"` must not, so repeating is left to the retry policy.
2. Redirects are followed here, each target is judged like a first URL, and credentials stay
   with the origin that they were meant for.
3. What comes back is bounded: the body after decompression, the headers, and the time for
   everything together, redirects included.
4. aiohttp is imported at the first call, in a thread: it is a good part of an idle service's
   memory, and importing it reads the certificate store from disk.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias, cast
from urllib.parse import urljoin

import msgspec

from .credentials import is_credential_name, is_private
from .egress import EgressRules, OutboundError, Target, invalid_request, parse_target
from .fault_text import silence_log

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession
    from aiohttp.abc import AbstractResolver, ResolveResult

__all__ = [
    "REQUEST_BYTES_MAX",
    "RESPONSE_BYTES_MAX",
    "EgressRules",
    "OutboundClient",
    "OutboundError",
    "OutboundResponse",
    "Resolve",
    "check_request",
    "is_credential_name",
]

REQUEST_BYTES_MAX = 1 << 20
RESPONSE_BYTES_MAX = 1 << 20
REDIRECTS_MAX = 5
_HEADER_BYTES_MAX = 64 * 1024
CONNECTIONS_MAX = 256
"""How many requests one client has on the wire at most."""
# One slow host must not take the whole pool.
_CONNECTIONS_PER_HOST_MAX = 128
# Shorter than what common servers keep an idle connection open for (5 s): as nothing is sent
# twice, a connection that the server is just closing would cost a failed call.
_KEEPALIVE_S = 4.0
_DNS_CACHE_S = 10
_DNS_THREADS_MAX = 8

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host name and a port to its addresses as text; raises `OSError` when there are none."""

Headers: TypeAlias = Sequence[tuple[str, str]]

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]")
# These decide where a request ends or who it is for: a value of the caller's could smuggle in a
# second request on the same connection, or reach another virtual host than the one judged.
_OWN_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "proxy-connection"}
    | {"te", "trailer", "transfer-encoding", "upgrade"}
)
_BODY_HEADERS = frozenset({"content-type", "content-encoding", "content-language"})


class OutboundResponse(msgspec.Struct, frozen=True):
    """What came back: text fields hold no unpaired surrogates, so all of it can be stored."""

    status: int
    reason: str
    headers: dict[str, str]
    """Lower-case names; the values of a name that came more than once are joined by ", "."""
    body: bytes
    """After decompression, at most the client's `max_response_bytes`."""


class _GuardedResolver:
    """aiohttp's resolver interface: names in, only addresses that may be called out."""

    def __init__(self, rules: EgressRules, resolve: Resolve) -> None:
        self._rules = rules
        self._resolve = resolve

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        refusal = ""
        allowed: list[ResolveResult] = []
        for text in await self._resolve(host, port):
            address = ip_address(text)
            refused = self._rules.refusal(host, address)
            if refused:
                refusal = refused
                continue
            allowed.append(
                {
                    "hostname": host,
                    "host": str(address),
                    "port": port,
                    "family": socket.AF_INET if address.version == 4 else socket.AF_INET6,
                    "proto": 0,
                    "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                }
            )
        if refusal and not allowed:
            raise OutboundError("egress_refused", refusal)
        if not allowed:
            raise OSError("no addresses")
        return allowed

    async def close(self) -> None:
        """Hold nothing: the threads of the default look-up belong to the client."""


class OutboundClient:
    """Sends requests through one bounded connection pool; make one for a service, close it once.

    `resolve` replaces the look-up of host names; what it returns is judged all the same. With
    `redirects_max=0` nothing sent, such as a secret in a body, goes to any other address. An
    answer with a larger body is refused, or cut off there with `cuts_responses`.
    """

    def __init__(
        self,
        rules: EgressRules | None = None,
        *,
        resolve: Resolve | None = None,
        max_response_bytes: int = RESPONSE_BYTES_MAX,
        redirects_max: int = REDIRECTS_MAX,
        cuts_responses: bool = False,
    ) -> None:
        self._rules = rules or EgressRules()
        self._resolve = resolve or self._look_up
        self._max_response_bytes = max_response_bytes
        self._redirects_max = redirects_max
        self._cuts_responses = cuts_responses
        self._session: ClientSession | None = None
        self._opening: asyncio.Lock = asyncio.Lock()
        self._dns_threads: ThreadPoolExecutor | None = None
        self._closed = False

    async def request(
        self, method: str, url: str, headers: Headers, body: bytes | None, timeout_s: float
    ) -> OutboundResponse:
        """Send one request, follow its redirects within the limit, and read the answer.

        `timeout_s` bounds all of it. Any status is an answer, not an error. Raises
        `OutboundError`; nothing has left the machine when its code is `invalid_request`,
        `request_too_large`, `dns_error` or, before a redirect, `egress_refused`.
        """
        target = parse_target(url)
        check_request(method, headers, body)
        session = self._session or await self._open()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._follow(session, method, target, headers, body)
        except TimeoutError:
            raise OutboundError(
                "timeout", f"The host '{target.host}' did not answer within {timeout_s:.3g} s."
            ) from None

    async def close(self) -> None:
        """Close all connections; calls still under way fail, later ones are refused."""
        self._closed = True
        async with self._opening:
            session, self._session = self._session, None
            if session is not None:
                await session.close()
            if self._dns_threads is not None:
                self._dns_threads.shutdown(wait=False, cancel_futures=True)

    async def _follow(
        self,
        session: ClientSession,
        method: str,
        target: Target,
        headers: Headers,
        body: bytes | None,
    ) -> OutboundResponse:
        for _ in range(self._redirects_max + 1):
            answer = await self._exchange(session, method, target, headers, body)
            if isinstance(answer, OutboundResponse):
                return answer
            status, location = answer
            following = _redirect_target(target, location)
            if following.origin != target.origin:
                headers = [pair for pair in headers if not is_private(pair)]
            if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
                method, body = "GET", None
                headers = [pair for pair in headers if pair[0].lower() not in _BODY_HEADERS]
            target = following
        raise OutboundError(
            "too_many_redirects",
            f"The host '{target.host}' redirected more than {self._redirects_max} times.",
        )

    async def _exchange(
        self,
        session: ClientSession,
        method: str,
        target: Target,
        headers: Headers,
        body: bytes | None,
    ) -> OutboundResponse | tuple[int, str]:
        """Send to one target; return its answer, or the status and location of a redirect."""
        from aiohttp import ClientError
        from yarl import URL

        if session.closed:
            raise OutboundError("connect_error", "The outgoing client is closed.")
        if target.address is not None:
            # The connector resolves names only, so an address is judged here.
            refusal = self._rules.refusal(target.host, target.address)
            if refusal:
                raise OutboundError("egress_refused", refusal)
        url = URL(target.url, encoded=True)
        assert url.raw_host == target.host, "aiohttp must call the host that was judged"
        try:
            async with session.request(
                method, url, headers=headers, data=body, allow_redirects=False
            ) as response:
                location = response.headers.get("Location")
                if location is not None and response.status in (301, 302, 303, 307, 308):
                    return response.status, location
                return OutboundResponse(
                    status=response.status,
                    reason=_printable(response.reason or "")[:100],
                    headers=_collect_headers(response, target.host),
                    body=await self._read(response, target.host),
                )
        except (ClientError, OSError) as fault:
            if isinstance(fault, TimeoutError):
                raise
            raise _translate(fault, target.host) from None

    async def _read(self, response: ClientResponse, host: str) -> bytes:
        chunks: list[bytes] = []
        size = 0
        content = response.content
        # Counted as it comes out of the decompressor, a piece at a time: a bomb stops early.
        while chunk := await content.readany():
            size += len(chunk)
            if size > self._max_response_bytes:
                if self._cuts_responses:
                    break
                raise OutboundError(
                    "response_too_large",
                    f"The answer of host '{host}' is larger than {self._max_response_bytes} bytes.",
                )
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _open(self) -> ClientSession:
        async with self._opening:
            if self._closed:
                raise OutboundError("connect_error", "The outgoing client is closed.")
            if self._session is None:
                await asyncio.to_thread(importlib.import_module, "aiohttp")
                silence_log("aiohttp")
                self._session = self._make_session()
            return self._session

    def _make_session(self) -> ClientSession:
        import aiohttp

        resolver = cast("AbstractResolver", _GuardedResolver(self._rules, self._resolve))
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=resolver,
                ttl_dns_cache=_DNS_CACHE_S,
                limit=CONNECTIONS_MAX,
                limit_per_host=_CONNECTIONS_PER_HOST_MAX,
                keepalive_timeout=_KEEPALIVE_S,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            # The time limit is asyncio.timeout around all hops, so a hop has none of its own.
            timeout=aiohttp.ClientTimeout(),
            headers={"Accept-Encoding": "gzip, deflate"},
            skip_auto_headers=("Content-Type", "User-Agent"),
            middlewares=(_send_once,),
            trust_env=False,
        )

    async def _look_up(self, host: str, port: int) -> list[str]:
        # Threads of our own: a name server that doesn't answer must not hold up the event
        # loop's default pool, on which other parts of the service depend.
        if self._dns_threads is None:
            self._dns_threads = ThreadPoolExecutor(_DNS_THREADS_MAX, "refold-dns")
        infos = await asyncio.get_running_loop().run_in_executor(
            self._dns_threads, socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM
        )
        # An address that needs a zone can't be told from its text, so it is left out.
        return [str(place[0]) for *_, place in infos if len(place) < 4 or not place[3]]


async def _send_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Turn a lost connection into our own error, before aiohttp would send the request again."""
    from aiohttp import ClientConnectorError, ClientOSError, ServerDisconnectedError

    try:
        return await handler(request)
    except ClientConnectorError:
        raise
    except (ClientOSError, ServerDisconnectedError):
        raise _connection_lost(request.url.raw_host or "") from None


def _connection_lost(host: str) -> OutboundError:
    return OutboundError(
        "protocol_error", f"The connection to host '{host}' was lost before a whole answer came."
    )


def check_request(method: str, headers: Headers, body: bytes | None) -> None:
    """Refuse what would break the framing of a request or its limits, with an `OutboundError`."""
    if not method or not _TOKEN.issuperset(method):
        raise invalid_request("The method is not a token.")
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
        if not name or not _TOKEN.issuperset(name):
            raise invalid_request("A header name has an unusable character in it.")
        if name.lower() in _OWN_HEADERS:
            raise invalid_request(f"The header '{name}' is set by the client itself.")
        if _CONTROL.search(value):
            sentence = f"The value of header '{name[:100]}' has a control character in it."
            raise invalid_request(sentence)
    if size > _HEADER_BYTES_MAX:
        raise OutboundError(
            "request_too_large", f"The headers are larger than {_HEADER_BYTES_MAX} characters."
        )
    if body is not None and len(body) > REQUEST_BYTES_MAX:
        raise OutboundError(
            "request_too_large", f"The body is larger than {REQUEST_BYTES_MAX} bytes."
        )


def _redirect_target(target: Target, location: str) -> Target:
    try:
        return parse_target(urljoin(target.url, location))
    except (OutboundError, ValueError) as fault:
        why = fault.message if isinstance(fault, OutboundError) else "The URL can't be read."
        raise OutboundError(
            "egress_refused", f"A redirect of host '{target.host}' was refused: {why}"
        ) from None


def _printable(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    # aiohttp hands undecodable bytes on as surrogates, which no JSON encoder takes.
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(char if char.isprintable() else " " for char in text)


def _collect_headers(response: ClientResponse, host: str) -> dict[str, str]:
    collected: dict[str, str] = {}
    size = 0
    for name, value in response.headers.items():
        size += len(name) + len(value)
        if size > _HEADER_BYTES_MAX:
            raise OutboundError(
                "response_too_large",
                f"The headers of host '{host}' are larger than {_HEADER_BYTES_MAX} characters.",
            )
        key = _printable(name).lower()
        known = collected.get(key)
        collected[key] = _printable(value) if known is None else f"{known}, {_printable(value)}"
    return collected


def _translate(fault: Exception, host: str) -> OutboundError:
    """Name a fault of aiohttp in our words; its own text may quote the URL, so it is not used."""
    import aiohttp

    if isinstance(fault, aiohttp.ClientConnectorDNSError):
        return OutboundError("dns_error", f"The host name '{host}' could not be resolved.")
    if isinstance(fault, (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError)):
        return OutboundError("tls_error", f"No trusted TLS connection to host '{host}' was made.")
    if isinstance(fault, aiohttp.ClientConnectorError):
        return OutboundError("connect_error", f"No connection to host '{host}' could be made.")
    if isinstance(fault, (aiohttp.ClientConnectionError, OSError)):
        return _connection_lost(host)
    return OutboundError("protocol_error", f"The answer of host '{host}' could not be read.")
