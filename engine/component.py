"""What a node component is: a typed configuration, compiled once, run many times.

A component is a class; an instance is one configured node of one definition.
Seven kinds exist, told apart by base class, because the runner treats them differently:

- `TriggerNode`  gives the run its first output from the trigger payload;
- `PureNode`     computes its outcome from the context alone, and is fused with its neighbours;
- `EffectNode`   touches the world: its start is on disk before `perform` is called;
- `WaitNode`     succeeds after a time that it computes once, and that survives a restart;
- `FormNode`     asks a person, and leaves by the button that was pressed;
- `ChildNode`    starts a run of another workflow, and may wait for its end;
- `IteratorNode` runs a graph of its own for each item of a list.

Configurations are msgspec Structs. Unknown fields of a node's `data` are kept in the
definition and ignored here, since editors store labels and colours beside the configuration.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    Protocol,
    TypeAlias,
    TypeGuard,
    TypeVar,
)

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

Json: TypeAlias = Any
"""A value made of dict, list, str, int, float, bool and None only."""

Context: TypeAlias = Mapping[str, Json]
"""Node id to that node's output, and the roots `trigger`, `payload`, `webhook_payload`, `run`."""


def is_object(value: Json) -> TypeGuard[dict[str, Json]]:
    """Say whether a value is a JSON object."""
    return isinstance(value, dict)


def is_list(value: Json) -> TypeGuard[list[Json] | tuple[Json, ...]]:
    """Say whether a value is a JSON list; Liquid makes tuples of them now and then."""
    return isinstance(value, (list, tuple))


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The base of every component's configuration: the fields of a node's `data`."""


C = TypeVar("C", bound=NodeConfig)


class Outcome(msgspec.Struct, frozen=True):
    """How a node succeeded: its output, the handle it leaves by, and whether it ends the run."""

    output: Json
    handle: str = ""
    """The chosen handle of a node that has handles, else the empty string."""
    ends: Literal["", "completed", "failed"] = ""
    """Not empty: the run ends here with this status (`terminate`)."""
    message: str = ""
    """The error message of a run ended as failed."""


class NodeError(Exception):
    """A node failed in a way that its author can read about and handle.

    `code` is a stable snake_case name that a retry policy may list; `received` holds what came
    back from outside (status, headers, body) and is shown beside the error.
    """

    def __init__(self, code: str, message: str, received: dict[str, Json] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.received: dict[str, Json] = received or {}


class ConfigError(Exception):
    """A configuration can't work: `errors` maps a field path inside `data` to its faults."""

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        super().__init__("; ".join(f"{path}: {', '.join(e)}" for path, e in errors.items()))
        self.errors = {path: list(faults) for path, faults in errors.items()}


class Call(Protocol):
    """What the runner lends to an effect node while it performs."""

    @property
    def effect_key(self) -> str:
        """Sent as `Idempotency-Key`: the same for every automatic retry and recovery of the run."""
        ...

    @property
    def timeout_s(self) -> float:
        """The node's time limit, in seconds."""
        ...

    @property
    def outbound(self) -> Any:
        """The outgoing HTTP client with its egress guard (outbound.py)."""

    @property
    def mailer(self) -> Any:
        """What sends mail by the configured server (mailer.py)."""

    @property
    def authorizations(self) -> Any:
        """The stored grants of OAuth 2.0 (authorizations.py)."""

    @property
    def tenant(self) -> str:
        """Whose run it is."""
        ...

    @property
    def authorization_id(self) -> str:
        """The grant that the workflow names, "" without one."""
        ...


class _Node(ABC, Generic[C]):
    """What all kinds share: the component's name, its configuration type and its handles."""

    component: ClassVar[str]
    config_type: ClassVar[type[NodeConfig]]
    handles: tuple[str, ...] = ()
    """The handles that a success can leave by; empty for nodes that leave by plain edges."""

    @abstractmethod
    def __init__(self, config: C) -> None:
        """Compile the configuration; raise `ConfigError` with one entry for each fault."""


class TriggerNode(_Node[C]):
    """The one node of a definition that starts it."""

    @abstractmethod
    def check_payload(self, payload: dict[str, Json]) -> list[str]:
        """Say what is wrong with a trigger payload; empty when it is acceptable."""

    @abstractmethod
    def start(self, payload: dict[str, Json], trigger_type: str, run_id: str) -> Outcome:
        """Make the run's first output."""


class PureNode(_Node[C]):
    """A node whose outcome follows from the context alone."""

    @abstractmethod
    def run(self, context: Context) -> Outcome:
        """Compute the outcome; raise `NodeError` when the node fails."""


class EffectNode(_Node[C]):
    """A node that touches the world, in two halves with a durable event between them."""

    @abstractmethod
    def prepare(self, context: Context) -> Json:
        """Render the input as JSON, with secrets masked: it is journaled in `node.started`."""

    @abstractmethod
    async def perform(self, context: Context, call: Call) -> Outcome:
        """Do it; raise `NodeError` on a definite failure. Called only once the start is durable."""


class WaitNode(_Node[C]):
    """A node that succeeds when its time has come."""

    @abstractmethod
    def duration_us(self, context: Context) -> int:
        """Say how long to wait, in microseconds, within the configured limits."""

    @abstractmethod
    def finish(self, waited_us: int) -> Outcome:
        """Make the output once the time has passed."""


class AnswerError(Exception):
    """An answer does not fit its form: `errors` maps `action` or `values.<field>` to its faults."""

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        super().__init__("; ".join(f"{path}: {', '.join(e)}" for path, e in errors.items()))
        self.errors = {path: list(faults) for path, faults in errors.items()}


class FormNode(_Node[C]):
    """A node that waits until a person has answered, or its time is over."""

    @abstractmethod
    def ask(self, context: Context) -> dict[str, Json]:
        """Render the form as it is shown and journaled; raise `NodeError` when it can't be.

        What comes of an answer depends on this alone, so that a form keeps its meaning although
        days and restarts lie between the question and the answer.
        """

    @abstractmethod
    def timeout_us(self) -> int:
        """Say how long the form stays open, in microseconds; 0 means without end."""

    @abstractmethod
    def answer(
        self, form: dict[str, Json], action: str, values: dict[str, Json], by: str
    ) -> Outcome:
        """Make the outcome of an answer to an asked form; raise `AnswerError` if it doesn't fit."""

    @abstractmethod
    def expire(self, form: dict[str, Json]) -> Outcome:
        """Make the outcome of a form that nobody answered in time."""


class ChildRequest(msgspec.Struct, frozen=True):
    """The run that a `ChildNode` asks for."""

    workflow_id: str
    payload: dict[str, Json]
    waits: bool


class ChildNode(_Node[C]):
    """A node that starts a run of another workflow."""

    workflow_id: str
    """The other workflow, known when the definition is saved."""

    @abstractmethod
    def request(self, context: Context) -> ChildRequest:
        """Render what to start; raise `NodeError` when it can't be."""


class IteratorPlan(msgspec.Struct, frozen=True):
    """What an `IteratorNode` is about to do."""

    items: list[Json]
    concurrency: int
    """How many items are under way at a time; 1 is one after the other."""


class IteratorNode(_Node[C]):
    """A node that runs its body graph for each item of a list."""

    nodes: Sequence[dict[str, Json]]
    """The body's nodes as they stand in the definition, none of them a trigger."""
    edges: Sequence[dict[str, Json]]

    @abstractmethod
    def plan(self, context: Context) -> IteratorPlan:
        """Render the list; raise `NodeError` when it is none, or longer than the limit."""
