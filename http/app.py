"""The ASGI application: routes, authentication, limits and errors, as plain ASGI.

The order in which a request is judged: path and method, token, scope, size, then its content.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from ..journal.clock import IdSource
from . import api_keys
from .as_of import HEADER as POSITION
from .as_of import position_of, refuse_as_of
from .auth import Authenticator, Principal, UnauthorizedError
from .call import Answer, Call, answer
from .endpoint import Endpoint
from .endpoints import ENDPOINTS
from .errors import RequestError, body_of, refusal_of
from .router import Router
from .sending import send_answer, send_stream
from .services import App

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")

Page = Callable[[], Awaitable[Answer]]


class Application:
    """What uvicorn calls."""

    def __init__(
        self, app: App, authenticator: Authenticator, ids: IdSource, pages: Mapping[str, Page]
    ) -> None:
        """`pages` are documents without a token, made when they are first asked for."""
        self._app = app
        self._authenticator = authenticator
        self._ids = ids
        self._docs = f"{app.public_url}/docs"
        routes: list[tuple[str, str, Endpoint | Page]] = [
            *((endpoint.method, endpoint.path, endpoint) for endpoint in ENDPOINTS),
            *(("GET", path, page) for path, page in pages.items()),
        ]
        self._router = Router(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else self._ids.new("req_")
        scope["refold.headers"] = headers
        scope["refold.request_id"] = request_id
        try:
            target, params = self._router.find(scope["method"], scope["path"])
            if isinstance(target, Endpoint):
                await self._operate(target, params, scope, receive, send)
            else:
                await send_answer(await target(), request_id, send)
        except _Gone:
            return
        except Exception as error:
            if "refold.began" in scope:
                # It is too late for another answer: the connection breaks off, and the server logs.
                raise
            refusal = refusal_of(error)
            made = answer(refusal.status, body_of(refusal, self._docs))
            for name, value in refusal.headers.items():
                made = made.with_header(name, value)
            await send_answer(made, request_id, send)

    async def _operate(
        self,
        endpoint: Endpoint,
        params: Mapping[str, str],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Judge a request, hand it to its handler, and send the answer."""
        headers = scope["refold.headers"]
        call = Call(
            scope["method"],
            scope["path"],
            params,
            scope["query_string"],
            headers,
            scope["refold.request_id"],
        )
        if endpoint.scope:
            call.principal = await self._principal(endpoint, call)
            call.demand(endpoint.scope)
        call.body = await self._read_body(headers, receive)
        made = await self._answer(endpoint, call)
        if isinstance(made.body, bytes):
            await send_answer(made, call.request_id, send)
        elif call.method == "HEAD":
            headed = msgspec.structs.replace(made, body=b"")
            await send_answer(headed, call.request_id, send)
        else:
            scope["refold.began"] = True
            hang_up = scope.get("refold.hang_up")
            await send_stream(made, made.body, call.request_id, receive, send, hang_up)

    async def _answer(self, endpoint: Endpoint, call: Call) -> Answer:
        if not endpoint.repeatable:
            # A sender of webhooks may have parameters of its own.
            if endpoint.method == "GET" and endpoint.scope:
                refuse_as_of(call)
            return await endpoint.handler(self._app, call)
        call.at = await position_of(self._app, call)
        made = await endpoint.handler(self._app, call)
        return made.with_header(POSITION, str(call.at))

    async def _principal(self, endpoint: Endpoint, call: Call) -> Principal:
        """Return who asks.

        Raises:
            UnauthorizedError: nobody who is known.
        """
        key = call.header(api_keys.HEADER) if endpoint.api_key else None
        if key is not None:
            found = await api_keys.principal_of(self._app, key)
            if found is None:
                raise UnauthorizedError("api_key")
            return found
        given = call.header(b"authorization")
        return self._authenticator.cached(given) or await self._authenticator.authenticate(given)

    async def _read_body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """Read the body, refusing one that is too large before it is read.

        Raises:
            RequestError: 413.
        """
        limit = self._app.body_bytes_max
        too_large = RequestError(
            413, "payload_too_large", f"The body may have at most {limit} bytes."
        )
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > limit:
            raise too_large
        parts: list[bytes] = []
        total = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            part: bytes = message.get("body", b"")
            total += len(part)
            if total > limit:
                raise too_large
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)


class _Gone(Exception):
    """The client hung up before its request was complete."""
