"""The `form` node: asks a person, and leaves by the button that was pressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, TypeVar

import msgspec
from msgspec import Meta

from ..component import (
    AnswerError,
    ConfigError,
    Context,
    FormNode,
    Json,
    NodeConfig,
    NodeError,
    Outcome,
    is_object,
)
from ..fields import check_fields
from ..template_values import to_text
from ..templates import compile_text, compile_value
from .condition_core import Operand, Take
from .form_fields import (
    CHOSEN,
    LABEL_LENGTH_MAX,
    WRITTEN,
    FormField,
    ValueFault,
    field_faults,
    is_blank,
    read_options,
    take_value,
    value_faults,
)
from .form_visibility import Visibility, without_nulls
from .operands import need_any
from .switch import check_handle

FIELDS_MAX: Final = 100
ACTIONS_MAX: Final = 20
TITLE_LENGTH_MAX: Final = 1000
DESCRIPTION_LENGTH_MAX: Final = 10_000
FORM_BYTES_MAX: Final = 128 * 1024
"""The largest form, rendered as JSON."""
VALUES_BYTES_MAX: Final = 128 * 1024
"""The largest answer; below the limit of a node's output, which would fail the run."""
TIMEOUT_SECONDS_MAX: Final = 365 * 86_400
TIMEOUT_HANDLE: Final = "timeout"
_FAULTS_MAX: Final = 100
S = TypeVar("S", bound=msgspec.Struct)


class FormAction(msgspec.Struct, frozen=True, kw_only=True):
    """One button; its id is the handle that it leads to."""

    id: str
    label: str = ""
    style: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}\Z")] | None = None
    """A hint for whoever draws the button, such as `primary` or `danger`."""
    validate: bool = True
    """Whether the values must be complete and valid; a cancel button says no."""


class FormConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `form`; its texts, defaults and options are templates."""

    title: str = ""
    description: str = ""
    fields: tuple[Json, ...] = ()
    actions: tuple[Json, ...] = ({"id": "submit", "label": "Submit", "style": "primary"},)
    timeout: Annotated[float, Meta(ge=0.001, le=TIMEOUT_SECONDS_MAX)] | None = None
    """Seconds until nobody is waited for any longer; without it, the form stays open."""


class Form(FormNode[FormConfig]):
    """Asks for values and a decision.

    Output: `{"action": …, "values": {…}, "answered_by": …}`, or, when the time is over,
    `{"action": null, "values": {}, "timed_out": true}` by the handle `timeout`.
    """

    component: ClassVar[str] = "form"
    config_type = FormConfig

    def __init__(self, config: FormConfig) -> None:
        errors: dict[str, list[str]] = {}
        fields = _read_list(config.fields, "fields", FormField, FIELDS_MAX, errors)
        actions = _read_list(config.actions, "actions", FormAction, ACTIONS_MAX, errors)
        if not config.actions:
            errors["actions"] = ["must hold at least one action"]
        self._title = _text(config.title, "title", TITLE_LENGTH_MAX, errors)
        self._description = _text(config.description, "description", DESCRIPTION_LENGTH_MAX, errors)
        self._fields = [_FieldTemplates(i, field, errors) for i, field in fields.items()]
        self._actions = [_ActionTemplates(i, action, errors) for i, action in actions.items()]
        _check_names(fields, actions, errors)
        if not errors:
            try:
                Visibility(list(fields.values()), is_open=False)
            except ConfigError as error:
                errors |= error.errors
        if errors:
            raise ConfigError(errors)
        self._timeout = config.timeout
        seconds = config.timeout
        self._shown_timeout = int(seconds) if seconds and seconds.is_integer() else seconds
        ids = [action.id for action in actions.values()]
        self.handles = (*ids, *(() if config.timeout is None else (TIMEOUT_HANDLE,)))

    def ask(self, context: Context) -> dict[str, Json]:
        """Render the form; code `form_invalid` where what was rendered is no form."""
        form: dict[str, Json] = {
            "title": _rendered(self._title, context),
            "description": _rendered(self._description, context),
            "fields": [field.render(context) for field in self._fields],
            "actions": [action.render(context) for action in self._actions],
            "timeout_seconds": self._shown_timeout,
        }
        try:
            _OpenForm(form)
        except ConfigError as error:
            raise NodeError("form_invalid", f"Form can't be opened: {error}") from error
        if len(msgspec.json.encode(form)) > FORM_BYTES_MAX:
            message = f"Form can't be opened: it is larger than {FORM_BYTES_MAX} bytes"
            raise NodeError("form_invalid", message)
        return form

    def timeout_us(self) -> int:
        """Say how long the form stays open, in microseconds; 0 means without end."""
        return 0 if self._timeout is None else round(self._timeout * 1_000_000)

    def answer(
        self, form: dict[str, Json], action: str, values: dict[str, Json], by: str
    ) -> Outcome:
        """Check the answer against the form as it was asked."""
        taken = _OpenForm(form).take(action, values)
        return Outcome({"action": action, "values": taken, "answered_by": by}, action)

    def expire(self, form: dict[str, Json]) -> Outcome:
        """Leave by `timeout`."""
        del form
        return Outcome({"action": None, "values": {}, "timed_out": True}, TIMEOUT_HANDLE)


class _OpenForm:
    """A form as it was asked, which is all that an answer is judged by."""

    def __init__(self, form: Mapping[str, Json]) -> None:
        self._fields = {f.name: f for f in msgspec.convert(form["fields"], list[FormField])}
        self._actions = msgspec.convert(form["actions"], list[FormAction])
        self._visibility = Visibility(list(self._fields.values()), is_open=True)

    def take(self, action: str, values: Mapping[str, Json]) -> dict[str, Json]:
        """Give the values that are kept; raise `AnswerError` when the answer doesn't fit."""
        errors: dict[str, list[str]] = {}
        pressed = next((known for known in self._actions if known.id == action), None)
        if pressed is None:
            known = ", ".join(f"'{action.id}'" for action in self._actions)
            errors["action"] = [f"must be one of {known}"]
        unknown = [name for name in values if name not in self._fields]
        for name in unknown[:_FAULTS_MAX]:
            errors[f"values.{name[:64]}"] = ["is not a field of this form"]
        kept, faults = self._check(values)
        if pressed is None or pressed.validate:
            errors |= {f"values.{name}": faults[name] for name in self._fields if name in faults}
        if len(msgspec.json.encode(kept)) > VALUES_BYTES_MAX:
            errors["values"] = [f"are larger than {VALUES_BYTES_MAX} bytes in all"]
        if errors:
            raise AnswerError(errors)
        return {name: kept[name] for name in self._fields if name in kept}

    def _check(self, values: Mapping[str, Json]) -> tuple[dict[str, Json], dict[str, list[str]]]:
        """Return the values of the visible fields, null where one is unfit, and the faults."""
        kept: dict[str, Json] = {}
        faults: dict[str, list[str]] = {}
        for name in self._visibility.order:
            field = self._fields[name]
            if not self._visibility.shows(name, kept):
                continue
            value = values.get(name, field.default)
            kept[name] = None
            if is_blank(value) or (field.required and _is_space(field, value)):
                if field.required:
                    faults[name] = ["is required"]
                continue
            try:
                taken = take_value(field, value)
                found = value_faults(field, taken)
            except ValueFault as fault:
                found = [str(fault)]
            else:
                kept[name] = None if found else taken
            if found:
                faults[name] = found
        return kept, faults


class _FieldTemplates:
    """One field of a definition: what is rendered of it, and what stands as it is."""

    def __init__(self, index: int, field: FormField, errors: dict[str, list[str]]) -> None:
        path = f"fields[{index}]"
        errors |= {f"{path}.{rule}": faults for rule, faults in field_faults(field).items()}
        self._field = field
        self._path = path
        self._label = _text(field.label or field.name, f"{path}.label", LABEL_LENGTH_MAX, errors)
        self._options: Operand | None = None
        if field.type in CHOSEN and field.options is not None:
            self._options = _operand(field.options, f"{path}.options", _need_options, errors)
        self._default = _operand(field.default, f"{path}.default", self._need_default, errors)
        self._visible_when = _operand(
            without_nulls(field.visible_when), f"{path}.visible_when", need_any, errors
        )
        if self._options and self._default and self._options.is_static and self._default.is_static:
            try:
                self._fitting(self._default.evaluate({}), self._options.evaluate({}))
            except NodeError as error:
                errors[f"{path}.default"] = [error.message]

    def render(self, context: Context) -> dict[str, Json]:
        """Give the field as it is asked."""
        field = self._field
        made: dict[str, Json] = {
            "name": field.name,
            "label": _rendered(self._label, context),
            "type": field.type,
            "required": field.required,
        }
        options = _rendered(self._options, context)
        default = _rendered(self._default, context)
        made["default"] = self._fitting(default, options)
        if options is not None:
            made["options"] = options
        for rule in ("min", "max", "min_length", "max_length", "pattern"):
            limit = getattr(field, rule)
            if limit is not None:
                made[rule] = limit
        if field.visible_when is not None:
            made["visible_when"] = _rendered(self._visible_when, context)
        return made

    def _need_default(self, value: Json, where: str) -> Json:
        """Take a default as far as it can be told without the options."""
        if is_blank(value):
            return None
        if self._field.type in CHOSEN:
            return value
        try:
            written = self._field.type in WRITTEN and not isinstance(value, str)
            return take_value(self._field, to_text(value) if written else value)
        except ValueFault as fault:
            raise NodeError("form_invalid", f"Field '{where}' {fault}") from fault

    def _fitting(self, default: Json, options: Json) -> Json:
        """Refuse a default that is none of the options."""
        if default is None or options is None:
            return default
        try:
            return take_value(msgspec.structs.replace(self._field, options=options), default)
        except ValueFault as fault:
            raise NodeError("form_invalid", f"Field '{self._path}.default' {fault}") from fault


class _ActionTemplates:
    """One button of a definition."""

    def __init__(self, index: int, action: FormAction, errors: dict[str, list[str]]) -> None:
        self._action = action
        label = action.label or action.id
        self._label = _text(label, f"actions[{index}].label", LABEL_LENGTH_MAX, errors)

    def render(self, context: Context) -> dict[str, Json]:
        """Give the button as it is shown."""
        action = self._action
        made = {"id": action.id, "label": _rendered(self._label, context)}
        return {
            **made,
            **({} if action.style is None else {"style": action.style}),
            "validate": action.validate,
        }


def _read_list(
    raw: Sequence[Json], path: str, struct: type[S], count_max: int, errors: dict[str, list[str]]
) -> dict[int, S]:
    """Read the items that can be read, by their index, and note the faults of the others."""
    if len(raw) > count_max:
        errors[path] = [f"holds more than {count_max}"]
        return {}
    made: dict[int, S] = {}
    for index, item in enumerate(raw):
        where = f"{path}[{index}]"
        if not is_object(item):
            errors[where] = ["must be an object"]
            continue
        # Editors store null where nothing was entered.
        given = {name: value for name, value in item.items() if value is not None}
        read, faults = check_fields(struct, given, where)
        errors |= faults
        if read is not None:
            made[index] = read
    return made


def _check_names(
    fields: Mapping[int, FormField],
    actions: Mapping[int, FormAction],
    errors: dict[str, list[str]],
) -> None:
    seen: set[str] = set()
    for index, field in fields.items():
        if field.name in seen:
            errors[f"fields[{index}].name"] = [f"repeats the name '{field.name}'"]
        seen.add(field.name)
    ids: set[str] = set()
    for index, action in actions.items():
        fault = check_handle(action.id, (TIMEOUT_HANDLE, "error", "default"), ids)
        if fault:
            errors[f"actions[{index}].id"] = [fault]
        ids.add(action.id)


def _text(source: str, path: str, length_max: int, errors: dict[str, list[str]]) -> Operand | None:
    def take(value: Json, where: str) -> str:
        text = to_text(value)
        if len(text) > length_max:
            raise NodeError(
                "form_invalid", f"Field '{where}' is longer than {length_max} characters"
            )
        return text

    try:
        return Operand(compile_text(source, path), path, take)
    except ConfigError as error:
        errors |= error.errors
        return None


def _operand(value: Json, path: str, take: Take, errors: dict[str, list[str]]) -> Operand | None:
    try:
        return Operand(compile_value(value, path), path, take)
    except ConfigError as error:
        errors |= error.errors
        return None


def _rendered(operand: Operand | None, context: Context) -> Any:
    return None if operand is None else operand.evaluate(context)


def _need_options(value: Json, where: str) -> list[dict[str, Json]]:
    try:
        return read_options(value)
    except ValueFault as fault:
        raise NodeError("form_invalid", f"Field '{where}' {fault}") from fault


def _is_space(field: FormField, value: Json) -> bool:
    return field.type in WRITTEN and isinstance(value, str) and value.isspace()
