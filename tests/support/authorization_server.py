"""An OAuth 2.0 token endpoint on loopback, and a service's stored grants that ask it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from aiohttp import web

from refold.engine.api_client import ApiClient
from refold.engine.authorizations import Authorizations, NewAuthorization
from refold.engine.caller import Caller
from refold.engine.egress import EgressRules
from refold.engine.erasure import Erasures
from refold.engine.keyring import Keyring
from refold.engine.oauth import Grant
from refold.engine.outbound import OutboundClient
from refold.engine.sealed_items import SealedItems
from refold.journal.actors import Pseudonyms
from refold.journal.clock import Clock, SystemClock
from refold.journal.journal import Journal
from refold.journal.sqlite_store import SqliteJournal, open_journal
from tests.support.journal_kit import KEY, NEW_IDS
from tests.support.outbound_kit import LOOPBACK, serving

CLIENT_ID, CLIENT_SECRET = "client:of/a test", "client secret of a test: ü+%"
CALLER = Caller("acme", "me", "request-1")
STRANGER = Caller("other", "me", "request-2")


class AuthorizationServer:
    """Gives tokens to its one client; each refresh token is good once."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.authentications: list[str] = []
        self.answers: list[web.Response] = []
        """Given one by one before any answer of its own."""
        self.rotates = False
        self.expires_in: Any = 600
        self.refresh_token = "refresh-token-0"
        self.held: asyncio.Event | None = None
        """Answers wait for it."""
        self.heard = asyncio.Event()
        """Set by the first request."""
        self._count = 0

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one token request as RFC 6749 says."""
        form = {str(name): str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        self.heard.set()
        if self.held is not None:
            await self.held.wait()
        if self.answers:
            return self.answers.pop(0)
        if request.headers["Content-Type"] != "application/x-www-form-urlencoded":
            return _error("invalid_request")
        if self._client(request, form) != (CLIENT_ID, CLIENT_SECRET):
            return _error("invalid_client", 401)
        given: dict[str, Any] = {"token_type": "bearer"}
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] != self.refresh_token:
                return _error("invalid_grant")
            if self.rotates:
                self.refresh_token = f"refresh-token-{len(self.forms)}"
                given["refresh_token"] = self.refresh_token
        self._count += 1
        given["access_token"] = f"access-token-{self._count}"
        if self.expires_in is not None:
            given["expires_in"] = self.expires_in
        return web.json_response(given, headers={"Cache-Control": "no-store"})

    def _client(self, request: web.Request, form: dict[str, str]) -> tuple[str, str]:
        header = request.headers.get("Authorization", "")
        if not header:
            self.authentications.append("post")
            return form.get("client_id", ""), form.get("client_secret", "")
        self.authentications.append("basic")
        assert "client_secret" not in form
        name, _, secret = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        return unquote_plus(name), unquote_plus(secret)


def _error(code: str, status: int = 400) -> web.Response:
    said = {"error": code, "error_description": f"for {CLIENT_SECRET}"}
    return web.json_response(said, status=status)


def grant_of(url: str, **parts: Any) -> NewAuthorization:
    """Describe a grant of the test's server."""
    given: dict[str, Any] = {
        "grant_type": "client_credentials",
        "token_url": f"{url}/token",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    return NewAuthorization("acme-crm", "me@acme.example", Grant(**{**given, **parts}))


@asynccontextmanager
async def authorizations_on(
    journal: Journal,
    clock: Clock,
    api_url: str = "http://127.0.0.1:1",
    rules: EgressRules = LOOPBACK,
) -> AsyncGenerator[Authorizations]:
    """Give the grants of a service that may call this machine, unless `rules` say otherwise."""
    client = OutboundClient(rules, redirects_max=0)
    sealed = SealedItems(journal, NEW_IDS, Keyring(KEY), Erasures(journal, NEW_IDS))
    api = ApiClient(api_url, max_response_bytes=1 << 20)
    made = Authorizations(journal, NEW_IDS, Pseudonyms(KEY), sealed, client, rules, clock, api)
    try:
        yield made
    finally:
        await made.close()
        await client.close()


class Scene:
    """A journal, an authorization server, and the grants between them."""

    def __init__(
        self, journal: SqliteJournal, server: AuthorizationServer, url: str, grants: Authorizations
    ) -> None:
        self.journal = journal
        self.server = server
        self.url = url
        self.grants = grants

    async def store(self, caller: Caller = CALLER, **parts: Any) -> str:
        """Store a grant and return its id."""
        made = await self.grants.create(caller, grant_of(self.url, **parts), None)
        return made.events[0].stream

    async def token(self, authorization_id: str) -> str:
        """Return an access token."""
        return await self.grants.token(CALLER.tenant, authorization_id)

    async def types(self, authorization_id: str) -> list[str]:
        """List what happened to a grant."""
        events = await self.journal.read_stream(authorization_id)
        return [event.facts.type for event in events]


@asynccontextmanager
async def scene(directory: Path, clock: SystemClock, api_url: str = "") -> AsyncGenerator[Scene]:
    """Open a journal and serve a token endpoint."""
    server = AuthorizationServer()
    async with (
        open_journal(directory, KEY, clock) as journal,
        serving(server.handle) as url,
        authorizations_on(journal, clock, api_url or url) as grants,
    ):
        yield Scene(journal, server, url, grants)
