"""The condition nodes on text, numbers and booleans: one comparison, two handles.

Every condition compares `left` with what its operator needs (`right`, or `min` and `max`), leaves
by the handle `true` or `false`, and tells what it compared:
`{"result": true, "left": 5, "operator": "less_than", "right": 7}`. Operands are templates. One of
the wrong type fails the node with code `type_mismatch`, or the workflow is refused on save where
the operand is written out.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Final, Literal, TypeAlias, TypeVar

import msgspec

from ..component import ConfigError, Context, Json, NodeConfig, NodeError, Outcome, PureNode
from ..templates import Template, compile_value
from .operands import need_boolean, need_list, need_number, need_text

_ABSENT: Final[Json] = msgspec.UNSET
C = TypeVar("C", bound=NodeConfig)
_Take: TypeAlias = Callable[[Json, str], Json]
"""Takes a rendered operand and its field's name, or raises `NodeError`."""


class _Operand:
    """A compiled operand and the type that it must have."""

    __slots__ = ("_field", "_take", "_template")

    def __init__(self, value: Json, field: str, take: _Take) -> None:
        self._template: Template = compile_value(value, field)
        self._field = field
        self._take = take
        if self._template.is_static:
            try:
                self.evaluate({})
            except NodeError as error:
                raise ConfigError({field: [error.message]}) from error

    def evaluate(self, context: Context) -> Json:
        """Render it and check its type; raise `NodeError` when that is another."""
        return self._take(self._template.render(context), self._field)


class _Condition(PureNode[C]):
    """What the conditions share: their operands, their handles and their output."""

    handles = ("true", "false")
    _operands: tuple[_Operand, ...]
    _operator: str

    def _compile(self, operator: str, fields: Mapping[str, tuple[Json, _Take | None]]) -> None:
        """Compile the operands; a field without a type is one that the operator doesn't use."""
        errors: dict[str, list[str]] = {}
        operands: list[_Operand] = []
        for field, (value, take) in fields.items():
            if take is None:
                if value is not _ABSENT and value not in (None, ""):
                    errors[field] = [f"is not used by the operator '{operator}'"]
            elif value is _ABSENT or (value is None and field != "left"):
                errors[field] = [f"is required by the operator '{operator}'"]
            else:
                try:
                    operands.append(_Operand(value, field, take))
                except ConfigError as error:
                    errors |= error.errors
        if errors:
            raise ConfigError(errors)
        self._operands = tuple(operands)
        self._operator = operator

    def run(self, context: Context) -> Outcome:
        """Compare; the right side of the output is a list where there are two, else null."""
        left, *rest = [operand.evaluate(context) for operand in self._operands]
        result = self._decide(left, *rest)
        right = rest[0] if len(rest) == 1 else rest or None
        output = {"result": result, "left": left, "operator": self._operator, "right": right}
        return Outcome(output, "true" if result else "false")

    @abstractmethod
    def _decide(self, left: Json, *rest: Json) -> bool:
        """Compare operands of the right types."""


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
        "is_empty",
        "is_not_empty",
        "in_list",
    ]
    right: Json = _ABSENT
    ignore_case: bool = False


_ON_TEXTS: Final[dict[str, Callable[[str, str], bool]]] = {
    "equals": lambda left, right: left == right,
    "not_equals": lambda left, right: left != right,
    "contains": lambda left, right: right in left,
    "not_contains": lambda left, right: right not in left,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}


class StringCondition(_Condition[StringConditionConfig]):
    """Compares text. Null counts as empty text, so that a missing value is `is_empty`."""

    component: ClassVar[str] = "string_condition"
    config_type = StringConditionConfig

    def __init__(self, config: StringConditionConfig) -> None:
        take: _Take | None = need_text
        if config.operator in ("is_empty", "is_not_empty"):
            take = None
        elif config.operator == "in_list":
            take = need_list
        self._compile(
            config.operator, {"left": (config.left, need_text), "right": (config.right, take)}
        )
        self._fold: Callable[[str], str] = str.casefold if config.ignore_case else str

    def _decide(self, left: Json, *rest: Json) -> bool:
        if not rest:
            return bool(left) == (self._operator == "is_not_empty")
        text = self._fold(left)
        if self._operator == "in_list":
            return any(isinstance(item, str) and self._fold(item) == text for item in rest[0])
        return _ON_TEXTS[self._operator](text, self._fold(rest[0]))


class NumberConditionConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `number_condition`; `between` takes `min` and `max`, both inclusive."""

    left: Json
    operator: Literal[
        "equals",
        "not_equals",
        "less_than",
        "less_or_equal",
        "greater_than",
        "greater_or_equal",
        "between",
    ]
    right: Json = _ABSENT
    min: Json = _ABSENT
    max: Json = _ABSENT


_ON_NUMBERS: Final[dict[str, Callable[[float, float], bool]]] = {
    "equals": lambda left, right: left == right,
    "not_equals": lambda left, right: left != right,
    "less_than": lambda left, right: left < right,
    "less_or_equal": lambda left, right: left <= right,
    "greater_than": lambda left, right: left > right,
    "greater_or_equal": lambda left, right: left >= right,
}


class NumberCondition(_Condition[NumberConditionConfig]):
    """Compares numbers, exactly; strings that hold a JSON number count as numbers."""

    component: ClassVar[str] = "number_condition"
    config_type = NumberConditionConfig

    def __init__(self, config: NumberConditionConfig) -> None:
        one, two = (None, need_number) if config.operator == "between" else (need_number, None)
        self._compile(
            config.operator,
            {
                "left": (config.left, need_number),
                "right": (config.right, one),
                "min": (config.min, two),
                "max": (config.max, two),
            },
        )

    def _decide(self, left: Json, *rest: Json) -> bool:
        if self._operator == "between":
            return bool(rest[0] <= left <= rest[1])
        return _ON_NUMBERS[self._operator](left, rest[0])


class BooleanConditionConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `boolean_condition`; only `equals` takes a `right`."""

    left: Json
    operator: Literal["is_true", "is_false", "equals"]
    right: Json = _ABSENT


class BooleanCondition(_Condition[BooleanConditionConfig]):
    """Tests a boolean; the texts `true` and `false` count as booleans."""

    component: ClassVar[str] = "boolean_condition"
    config_type = BooleanConditionConfig

    def __init__(self, config: BooleanConditionConfig) -> None:
        take = need_boolean if config.operator == "equals" else None
        self._compile(
            config.operator, {"left": (config.left, need_boolean), "right": (config.right, take)}
        )

    def _decide(self, left: Json, *rest: Json) -> bool:
        return left is (rest[0] if rest else self._operator == "is_true")
