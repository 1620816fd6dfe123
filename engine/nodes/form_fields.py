"""The fields of a form: what each type takes, and what makes a value unfit."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from ..component import Json, NodeError, is_list, is_object
from ..template_values import to_text
from .operands import parse_number
from .patterns import Pattern, PatternFault

TEXT_LENGTH_MAX: Final = 10_000
"""How long a text may be where a field sets no limit, and the highest limit it may set."""
OPTIONS_MAX: Final = 1000
LABEL_LENGTH_MAX: Final = 200
_EMAIL_LENGTH_MAX: Final = 254
_URL_LENGTH_MAX: Final = 2048
_INTEGER_BITS_MAX: Final = 1024
_EMAIL = re.compile(
    r"[^\s@,;<>()\[\]\"\\]{1,64}@[^\s@,;<>()\[\]\"\\.]+(?:\.[^\s@,;<>()\[\]\"\\.]+)+"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)

FieldType: TypeAlias = Literal[
    "text", "textarea", "number", "boolean", "select", "multiselect", "date", "email", "url"
]
WRITTEN: Final = ("text", "textarea", "email", "url")
CHOSEN: Final = ("select", "multiselect")
_LIMITED: Final[Mapping[str, tuple[str, str]]] = {
    "number": ("must be {} or more", "must be {} or less"),
    "date": ("must be {} or later", "must be {} or earlier"),
    "multiselect": ("needs {} options or more", "takes {} options at most"),
}
"""What is said of a value below `min`, and of one above `max`."""
_Length: TypeAlias = Annotated[int, Meta(ge=0, le=TEXT_LENGTH_MAX)]


class FormField(msgspec.Struct, frozen=True, kw_only=True):
    """One field, as it stands in a definition and, rendered, in an open form."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}\Z")]
    label: str = ""
    type: FieldType = "text"
    required: bool = False
    default: Json = None
    """What the field holds before anybody has touched it."""
    options: Json = None
    """What there is to choose from: a list of `{value, label}`, or of values alone."""
    min: int | float | str | None = None
    """The least number, the earliest date, or how few options may be chosen."""
    max: int | float | str | None = None
    min_length: _Length | None = None
    max_length: _Length | None = None
    pattern: str | None = None
    """A regular expression (RE2) that the whole text must match."""
    visible_when: Json = None
    """A condition on other fields; without one the field is always there."""


class ValueFault(Exception):
    """A value doesn't fit its field; the message is a predicate and never holds the value."""


def field_faults(field: FormField) -> dict[str, list[str]]:
    """Say what is wrong with a field's own rules, by the name of the rule."""
    faults: dict[str, list[str]] = {}
    used: Mapping[str, tuple[str, ...]] = {
        "min": tuple(_LIMITED),
        "max": tuple(_LIMITED),
        "min_length": WRITTEN,
        "max_length": WRITTEN,
        "pattern": WRITTEN,
        "options": CHOSEN,
    }
    for rule, types in used.items():
        given = getattr(field, rule)
        if given is not None and field.type not in types:
            faults[rule] = [f"is not used by a field of type '{field.type}'"]
        elif rule in ("min", "max") and given is not None and not _is_limit(field.type, given):
            wanted = {"number": "a number", "date": "a date such as '2025-10-31'"}
            faults[rule] = [f"must be {wanted.get(field.type, 'a whole number, 0 at least')}"]
    if field.type in CHOSEN and field.options is None:
        faults["options"] = [f"is required by a field of type '{field.type}'"]
    for low, high in (("min", "max"), ("min_length", "max_length")):
        least, most = getattr(field, low), getattr(field, high)
        if low not in faults and high not in faults and None not in (least, most) and least > most:
            faults[low] = [f"is more than '{high}'"]
    if field.pattern is not None and "pattern" not in faults:
        try:
            Pattern(field.pattern)
        except PatternFault as fault:
            faults["pattern"] = [str(fault)]
    return faults


def read_options(value: Json) -> list[dict[str, Json]]:
    """Give options as a list of `{value, label}`; raise `ValueFault` when they can't be that."""
    if not is_list(value) or not value:
        raise ValueFault("must be a list of at least one option")
    if len(value) > OPTIONS_MAX:
        raise ValueFault(f"holds more than {OPTIONS_MAX} options")
    made: list[dict[str, Json]] = []
    seen: set[Json] = set()
    for item in value:
        option = item.get("value") if is_object(item) else item
        label = item.get("label") if is_object(item) else None
        if isinstance(option, bool) or not isinstance(option, (str, int, float)) or option == "":
            raise ValueFault("must hold options whose value is a text or a number")
        if option in seen:
            raise ValueFault("holds two options of the same value")
        seen.add(option)
        text = to_text(option if label is None else label)
        if max(len(text), len(option) if isinstance(option, str) else 0) > TEXT_LENGTH_MAX:
            raise ValueFault(f"holds an option of more than {TEXT_LENGTH_MAX} characters")
        made.append({"value": option, "label": text})
    return made


def is_blank(value: Json) -> bool:
    """Say whether a value is none: null, an empty text, or an empty list."""
    return value is None or value == "" or (is_list(value) and not value)


def take_value(field: FormField, value: Json) -> Json:
    """Give a value the type of its field; raise `ValueFault` when it is of another.

    Numbers and booleans may come as text, as a browser sends them.
    """
    match field.type:
        case "number":
            return _number(value)
        case "boolean":
            if isinstance(value, bool):
                return value
            if value in ("true", "false"):
                return bool(value == "true")
            raise ValueFault("must be true or false")
        case "select":
            return _option(field, value)
        case "multiselect":
            if not is_list(value):
                raise ValueFault("must be a list of options")
            chosen = [_option(field, item) for item in value[: OPTIONS_MAX + 1]]
            if len(set(chosen)) < len(value):
                raise ValueFault("must not name an option twice")
            return chosen
        case "date":
            if not isinstance(value, str) or not _is_date(value):
                raise ValueFault("must be a date such as '2025-10-31'")
            return value
        case _:
            if not isinstance(value, str) or not _is_whole(value):
                raise ValueFault("must be a text")
            return value


def value_faults(field: FormField, value: Any) -> list[str]:
    """Say which rules of its field a value of the right type breaks."""
    if field.type in WRITTEN:
        return _text_faults(field, value)
    if field.type not in _LIMITED:
        return []
    measured: Any = len(value) if field.type == "multiselect" else value
    too_little, too_much = _LIMITED[field.type]
    faults: list[str] = []
    if field.min is not None and measured < field.min:
        faults.append(too_little.format(field.min))
    if field.max is not None and measured > field.max:
        faults.append(too_much.format(field.max))
    return faults


def _text_faults(field: FormField, value: str) -> list[str]:
    faults: list[str] = []
    longest = field.max_length if field.max_length is not None else TEXT_LENGTH_MAX
    if len(value) > longest:
        # Nothing else is said of a text that is too long, since to look costs time.
        return [f"must have at most {longest} characters"]
    if field.min_length is not None and len(value) < field.min_length:
        faults.append(f"must have at least {field.min_length} characters")
    if field.type == "email" and not (len(value) <= _EMAIL_LENGTH_MAX and _EMAIL.fullmatch(value)):
        faults.append("must be an email address")
    if field.type == "url" and not _is_url(value):
        faults.append("must be an http or https address")
    if field.pattern is not None:
        try:
            if not Pattern(field.pattern).is_all_of(value):
                faults.append("must match the pattern of this field")
        except (PatternFault, NodeError):
            faults.append("is too long for the pattern of this field")
    return faults


def _number(value: Json) -> int | float:
    number = parse_number(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise ValueFault("must be a number")
    if isinstance(number, int):
        if number.bit_length() > _INTEGER_BITS_MAX:
            raise ValueFault("must be a number of at most 300 digits")
    elif not math.isfinite(number):
        raise ValueFault("must be a number")
    return number


def _option(field: FormField, value: Json) -> Json:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        for option in field.options or ():
            if option["value"] == value:
                return option["value"]
    raise ValueFault("must be one of the options of this field")


def _is_limit(kind: str, value: float | str) -> bool:
    if kind == "date":
        return isinstance(value, str) and _is_date(value)
    if isinstance(value, str) or not math.isfinite(value):
        return False
    return kind == "number" or (value >= 0 and value == int(value))


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_whole(text: str) -> bool:
    """Say whether a text holds no half of a surrogate pair, which no journal could hold."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _is_url(text: str) -> bool:
    if len(text) > _URL_LENGTH_MAX or any(c.isspace() or not c.isprintable() for c in text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
