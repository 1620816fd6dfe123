"""What a node component is: a typed configuration, compiled once, run many times.

A component is a class; an instance is one configured node of one definition.
Four kinds exist, told apart by base class, because the runner treats them differently:

- `TriggerNode`  gives the run its first output from the trigger payload;
- `PureNode`     computes its outcome from the context alone, and is fused with its neighbours;
- `EffectNode`   touches the world: its start is on disk before `perform` is called;
- `WaitNode`     succeeds after a time that it computes once, and that survives a restart.

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
