"""What the operators on numbers and booleans decide."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from ..component import Json, NodeConfig
from .condition_core import ABSENT, Comparison, Compiler, Condition, Family
from .operands import need_boolean, need_number

NumberOperator: TypeAlias = Literal[
    "equals",
    "not_equals",
    "less_than",
    "less_or_equal",
    "greater_than",
    "greater_or_equal",
    "between",
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
]
NUMBER_SIGNS: Final[dict[str, str]] = {
    "=": "equals",
    "!=": "not_equals",
    "<": "less_than",
    "<=": "less_or_equal",
    ">": "greater_than",
    ">=": "greater_or_equal",
}
"""Other names of operators, as people write them."""


def is_between(left: Any, least: Any, most: Any) -> bool:
    """Say whether a value is between two others, or is one of them."""
    return bool(least <= left <= most)


ON_NUMBERS: Final[dict[str, Callable[..., bool]]] = {
    "equals": operator.eq,
    "not_equals": operator.ne,
    "less_than": operator.lt,
    "less_or_equal": operator.le,
    "greater_than": operator.gt,
    "greater_or_equal": operator.ge,
    "between": is_between,
}


class NumberConditionConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `number_condition`; `between` takes `min` and `max`, both inclusive."""

    left: Json
    operator: NumberOperator
    right: Json = ABSENT
    min: Json = ABSENT
    max: Json = ABSENT


def _compile_number(config: NumberConditionConfig, path: str, compiler: Compiler) -> Condition:
    """Compile a comparison of numbers: exact, and a JSON number in a string is one."""
    name = NUMBER_SIGNS.get(config.operator, config.operator)
    one, two = (None, need_number) if name == "between" else (need_number, None)
    operands = compiler.operands(
        name,
        path,
        {
            "left": (config.left, need_number),
            "right": (config.right, one),
            "min": (config.min, two),
            "max": (config.max, two),
        },
    )
    return Comparison(name, operands, ON_NUMBERS[name])


NUMBER: Final = Family(NumberConditionConfig, _compile_number)


class BooleanConditionConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `boolean_condition`; only `equals` takes a `right`."""

    left: Json
    operator: Literal["is_true", "is_false", "equals"]
    right: Json = ABSENT


_ON_BOOLEANS: Final[dict[str, Callable[..., bool]]] = {
    "is_true": bool,
    "is_false": operator.not_,
    "equals": operator.is_,
}


def _compile_boolean(config: BooleanConditionConfig, path: str, compiler: Compiler) -> Condition:
    """Compile a test of a boolean; the texts `true` and `false` count as booleans."""
    take = need_boolean if config.operator == "equals" else None
    operands = compiler.operands(
        config.operator,
        path,
        {"left": (config.left, need_boolean), "right": (config.right, take)},
    )
    return Comparison(config.operator, operands, _ON_BOOLEANS[config.operator])


BOOLEAN: Final = Family(BooleanConditionConfig, _compile_boolean)
