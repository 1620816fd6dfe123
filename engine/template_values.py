"""What templates do with values: their text, their kind in words, and their size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from .component import NodeError, is_list, is_object

if TYPE_CHECKING:
    from .component import Json

OUTPUT_SIZE_MAX: Final = 256 * 1024
"""What a template may render, in characters of text or of the value's JSON."""


class RenderLimit:
    """How long one render may take; set once, at start, from the service's settings."""

    seconds_max: ClassVar[float] = 1.0
    """In seconds of the wall clock."""


_encode = msgspec.json.Encoder().encode


class SyntaxFault(Exception):
    """A template can't be compiled; the message is short and names the fault."""


def limit_error(what: str) -> NodeError:
    """Make the error of a template that passed one of its limits."""
    return NodeError("template_limit", f"Template stopped: {what}")


def kind_of(value: object) -> str:
    """Name a value's JSON type as a reader knows it, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list() | tuple() | range():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "undefined"


def to_text(value: Json) -> str:
    """Give the text that a JSON value has inside a template's text.

    Null is empty, booleans are `true` and `false`, lists and objects are compact JSON.
    """
    if value.__class__ is str:
        return value
    if value is None:
        return ""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, (int, float)):
        check_number(value)
        return str(value)
    try:
        return _encode(value).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NodeError("template_error", "Value can't be written as JSON") from error


def to_json_text(value: Json) -> str:
    """Give the JSON text of a value; a number that JSON can't hold is an error."""
    if isinstance(value, float):
        check_number(value)
    try:
        return _encode(value).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NodeError("template_error", "Value can't be written as JSON") from error


def check_number(value: float) -> None:
    """Refuse the numbers that JSON has no form for, and integers no reader would accept."""
    if isinstance(value, int):
        if value.bit_length() > 1024:
            raise limit_error("an integer has more than 1024 bits")
    elif not math.isfinite(value):
        raise NodeError("template_error", "Template made a number that is not finite")


def fits(value: Json, size_max: int) -> bool:
    """Say whether a value's JSON may be within `size_max` characters.

    The estimate is never more than the true size, and the walk ends as soon as the limit is
    passed: one list that is referred to a thousand times costs no more than the limit.
    """
    left = size_max
    pending: list[Json] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            left -= len(item) + 2
        elif is_object(item):
            left -= 1 + 5 * len(item)
            if left < 0:
                return False
            for key in item:
                left -= len(key)
            pending.extend(item.values())
        elif is_list(item):
            left -= 1 + len(item)
            if left < 0:
                return False
            pending.extend(item)
        else:
            left -= 1
        if left < 0:
            return False
    return True
