"""The node that reads, shifts, compares and writes dates: `date_transform`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Annotated, ClassVar, Final, TypeAlias

import msgspec

from ..component import ConfigError, Context, Json, NodeConfig, NodeError, Outcome, PureNode
from ..date_arithmetic import (
    DateRangeError,
    Period,
    Unit,
    difference,
    end_of,
    in_zone,
    shift,
    start_of,
    zone_of,
)
from ..date_formats import (
    FORMAT_LENGTH_MAX,
    DateFormatError,
    ReadFormat,
    read_rfc2822,
    read_unix,
    unix_ms_of,
    unix_of,
    unknown_directives,
    write,
    write_iso,
    write_rfc2822,
)
from ..template_values import kind_of
from ..templates import Template, compile_text, compile_value
from ..wall_clock import WallClock
from ..zones import UnknownZoneError
from .moments import need_moment
from .operands import need_number

OPERATIONS_MAX: Final = 50

_Read: TypeAlias = Callable[[Json, str], datetime]
_WRITERS: Final[dict[str, Callable[[datetime], Json]]] = {
    "iso": write_iso,
    "date": lambda moment: write(moment, "%F"),
    "time": lambda moment: write(moment, "%T"),
    "unix": unix_of,
    "unix_ms": unix_ms_of,
    "rfc2822": write_rfc2822,
}


class DateOperation(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="op"
):
    """One step on the way from the source to the result."""


class Add(DateOperation, frozen=True, tag="add"):
    """Goes forward; `amount` is a number, or a template of one."""

    amount: Annotated[int, msgspec.Meta(ge=-(10**12), le=10**12)] | float | str
    unit: Unit


class Subtract(DateOperation, frozen=True, tag="subtract"):
    """Goes back."""

    amount: Annotated[int, msgspec.Meta(ge=-(10**12), le=10**12)] | float | str
    unit: Unit


class StartOf(DateOperation, frozen=True, tag="start_of"):
    """Goes to the first moment of the period that the date is in."""

    unit: Period


class EndOf(DateOperation, frozen=True, tag="end_of"):
    """Goes to the last microsecond of the period that the date is in."""

    unit: Period


class DateTransformConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `date_transform`."""

    source: Json
    """The date, as a template: ISO 8601, seconds since 1970, `now` or `today`."""
    source_format: str = "iso"
    """`iso`, `unix`, `unix_ms`, `rfc2822`, or directives such as `%d.%m.%Y`."""
    timezone: str = "UTC"
    """Where a date without an offset is read, and where days begin; a template."""
    operations: list[Add | Subtract | StartOf | EndOf] = msgspec.field(default_factory=list)
    to_timezone: str = ""
    """Where the result is shown; nothing means `timezone`. Operations happen there too."""
    format: str = "iso"
    """`iso`, `date`, `time`, `unix`, `unix_ms`, `rfc2822`, or directives."""
    difference_to: Json = None
    """Another date: the output has the `difference` from the result to it."""
    difference_unit: Unit = "seconds"


class _Step:
    """A compiled operation."""

    __slots__ = ("_amount", "_field", "_operation")

    def __init__(self, operation: Add | Subtract | StartOf | EndOf, field: str) -> None:
        self._operation = operation
        self._field = field
        self._amount: Template | None = None
        if isinstance(operation, (Add, Subtract)):
            self._amount = compile_value(operation.amount, f"{field}.amount")
            if self._amount.is_static:
                try:
                    self._take({})
                except NodeError as error:
                    raise ConfigError({f"{field}.amount": [error.message]}) from error

    def apply(self, moment: datetime, zone: tzinfo, context: Context) -> datetime:
        operation = self._operation
        if isinstance(operation, StartOf):
            return start_of(moment, operation.unit, zone)
        if isinstance(operation, EndOf):
            return end_of(moment, operation.unit, zone)
        amount = self._take(context)
        sign = -1 if isinstance(operation, Subtract) else 1
        return shift(moment, sign * amount, operation.unit, zone)

    def _take(self, context: Context) -> float:
        assert self._amount is not None
        assert isinstance(self._operation, (Add, Subtract))
        field, unit = f"{self._field}.amount", self._operation.unit
        amount = need_number(self._amount.render(context), field)
        if unit not in ("seconds", "minutes", "hours") and amount != int(amount):
            message = f"Operand '{field}' has to be a whole number of {unit}"
            raise NodeError("type_mismatch", message)
        return amount


class DateTransform(PureNode[DateTransformConfig]):
    """Transforms a date: the output is `{"value", "iso", "unix", "timezone"}`."""

    component: ClassVar[str] = "date_transform"
    config_type = DateTransformConfig

    def __init__(self, config: DateTransformConfig) -> None:
        errors: dict[str, list[str]] = {}
        if len(config.operations) > OPERATIONS_MAX:
            raise ConfigError({"operations": [f"has more than {OPERATIONS_MAX} operations"]})
        self._read = _compile_reader(config.source_format, errors)
        self._write = _compile_writer(config.format, errors)
        self._unit: Unit = config.difference_unit
        self._steps: list[_Step] = []
        self._other: Template | None = None
        try:
            self._source = compile_value(config.source, "source")
        except ConfigError as error:
            errors |= error.errors
        for index, operation in enumerate(config.operations):
            try:
                self._steps.append(_Step(operation, f"operations[{index}]"))
            except ConfigError as error:
                errors |= error.errors
        try:
            if config.difference_to is not None:
                self._other = compile_value(config.difference_to, "difference_to")
        except ConfigError as error:
            errors |= error.errors
        self._zone = _Zone(config.timezone, "timezone", errors)
        self._to_zone = _Zone(config.to_timezone, "to_timezone", errors)
        if not errors:
            self._try_static(errors)
        if errors:
            raise ConfigError(errors)

    def run(self, context: Context) -> Outcome:
        """Read, shift and write."""
        zone = self._zone.render(context) or zone_of("UTC")
        to_zone = self._to_zone.render(context) or zone
        try:
            moment = self._take(self._source, "source", zone, to_zone, context)
            for index, step in enumerate(self._steps):
                field = f"operations[{index}]"
                try:
                    moment = step.apply(moment, to_zone, context)
                except DateRangeError as error:
                    raise NodeError("date_invalid", f"The date after '{field}' {error}") from error
            output = {
                "value": self._write(moment),
                "iso": write_iso(moment),
                "unix": unix_of(moment),
                "timezone": str(to_zone),
            }
            if self._other is not None:
                other = self._take(self._other, "difference_to", zone, to_zone, context)
                output["difference"] = difference(moment, other, self._unit, to_zone)
        except DateRangeError as error:
            raise NodeError("date_invalid", f"The date {error}") from error
        return Outcome(output)

    def _take(
        self, template: Template, field: str, zone: tzinfo, to_zone: tzinfo, context: Context
    ) -> datetime:
        value = template.render(context)
        if value == "now":
            return in_zone(WallClock.now(), to_zone)
        if value == "today":
            return in_zone(start_of(WallClock.now(), "day", zone), to_zone)
        try:
            return in_zone(in_zone(self._read(value, field), zone), to_zone)
        except DateRangeError as error:
            raise NodeError("date_invalid", f"'{field}' {error}") from error

    def _try_static(self, errors: dict[str, list[str]]) -> None:
        """Read the dates that are written out, so that nobody waits for a run to see a fault."""
        for template, field in ((self._source, "source"), (self._other, "difference_to")):
            if template is None or not template.is_static:
                continue
            try:
                self._take(template, field, zone_of("UTC"), zone_of("UTC"), {})
            except NodeError as error:
                errors[field] = [error.message]


class _Zone:
    """A compiled time zone."""

    __slots__ = ("_field", "_template")

    def __init__(self, source: str, field: str, errors: dict[str, list[str]]) -> None:
        self._field = field
        self._template: Template | None = None
        try:
            self._template = compile_text(source, field)
            if self._template.is_static:
                self.render({})
        except ConfigError as error:
            errors |= error.errors
        except NodeError as error:
            errors[field] = [error.message]

    def render(self, context: Context) -> tzinfo | None:
        """Give the zone; null where the template gives nothing."""
        assert self._template is not None
        name = self._template.render_text(context).strip()
        try:
            return zone_of(name) if name else None
        except UnknownZoneError as error:
            raise NodeError("timezone_invalid", f"'{self._field}' {error}") from error


def _compile_reader(source_format: str, errors: dict[str, list[str]]) -> _Read:
    if source_format in ("", "iso"):
        return need_moment
    if source_format in ("unix", "unix_ms"):
        per_second = 1 if source_format == "unix" else 1000
        return lambda value, field: _by_format(
            lambda: read_unix(need_number(value, field), per_second), field
        )
    read = read_rfc2822
    if source_format != "rfc2822":
        try:
            read = ReadFormat(source_format).read
        except DateFormatError as error:
            errors["source_format"] = [str(error)]

    def read_text(value: Json, field: str) -> datetime:
        if not isinstance(value, str):
            message = f"'{field}' is {kind_of(value)}, a text is needed"
            raise NodeError("type_mismatch", message)
        return _by_format(lambda: read(value), field)

    return read_text


def _by_format(read: Callable[[], datetime], field: str) -> datetime:
    try:
        return read()
    except DateFormatError as error:
        raise NodeError("date_invalid", f"'{field}' {error}") from error


def _compile_writer(form: str, errors: dict[str, list[str]]) -> Callable[[datetime], Json]:
    form = form or "iso"
    if form in _WRITERS:
        return _WRITERS[form]
    if len(form) > FORMAT_LENGTH_MAX:
        errors["format"] = [f"is longer than {FORMAT_LENGTH_MAX} characters"]
    elif "%" not in form:
        errors["format"] = [f"must be one of {', '.join(_WRITERS)}, or have directives like '%Y'"]
    elif unknown := unknown_directives(form):
        errors["format"] = [f"has the unknown directive '{unknown[0]}'"]
    return lambda moment: write(moment, form)
