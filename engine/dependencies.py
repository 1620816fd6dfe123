"""What a definition needs of other workflows: that they exist, and that no circle leads back.

Checked when a definition is saved. The versions of all streams that the answer rests on are the
guards of the commit, so that two saves at the same moment can't make a circle between them.
"""

from __future__ import annotations

from ..projections.workflow_state import WorkflowState
from .component import ChildNode
from .definition import Definition, DefinitionError
from .errors import NotFoundError
from .workflows import Workflows

Guard = tuple[str, int]


async def check_workflows_used(
    workflows: Workflows, tenant: str, workflow_id: str, definition: Definition, depth_max: int
) -> list[Guard]:
    """Follow the workflows that a definition names; return the guards of a commit.

    `depth_max` is how deep sub-workflows may be nested.

    Raises:
        DefinitionError: one is missing, they lead back to this workflow, or they nest too deep.
    """
    guards: dict[str, int] = {}
    errors: dict[str, list[str]] = {}
    for path, step in definition.paths.items():
        if not isinstance(step.run, ChildNode):
            continue
        fault = await _fault(
            workflows, tenant, step.run.workflow_id, workflow_id, guards, depth_max
        )
        if fault:
            errors[f"{path}.data.workflow_id"] = [fault]
    if errors:
        raise DefinitionError(errors)
    return list(guards.items())


async def _fault(
    workflows: Workflows,
    tenant: str,
    named: str,
    workflow_id: str,
    guards: dict[str, int],
    depth_max: int,
) -> str:
    """Say what is wrong with naming a workflow, "" where nothing is."""
    if named == workflow_id:
        return "a workflow can't start itself"
    level = [named]
    for depth in range(1, depth_max + 1):
        following: dict[str, None] = {}
        for known in level:
            state = await _find(workflows, tenant, known)
            if state is None:
                # Deeper ones are held by what names them, so only the first can be missing.
                return f"there is no workflow '{known[:64]}'"
            guards[known] = state.version
            if workflow_id in state.workflows_used:
                return f"leads back to this workflow, through '{known}'"
            following |= dict.fromkeys(state.workflows_used)
        if not following:
            return ""
        if depth == depth_max:
            break
        level = list(following)
    return f"sub-workflows can be nested {depth_max} deep"


async def _find(workflows: Workflows, tenant: str, workflow_id: str) -> WorkflowState | None:
    try:
        return await workflows.find(tenant, workflow_id)
    except NotFoundError:
        return None
