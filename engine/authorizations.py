"""Authorizations: stored OAuth 2.0 grants that nodes use without seeing them.

A grant is a stream `auth_…`. Its secrets are sealed (sealed_items.py): they go in and never come
out, but for the access tokens that nodes get, which stand in memory alone. A grant belongs to
one tenant, and another tenant's looks exactly like none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

from ..journal import events as e
from ..journal.actors import Pseudonyms
from ..journal.clock import Clock, IdSource
from ..journal.envelope import Recorded
from ..journal.errors import ResourceInUseError
from ..journal.journal import (
    LATEST,
    Appended,
    Commit,
    Journal,
    Metadata,
    NewEvent,
    RequestKey,
    StreamWrite,
)
from ..projections.authorization_state import AuthorizationState, evolve, fold
from .api_client import ApiClient
from .caller import Caller
from .component import NodeError
from .copying import read_whole
from .egress import EgressRules, OutboundError, Target, parse_target
from .errors import InvalidError, NotFoundError, StateError
from .keyring import SecretUnreadableError
from .mail_address import AddressError, parse_address
from .oauth import Grant, TokenClient
from .oauth_tokens import UNAVAILABLE, TokenCache, refused
from .sealed_items import SealedItems
from .workflows import until_no_conflict

PREFIX: Final = "auth_"
MISSING: Final = "authorization_missing"
CACHED_MAX: Final = 2000
_LOADS_MAX: Final = 8
_encode = msgspec.json.Encoder().encode
_decode_grant = msgspec.json.Decoder(Grant).decode


class AuthorizationBody(msgspec.Struct, frozen=True):
    """The body of `authorization.defined`."""

    by: str
    provider: str
    email: str | None
    ciphertext: str


class _RefreshedBody(msgspec.Struct, frozen=True):
    """The body of `authorization.refreshed`, and what it has in common with the first one."""

    ciphertext: str


_decode_body = msgspec.json.Decoder(AuthorizationBody).decode
_decode_secret = msgspec.json.Decoder(_RefreshedBody).decode


class NewAuthorization(msgspec.Struct, frozen=True):
    """What a client stores."""

    provider: str
    email: str | None
    grant: Grant


class Authorizations:
    """All stored grants of the service."""

    def __init__(
        self,
        journal: Journal,
        ids: IdSource,
        pseudonyms: Pseudonyms,
        sealed: SealedItems,
        client: TokenClient,
        rules: EgressRules,
        clock: Clock,
        api: ApiClient,
    ) -> None:
        """`client` calls token endpoints and must follow no redirect; `rules` are its rules."""
        self._journal = journal
        self._ids = ids
        self._pseudonyms = pseudonyms
        self._sealed = sealed
        self._rules = rules
        self._tokens = TokenCache(self, client, clock)
        self._states: OrderedDict[str, AuthorizationState] = OrderedDict()
        self.api: Final = api
        """The API that the operator has configured for nodes with an authorization."""
        self._unsubscribe = journal.subscribe(self._follow, e.OBJECT_EVENTS)

    # What clients do

    async def create(
        self, caller: Caller, wanted: NewAuthorization, request: RequestKey | None
    ) -> Appended:
        """Store a grant.

        Raises:
            InvalidError: it could never be used, and why.
        """
        self._check(wanted)
        facts = e.AuthorizationDefined(
            idempotency_digest=request.digest if request else "",
            idempotency_key=request.key if request else "",
            idempotency_scope=request.scope if request else "",
            item_version=1,
        )

        meta = caller.metadata(self._pseudonyms)

        def event(ciphertext: str) -> NewEvent:
            body = AuthorizationBody(caller.subject, wanted.provider, wanted.email, ciphertext)
            return NewEvent(self._ids.new(), facts, _encode(body), meta.actor)

        return await self._sealed.define(
            stream=self._ids.new(PREFIX),
            version=0,
            item_version=1,
            text=_encode(wanted.grant).decode(),
            event=event,
            meta=meta,
            request=request,
        )

    async def find(
        self, tenant: str, authorization_id: str, *, at: int = LATEST
    ) -> AuthorizationState:
        """Return a grant of this tenant as of a position, by default as it is.

        Raises:
            NotFoundError: there is none; another tenant's looks the same and costs the same.
        """
        state = self._states.get(authorization_id)
        if state is None or state.tenant != tenant:
            state = await self._load_of(tenant, authorization_id)
        if at != LATEST:
            state = await self._earlier(state, at)
        if not state.exists:
            raise NotFoundError("authorization")
        return state

    async def read_bodies(self, positions: Sequence[int]) -> dict[int, AuthorizationBody]:
        """Read who stored which grants; an erased body is missing."""
        bodies = await self._journal.read_bodies(positions)
        return {position: _decode_body(body.data) for position, body in bodies.items()}

    async def delete(self, caller: Caller, authorization_id: str) -> None:
        """Delete a grant that no workflow names, and the key of its secrets.

        Raises:
            NotFoundError: there is no such authorization.
            StateError: `workflow_in_use`.
        """

        async def attempt() -> None:
            state = await self.find(caller.tenant, authorization_id)
            body = _encode({"by": caller.subject})
            meta = caller.metadata(self._pseudonyms)
            try:
                await self._sealed.delete(
                    stream=authorization_id,
                    version=state.version,
                    event=NewEvent(self._ids.new(), e.AuthorizationDeleted(), body, meta.actor),
                    meta=meta,
                    keys=[state.key_at],
                    unused=[authorization_id],
                )
            except ResourceInUseError as error:
                raise StateError(
                    "workflow_in_use", f"The authorization is in use by {error.holder}."
                ) from error

        await until_no_conflict(attempt)

    def _check(self, wanted: NewAuthorization) -> None:
        grant = wanted.grant
        errors: dict[str, list[str]] = {}
        if grant.grant_type == "refresh_token" and not grant.refresh_token:
            errors["refresh_token"] = ["is required"]
        if grant.grant_type == "client_credentials" and grant.refresh_token:
            errors["refresh_token"] = ["is of no use to client_credentials"]
        fault = self._url_fault(grant.token_url)
        if fault:
            errors["token_url"] = [fault]
        if wanted.email is not None:
            try:
                if parse_address(wanted.email).addr_spec != wanted.email:
                    errors["email"] = ["must be a plain address"]
            except AddressError as error:
                errors["email"] = [str(error)]
        if errors:
            raise InvalidError("The authorization can't be used.", errors)

    def _url_fault(self, url: str) -> str:
        """Say why secrets may not be sent there; names are judged again when they are resolved."""
        try:
            target = parse_target(url)
        except OutboundError as fault:
            return fault.message
        if target.address is not None:
            refusal = self._rules.refusal(target.host, target.address)
            if refusal:
                return refusal
        if target.scheme != "https" and not self._is_named(target):
            return "It must be an https address, since secrets are sent there."
        return ""

    def _is_named(self, target: Target) -> bool:
        """Say whether the operator has allowed this very host or address."""
        if target.host in self._rules.hosts:
            return True
        address = target.address
        return address is not None and any(address in net for net in self._rules.networks)

    # What nodes do

    async def token(self, tenant: str, authorization_id: str) -> str:
        """Return an access token of a grant.

        Raises:
            NodeError: `authorization_missing`, `authorization_refused` or
                `authorization_unavailable`; only the last may pass by itself.
        """
        await self._usable(tenant, authorization_id)
        return await self._tokens.token(authorization_id)

    async def invalidate(self, tenant: str, authorization_id: str, token: str) -> None:
        """Drop a token that a server did not take, so that the next one is a new one."""
        await self._usable(tenant, authorization_id)
        self._tokens.invalidate(authorization_id, token)

    async def close(self) -> None:
        """End what is under way."""
        self._unsubscribe()
        await self._tokens.close()
        await self.api.close()

    async def _usable(self, tenant: str, authorization_id: str) -> AuthorizationState:
        try:
            state = await self.find(tenant, authorization_id)
        except NotFoundError:
            raise NodeError(MISSING, "There is no such authorization.") from None
        if state.status == "refused":
            raise refused("")
        return state

    # What the tokens are kept in (see `GrantStore`)

    async def read_grant(self, authorization_id: str) -> Grant:
        """Return a grant in clear.

        Raises:
            NodeError: it was deleted, or can't be decrypted.
        """
        state = await self._load_known(authorization_id)
        bodies = await self._journal.read_bodies([state.secret_at])
        if state.exists and state.secret_at in bodies:
            ciphertext = _decode_secret(bodies[state.secret_at].data).ciphertext
            try:
                text = await self._sealed.open(
                    authorization_id, state.item_version, ciphertext, state.key_at
                )
            except SecretUnreadableError as error:
                raise NodeError(UNAVAILABLE, str(error)) from None
            if text is not None:
                return _decode_grant(text)
        raise NodeError(MISSING, "There is no such authorization.")

    def check_kept(self, authorization_id: str) -> None:
        """Refuse a grant that was deleted since it was read.

        Raises:
            NodeError: it was.
        """
        state = self._states.get(authorization_id)
        if state is not None and not state.exists:
            raise NodeError(MISSING, "There is no such authorization.")

    async def record_rotation(self, authorization_id: str, grant: Grant) -> None:
        """Store the grant with its new refresh token, and erase the key of the old one."""

        async def attempt() -> None:
            state = await self._load_known(authorization_id)
            if not state.exists:
                return
            number = state.item_version + 1
            facts = e.AuthorizationRefreshed(item_version=number)
            await self._sealed.define(
                stream=authorization_id,
                version=state.version,
                item_version=number,
                text=_encode(grant).decode(),
                event=lambda ciphertext: NewEvent(
                    self._ids.new(), facts, _encode(_RefreshedBody(ciphertext))
                ),
                meta=self._own_metadata(state),
                replaces=[state.key_at],
            )

        await until_no_conflict(attempt)

    async def record_refusal(self, authorization_id: str, code: str) -> None:
        """Store that the provider refuses the grant."""

        async def attempt() -> None:
            state = await self._load_known(authorization_id)
            if not state.exists or state.status == "refused":
                return
            body = _encode({"error": code})
            event = NewEvent(self._ids.new(), e.AuthorizationRefused(code=code), body)
            write = StreamWrite(authorization_id, state.version, [event], self._own_metadata(state))
            await self._journal.append(Commit([write]))

        await until_no_conflict(attempt)

    def _own_metadata(self, state: AuthorizationState) -> Metadata:
        return Metadata(state.tenant, "", self._ids.new("req_"))

    async def _load_known(self, authorization_id: str) -> AuthorizationState:
        return self._states.get(authorization_id) or await self._load(authorization_id)

    async def _earlier(self, state: AuthorizationState, at: int) -> AuthorizationState:
        """Return the state as of a position, apart from the one that the feed moves on."""
        if state.position <= at:
            return msgspec.structs.replace(state)
        made = AuthorizationState(state.authorization_id)
        async for page in read_whole(self._journal, state.authorization_id, at=at):
            for event in page:
                evolve(made, event)
        return made

    async def _load_of(self, tenant: str, authorization_id: str) -> AuthorizationState:
        """Load a grant of this tenant; of another's no more is read than of one that is none."""
        first = await self._journal.read_stream(authorization_id, limit=1)
        if not first or first[0].tenant != tenant:
            raise NotFoundError("authorization")
        return await self._load(authorization_id)

    async def _load(self, authorization_id: str) -> AuthorizationState:
        """Fold a grant's stream, and keep it if it is one."""
        if not is_authorization(authorization_id):
            return fold(
                authorization_id, await self._journal.read_stream(authorization_id, limit=1)
            )
        state = AuthorizationState(authorization_id)
        for attempt in range(_LOADS_MAX):
            if attempt:
                state = AuthorizationState(authorization_id)
            async for page in read_whole(self._journal, authorization_id):
                for event in page:
                    evolve(state, event)
            if not state.body_at:
                return state
            # From here on the feed moves it; what was committed in between is read once more.
            self._states[authorization_id] = state
            for event in await self._journal.read_stream(authorization_id, state.version):
                if event.version == state.version + 1:
                    evolve(state, event)
            if self._states.get(authorization_id) is state:
                break
        if len(self._states) > CACHED_MAX:
            self._states.popitem(last=False)
        return state

    def _follow(self, events: Sequence[Recorded]) -> None:
        for event in events:
            state = self._states.get(event.stream)
            if state is not None:
                if event.version == state.version + 1:
                    evolve(state, event)
                elif event.version > state.version:
                    # It missed one while it was being read, so it is read anew.
                    del self._states[event.stream]
            if isinstance(event.facts, (e.AuthorizationDeleted, e.AuthorizationRefused)):
                self._tokens.forget(event.stream)


def is_authorization(identifier: str) -> bool:
    """Tell the id of an authorization from all others."""
    return (
        identifier.startswith(PREFIX)
        and identifier.isascii()
        and len(identifier) == len(PREFIX) + 26
    )
