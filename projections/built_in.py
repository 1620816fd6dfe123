"""The projections that the service itself reads."""

from __future__ import annotations

from typing import Final

from .authorizations_projection import AuthorizationsProjection
from .effects_projection import EffectsProjection
from .event_triggers_projection import EventTriggersProjection
from .projection import Projection
from .runs_projection import RunsProjection
from .subscriptions_projection import SubscriptionsProjection
from .vault_projection import VaultProjection
from .workflows_projection import WorkflowsProjection

BUILT_IN: Final[tuple[Projection, ...]] = (
    RunsProjection(),
    WorkflowsProjection(),
    EventTriggersProjection(),
    AuthorizationsProjection(),
    VaultProjection(),
    SubscriptionsProjection(),
    EffectsProjection(),
)
