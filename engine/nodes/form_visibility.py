"""When a field of a form is there: conditions on the values of other fields.

The conditions are those of `condition_language.py`, with two differences. An operand may be
`{"field": "<name>"}`, the value of another field, null where that is hidden or empty. And nothing
may depend on anything but the form itself: templates are rendered when the form is opened, no
operator may ask the clock, and a comparison that a field's value doesn't suit is false.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..component import ConfigError, Context, Json, NodeError, is_list, is_object
from ..template_parts import StaticTemplate, Template
from ..templates import compile_value
from .condition_core import Compiler, Condition, Operand, Scope, Take
from .condition_language import FAMILIES
from .form_fields import FormField, ValueFault, read_options

_ASKS_VALUES = re.compile(r"\{[{%][^}]*\bvalues\s*[.\[]")
_SAMPLES: Final[Mapping[str, Json]] = {
    "number": 1,
    "boolean": True,
    "date": "2025-10-31",
    "multiselect": ["x"],
}
"""A value of each type whose values are not text."""


class _FieldTemplate(Template):
    """The value of another field."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def render(self, context: Context) -> Json:
        """Give the value, null where the field is hidden or empty."""
        return context["values"].get(self._name)


class _FormCompiler(Compiler):
    """Compiles the condition of one field, and notes which fields it asks."""

    has_clock = False
    has_elements = False

    def __init__(self, fields: Mapping[str, FormField], *, is_open: bool) -> None:
        """`is_open`: the templates are rendered, and what they gave is not read as such again."""
        super().__init__(FAMILIES)
        self._fields = fields
        self._is_open = is_open
        self.takes_null = is_open
        self.asked: set[str] = set()

    def template(self, value: Json, field: str) -> Template:
        """Compile an operand, or a reference to a field."""
        name = _reference(value)
        if name is not None:
            if name not in self._fields:
                raise ConfigError({field: [f"there is no field '{name[:64]}'"]})
            self.asked.add(name)
            return _FieldTemplate(name)
        return StaticTemplate(value) if self._is_open else compile_value(value, field)

    def operands(
        self, operator: str, path: str, fields: Mapping[str, tuple[Json, Take | None]]
    ) -> tuple[Operand, ...]:
        """Compile the operands, and refuse those that could never suit the operator."""
        made = super().operands(operator, path, fields)
        errors: dict[str, list[str]] = {}
        for name, (value, take) in fields.items():
            asked = _reference(value)
            if take is None or asked is None:
                continue
            field = self._fields[asked]
            if not any(_suits(take, sample) for sample in _samples(field)):
                fault = (
                    f"field '{asked}' is of type '{field.type}', which doesn't suit '{operator}'"
                )
                errors[f"{path}{name}"] = [fault]
        if errors:
            raise ConfigError(errors)
        return made


class Visibility:
    """The conditions of a form's fields, in an order in which they can be evaluated."""

    def __init__(self, fields: Sequence[FormField], *, is_open: bool) -> None:
        """Compile them; raise `ConfigError` with paths such as `fields[2].visible_when.left`."""
        by_name = {field.name: field for field in fields}
        self._conditions: dict[str, Condition] = {}
        asked: dict[str, set[str]] = {field.name: set() for field in fields}
        errors: dict[str, list[str]] = {}
        for index, field in enumerate(fields):
            if field.visible_when is None:
                continue
            path = f"fields[{index}].visible_when"
            compiler = _FormCompiler(by_name, is_open=is_open)
            if not is_open and _mentions_values(field.visible_when):
                errors[path] = ['must name a field as {"field": "name"}, not by a template']
                continue
            try:
                self._conditions[field.name] = compiler.nested(field.visible_when, path)
            except ConfigError as error:
                errors |= error.errors
            asked[field.name] = compiler.asked
        self.order: Final = _in_order(asked)
        """The fields' names, each after those that it asks."""
        for index, field in enumerate(fields):
            if field.name not in self.order:
                fault = "depends on itself, directly or by way of other fields"
                errors.setdefault(f"fields[{index}].visible_when", []).append(fault)
        if errors:
            raise ConfigError(errors)

    def shows(self, name: str, values: Mapping[str, Json]) -> bool:
        """Say whether a field is there, given the values of the fields that come before it."""
        condition = self._conditions.get(name)
        if condition is None:
            return True
        try:
            return condition.evaluate(Scope({"values": values}, is_lenient=True)).result
        except NodeError:
            # Only a limit can be passed here; what can't be decided is not asked of a person.
            return False


def without_nulls(spec: Json) -> Json:
    """Leave out the fields that an editor stored as null, as those of a node are.

    In an open form a null is a value: what a template of an operand gave.
    """
    if not is_object(spec):
        return spec
    inner = spec.get("conditions")
    kept = {name: value for name, value in spec.items() if value is not None or name == "left"}
    return {**kept, "conditions": [*map(without_nulls, inner)]} if is_list(inner) else kept


def _reference(value: Json) -> str | None:
    if is_object(value) and len(value) == 1 and isinstance(value.get("field"), str):
        return str(value["field"])
    return None


def _suits(take: Take, sample: Json) -> bool:
    try:
        take(sample, "")
    except NodeError as error:
        return error.code != "type_mismatch"
    return True


def _samples(field: FormField) -> list[Any]:
    if field.type != "select":
        return [_SAMPLES.get(field.type, "x")]
    try:
        return [option["value"] for option in read_options(field.options)]
    except ValueFault:
        # The options are a template, so that they may turn out to be of either type.
        return ["x", 1]


def _mentions_values(value: Json) -> bool:
    if isinstance(value, str):
        return _ASKS_VALUES.search(value) is not None
    if is_object(value):
        return any(map(_mentions_values, value.values()))
    return is_list(value) and any(map(_mentions_values, value))


def _in_order(asked: Mapping[str, set[str]]) -> list[str]:
    """Put each name after those that it asks; what is on a cycle, or asks what is, is left out."""
    order: list[str] = []
    waiting = dict(asked)
    while ready := [name for name, others in waiting.items() if not others & waiting.keys()]:
        order += ready
        for name in ready:
            del waiting[name]
    return order
