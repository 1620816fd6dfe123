"""An identity provider on the loopback interface, with an authenticator that asks it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from refold.http.auth import (
    Authenticator,
    AuthSettings,
    UnauthorizedError,
)

NOW = 1_750_000_000
CLAIMS = {"sub": "ada", "org_id": "acme", "exp": NOW + 86_400}

_ALGORITHM_OF = {
    rsa.RSAPrivateKey: "RS256",
    ec.EllipticCurvePrivateKey: "ES256",
    ed25519.Ed25519PrivateKey: "EdDSA",
}


def jwk(private_key: Any, kid: str | None, **changes: Any) -> dict[str, Any]:
    """The public half of a key as an entry of a JWKS, with changes."""
    kind = next(name for cls, name in _ALGORITHM_OF.items() if isinstance(private_key, cls))
    entry = jwt.get_algorithm_by_name(kind).to_jwk(private_key.public_key(), as_dict=True)
    entry.pop("key_ops", None)
    return entry | ({} if kid is None else {"kid": kid}) | changes


def bearer(private_key: Any, algorithm: str, kid: str | None, **claims: Any) -> str:
    """The header of a good token signed with that key."""
    headers = {} if kid is None else {"kid": kid}
    token = jwt.encode(CLAIMS | claims, private_key, algorithm=algorithm, headers=headers)
    return f"Bearer {token}"


class Provider:
    """An identity provider on the loopback interface whose answer a test can change."""

    def __init__(self) -> None:
        self.url = ""
        self.keys: list[Any] = []
        self.answer: Callable[[], web.Response] = self.key_set
        self.fetches = 0
        self.gate: asyncio.Event | None = None
        self.reached = asyncio.Event()

    def key_set(self) -> web.Response:
        """The keys as they are now."""
        return web.json_response({"keys": self.keys})

    async def handle(self, _: web.Request) -> web.Response:
        """Counts the fetch, waits where a test holds it, and answers."""
        self.fetches += 1
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()
        return self.answer()


class Timer:
    """Monotonic seconds that only a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time that it stands at."""
        return self.now


class Bench:
    """An authenticator at a provider, both on a clock that a test moves."""

    def __init__(self, provider: Provider, **settings: Any) -> None:
        self.provider = provider
        self.timer = Timer()
        self.subject = Authenticator(
            AuthSettings(jwks_url=provider.url, **settings),
            clock=lambda: NOW,
            monotonic=self.timer,
        )

    async def reason(self, header: str) -> str:
        """Why a header is refused, or an empty text where it is accepted."""
        try:
            await self.subject.authenticate(header)
        except UnauthorizedError as error:
            return error.reason
        return ""


@asynccontextmanager
async def provider_of(*keys: Any) -> AsyncGenerator[Provider, None]:
    """A running provider that publishes these keys."""
    provider = Provider()
    provider.keys = list(keys)
    application = web.Application()
    application.router.add_get("/keys", provider.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    try:
        await web.SockSite(runner, listener).start()
        provider.url = f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
        yield provider
    finally:
        await runner.cleanup()


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Plays one scenario on a loop of its own, and gives up rather than hang."""
    asyncio.run(asyncio.wait_for(scenario(), 20))
