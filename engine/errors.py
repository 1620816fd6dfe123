"""The engine's errors: why a command was refused.

EngineError
├── NotFoundError            there is no such workflow, run or version
├── NodeNotFoundError        the definition has no such node
├── InvalidError             the request is well-formed and can't be carried out as it is
├── NodeNotCompletedError    the chosen node has no success to carry on from
├── StateError               the workflow or run is in the wrong state (the code says which)
├── TooManyError             the tenant or workflow has as much as it may; try again later
└── BusyError                too much is waiting already; try again later
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal


class EngineError(Exception):
    """The root: every refusal of the engine, with a stable code."""

    code: str = "engine_error"


class NotFoundError(EngineError):
    """There is no such thing, or it is another tenant's, which looks the same."""

    code = "resource_missing"

    def __init__(self, what: str) -> None:
        super().__init__(f"No such {what}.")


class NodeNotFoundError(EngineError):
    """The definition has no such node."""

    code = "node_not_found"

    def __init__(self, node: str) -> None:
        super().__init__(f"The run's definition has no node '{node[:64]}'.")


class NodeNotCompletedError(EngineError):
    """The chosen node has no success to carry on from."""

    code = "node_not_completed"

    def __init__(self, node: str) -> None:
        super().__init__(f"Node '{node}' did not succeed in this run, so nothing resumes from it.")


class InvalidError(EngineError):
    """Something in the request can't be; `errors` maps each path to its faults."""

    code = "parameter_invalid"

    def __init__(self, message: str, errors: Mapping[str, Sequence[str]]) -> None:
        super().__init__(message)
        self.errors = {path: list(faults) for path, faults in errors.items()}


StateCode = Literal[
    "workflow_inactive",
    "workflow_in_use",
    "run_not_finished",
    "run_already_finished",
    "run_not_failed",
    "definition_incompatible",
    "payload_erased",
    "payload_archived",
    "interaction_closed",
    "vault_name_taken",
    "vault_full",
    "vault_key_configured",
    "rotation_running",
    "subscriptions_full",
]


class StateError(EngineError):
    """The workflow or the run is in a state in which this can't be done."""

    def __init__(self, code: StateCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class BusyError(EngineError):
    """Too much is waiting already; nothing was written."""

    code = "overloaded"


class TooManyError(EngineError):
    """A tenant or a workflow asks for more than it may have; nothing was written."""

    code = "too_many_requests"

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        """`retry_after_s` is in how many seconds it may be asked for again."""
        super().__init__(message)
        self.retry_after_s = retry_after_s
