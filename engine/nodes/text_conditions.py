"""What the operators on text decide."""

from __future__ import annotations

from collections.abc import Callable
from operator import not_
from typing import Any, Final, Literal

from ..component import Json, NodeConfig, NodeError
from .condition_core import ABSENT, Comparison, Compiler, Condition, Family, Take
from .operands import need_list, need_text
from .patterns import Pattern, PatternFault


class StringConditionConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `string_condition`: `right` is a list for `in_list`, else text."""

    left: Json
    operator: Literal[
        "equals",
        "not_equals",
        "contains",
        "not_contains",
        "starts_with",
        "ends_with",
        "matches",
        "is_empty",
        "is_not_empty",
        "in_list",
    ]
    right: Json = ABSENT
    ignore_case: bool = False


_ON_TEXTS: Final[dict[str, Callable[[str, str], bool]]] = {
    "equals": lambda left, right: left == right,
    "not_equals": lambda left, right: left != right,
    "contains": lambda left, right: right in left,
    "not_contains": lambda left, right: right not in left,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}


def _compile(config: StringConditionConfig, path: str, compiler: Compiler) -> Condition:
    """Compile a comparison of text. Null counts as empty text: a missing value is `is_empty`."""
    operator, fold = config.operator, str.casefold if config.ignore_case else str
    take: Take | None
    decide: Callable[..., bool]
    match operator:
        case "is_empty":
            take, decide = None, not_
        case "is_not_empty":
            take, decide = None, bool
        case "in_list":
            take, decide = need_list, _in_list(fold)
        case "matches":
            take, decide = _need_pattern(ignore_case=config.ignore_case), _matches
        case _:
            take, decide = need_text, _folded(_ON_TEXTS[operator], fold)
    operands = compiler.operands(
        operator, path, {"left": (config.left, need_text), "right": (config.right, take)}
    )
    return Comparison(operator, operands, decide, _show)


TEXT: Final = Family(StringConditionConfig, _compile)


def _matches(left: str, right: Pattern) -> bool:
    return right.is_in(left)


def _folded(
    decide: Callable[[str, str], bool], fold: Callable[[str], str]
) -> Callable[[str, str], bool]:
    return lambda left, right: decide(fold(left), fold(right))


def _in_list(fold: Callable[[str], str]) -> Callable[[str, list[Json]], bool]:
    def decide(left: str, right: list[Json]) -> bool:
        text = fold(left)
        return any(isinstance(item, str) and fold(item) == text for item in right)

    return decide


def _need_pattern(*, ignore_case: bool) -> Take:
    def take(value: Json, field: str) -> Pattern:
        try:
            return Pattern(need_text(value, field), ignore_case=ignore_case)
        except PatternFault as fault:
            raise NodeError("pattern_invalid", f"Operand '{field}' {fault}") from fault

    return take


def _show(operand: Any) -> Json:
    return operand.source if isinstance(operand, Pattern) else operand
