"""What the operators on lists decide."""

from __future__ import annotations

from operator import not_
from typing import Final, Literal

from ..component import ConfigError, Json, NodeConfig, NodeError
from .condition_core import (
    ABSENT,
    Comparison,
    Compiler,
    Condition,
    Family,
    Operand,
    Scope,
    Take,
    Verdict,
    shorten,
)
from .number_conditions import NUMBER_SIGNS, ON_NUMBERS, NumberOperator
from .operands import is_equal, need_any, need_items, need_number

_ON_ELEMENTS: Final = ("any", "all", "none")


class ArrayConditionConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of an `array_condition`.

    `contains` takes a `right`; `length` a `comparison` and what it needs; `any`, `all` and `none` a
    `condition`, whose templates see each element as `item` and its index as `index`.
    """

    left: Json
    operator: Literal[
        "contains",
        "not_contains",
        "length",
        "is_empty",
        "is_not_empty",
        "any",
        "all",
        "none",
    ]
    right: Json = ABSENT
    comparison: NumberOperator | None = None
    min: Json = ABSENT
    max: Json = ABSENT
    condition: Json = ABSENT


def _compile(config: ArrayConditionConfig, path: str, compiler: Compiler) -> Condition:
    """Compile a question to a list. Null counts as an empty one, as a missing text does."""
    operator = config.operator
    errors: dict[str, list[str]] = {}
    comparison = ""
    if operator == "length":
        comparison = NUMBER_SIGNS.get(config.comparison or "", config.comparison or "")
        if not comparison:
            errors[f"{path}comparison"] = ["is required by the operator 'length'"]
    elif config.comparison is not None:
        errors[f"{path}comparison"] = [f"is not used by the operator '{operator}'"]
    element: Condition | None = None
    if operator not in _ON_ELEMENTS:
        if config.condition is not ABSENT and config.condition is not None:
            errors[f"{path}condition"] = [f"is not used by the operator '{operator}'"]
    elif not compiler.has_elements:
        errors[f"{path}operator"] = [f"'{operator}' can't be asked here"]
    elif config.condition is ABSENT or config.condition is None:
        errors[f"{path}condition"] = [f"is required by the operator '{operator}'"]
    else:
        try:
            element = compiler.nested(config.condition, f"{path}condition")
        except ConfigError as error:
            errors |= error.errors
    operands: list[Operand] = []
    try:
        operands += _operands(config, comparison, path, compiler)
    except ConfigError as error:
        errors |= error.errors
    if errors:
        raise ConfigError(errors)
    if element is not None:
        return _Quantifier(operator, operands[0], element)
    return _comparison(operator, comparison, tuple(operands))


ARRAY: Final = Family(ArrayConditionConfig, _compile)


def _operands(
    config: ArrayConditionConfig, comparison: str, path: str, compiler: Compiler
) -> tuple[Operand, ...]:
    right: Take | None = None
    if config.operator in ("contains", "not_contains"):
        right = need_any
    elif config.operator == "length" and comparison != "between":
        right = need_number
    ends = need_number if comparison == "between" else None
    return compiler.operands(
        config.operator,
        path,
        {
            "left": (config.left, need_items),
            "right": (config.right, right),
            "min": (config.min, ends),
            "max": (config.max, ends),
        },
    )


def _comparison(operator: str, comparison: str, operands: tuple[Operand, ...]) -> Condition:
    match operator:
        case "contains":
            return Comparison(operator, operands, _contains)
        case "not_contains":
            return Comparison(operator, operands, _lacks)
        case "is_empty":
            return Comparison(operator, operands, not_)
        case "is_not_empty":
            return Comparison(operator, operands, bool)
        case _:
            return _length(comparison, operands)


def _contains(left: list[Json], right: Json) -> bool:
    return any(is_equal(item, right) for item in left)


def _lacks(left: list[Json], right: Json) -> bool:
    return not _contains(left, right)


def _length(comparison: str, operands: tuple[Operand, ...]) -> Condition:
    """Compare the number of elements, and tell it."""

    def decide(left: list[Json], *right: float) -> bool:
        return ON_NUMBERS[comparison](len(left), *right)

    def tell(left: list[Json]) -> dict[str, Json]:
        return {"length": len(left), "comparison": comparison}

    return Comparison("length", operands, decide, tell=tell)


class _Quantifier(Condition):
    """Asks a condition of the elements, one after the other, until the answer is known."""

    def __init__(self, operator: str, left: Operand, element: Condition) -> None:
        self._operator = operator
        self._left = left
        self._element = element

    def evaluate(self, scope: Scope) -> Verdict:
        """Stop at the first element that decides; of no element, `all` and `none` are true."""
        scope.check_time()
        items: list[Json] = self._left.evaluate(scope.context)
        context: dict[str, Json] = dict(scope.context)
        inner = scope.inside(context)
        # An element that doesn't meet the condition decides `all`, one that does the others.
        deciding = self._operator != "all"
        for index, item in enumerate(items):
            context["item"], context["index"] = item, index
            try:
                verdict = self._element.evaluate(inner)
            except NodeError as error:
                message = f"{error.message} (element {index})"
                raise NodeError(error.code, message, error.received) from error
            if verdict.result is deciding:
                return _Quantified(self._operator == "any", items, self._operator, index, verdict)
        return _Quantified(self._operator != "any", items, self._operator, None, None)


class _Quantified(Verdict):
    """What came of asking the elements, with the one that decided."""

    def __init__(
        self,
        result: bool,
        left: list[Json],
        operator: str,
        index: int | None,
        verdict: Verdict | None,
    ) -> None:
        self.result = result
        self._left, self._operator = left, operator
        self._index, self._verdict = index, verdict

    def to_json(self, size_max: int) -> dict[str, Json]:
        """Tell the list, and why it is so."""
        return {
            "result": self.result,
            "left": shorten(self._left, size_max),
            "operator": self._operator,
            "right": None,
            "decided_by": self._index,
            "evaluation": None if self._verdict is None else self._verdict.to_json(size_max),
        }
