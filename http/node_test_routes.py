"""Trying out one node of a definition."""

from __future__ import annotations

from msgspec import UNSET, Raw

from . import trigger_wire as wire
from .call import Answer, Call, answer
from .services import App


async def try_node(app: App, call: Call) -> Answer:
    """Run one node on the context that is sent with it; nothing is journaled.

    Calls really are made. A trigger takes the root `payload`; a delay, form, sub-workflow or
    iterator says what it would do.
    """
    wanted = call.read(wire.NodeTest, optional=False)
    step = app.node_trials.compile(wanted.node)
    trial = await app.node_trials.run(
        call.principal.tenant, step, wanted.context, wanted.authorization_id or ""
    )
    handle = trial.handle or UNSET
    return answer(200, wire.NodeTested(trial.status, Raw(trial.output), handle))
