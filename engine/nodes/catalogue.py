"""The list of components, and how a node of a definition becomes an instance of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, cast

from ..component import (
    ChildNode,
    ConfigError,
    EffectNode,
    FormNode,
    IteratorNode,
    Json,
    NodeConfig,
    PureNode,
    TriggerNode,
    WaitNode,
    is_object,
)
from ..fields import check_fields
from .altostrat_api import AltostratApi
from .array_filter import ArrayFilter
from .conditions import (
    ArrayCondition,
    BooleanCondition,
    DateCondition,
    LogicalGroup,
    NumberCondition,
    StringCondition,
)
from .control import Delay, Terminate
from .data_mapper import DataMapper
from .date_transform import DateTransform
from .form import Form
from .grouping import Iterator, TriggerWorkflow
from .json_parser import JsonParser
from .send_email import SendEmail
from .string_transform import StringTransform
from .switch import Switch
from .transforms import TextTransform
from .triggers import (
    EventTrigger,
    ManualTrigger,
    ScheduleTrigger,
    SyncRequestTrigger,
    WebhookTrigger,
    WorkflowTrigger,
)
from .validate import Validate
from .webhook import Webhook

AnyNode: TypeAlias = (
    TriggerNode[Any]
    | PureNode[Any]
    | EffectNode[Any]
    | WaitNode[Any]
    | FormNode[Any]
    | ChildNode[Any]
    | IteratorNode[Any]
)

_COMPONENTS: tuple[type[AnyNode], ...] = (
    ManualTrigger,
    WebhookTrigger,
    SyncRequestTrigger,
    ScheduleTrigger,
    WorkflowTrigger,
    EventTrigger,
    Webhook,
    AltostratApi,
    SendEmail,
    Delay,
    Terminate,
    DataMapper,
    JsonParser,
    TextTransform,
    StringTransform,
    DateTransform,
    ArrayFilter,
    Validate,
    StringCondition,
    NumberCondition,
    DateCondition,
    BooleanCondition,
    ArrayCondition,
    LogicalGroup,
    Switch,
    Form,
    Iterator,
    TriggerWorkflow,
)
CATALOGUE: Final[Mapping[str, type[AnyNode]]] = {kind.component: kind for kind in _COMPONENTS}
"""Component name, as it stands in a definition, to its class."""


def component_of(node: Mapping[str, Json]) -> str | None:
    """Name a node's component: `data.componentId`, else `type`; null when neither says it."""
    data = node.get("data")
    named = data.get("componentId") if is_object(data) else None
    for name in (named, node.get("type")):
        if isinstance(name, str) and name:
            return name
    return None


def compile_node(node: Mapping[str, Json], path: str) -> AnyNode:
    """Make the instance of a node, whose place in the definition is `path`, as in `nodes[2]`.

    A null in a field that isn't required counts as absent, as editors store it. Raises
    `ConfigError` with one entry for each faulty field, such as `nodes[2].data.url`.
    """
    name = component_of(node)
    kind = CATALOGUE.get(name or "")
    where = f"{path}.data"
    if kind is None:
        fault = "is required" if name is None else f"there is no component '{name[:64]}'"
        raise ConfigError({f"{where}.componentId": [fault]})
    data = node.get("data")
    if data is None:
        data = {}
    if not is_object(data):
        raise ConfigError({where: ["must be an object"]})
    config, errors = check_fields(kind.config_type, _without_nulls(data, kind), where)
    if config is None:
        raise ConfigError(errors)
    try:
        return cast("Callable[[NodeConfig], AnyNode]", kind)(config)
    except ConfigError as error:
        faults = {f"{where}.{field}": list(what) for field, what in error.errors.items()}
        raise ConfigError(faults) from error


def _without_nulls(data: Mapping[str, Json], kind: type[AnyNode]) -> dict[str, Json]:
    required = kind.config_type.__struct_fields__[
        : len(kind.config_type.__struct_fields__) - len(kind.config_type.__struct_defaults__)
    ]
    return {name: value for name, value in data.items() if value is not None or name in required}
