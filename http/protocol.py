"""How a request is read from a connection: bounded, in time, and refused in the form of the API.

Uvicorn has no bound on headers, waits for ever for the rest of a request, answers what is no HTTP
in plain text, and writes an answer in two pieces; this is its protocol with all that put right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .errors import RETRY_AFTER_S, RequestError, body_of
from .joined_writes import JoinedWrites
from .sending import GUARDS, NOTHING_LOADED

HEAD_BYTES_MAX: Final = 32 * 1024
"""Request line and headers together."""
REFUSED_S: Final = 5.0
"""How long a connection beyond the limit has to send what it is refused for."""
LINGER_S: Final = 10.0
"""How long a reader that was dropped may still fetch what was written to it."""
_GUARDS: Final = b"".join(b"%b: %b\r\n" % header for header in (*GUARDS, NOTHING_LOADED))


class _HeadTooLargeError(Exception):
    """Ends the parsing; uvicorn answers it like any other malformed request."""


class BoundedProtocol(HttpToolsProtocol):
    """Reads HTTP/1.1 with a bounded head, each request within a time."""

    docs = "/docs"
    """Where the errors are explained."""
    seconds_max = 30.0
    """How long a request may take to arrive, from its first byte or a new connection on."""

    @staticmethod
    def count(status: int, code: str) -> None:
        """Hear of a refusal; replaced by whoever counts them."""

    connections_max = 2**31
    """How many connections may be open; one more is refused with 503 at its first byte."""

    _is_refused = False
    _head_bytes = 0
    _unfinished_bytes = 0
    _is_in_head = True
    _is_broken = False
    """What follows can't be read; it is said once what was asked before is answered."""
    _serving: Any = None
    """The request that is being served; those that were sent after it wait for their turn."""
    _has_begun = False
    _has_come_late = False
    _deadline: asyncio.TimerHandle | None = None
    _linger: asyncio.TimerHandle | None = None

    # The parameter is as narrow as uvicorn's own, which asyncio's is not.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection and begin to wait for a request, or count it as one too many."""
        super().connection_made(JoinedWrites(transport))
        self._is_refused = len(self.connections) > self.connections_max
        self._await_request()

    def data_received(self, data: bytes) -> None:
        """Take what came. A name or value that never ends is told to nobody before its end."""
        if self._is_broken:
            return
        if self._is_refused:
            self._refuse(RequestError(503, "overloaded", "Too many connections are open."))
            return
        if self._is_in_head:
            self._unfinished_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._unfinished_bytes > HEAD_BYTES_MAX:
            self._head_bytes = self._unfinished_bytes
            if not self.transport.is_closing():
                self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._head_bytes = 0
        self._is_in_head = self._has_begun = True
        if self._deadline is None:
            self._await_request()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Have the whole request."""
        self._has_begun = False
        self._has_arrived()
        super().on_message_complete()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to serve."""
        self._is_in_head = False
        self._unfinished_bytes = 0
        super().on_headers_complete()
        # The request is served from the next turn of the loop on.
        scope: Any = self.scope
        scope["refold.hang_up"] = self._hang_up

    def _await_request(self) -> None:
        seconds = REFUSED_S if self._is_refused else self.seconds_max
        self._deadline = asyncio.get_running_loop().call_later(seconds, self._is_late)

    def _has_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_late(self) -> None:
        """Send away who takes too long; who has sent nothing at all is told nothing."""
        self._deadline = None
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle
        is_told = cycle is not None and cycle.response_complete and not self._is_in_head
        if is_told or not self._has_begun:
            self.transport.close()
            return
        self._has_come_late = True
        self.send_400_response("")

    def _hang_up(self, last_words: bytes | None) -> None:
        """End a streamed answer whose reader takes nothing: what is buffered gets little time."""
        # Those after it wait, so it is the one being served. Given to its own scope instead, each
        # request would hold itself, and be left to the garbage collector.
        cycle = self._serving
        if cycle is None:
            return
        cycle.disconnected = True
        if last_words is None or not cycle.chunked_encoding:
            self.transport.abort()
            return
        self.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last_words), last_words))
        self.transport.close()
        self._linger = asyncio.get_running_loop().call_later(LINGER_S, self.transport.abort)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES_MAX:
            raise _HeadTooLargeError

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._serving = cycle
        super()._start_asgi_task(cycle, app)

    def eof_received(self) -> None:
        """Give up what is being served: the transport closes itself, and takes nothing more."""
        self._give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being served; uvicorn tells the newest, which may wait yet."""
        self._has_arrived()
        self._give_up()
        super().connection_lost(exc)
        self._let_go()

    def _let_go(self) -> None:
        """Leave nothing that holds the connection, so that it goes with its last reference.

        Uvicorn leaves the timer of the idle running after a reset, and requests and connection
        holding each other: what many short connections leave would wait for the collector.
        """
        self._unset_keepalive_if_required()
        if self._linger is not None:
            self._linger.cancel()
        self.pipeline.clear()
        nothing: Any = None
        self.cycle = self.scope = self.headers = self._serving = nothing

    def _give_up(self) -> None:
        if self._serving is not None and not self._serving.response_complete:
            self._serving.disconnected = True
            self._serving.message_event.set()

    def send_400_response(self, msg: str) -> None:
        """Answer what can't be read as a request, after the answers that are still owed."""
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete:
            self._refuse_malformed()
            return
        self._is_broken = True
        if not cycle.more_body:
            return
        # The newest request is what broke off: nobody will send the rest of its body.
        cycle.disconnected = True
        cycle.message_event.set()
        if self.pipeline:
            self.pipeline.popleft()
        elif cycle.response_started:
            # Half an answer must not be taken for a whole one.
            self.transport.abort()
        else:
            self._refuse_malformed()

    def on_response_complete(self) -> None:
        """Go on with the next request, or say that there is none."""
        is_last = not self.pipeline
        super().on_response_complete()
        if self._is_broken and is_last and not self.transport.is_closing():
            self._refuse_malformed()

    def _refuse_malformed(self) -> None:
        """Say what is wrong with a request, and hang up."""
        refusal = RequestError(400, "invalid_http", "The request is not well-formed HTTP.")
        if self._head_bytes > HEAD_BYTES_MAX:
            text = f"The address and the headers may have at most {HEAD_BYTES_MAX} bytes."
            refusal = RequestError(431, "headers_too_large", text)
        elif self._has_come_late:
            text = f"The request did not arrive within {self.seconds_max:g} seconds."
            refusal = RequestError(408, "request_timeout", text)
        self._refuse(refusal)

    def _refuse(self, refusal: RequestError) -> None:
        if self.transport.is_closing():
            return
        self.count(refusal.status, refusal.code)
        body = msgspec.json.encode(body_of(refusal, self.docs))
        later = f"retry-after: {RETRY_AFTER_S}\r\n" if refusal.status == 503 else ""
        head = (
            f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n"
            f"content-type: application/json\r\n{later}"
            f"content-length: {len(body)}\r\nconnection: close\r\n"
        )
        self.transport.write(head.encode() + _GUARDS + b"\r\n" + body)
        self.transport.close()


def bounded_protocol(
    docs: str, count: Callable[[int, str], None], connections_max: int, seconds_max: float
) -> type[Any]:
    """Return the protocol that refers to this documentation page.

    `count` is told the status and code of what was refused before it was a request. A request
    that takes longer than `seconds_max` to arrive is refused.
    """
    own = {
        "docs": docs,
        "count": staticmethod(count),
        "connections_max": connections_max,
        "seconds_max": seconds_max,
    }
    return type("Protocol", (BoundedProtocol,), own)
