"""What every condition is made of: operands, an evaluation, and the limits on both.

Condition nodes, `logical_group`, the cases of a `switch`, the elements of an `array_condition` and
the visibility of form fields all evaluate these; so an operator has one meaning everywhere.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from ..component import ConfigError, Context, Json, NodeConfig, NodeError, is_list, is_object
from ..fields import check_fields
from ..template_values import RenderLimit, fits, kind_of, to_json_text
from ..templates import Template, compile_value
from ..wall_clock import WallClock

ABSENT: Final[Json] = msgspec.UNSET
DEPTH_MAX: Final = 10
"""How deep conditions may be nested in one another."""
CONDITIONS_MAX: Final = 256
"""How many conditions one node may hold in all."""
SHOWN_MAX: Final = 4096
"""How large an operand an evaluation shows whole, in characters of text or of JSON."""
SHOWN_TOTAL_MAX: Final = 40_000
"""The same for all operands of one node together, so that its output is never too large."""

Take: TypeAlias = Callable[[Json, str], Any]
"""Takes a rendered operand and its field's name, or raises `NodeError`."""
T = TypeVar("T")


class Scope:
    """One evaluation: what templates see, what time it is, and how long it may still take."""

    __slots__ = ("_deadline", "context", "is_lenient", "now")

    def __init__(self, context: Context, *, is_lenient: bool = False) -> None:
        """With `is_lenient`, an operand of the wrong type makes a comparison false."""
        self.context = context
        self.now: datetime = WallClock.now()
        """The present time in UTC: the same for all conditions of one evaluation."""
        self.is_lenient = is_lenient
        self._deadline = time.monotonic() + RenderLimit.seconds_max

    def inside(self, context: Context) -> Scope:
        """Return this evaluation with another context."""
        inner = object.__new__(Scope)
        inner.context, inner.now, inner.is_lenient = context, self.now, self.is_lenient
        inner._deadline = self._deadline
        return inner

    def check_time(self) -> None:
        """Raise `NodeError` once the evaluation has taken too long."""
        if time.monotonic() > self._deadline:
            message = f"Condition stopped: it takes longer than {RenderLimit.seconds_max:g} s"
            raise NodeError("condition_limit", message)


class Verdict(ABC):
    """What came of evaluating a condition."""

    result: bool

    @abstractmethod
    def to_json(self, size_max: int) -> dict[str, Json]:
        """Tell what was compared; an operand larger than `size_max` is shortened."""


class Compared(Verdict):
    """What came of one comparison."""

    def __init__(self, result: bool, left: Json, operator: str, right: Json, **more: Json) -> None:
        self.result = result
        self._fields = {"left": left, "operator": operator, "right": right, **more}

    def to_json(self, size_max: int) -> dict[str, Json]:
        """Tell both sides, and what else the comparison depended on."""
        told = {name: shorten(value, size_max) for name, value in self._fields.items()}
        return {"result": self.result, **told}


class Condition(ABC):
    """A compiled condition. It holds no state of an evaluation."""

    @abstractmethod
    def evaluate(self, scope: Scope) -> Verdict:
        """Decide; raise `NodeError` when an operand is of another type than its operator needs."""


class Operand:
    """A compiled operand and the type that it must have."""

    __slots__ = ("_field", "_fixed", "_take", "_template")

    def __init__(self, template: Template, field: str, take: Take) -> None:
        self._template = template
        self._field = field
        self._take = take
        self._fixed: Any = ABSENT
        if template.is_static:
            try:
                self._fixed = self.evaluate({})
            except NodeError as error:
                raise ConfigError({field: [error.message]}) from error

    @property
    def is_static(self) -> bool:
        """True when it doesn't depend on the context."""
        return self._template.is_static

    def evaluate(self, context: Context) -> Any:
        """Render it and check its type; raise `NodeError` when that is another."""
        if self._fixed is not ABSENT:
            return self._fixed
        return self._take(self._template.render(context), self._field)


class Comparison(Condition):
    """Operands of the right types, and a function that decides on them."""

    def __init__(
        self,
        operator: str,
        operands: tuple[Operand, ...],
        decide: Callable[..., bool],
        show: Callable[[Any], Json] = lambda operand: operand,
        tell: Callable[[Any], dict[str, Json]] = lambda left: {},
    ) -> None:
        """`show` gives the JSON of a taken operand; `tell` says more about the left one."""
        self._operator = operator
        self._operands = operands
        self._decide = decide
        self._show = show
        self._tell = tell

    def evaluate(self, scope: Scope) -> Verdict:
        """Compare; the right side is a list where there are two, else null."""
        scope.check_time()
        try:
            taken = [operand.evaluate(scope.context) for operand in self._operands]
        except NodeError as error:
            if scope.is_lenient and error.code == "type_mismatch":
                return Compared(False, None, self._operator, None)
            raise
        left, *rest = (self._show(operand) for operand in taken)
        right = rest[0] if len(rest) == 1 else rest or None
        result = bool(self._decide(*taken))
        return Compared(result, left, self._operator, right, **self._tell(taken[0]))


class Family(msgspec.Struct, frozen=True):
    """The conditions on one type: the configuration, and what compiles it.

    The function takes the configuration, the path before its fields (`""` or `when.`) and the
    compiler for what is nested in it; it raises `ConfigError` with one entry for each fault.
    """

    config_type: type[NodeConfig]
    compile: Callable[[Any, str, Compiler], Condition]


class Compiler:
    """Compiles the conditions of one node, and counts them."""

    has_clock = True
    """Whether an operator may ask what time it is."""
    has_elements = True
    """Whether a condition may be asked of each element of a list."""
    takes_null = False
    """Whether a null is an operand, and not a field that was left empty."""

    def __init__(self, families: Mapping[str, Family]) -> None:
        self._families = families
        self._count = 0
        self._depth = 0

    @property
    def is_full(self) -> bool:
        """True once there are more conditions than a node may hold."""
        return self._count > CONDITIONS_MAX

    @property
    def shown_max(self) -> int:
        """How large an operand of this node is shown whole."""
        return min(SHOWN_MAX, SHOWN_TOTAL_MAX // (2 * max(1, self._count)))

    def nested(self, spec: Json, path: str) -> Condition:
        """Compile a condition that stands inside a node, as `{"type": …, "operator": …, …}`."""
        self._count += 1
        if self.is_full:
            fault = f"is one more than the {CONDITIONS_MAX} conditions that a node may hold"
            raise ConfigError({path: [fault]})
        if self._depth == DEPTH_MAX:
            raise ConfigError({path: [f"is nested deeper than {DEPTH_MAX} conditions"]})
        if not is_object(spec):
            raise ConfigError({path: ["must be an object"]})
        name = spec.get("type")
        family = self._families.get(name) if isinstance(name, str) else None
        if family is None:
            known = ", ".join(known for known in self._families if "_" not in known)
            raise ConfigError({f"{path}.type": [f"must be one of {known}"]})
        # As in a node, a null counts as absent, but for the operand that every operator has.
        given = {
            field: value
            for field, value in spec.items()
            if value is not None or field == "left" or self.takes_null
        }
        config, errors = check_fields(family.config_type, given, path)
        if config is None:
            raise ConfigError(errors)
        self._depth += 1
        try:
            return family.compile(config, f"{path}.", self)
        finally:
            self._depth -= 1

    def template(self, value: Json, field: str) -> Template:
        """Compile what stands in the place of an operand."""
        return compile_value(value, field)

    def operands(
        self, operator: str, path: str, fields: Mapping[str, tuple[Json, Take | None]]
    ) -> tuple[Operand, ...]:
        """Compile the operands; a field without a type is one that the operator doesn't use."""
        errors: dict[str, list[str]] = {}
        made: list[Operand] = []
        for name, (value, take) in fields.items():
            field = f"{path}{name}"
            if take is None:
                if value is not ABSENT and value not in (None, ""):
                    errors[field] = [f"is not used by the operator '{operator}'"]
            elif value is ABSENT or (value is None and name != "left" and not self.takes_null):
                errors[field] = [f"is required by the operator '{operator}'"]
            else:
                try:
                    made.append(Operand(self.template(value, field), field, take))
                except ConfigError as error:
                    errors |= error.errors
        if errors:
            raise ConfigError(errors)
        return tuple(made)


def shorten(value: Json, size_max: int) -> Json:
    """Give a value as it is, or what can be told of one that is too large to be shown."""
    if isinstance(value, str):
        return value if len(value) <= size_max else f"{value[:size_max]}…"
    if not is_list(value) and not is_object(value):
        return value
    if fits(value, size_max) and len(to_json_text(value)) <= size_max:
        return value
    return f"{kind_of(value)} of {len(value)} {'items' if is_list(value) else 'fields'}"
