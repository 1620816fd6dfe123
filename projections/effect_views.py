"""What the service asks of the `effects` projection: the calls of a tenant without an outcome."""

from __future__ import annotations

from typing import Final

import msgspec

from .views import Views


class EffectRow(msgspec.Struct, frozen=True, gc=False):
    """A call that has an intent and no known outcome."""

    position: int
    """That of its newest `node.started`."""
    run_id: str
    workflow: str
    iteration: str
    node: str
    component: str
    effect_key: str
    attempt: int
    starts: int
    """How often this attempt was begun; more than once after a crash."""
    started_at: int
    in_doubt: int
    """1 where nobody waits for its outcome any more."""


# A workflow that was deleted is gone for all routes but the journal's, and so are its calls.
LIST_EFFECTS: Final = """SELECT effect.position, effect.run_id, run.workflow, effect.iteration,
  effect.node, effect.component, effect.effect_key, effect.attempt, effect.starts,
  effect.started_at, effect.in_doubt OR effect.position <= ?2
FROM effect CROSS JOIN run ON run.run_id = effect.run_id
WHERE effect.tenant = ?1 AND effect.position < ?3
  AND (?4 IS NULL OR (effect.in_doubt OR effect.position <= ?2) = ?4)
  AND (?5 IS NULL OR run.workflow = ?5)
  AND EXISTS (SELECT 1 FROM workflow WHERE workflow_id = run.workflow AND is_deleted = 0)
ORDER BY effect.position DESC LIMIT ?6"""


async def list_effects(
    views: Views,
    tenant: str,
    *,
    gone_at: int,
    before: int,
    in_doubt: bool | None,
    workflow: str | None,
    limit: int,
) -> list[EffectRow]:
    """List calls without a known outcome, newest first, those before a position.

    What was begun up to position `gone_at` is in doubt: the process that made it is gone.
    """
    wanted = None if in_doubt is None else int(in_doubt)
    parameters = (tenant, gone_at, before, wanted, workflow, limit)
    return [EffectRow(*row) for row in await views.select(LIST_EFFECTS, parameters, of="effects")]
