"""What a workflow that answers synchronously may hold: nothing that waits by its nature.

A caller waits at most 30 s, so a delay, a form or an iterator would make an answer a matter of
luck. A sub-workflow that is waited for is allowed: like a call it may be quick or slow, and what
it holds is decided in its own definition, which can change at any time.
"""

from __future__ import annotations

from .component import FormNode, IteratorNode, WaitNode
from .definition import Definition
from .nodes.triggers import SyncRequestTrigger


def check_sync(definition: Definition) -> dict[str, list[str]]:
    """Say which nodes can't stand in a workflow with a `sync_request_trigger`, by their paths."""
    if not isinstance(definition.trigger, SyncRequestTrigger):
        return {}
    errors: dict[str, list[str]] = {}
    for index, node in enumerate(definition.graph.nodes):
        step = definition.steps[node]
        if isinstance(step.run, WaitNode | FormNode | IteratorNode):
            fault = f"a workflow with a sync_request_trigger can't have a node '{step.component}'"
            errors[f"nodes[{index}].data.componentId"] = [fault]
    return errors
