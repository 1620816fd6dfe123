"""The nodes that run other graphs: `iterator` its own body, `trigger_workflow` another workflow."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Final, Literal

from msgspec import Meta

from ..component import (
    ChildNode,
    ChildRequest,
    ConfigError,
    Context,
    IteratorNode,
    IteratorPlan,
    Json,
    NodeConfig,
    NodeError,
    is_list,
    is_object,
)
from ..template_values import kind_of
from ..templates import compile_value

CONCURRENCY: Final = 10
CONCURRENCY_MAX: Final = 100
_PATH: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+|\[-?[0-9]{1,9}\])*")
_WORKFLOW_ID: Final = re.compile(r"fl_[0-9a-z]{26}")


class IteratorConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of an `iterator`."""

    items: Json
    """A list, a template that gives one, or the path of one such as `n1.body.items`."""
    nodes: list[dict[str, Any]]
    """The body: what is run for each item, as in a workflow, without a trigger."""
    edges: tuple[dict[str, Any], ...] = ()
    mode: Literal["sequential", "parallel"] = "sequential"
    concurrency: Annotated[int, Meta(ge=1, le=CONCURRENCY_MAX)] = CONCURRENCY
    """How many items are under way at a time in parallel mode."""


class Iterator(IteratorNode[IteratorConfig]):
    """Runs its body for each item; output `{"results": […], "errors": […]}`.

    Results stand in the order of the items, null for one that failed. What is no list, or a
    longer one than the limit, fails the node with code `items_invalid`.
    """

    component: ClassVar[str] = "iterator"
    config_type = IteratorConfig
    items_max: ClassVar[int] = 1000
    """The longest list; set once, at start, from the service's settings."""

    def __init__(self, config: IteratorConfig) -> None:
        errors: dict[str, list[str]] = {}
        items = config.items
        if isinstance(items, str) and "{{" not in items and "{%" not in items:
            if _PATH.fullmatch(items.strip()):
                items = f"{{{{ {items.strip()} }}}}"
            else:
                errors["items"] = ["must be a list, a template, or a path such as 'n1.body.items'"]
        elif not isinstance(items, str) and not is_list(items):
            errors["items"] = [f"must be a list, a template or a path, not {kind_of(items)}"]
        if not config.nodes:
            errors["nodes"] = ["at least one node is needed"]
        if errors:
            raise ConfigError(errors)
        self._items = compile_value(items, "items")
        self.nodes = config.nodes
        self.edges = config.edges
        self._concurrency = config.concurrency if config.mode == "parallel" else 1
        if self._items.is_static:
            try:
                self.plan({})
            except NodeError as error:
                raise ConfigError({"items": [error.message]}) from error

    def plan(self, context: Context) -> IteratorPlan:
        """Render the list."""
        items = self._items.render(context)
        if items is None:
            raise NodeError("items_invalid", "'items' rendered to nothing, a list is needed")
        if not is_list(items):
            raise NodeError("items_invalid", f"'items' is {kind_of(items)}, a list is needed")
        if len(items) > self.items_max:
            message = f"'items' has {len(items)} items; the limit is {self.items_max}"
            raise NodeError("items_invalid", message)
        return IteratorPlan(list(items), self._concurrency)


class TriggerWorkflowConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `trigger_workflow`."""

    workflow_id: str
    """The other workflow; not a template, since a workflow in use can't be deleted."""
    input: Json = None
    """Its trigger payload: an object whose values may be templates, or one expression."""
    wait: bool = True
    """Whether the node succeeds only when the other run has completed."""


class TriggerWorkflow(ChildNode[TriggerWorkflowConfig]):
    """Starts a run of another workflow.

    Output `{"run_id", "status", "output"}`, or `{"run_id"}` without waiting. A run that failed
    fails the node with code `child_failed`.
    """

    component: ClassVar[str] = "trigger_workflow"
    config_type = TriggerWorkflowConfig

    def __init__(self, config: TriggerWorkflowConfig) -> None:
        errors: dict[str, list[str]] = {}
        if not _WORKFLOW_ID.fullmatch(config.workflow_id):
            errors["workflow_id"] = ["must be the id of a workflow, such as 'fl_01k8x…'"]
        is_single = isinstance(config.input, str) and config.input.strip().startswith("{{")
        if config.input is not None and not is_object(config.input) and not is_single:
            errors["input"] = ["must be an object, or one template that gives an object"]
        if errors:
            raise ConfigError(errors)
        self.workflow_id = config.workflow_id
        self._waits = config.wait
        self._input = compile_value({} if config.input is None else config.input, "input")

    def request(self, context: Context) -> ChildRequest:
        """Render the payload."""
        payload = self._input.render(context)
        if payload is None:
            raise NodeError("input_invalid", "'input' rendered to nothing, an object is needed")
        if not is_object(payload):
            raise NodeError("input_invalid", f"'input' is {kind_of(payload)}, an object is needed")
        return ChildRequest(self.workflow_id, payload, self._waits)
