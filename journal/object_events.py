"""The events of all streams but the runs', in the form of the catalogue (events.py)."""

from __future__ import annotations

from .facts import Facts


class JournalCreated(Facts, frozen=True):
    """The first event of every journal. Body: none."""

    type = "journal.created"
    format: int
    key_check: str
    """HMAC of the journal's id under the service key: tells a wrong key at start."""


class JournalRestored(Facts, frozen=True):
    """A backup was accepted; checkpoints go on under a new origin. Body: none."""

    type = "journal.restored"
    from_size: int
    """How many events the journal had then."""
    generation: int
    """Counts the origins of its checkpoints: 2 at the first time."""
    root: str
    """The root over these events, in hexadecimal digits."""


class WorkflowDefined(Facts, frozen=True):
    """A version of a workflow, whole. Body: the definition and who made it."""

    type = "workflow.defined"
    active: int
    event_type: str
    """The type of events that start it, "" without an event trigger."""
    idempotency_digest: str
    idempotency_key: str
    idempotency_scope: str
    next_at: int
    """When its schedule fires first, 0 without one."""
    schedule: str
    """The schedule as canonical JSON, "" without one."""
    uses: str
    """The workflows that its nodes name, space-separated."""
    webhook_hash: str
    """Keyed hash of the webhook token, "" without a webhook trigger."""
    workflow_version: int


class WorkflowDeleted(Facts, frozen=True):
    """A workflow is gone; its history stays. Body: who deleted it."""

    type = "workflow.deleted"


class KeyRotated(Facts, frozen=True):
    """The service key is another one. Body: what the first key made, sealed under the new one."""

    type = "key.rotated"
    key_check: str
    """HMAC of the journal's id under the new service key."""
    key_id: str


class PayloadErased(Facts, frozen=True):
    """Bodies are gone, in the same commit. Body: none."""

    type = "payload.erased"
    positions: str
    """Where the bodies stood, space-separated."""
    reason: str
    target: str
    """The stream that the erasure was asked for."""


class SegmentArchived(Facts, frozen=True):
    """Bodies of runs left the database, in the same commit, for a segment. Body: none."""

    type = "segment.archived"
    digest: str
    """SHA-256 of the segment's file `entries`."""
    name: str
    """The segment, and its folder."""
    positions: str
    """Where the bodies stood, space-separated."""


class ScheduleFired(Facts, frozen=True):
    """A workflow's schedule came due; its run stands in the same commit. Body: none."""

    type = "schedule.fired"
    due_at: int
    """The scheduled time that fired, the newest where several were missed."""
    missed: int
    """How many earlier firings it stands for, which no run was made of."""
    next_at: int
    """The next scheduled time, 0 for none."""
    run: str
    """The run that it made, "" where none was."""
    skipped: str
    """Why it made no run (`overlap`), "" where it did."""


class VaultDefined(Facts, frozen=True):
    """A vault item, whole, or a new secret of it. Body: who, its name, and the ciphertext."""

    type = "vault.defined"
    api_key_hash: str
    """Keyed hash of an API key, "" for other secrets."""
    expires_at: int
    """0 for never."""
    idempotency_digest: str
    idempotency_key: str
    idempotency_scope: str
    item_version: int
    """Counts its secrets, from 1; the same where only its name or its expiry changed."""
    name_hash: str
    """Keyed hash of tenant and name: what only one item at a time may hold."""


class VaultDeleted(Facts, frozen=True):
    """A vault item is gone, and its key with it. Body: who deleted it."""

    type = "vault.deleted"


class KeyWrapped(Facts, frozen=True):
    """The data key of an item, under the service key. Body: the wrapped key; erased with it."""

    type = "key.wrapped"
    item_version: int
    key_id: str
    """Which service key wrapped it."""


class AuthorizationDefined(Facts, frozen=True):
    """A stored OAuth 2.0 grant. Body: who, provider, e-mail, and the ciphertext."""

    type = "authorization.defined"
    idempotency_digest: str
    idempotency_key: str
    idempotency_scope: str
    item_version: int


class AuthorizationRefreshed(Facts, frozen=True):
    """The provider gave a new refresh token. Body: the ciphertext."""

    type = "authorization.refreshed"
    item_version: int


class AuthorizationRefused(Facts, frozen=True):
    """The provider says that the grant is no longer good. Body: its error."""

    type = "authorization.refused"
    code: str


class AuthorizationDeleted(Facts, frozen=True):
    """A grant is gone, and its key with it. Body: who deleted it."""

    type = "authorization.deleted"


class SubscriptionDefined(Facts, frozen=True):
    """Somebody is told of events from now on. Body: who asked, the address, the sealed secret."""

    type = "subscription.defined"
    idempotency_digest: str
    idempotency_key: str
    idempotency_scope: str
    position: int
    """It is told of what comes after this position."""
    types: str
    """The types of events, space-separated, "" for all."""
    workflow: str
    """The workflow and its runs, "" for all."""


class SubscriptionAdvanced(Facts, frozen=True):
    """A subscriber has taken what came up to a position. Body: none."""

    type = "subscription.advanced"
    backlog: str
    """What is still owed from before it: `stream@position`, space-separated."""
    position: int


class SubscriptionParked(Facts, frozen=True):
    """A subscriber did not take an event, and no more is sent of its stream. Body: none."""

    type = "subscription.parked"
    code: str
    """What the last attempt came to, such as `http_400`."""
    position: int
    """The first event that was not taken."""
    target: str
    """The stream, "" where nothing at all is sent any more."""


class SubscriptionReplayed(Facts, frozen=True):
    """What was parked is sent again. Body: who asked."""

    type = "subscription.replayed"
    backlog: str
    """All that is owed from before the subscription's position: `stream@position`."""


class SubscriptionDeleted(Facts, frozen=True):
    """Nobody is told any more. Body: who deleted it."""

    type = "subscription.deleted"
