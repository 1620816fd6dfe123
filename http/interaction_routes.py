"""Interactions: the forms that a run has open, and the answers that people give."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ..engine.requests import AnswerRequest
from ..projections.node_state import NodeState
from . import wire
from .call import Answer, Call, answer
from .run_routes import show_run
from .services import App
from .times import to_wire


class AnswerBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What a person decided."""

    action: Annotated[str, Meta(max_length=64)]
    """The id of the button."""
    values: wire.JsonObject = {}
    iteration: tuple[Annotated[int, Meta(ge=0)], ...] = ()
    """Inside iterators: the indexes of the items, as the open form shows them."""


class Interaction(Struct, frozen=True):
    """A form that waits for an answer."""

    node_id: str
    iteration: list[int] | None
    form: wire.RawObject
    """As it is to be shown: title, description, fields and actions."""
    requested_at: wire.Time
    expires_at: wire.Time | None


class Interactions(Struct, frozen=True):
    """The open forms of a run, in the order in which they were asked."""

    data: list[Interaction]


async def submit(app: App, call: Call) -> Answer:
    """Answer a form, and return the run as it then is."""
    run_id, caller = call.params["runId"], call.caller
    # What is wrong with an answer is said to those alone who may see the run.
    await app.runs.find(caller.tenant, run_id)
    wanted = call.read(AnswerBody, optional=False)
    accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    request = AnswerRequest(
        ".".join(map(str, wanted.iteration)),
        call.params["nodeId"],
        wanted.action,
        wanted.values,
        caller.subject,
        caller.metadata(app.pseudonyms),
        accepted,
    )
    await app.ask(caller, request, run_id)
    loaded = await app.runs.find(caller.tenant, run_id)
    return answer(202, await show_run(app, loaded.state))


async def list_open(app: App, call: Call) -> Answer:
    """List the forms of a run that wait for an answer."""
    loaded = await app.runs.find(call.principal.tenant, call.params["runId"], at=call.at)
    state = loaded.state
    asked = [node for node in state.open.values() if node.phase == "asked"]
    bodies = await app.bodies([node.input_at for node in asked])
    return answer(200, Interactions([_shown(node, bodies.get(node.input_at)) for node in asked]))


def _shown(node: NodeState, form: bytes | None) -> Interaction:
    return Interaction(
        node.node,
        [int(index) for index in node.iteration.split(".")] if node.iteration else None,
        msgspec.Raw(form or b'{"erased":true}'),
        to_wire(node.started_at),
        to_wire(node.due_at) if node.due_at else None,
    )
