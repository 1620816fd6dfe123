"""The published contract: every object that goes over the wire, as a type.

Requests are decoded by these types, answers are made of them, and the OpenAPI document is
generated from them, so that the three can't differ.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

Time = Annotated[
    str,
    Meta(
        description="UTC with six fractional digits",
        examples=["2025-10-31T12:00:00.000000Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
WorkflowId = Annotated[str, Meta(examples=["fl_01k8x3m5n7p9q1r3s5t7v9w1x3"])]
ERROR_CODE = r"^[a-z][a-z0-9_]{0,99}$"
ErrorCode = Annotated[str, Meta(pattern=ERROR_CODE, examples=["http_503"])]
RunId = Annotated[str, Meta(examples=["fl_run_01k8x3m5n7p9q1r3s5t7v9w1x3"])]
AuthorizationId = Annotated[str, Meta(max_length=64, examples=["auth_01k8x3m5n7p9q1r3s5t7v9w1x3"])]
RunStatus = Literal["pending", "running", "completed", "failed", "awaiting_ui_interaction"]
Origin = Literal[
    "execute", "webhook", "sync", "schedule", "event", "subworkflow", "rerun", "resume"
]
JsonObject = dict[str, Any]
RawObject = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]
"""A JSON object as the bytes that were recorded."""


class ReplayedFrom(Struct, frozen=True):
    """The log entry that a replayed one is a copy of."""

    run_id: RunId
    log_id: str


class Log(Struct, frozen=True):
    """One finished attempt of a node."""

    id: str
    execution_id: RunId
    node_id: str
    component_id: str
    status: Literal["success", "error", "warning"]
    output: RawObject
    created_at: Time
    started_at: Time
    attempt: int
    iteration: list[int] | None
    replayed_from: ReplayedFrom | None


class Authorization(Struct, frozen=True):
    """A stored OAuth 2.0 grant."""

    id: AuthorizationId
    user_id: str | None
    """Who stored it; this and the next one are null where they were erased."""
    provider: str | None
    status: Literal["active", "refused"]
    """Refused by its provider: it will not be asked again."""
    email: str | None
    created_at: Time


class Workflow(Struct, frozen=True, kw_only=True):
    """A version of a workflow."""

    id: WorkflowId
    name: str
    description: str | None
    version: int
    nodes: list[JsonObject] | UnsetType = UNSET
    edges: list[JsonObject] | UnsetType = UNSET
    schedule_type: str | None = None
    schedule_value: str | None = None
    next_run_at: Time | None = None
    is_active: bool
    webhook_url: str | None
    created_at: Time
    updated_at: Time
    authorization: Authorization | None = None
    runs: list[Run] | UnsetType = UNSET
    erased: Annotated[
        Literal[True] | UnsetType,
        Meta(description="There where the definition was erased: its name reads `(erased)`."),
    ] = UNSET


class Run(Struct, frozen=True, kw_only=True):
    """One execution of a workflow."""

    id: RunId
    workflow_id: WorkflowId
    workflow_version: int
    status: RunStatus
    trigger_payload: RawObject
    error_message: str | None
    failed_node_id: str | None
    created_at: Time
    started_at: Time | None
    completed_at: Time | None
    duration_in_seconds: float | None
    origin: Origin
    original_run_id: RunId | None
    resumed_from_node_id: str | None
    logs: list[Log] | UnsetType = UNSET
    workflow: Workflow | UnsetType = UNSET


class NewRun(Struct, frozen=True):
    """A run that was made of another."""

    message: str
    original_run_id: RunId
    new_run: Run


class Links(Struct, frozen=True):
    """Where the other pages are."""

    first: str
    last: str | None
    prev: str | None
    next: str | None


class PageMeta(Struct, frozen=True, rename={"from_": "from"}):
    """Which page this is."""

    current_page: int | None
    from_: int | None
    last_page: int | None
    path: str
    per_page: int
    to: int | None
    total: int
    next_cursor: str | None


class RunPage(Struct, frozen=True):
    """A page of runs, newest first."""

    data: list[Run]
    links: Links
    meta: PageMeta


class WorkflowPage(Struct, frozen=True):
    """A page of workflows."""

    data: list[Workflow]
    links: Links
    meta: PageMeta


class WorkflowVersion(Struct, frozen=True, kw_only=True):
    """Who made a version, and when."""

    version: int
    created_at: Time
    created_by: str | None
    """None where the name was erased."""
    workflow: Workflow | UnsetType = UNSET


class Event(Struct, frozen=True):
    """One entry of a run's journal."""

    position: int
    version: int
    id: str
    type: str
    schema: int
    stream: str
    at: Time
    actor: str
    corr: str
    cause: str
    src: str
    facts: RawObject
    payload: str
    leaf: str
    body: Any
    """The user data, `{"erased": true}` if it was erased, null if there never was any.

    An archived one is `{"archived": true, "segment": "…"}`.
    """
    in_doubt: bool | UnsetType = UNSET
    """Of a `node.started` that calls out: whether nobody knows what came of it.

    It is told by what follows in the journal, so that of an event of a live tail may change.
    """


class Events(Struct, frozen=True):
    """A page of a run's journal."""

    data: list[Event]
    next: int | None
    """The `after` of the next page, null at the end."""


class Plan(Struct, frozen=True):
    """What a resume would keep and execute."""

    replayed: list[str]
    executed: list[str]
    definition: Literal["original", "current"]


class ResumedRun(Struct, frozen=True, kw_only=True):
    """A run of a bulk resume that was accepted."""

    original_run_id: RunId
    node_id: str
    new_run_id: RunId | None
    """Null in a dry run."""


class RefusedRun(Struct, frozen=True):
    """A run of a bulk resume that was refused."""

    run_id: RunId
    code: str
    message: str


class BulkResume(Struct, frozen=True):
    """What became of a bulk resume."""

    accepted: list[ResumedRun]
    refused: list[RefusedRun]
    next_cursor: int | None
    """The `cursor` that goes on with older runs, null where the limit was not reached."""


class Validation(Struct, frozen=True):
    """Whether a definition could be saved."""

    valid: bool
    errors: list[str]


class Health(Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"]


class Lagging(Struct, frozen=True):
    """A projection that is behind, or stopped."""

    name: str
    lag: int
    """In positions of the journal."""


class Readiness(Struct, frozen=True, omit_defaults=True):
    """Whether the service can do its work."""

    status: Literal["ready", "unready"]
    journal: Literal["writable", "read_only"]
    projections: Literal["caught_up", "behind", "stopped"]
    signing: Literal["starting", "signing", "refused", "failing"]
    """Whether checkpoints are signed; without them everything else works, so it decides nothing."""
    intake: Literal["open", "overloaded", "stopping"] = "open"
    """`overloaded` while all requests or all runs are refused, `stopping` from SIGTERM on."""
    behind: list[Lagging] | UnsetType = UNSET
    """Which projections keep it from being ready."""
    differing: list[str] | UnsetType = UNSET
    """Projections whose rows are not as the journal says. It goes on serving them, and all else."""


class Error(Struct, frozen=True, omit_defaults=True):
    """Every refusal and every fault."""

    type: str
    code: str
    message: str
    doc_url: str
    errors: dict[str, list[str]] | UnsetType = UNSET


class Empty(Struct, frozen=True):
    """An object without fields."""


# What clients send


class ExecuteRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The trigger payload of a run."""

    context: JsonObject = {}


class RerunRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """How to run again."""

    definition: Literal["current", "original"] = "current"


class ResumeRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """How to carry on."""

    definition: Literal["original", "current"] = "original"
    allow_completed: bool = False
    dry_run: bool = False


class RunFilter(Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Which failed runs."""

    from_: Time | None = None
    to: Time | None = None
    origin: Origin | None = None
    original_run_id: RunId | None = None
    error_code: ErrorCode | None = None
    unresolved: bool = False
    """Only runs of whose reruns and resumes none has completed."""


class BulkResumeRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which failed runs to resume, from where."""

    filter: RunFilter = RunFilter()
    node: str | None = None
    """The node to resume from; by default each run's last good one."""
    dry_run: bool = False
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    """Only runs older than those of the answer that gave this `next_cursor`."""


Name = Annotated[str, Meta(min_length=1, max_length=255)]
Description = Annotated[str, Meta(max_length=10_000)]
ScheduleType = Literal["manual", "interval", "cron", "daily", "weekly", "monthly"]
ScheduleValue = Annotated[str, Meta(max_length=256, examples=["5 minutes", "mon,thu 09:00"])]


class WorkflowCreate(Struct, frozen=True, forbid_unknown_fields=True):
    """A new workflow."""

    name: Name
    nodes: list[JsonObject]
    edges: list[JsonObject]
    description: Description | None = None
    is_active: bool = True
    schedule_type: ScheduleType | None = None
    schedule_value: ScheduleValue | None = None
    authorization_id: AuthorizationId | None = None


class WorkflowChange(Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of a workflow to change."""

    name: Name | UnsetType = UNSET
    nodes: list[JsonObject] | UnsetType = UNSET
    edges: list[JsonObject] | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    is_active: bool | UnsetType = UNSET
    schedule_type: ScheduleType | UnsetType | None = UNSET
    schedule_value: ScheduleValue | UnsetType | None = UNSET
    authorization_id: AuthorizationId | UnsetType | None = UNSET
