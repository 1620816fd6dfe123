"""The ASGI application: routes, authentication, limits and errors, as plain ASGI.

The order in which a request is judged: path and method, token, scope, size, then its content.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from starlette.types import Receive, Scope, Send

from ..engine.fault_text import fault_text
from ..engine.log_context import REQUEST
from ..journal.clock import IdSource
from . import api_keys
from .as_of import HEADER as POSITION
from .as_of import position_of, refuse_as_of
from .auth import Authenticator, Principal, UnauthorizedError
from .call import Answer, Call, answer
from .endpoint import Endpoint
from .errors import RequestError, body_of, refusal_of
from .intake import Intake
from .request_figures import RouteFigures
from .router import Router
from .sending import send_answer, send_stream
from .services import App

_log = logging.getLogger("refold.http")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")

Page = Callable[[], Awaitable[Answer]]


class _Route(NamedTuple):
    target: Endpoint | Page
    figures: RouteFigures


class Application:
    """What uvicorn calls."""

    def __init__(
        self,
        app: App,
        authenticator: Authenticator,
        ids: IdSource,
        endpoints: Sequence[Endpoint],
        pages: Mapping[str, Page],
    ) -> None:
        """`pages` are documents without a token, made when they are first asked for."""
        self._app = app
        self._authenticator = authenticator
        self._ids = ids
        self._intake: Intake = app.intake
        self._docs = f"{app.public_url}/docs"
        targets: list[tuple[str, str, Endpoint | Page]] = [
            *((endpoint.method, endpoint.path, endpoint) for endpoint in endpoints),
            *(("GET", path, page) for path, page in pages.items()),
        ]
        self._router = Router(
            (method, path, _Route(target, app.requests.route(method, path)))
            for method, path, target in targets
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        figures = self._app.requests
        headers: dict[bytes, bytes] = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else self._ids.new("req_")
        REQUEST.set(request_id)
        scope["refold.headers"] = headers
        scope["refold.request_id"] = request_id
        route = figures.elsewhere
        figures.open += 1
        try:
            (target, route), params = self._router.find(scope["method"], scope["path"])
            if isinstance(target, Endpoint):
                made = await self._operate(target, params, scope, receive)
            else:
                made = await target()
        except _Gone:
            figures.hung_up += 1
            return
        except Exception as error:
            made = self._refuse(error)
        finally:
            figures.open -= 1
        route.answered(made.status, time.perf_counter() - began)
        if isinstance(made.body, bytes):
            await send_answer(made, request_id, send)
        elif scope["method"] == "HEAD":
            await send_answer(msgspec.structs.replace(made, body=b""), request_id, send)
        else:
            await self._stream(made, made.body, request_id, scope, receive, send)

    def _refuse(self, error: Exception) -> Answer:
        refusal = refusal_of(error)
        self._app.requests.refusals[refusal.code] += 1
        made = answer(refusal.status, body_of(refusal, self._docs))
        for name, value in refusal.headers.items():
            made = made.with_header(name, value)
        return made

    async def _stream(
        self,
        made: Answer,
        parts: AsyncIterator[bytes],
        request_id: str,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        figures = self._app.requests
        figures.streams += 1
        try:
            await send_stream(made, parts, request_id, receive, send, scope.get("refold.hang_up"))
        except Exception as error:
            # It is too late for another answer: the server breaks the connection off, since
            # the last part is missing.
            _log.error("a stream broke off: %s", fault_text(error))
            figures.refusals["internal_server_error"] += 1
        finally:
            figures.streams -= 1
            self._intake.close_stream(scope["refold.streams_to"])

    async def _operate(
        self, endpoint: Endpoint, params: Mapping[str, str], scope: Scope, receive: Receive
    ) -> Answer:
        """Judge a request and hand it to its handler."""
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
            tenant = call.principal.tenant
        elif "token" in params:
            tenant = self._intake.tenant_of(params["token"])
        else:
            # Whether the service works is asked all the more when it has much to do.
            return await self._answer(endpoint, call)
        if turn := self._intake.enter(tenant):
            await self._intake.wait(tenant, turn)
        call.body = await self._read_body(headers, receive, tenant)
        try:
            made = await self._answer(endpoint, call)
        finally:
            self._intake.let_go(tenant, len(call.body))
        if not isinstance(made.body, bytes) and scope["method"] != "HEAD":
            self._intake.open_stream(tenant)
            scope["refold.streams_to"] = tenant
        return made

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

    async def _read_body(
        self, headers: Mapping[bytes, bytes], receive: Receive, tenant: str
    ) -> bytes:
        """Read the body, refusing one that is too large before it is read.

        What is returned has to be let go of at the intake.

        Raises:
            RequestError: 413.
            TooManyError, BusyError: there is no room for it just now.
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
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                part: bytes = message.get("body", b"")
                if total + len(part) > limit:
                    raise too_large
                self._intake.hold(tenant, len(part))
                total += len(part)
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
        except BaseException:
            self._intake.let_go(tenant, total)
            raise


class _Gone(Exception):
    """The client hung up before its request was complete."""
