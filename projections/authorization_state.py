"""`AuthorizationState`: what a stored OAuth 2.0 grant is, folded from the facts of its stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from ..journal import events as e
from ..journal.envelope import Recorded

AuthorizationStatus = Literal["active", "refused"]


class AuthorizationState(msgspec.Struct):
    """A grant, as far as its facts tell."""

    authorization_id: str
    version: int = 0
    """The version of its stream: what a commit that relies on this state guards."""
    position: int = 0
    """The position of its newest event: as of any later one, it is the same."""
    tenant: str = ""
    status: AuthorizationStatus = "active"
    is_deleted: bool = False
    created_at: int = 0
    body_at: int = 0
    """The position of the body that says who stored it, for which provider."""
    item_version: int = 0
    """Counts its secrets, from 1: the first one, and one for each new refresh token."""
    secret_at: int = 0
    """The position of the body with the newest ciphertext."""
    key_at: int = 0
    """The position of the newest `key.wrapped`."""

    @property
    def exists(self) -> bool:
        """True while the grant is stored."""
        return self.body_at != 0 and not self.is_deleted


def fold(authorization_id: str, events: Iterable[Recorded]) -> AuthorizationState:
    """Fold a grant's events from the first one on."""
    state = AuthorizationState(authorization_id)
    for event in events:
        evolve(state, event)
    return state


def evolve(state: AuthorizationState, event: Recorded) -> None:
    """Bring the state past one event of its stream."""
    state.version = event.version
    state.position = event.position
    facts = event.facts
    if isinstance(facts, e.AuthorizationDefined):
        state.tenant = event.tenant
        state.created_at = event.at
        state.body_at = state.secret_at = event.body_at
        state.item_version = facts.item_version
    elif isinstance(facts, e.AuthorizationRefreshed):
        state.secret_at = event.body_at
        state.item_version = facts.item_version
    elif isinstance(facts, e.KeyWrapped):
        state.key_at = event.position
    elif isinstance(facts, e.AuthorizationRefused):
        state.status = "refused"
    elif isinstance(facts, e.AuthorizationDeleted):
        state.is_deleted = True
