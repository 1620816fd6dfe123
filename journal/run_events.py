"""The events of a run's stream, in the form of the catalogue (events.py has its rules)."""

from __future__ import annotations

from .facts import Facts


class RunRequested(Facts, frozen=True):
    """A run was accepted. Body: the trigger payload (unless inherited) and who asked."""

    type = "run.requested"
    chosen_node: str
    """The node resumed from, "" otherwise."""
    depth: int
    """How many runs it descends from as a sub-workflow."""
    idempotency_digest: str
    idempotency_key: str
    idempotency_scope: str
    in_doubt: str
    """Effect keys, space-separated, of calls of the original whose outcome nobody knows."""
    kept: str
    """A resume's kept nodes and those inside them, space-separated: the consistent cut."""
    origin: str
    original_run: str
    original_version: int
    """The version of the original's stream that the cut was taken at."""
    parent_iteration: str
    parent_node: str
    parent_run: str
    """Of a sub-workflow: the run, node and iteration that started it, "" otherwise."""
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


class InteractionRequested(Facts, frozen=True):
    """A person is asked. Body: the form as it is shown."""

    type = "interaction.requested"
    due_at: int
    """When the form closes by itself, 0 for never."""
    iteration: str
    node: str
    requested_at: int


class InteractionSubmitted(Facts, frozen=True):
    """A person answered a form. Body: who, the action and the values."""

    type = "interaction.submitted"
    action: str
    iteration: str
    node: str
    submitted_at: int


class ChildRequested(Facts, frozen=True):
    """A node started a run of another workflow, in the same commit. Body: none."""

    type = "child.requested"
    child: str
    """The stream of the other run."""
    iteration: str
    node: str
    waits: int
    """1 where the node succeeds only once the other run has."""
    workflow: str
    workflow_version: int


class ChildEnded(Facts, frozen=True):
    """The run that a node waited for has ended. Body: its result, or its error message."""

    type = "child.ended"
    child: str
    iteration: str
    node: str
    status: str
    """`completed` or `failed`."""


class IterationStarted(Facts, frozen=True):
    """An iterator began with an item. Body: none."""

    type = "iteration.started"
    iteration: str
    """The path of the item: the iterator's own path and the item's index."""
    node: str
    """The iterator."""
    started_at: int


class IterationEnded(Facts, frozen=True):
    """An iterator is done with an item. Body: the item's result, or its error."""

    type = "iteration.ended"
    code: str
    """The error code of an item that failed, "" for one that succeeded."""
    ended_at: int
    failed_node: str
    iteration: str
    node: str
