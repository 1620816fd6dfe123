"""The condition nodes: one condition each, two handles.

Every one leaves by the handle `true` or `false`, and tells what it compared:
`{"result": true, "left": 5, "operator": "less_than", "right": 7}`. Operands are templates. One of
the wrong type fails the node with code `type_mismatch`, or the workflow is refused on save where
the operand is written out.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

from ..component import Context, NodeConfig, Outcome, PureNode
from .array_condition import ARRAY, ArrayConditionConfig
from .condition_core import Family, Scope
from .condition_language import new_compiler
from .date_condition import DATE, DateConditionConfig
from .logical_group import GROUP, LogicalGroupConfig
from .number_conditions import BOOLEAN, NUMBER, BooleanConditionConfig, NumberConditionConfig
from .text_conditions import TEXT, StringConditionConfig

C = TypeVar("C", bound=NodeConfig)


class _ConditionNode(PureNode[C]):
    """A condition as a node: its handles and its output."""

    handles = ("true", "false")
    family: ClassVar[Family]

    def __init__(self, config: C) -> None:
        compiler = new_compiler()
        self._condition = self.family.compile(config, "", compiler)
        self._shown_max = compiler.shown_max

    def run(self, context: Context) -> Outcome:
        """Evaluate the condition."""
        verdict = self._condition.evaluate(Scope(context))
        return Outcome(verdict.to_json(self._shown_max), "true" if verdict.result else "false")


class StringCondition(_ConditionNode[StringConditionConfig]):
    """Compares text; `ignore_case` folds it for all of Unicode."""

    component: ClassVar[str] = "string_condition"
    config_type = StringConditionConfig
    family = TEXT


class NumberCondition(_ConditionNode[NumberConditionConfig]):
    """Compares numbers, exactly."""

    component: ClassVar[str] = "number_condition"
    config_type = NumberConditionConfig
    family = NUMBER


class BooleanCondition(_ConditionNode[BooleanConditionConfig]):
    """Tests a boolean."""

    component: ClassVar[str] = "boolean_condition"
    config_type = BooleanConditionConfig
    family = BOOLEAN


class DateCondition(_ConditionNode[DateConditionConfig]):
    """Compares moments with one another and with the present time."""

    component: ClassVar[str] = "date_condition"
    config_type = DateConditionConfig
    family = DATE


class ArrayCondition(_ConditionNode[ArrayConditionConfig]):
    """Asks what a list holds."""

    component: ClassVar[str] = "array_condition"
    config_type = ArrayConditionConfig
    family = ARRAY


class LogicalGroup(_ConditionNode[LogicalGroupConfig]):
    """Combines conditions with `and`, `or` and `not`."""

    component: ClassVar[str] = "logical_group"
    config_type = LogicalGroupConfig
    family = GROUP
