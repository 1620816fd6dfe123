"""The projections that the service itself reads."""

from __future__ import annotations

from typing import Final

from .projection import Projection
from .runs_projection import RunsProjection
from .workflows_projection import WorkflowsProjection

BUILT_IN: Final[tuple[Projection, ...]] = (RunsProjection(), WorkflowsProjection())
