"""Access tokens in memory: asked for once, shared by all, renewed before they expire.

Rules of this file:

1. One request at a time for a grant. Whoever needs its token meanwhile waits for that one; a
   caller that is cut off ends nothing for the others.
2. A new refresh token is recorded before it or its access token is used. While that fails, it is
   kept here and recorded first of all the next time. What no program can mend: the process dies
   after the provider has answered and before the commit; the old refresh token may then be spent,
   and the provider refuses the grant.
3. A token that is due for renewal is used up while its provider gives no answer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NamedTuple, Protocol

import msgspec

from ..journal.clock import Clock
from ..journal.errors import JournalError
from .component import NodeError
from .errors import EngineError
from .oauth import Grant, GrantRefusedError, TokenClient, TokenUnavailableError, fetch_token

MARGIN_S_MAX: Final = 60
"""How long before its end a token is renewed; half its life where that is less."""
UNAVAILABLE: Final = "authorization_unavailable"
REFUSED: Final = "authorization_refused"
_log = logging.getLogger("refold.engine")


class GrantStore(Protocol):
    """Where grants are kept."""

    async def read_grant(self, authorization_id: str) -> Grant:
        """Return a grant; raise `NodeError` where it can't be used any more."""
        ...

    def check_kept(self, authorization_id: str) -> None:
        """Raise `NodeError` where a grant was deleted since it was read."""
        ...

    async def record_rotation(self, authorization_id: str, grant: Grant) -> None:
        """Make a grant with a new refresh token durable."""
        ...

    async def record_refusal(self, authorization_id: str, code: str) -> None:
        """Make durable that the provider refuses a grant."""
        ...


class _Held(NamedTuple):
    """A token, and until when it is good."""

    token: str
    renew_at: int
    ends_at: int


class TokenCache:
    """The access tokens of all grants in use; made for one service and one event loop."""

    def __init__(self, store: GrantStore, client: TokenClient, clock: Clock) -> None:
        self._store = store
        self._client = client
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._renewals: dict[str, asyncio.Task[str]] = {}
        self._unrecorded: dict[str, Grant] = {}

    async def token(self, authorization_id: str) -> str:
        """Return an access token that is good for some time yet.

        Raises:
            NodeError: `authorization_refused`, `authorization_unavailable`, or what the store says.
        """
        held = self._held.get(authorization_id)
        if held is not None and self._clock.now_us() < held.renew_at:
            return held.token
        renewal = self._renewals.get(authorization_id)
        if renewal is None:
            renewal = asyncio.create_task(
                self._renew(authorization_id), name=f"token:{authorization_id}"
            )
            self._renewals[authorization_id] = renewal
            renewal.add_done_callback(self._renewed)
        return await asyncio.shield(renewal)

    def invalidate(self, authorization_id: str, token: str) -> None:
        """Drop a token that a server did not take; a newer one stays."""
        held = self._held.get(authorization_id)
        if held is not None and held.token == token:
            del self._held[authorization_id]

    def forget(self, authorization_id: str) -> None:
        """Drop all that is kept of a grant: it is gone, or no good."""
        self._held.pop(authorization_id, None)
        self._unrecorded.pop(authorization_id, None)

    async def close(self) -> None:
        """End the requests that are under way; those who wait for them are cut off."""
        renewals = list(self._renewals.values())
        for renewal in renewals:
            renewal.cancel()
        await asyncio.gather(*renewals, return_exceptions=True)

    def _renewed(self, renewal: asyncio.Task[str]) -> None:
        # By its name, since nothing else may depend on whether somebody still waits for it.
        self._renewals.pop(renewal.get_name().removeprefix("token:"), None)
        if not renewal.cancelled():
            # Looked at here, so that a failure that everybody was cut off from is not reported.
            renewal.exception()

    async def _renew(self, authorization_id: str) -> str:
        try:
            return await self._fetch(authorization_id)
        except TokenUnavailableError as error:
            held = self._held.get(authorization_id)
            if held is not None and self._clock.now_us() < held.ends_at:
                return held.token
            raise NodeError(UNAVAILABLE, error.message) from None

    async def _fetch(self, authorization_id: str) -> str:
        """Ask for a token and keep it; what the provider changed is recorded first."""
        await self._record_rotation(authorization_id)
        grant = await self._store.read_grant(authorization_id)
        asked_at = self._clock.now_us()
        try:
            made = await fetch_token(self._client, grant)
        except GrantRefusedError as error:
            await self._record_refusal(authorization_id, error.code)
            raise refused(error.code) from None
        is_rotated = made.refresh_token and made.refresh_token != grant.refresh_token
        if grant.grant_type == "refresh_token" and is_rotated:
            rotated = msgspec.structs.replace(grant, refresh_token=made.refresh_token)
            self._unrecorded[authorization_id] = rotated
            await self._record_rotation(authorization_id)
        self._store.check_kept(authorization_id)
        life_us = made.lifetime_s * 1_000_000
        margin_us = min(MARGIN_S_MAX * 1_000_000, life_us // 2)
        # Counted from before the question, so that a slow answer makes no token live longer.
        ends_at = asked_at + life_us
        self._held[authorization_id] = _Held(made.access_token, ends_at - margin_us, ends_at)
        return made.access_token

    async def _record_rotation(self, authorization_id: str) -> None:
        rotated = self._unrecorded.get(authorization_id)
        if rotated is None:
            return
        try:
            await self._store.record_rotation(authorization_id, rotated)
        except JournalError:
            raise TokenUnavailableError("A new refresh token could not be recorded yet.") from None
        self._unrecorded.pop(authorization_id, None)

    async def _record_refusal(self, authorization_id: str, code: str) -> None:
        self.forget(authorization_id)
        try:
            await self._store.record_refusal(authorization_id, code)
        except (JournalError, EngineError) as error:
            # The refusal stands, and will be heard again with the next question.
            _log.warning("the refusal of %s was not recorded: %s", authorization_id, error)


def refused(code: str) -> NodeError:
    """Make the failure of a grant that its provider refuses."""
    why = f" ({code})" if code else ""
    return NodeError(REFUSED, f"The provider refuses the authorization{why}; store a new one.")
