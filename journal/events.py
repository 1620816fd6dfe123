"""The event catalogue: every kind of fact that the journal can hold.

Names, fields and schema numbers are a storage format. They are never renamed and never
change meaning; a change of form is a new schema number, and the old one stays readable.

Rules of this file:

1. A struct here holds *facts*: what folds need and nobody may erase. Strings and integers
   only, all fields always present, absent is `""` or 0, flags are 0 or 1.
2. User data (payloads, outputs, error text, definitions) is the event's *body*, kept apart.
3. Fields stand in alphabetical order, since the facts are hashed as canonical JSON.
4. Times are microseconds UTC. `iteration` is the path of indexes inside iterators ("" outside).
5. `source_id` is the id of the event that a replayed one was copied from ("" if original).
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from .errors import InvalidCommitError, UnknownEventError

INTEGER_MAX: Final = 2**53 - 1
"""The largest integer of an entry: what every JSON reader keeps exact."""


class Facts(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """The base of all events."""

    type: ClassVar[str]
    schema: ClassVar[int] = 1


class JournalCreated(Facts, frozen=True):
    """The first event of every journal. Body: none."""

    type = "journal.created"
    format: int
    key_check: str
    """HMAC of the journal's id under the service key: tells a wrong key at start."""


class WorkflowDefined(Facts, frozen=True):
    """A version of a workflow, whole. Body: the definition and who made it."""

    type = "workflow.defined"
    active: int
    idempotency_digest: str
    idempotency_key: str
    idempotency_scope: str
    webhook_hash: str
    """Keyed hash of the webhook token, "" without a webhook trigger."""
    workflow_version: int


class WorkflowDeleted(Facts, frozen=True):
    """A workflow is gone; its history stays. Body: who deleted it."""

    type = "workflow.deleted"


class RunRequested(Facts, frozen=True):
    """A run was accepted. Body: the trigger payload (unless inherited) and who asked."""

    type = "run.requested"
    chosen_node: str
    """The node resumed from, "" otherwise."""
    idempotency_digest: str
    idempotency_key: str
    idempotency_scope: str
    in_doubt: str
    """Effect keys, space-separated, of calls of the original whose outcome nobody knows."""
    kept: str
    """A resume's kept nodes, space-separated: the consistent cut it starts from."""
    origin: str
    original_run: str
    original_version: int
    """The version of the original's stream that the cut was taken at."""
    payload_run: str
    """The run whose first body holds the trigger payload ("" = this one)."""
    replayed_total: int
    """How many events the cut replays into this stream."""
    trigger_type: str
    workflow: str
    workflow_version: int


class RunStarted(Facts, frozen=True):
    """The first scheduling step of a run. Body: none."""

    type = "run.started"
    limit_us: int
    """The run's time limit, counted from `started_at`."""
    started_at: int


class RunCompleted(Facts, frozen=True):
    """Nothing was left to do, or a `terminate` said so. Body: none."""

    type = "run.completed"
    node: str
    """The `terminate` that ended the run, "" otherwise."""


class RunFailed(Facts, frozen=True):
    """The first untolerated failure ended the run. Body: the message."""

    type = "run.failed"
    code: str
    node: str


class RunCancelRequested(Facts, frozen=True):
    """Somebody, or the run's time limit, asked the run to stop. Body: who, and the message."""

    type = "run.cancel_requested"
    code: str
    """`cancelled` or `run_timeout`."""


class RunCancelled(Facts, frozen=True):
    """A run ended because it was asked to. Body: the message."""

    type = "run.cancelled"
    code: str


class NodeStarted(Facts, frozen=True):
    """An attempt of a node with an effect or a wait begins. Body: its input, secrets masked."""

    type = "node.started"
    attempt: int
    component: str
    effect_key: str
    iteration: str
    node: str
    started_at: int


class NodeSucceeded(Facts, frozen=True):
    """A node attempt succeeded. Body: its output."""

    type = "node.succeeded"
    attempt: int
    component: str
    ended_at: int
    ends: str
    """`completed` or `failed` where a `terminate` ends the run, else ""."""
    handle: str
    iteration: str
    node: str
    source_id: str
    started_at: int


class NodeFailed(Facts, frozen=True):
    """A node attempt failed. Body: the error and what was received."""

    type = "node.failed"
    attempt: int
    code: str
    component: str
    ended_at: int
    iteration: str
    node: str
    retried: int
    """1 where another attempt follows."""
    source_id: str
    started_at: int
    tolerated: int
    """1 where the run goes on without this node's success."""


class NodeInterrupted(Facts, frozen=True):
    """A node attempt was ended from outside. Body: the error."""

    type = "node.interrupted"
    attempt: int
    code: str
    component: str
    ended_at: int
    in_doubt: int
    """1 where a call was on the wire and its outcome is unknown."""
    iteration: str
    node: str
    source_id: str
    started_at: int


class NodeRetryScheduled(Facts, frozen=True):
    """The next attempt of a node waits until `due_at`. Body: none."""

    type = "node.retry_scheduled"
    attempt: int
    due_at: int
    iteration: str
    node: str


class TimerSet(Facts, frozen=True):
    """A node waits until `due_at`. Body: none."""

    type = "timer.set"
    due_at: int
    iteration: str
    node: str


class TimerFired(Facts, frozen=True):
    """A node's wait is over. Body: none."""

    type = "timer.fired"
    iteration: str
    node: str


CATALOGUE: Final[tuple[type[Facts], ...]] = (
    JournalCreated,
    WorkflowDefined,
    WorkflowDeleted,
    RunRequested,
    RunStarted,
    RunCompleted,
    RunFailed,
    RunCancelRequested,
    RunCancelled,
    NodeStarted,
    NodeSucceeded,
    NodeFailed,
    NodeInterrupted,
    NodeRetryScheduled,
    TimerSet,
    TimerFired,
)
RUN_ENDED: Final = frozenset({RunCompleted.type, RunFailed.type, RunCancelled.type})

_DECODERS: Final = {
    (facts.type, facts.schema): msgspec.json.Decoder(facts, strict=True) for facts in CATALOGUE
}
_INTEGER_FIELDS: Final[dict[type[Facts], tuple[str, ...]]] = {
    facts: tuple(field.name for field in msgspec.structs.fields(facts) if field.type is int)
    for facts in CATALOGUE
}


def check_facts(facts: Facts) -> None:
    """See that an event can be read again from its entry.

    A `bool` passes every type checker as an `int`, yet is hashed as `true`.

    Raises:
        InvalidCommitError: it is not in the catalogue, or holds a number that no entry may.
    """
    names = _INTEGER_FIELDS.get(type(facts))
    if names is None:
        raise InvalidCommitError(f"{type(facts).__name__} is not in the event catalogue")
    for name in names:
        value = getattr(facts, name)
        if type(value) is not int or not 0 <= value <= INTEGER_MAX:
            raise InvalidCommitError(
                f"{facts.type}: {name} must be an integer from 0 to {INTEGER_MAX}"
            )


def decode_facts(type_: str, schema: int, facts: bytes | msgspec.Raw) -> Facts:
    """Read an event's facts.

    Raises:
        UnknownEventError: the type or schema is newer than this version.
    """
    decoder = _DECODERS.get((type_, schema))
    if decoder is None:
        raise UnknownEventError(type_, schema)
    return decoder.decode(facts)
