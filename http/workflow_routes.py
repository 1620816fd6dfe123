"""Workflows: create, list, read, change, delete, validate, and their executions and versions."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from ..engine.component import is_object
from ..engine.definition import DefinitionError
from ..engine.fields import check_fields
from ..engine.schedule_rules import NO_SCHEDULE, check_schedule
from ..engine.workflows import WorkflowText
from ..journal.events import WorkflowDefined
from ..projections.views import WorkflowRow
from ..projections.workflow_state import WorkflowState, fold
from . import rendering, wire
from .call import Answer, Call, answer, read_struct
from .errors import parameter_invalid
from .paging import frame, read_page, with_next
from .services import App
from .times import to_wire

NO_BODY = Answer(204, b"", ())
S = TypeVar("S", bound=msgspec.Struct)
_STATUSES = ("pending", "running", "completed", "failed", "awaiting_ui_interaction")
_ORIGINS = (
    "execute",
    "webhook",
    "sync",
    "schedule",
    "event",
    "subworkflow",
    "rerun",
    "resume",
)


async def create(app: App, call: Call) -> Answer:
    """Define a new workflow."""
    raw = call.json()
    text = _text_of(app, raw)
    request = call.idempotency("workflows", "", raw)
    appended = await app.authoring.create(call.caller, text, request)
    event = appended.events[0]
    assert isinstance(event.facts, WorkflowDefined)
    state = fold(event.stream, appended.events)
    body = await app.workflows.find_body(state, 1)
    # A repeated call shows the same, but never a secret for the second time.
    url = None if appended.repeated else app.webhook_url(state, body, in_clear=True)
    shown = rendering.workflow(
        state, state.current, body, url, await app.authorization(state, body)
    )
    made = answer(201, shown).with_header("Location", f"/workflows/{state.workflow_id}")
    return made.with_header("Idempotency-Replayed", "true") if appended.repeated else made


async def list_workflows(app: App, call: Call) -> Answer:
    """List the tenant's workflows: an array, or a page where `?page=` asks for one."""
    tenant = call.principal.tenant
    await app.views.wait_for(call.at)
    if "page" not in call.query and "per_page" not in call.query:
        rows = await app.views.workflows(tenant, at_position=call.at)
        return answer(200, await _listed(app, call, rows))
    page = read_page(call.query)
    rows = await app.views.workflows(
        tenant, offset=page.offset, limit=page.size, at_position=call.at
    )
    total = await app.views.count_workflows(tenant, at_position=call.at)
    links, meta = frame(page, call.path, call.query, len(rows), total, None)
    made = answer(200, wire.WorkflowPage(await _listed(app, call, rows), links, meta))
    return with_next(made, call, links)


async def get(app: App, call: Call) -> Answer:
    """Return a workflow's current version."""
    state = await _find(app, call)
    return await shown_workflow(app, call, state)


async def change(app: App, call: Call) -> Answer:
    """Make a new version with the fields that were sent."""
    wanted = _checked(app, wire.WorkflowChange, call.json())
    expected = read_if_match(call)
    fields: dict[str, Any] = {
        name: value
        for name in wire.WorkflowChange.__struct_fields__
        if (value := getattr(wanted, name)) is not UNSET
    }
    if fields.get("schedule_type", "") in NO_SCHEDULE:
        # Whoever takes the schedule away need not take its value away as well.
        fields.setdefault("schedule_value", None)

    def edit(text: WorkflowText) -> WorkflowText:
        return msgspec.structs.replace(text, **fields)

    state = await app.authoring.change(call.caller, call.params["workflowId"], edit, expected)
    return await shown_workflow(app, call, state)


async def delete(app: App, call: Call) -> Answer:
    """Delete a workflow that nothing uses."""
    await app.authoring.delete(call.caller, call.params["workflowId"])
    return NO_BODY


async def validate(app: App, call: Call) -> Answer:
    """Say whether a definition could be saved, and every fault it has.

    The body is that of a creation (`WorkflowCreate`), and may be any object.
    """
    try:
        text = _text_of(app, call.json())
        await app.authoring.check_named(call.caller, text)
    except DefinitionError as error:
        return answer(200, wire.Validation(False, _lines(error)))
    return answer(200, wire.Validation(True, []))


async def versions(app: App, call: Call) -> Answer:
    """List every version ever, with who made it and when."""
    state = await _find(app, call)
    return answer(200, [await _version(app, state, v.number) for v in state.versions])


async def version(app: App, call: Call) -> Answer:
    """Return one version of a workflow."""
    state = await _find(app, call)
    text = call.params["version"]
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise parameter_invalid("version", "must be a whole number")
    shown = await _version(app, state, int(text))
    whole = await app.workflow(
        state,
        state.versions[int(text) - 1],
        in_clear=call.has_scope("workflows:write"),
        at=call.at,
    )
    return answer(200, msgspec.structs.replace(shown, workflow=whole))


def _checked(app: App, struct: type[S], raw: Any) -> S:
    """Read a definition, or a part of one; all faults of all its parts come together.

    Raises:
        RequestError, DefinitionError: each fault with its path.
    """
    if not is_object(raw):
        return read_struct(struct, raw, optional=False)
    made, errors = check_fields(struct, raw, "", closed=True)
    nodes, edges = raw.get("nodes"), raw.get("edges")
    if nodes is not None and edges is not None:
        try:
            app.authoring.check(nodes, edges)
        except DefinitionError as error:
            errors = error.errors | errors
    if struct is wire.WorkflowCreate or {"schedule_type", "schedule_value"} <= raw.keys():
        errors = check_schedule(raw.get("schedule_type"), raw.get("schedule_value")) | errors
    if made is None or errors:
        raise DefinitionError(errors)
    return made


def _text_of(app: App, raw: Any) -> WorkflowText:
    made = _checked(app, wire.WorkflowCreate, raw)
    text = WorkflowText(
        name=made.name,
        nodes=made.nodes,
        edges=made.edges,
        description=made.description,
        is_active=made.is_active,
        schedule_type=made.schedule_type,
        schedule_value=made.schedule_value,
        authorization_id=made.authorization_id,
    )
    app.authoring.check_text(text)
    return text


def _lines(error: DefinitionError) -> list[str]:
    return [
        f"{path}: {fault}" if path else fault
        for path, faults in error.errors.items()
        for fault in faults
    ]


async def _find(app: App, call: Call) -> WorkflowState:
    return await app.workflows.find(call.principal.tenant, call.params["workflowId"], at=call.at)


async def shown_workflow(app: App, call: Call, state: WorkflowState) -> Answer:
    """Answer with a workflow's current version."""
    shown = await app.workflow(
        state, state.current, in_clear=call.has_scope("workflows:write"), at=call.at
    )
    return answer(200, shown).with_header("ETag", f'"{state.current.number}"')


async def _listed(app: App, call: Call, rows: list[WorkflowRow]) -> list[wire.Workflow]:
    made: list[wire.Workflow] = []
    for row in rows:
        state = await app.workflows.find(
            call.principal.tenant, row.workflow_id, deleted_too=True, at=call.at
        )
        made.append(
            await app.workflow(
                state,
                state.current,
                in_clear=call.has_scope("workflows:write"),
                whole=False,
                at=call.at,
            )
        )
    return made


async def _version(app: App, state: WorkflowState, number: int) -> wire.WorkflowVersion:
    body = await app.workflows.find_body(state, number)
    return wire.WorkflowVersion(
        version=number,
        created_at=to_wire(state.versions[number - 1].at),
        created_by=body.by if body else None,
    )


def read_if_match(call: Call) -> int | None:
    """Return the version that `If-Match` names, None where any will do.

    Raises:
        RequestError: 422, it names none.
    """
    text = call.header(b"if-match")
    if text is None or text.strip() == "*":
        return None
    number = text.strip().strip('"')
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise parameter_invalid("If-Match", 'must be a version such as "3"')
    return int(number)
