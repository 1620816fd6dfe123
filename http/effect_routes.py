"""The effect ledger: which calls have an intent and no known outcome."""

from __future__ import annotations

from ..journal.journal import LATEST
from ..projections.effect_views import EffectRow, list_effects
from . import effect_wire
from .call import Answer, Call, answer
from .errors import parameter_invalid
from .services import App
from .times import to_wire

LIMIT = 100
LIMIT_MAX = 1000


async def effects(app: App, call: Call) -> Answer:
    """List a tenant's calls without a known outcome, newest first."""
    in_doubt = call.flag("in_doubt", default=False) if "in_doubt" in call.query else None
    limit = call.number("limit", LIMIT)
    if not 1 <= limit <= LIMIT_MAX:
        raise parameter_invalid("limit", f"must be from 1 to {LIMIT_MAX}")
    before = call.number("cursor", LATEST)
    if before < 1:
        raise parameter_invalid("cursor", "must be at least 1")
    await app.views.wait_for(app.journal.head)
    rows = await list_effects(
        app.views,
        call.principal.tenant,
        gone_at=app.began_at,
        before=before,
        in_doubt=in_doubt,
        workflow=call.query.get("workflow_id"),
        limit=limit,
    )
    following = rows[-1].position if len(rows) == limit else None
    return answer(200, effect_wire.Effects([_effect(row) for row in rows], following))


def _effect(row: EffectRow) -> effect_wire.Effect:
    return effect_wire.Effect(
        id=row.effect_key,
        state="in_doubt" if row.in_doubt else "open",
        run_id=row.run_id,
        workflow_id=row.workflow,
        node_id=row.node,
        component_id=row.component,
        iteration=[int(index) for index in row.iteration.split(".")] if row.iteration else None,
        attempt=row.attempt,
        starts=row.starts,
        started_at=to_wire(row.started_at),
        position=row.position,
    )
