"""What the operators on dates and times decide."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from ..component import ConfigError, Json, NodeConfig, NodeError
from .condition_core import ABSENT, Compared, Compiler, Condition, Family, Operand, Scope, Verdict
from .moments import in_zone, need_moment, need_zone, to_wire
from .number_conditions import is_between
from .operands import need_number

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_SECONDS_IN: Final = {"minutes": 60, "hours": 3600, "days": 86_400, "weeks": 604_800}
_AMOUNT_SECONDS_MAX: Final = 1000 * 366 * 86_400
"""A thousand years: beyond it, a moment might leave the calendar."""
_ON_MOMENTS: Final[dict[str, Callable[..., bool]]] = {
    "before": operator.lt,
    "after": operator.gt,
    "between": is_between,
}
_OPERANDS: Final[dict[str, tuple[str, ...]]] = {
    "before": ("right",),
    "after": ("right",),
    "between": ("min", "max"),
    "within_last": ("amount",),
    "within_next": ("amount",),
    "is_today": (),
}


class DateConditionConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `date_condition`; `within_last` and `within_next` take `amount` `unit`s."""

    left: Json
    operator: Literal["before", "after", "between", "within_last", "within_next", "is_today"]
    right: Json = ABSENT
    min: Json = ABSENT
    max: Json = ABSENT
    amount: Json = ABSENT
    unit: Literal["minutes", "hours", "days", "weeks"] = "days"
    """Exact lengths: a day is 24 hours, also where clocks change. Months have none."""
    timezone: str = "UTC"
    """Where a date without an offset is read, and whose day `is_today` means; a template."""


class _DateComparison(Condition):
    """A comparison of moments, all of them read in one time zone."""

    def __init__(self, config: DateConditionConfig, path: str, compiler: Compiler) -> None:
        name = config.operator
        errors: dict[str, list[str]] = {}
        if name not in _ON_MOMENTS and not compiler.has_clock:
            fault = f"'{name}' depends on the clock, which can't be asked here"
            errors[f"{path}operator"] = [fault]
        used = _OPERANDS[name]
        self._unit_seconds = _SECONDS_IN[config.unit]
        values = {"right": config.right, "min": config.min, "max": config.max}
        try:
            self._operands = compiler.operands(
                name,
                path,
                {
                    "left": (config.left, need_moment),
                    **{
                        field: (value, need_moment if field in used else None)
                        for field, value in values.items()
                    },
                    "amount": (config.amount, self._need_span if "amount" in used else None),
                },
            )
        except ConfigError as error:
            errors |= error.errors
        try:
            where = f"{path}timezone"
            self._zone = Operand(compiler.template(config.timezone, where), where, need_zone)
        except ConfigError as error:
            errors |= error.errors
        if errors:
            raise ConfigError(errors)
        self._operator = name
        self._path = path
        self._names = ("left", *used)

    def evaluate(self, scope: Scope) -> Verdict:
        """Compare, and tell what the present time was where it was asked for."""
        scope.check_time()
        try:
            zone: ZoneInfo = self._zone.evaluate(scope.context)
            left, *rest = self._taken(scope, zone)
            if self._operator in _ON_MOMENTS:
                return self._compared(_ON_MOMENTS[self._operator](left, *rest), left, rest)
            if self._operator == "is_today":
                return self._on_day(left, zone, scope.now)
            return self._within(left, rest[0], scope.now)
        except NodeError as error:
            if scope.is_lenient and error.code == "type_mismatch":
                return Compared(False, None, self._operator, None)
            raise

    def _need_span(self, value: Json, field: str) -> timedelta:
        seconds = need_number(value, field) * self._unit_seconds
        if seconds < 0:
            raise NodeError("type_mismatch", f"Operand '{field}' is negative")
        if seconds > _AMOUNT_SECONDS_MAX:
            raise NodeError("type_mismatch", f"Operand '{field}' is longer than 1000 years")
        return timedelta(microseconds=round(seconds * 1_000_000))

    def _taken(self, scope: Scope, zone: ZoneInfo) -> list[Any]:
        operands = zip(self._names, self._operands, strict=True)
        taken = [(name, operand.evaluate(scope.context)) for name, operand in operands]
        return [
            in_zone(value, zone, f"{self._path}{name}") if isinstance(value, datetime) else value
            for name, value in taken
        ]

    def _compared(self, result: bool, left: datetime, rest: list[datetime], **more: str) -> Verdict:
        right = [to_wire(moment) for moment in rest]
        return Compared(
            result, to_wire(left), self._operator, right[0] if len(right) == 1 else right, **more
        )

    def _on_day(self, left: datetime, zone: ZoneInfo, now: datetime) -> Verdict:
        """Compare the calendar days; the right side is today's date in the time zone."""
        today = now.astimezone(zone).date()
        try:
            is_today = left.astimezone(zone).date() == today
        except OverflowError:
            # The last hours of the calendar's last day are on no day in the east.
            is_today = False
        return Compared(
            is_today,
            to_wire(left),
            self._operator,
            today.isoformat(),
            now=to_wire(now),
            timezone=zone.key,
        )

    def _within(self, left: datetime, span: timedelta, now: datetime) -> Verdict:
        """Compare with a span that begins or ends now, both ends included."""
        ends = [now - span, now] if self._operator == "within_last" else [now, now + span]
        return self._compared(ends[0] <= left <= ends[1], left, ends, now=to_wire(now))


DATE: Final = Family(DateConditionConfig, _DateComparison)
