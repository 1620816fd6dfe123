"""What conditions and waits ask of a value: that it is text, a number or a boolean, or equal."""

from __future__ import annotations

import math
import re

from ..component import Json, NodeError, is_list, is_object
from ..template_values import kind_of

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NUMBER_LENGTH_MAX = 64


def need_text(value: Json, field: str) -> str:
    """Take a string; null counts as empty text, since an undefined variable renders empty."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    raise _mismatch(field, value, "a string")


def need_number(value: Json, field: str) -> int | float:
    """Take a number, or a string that is exactly a JSON number, such as `"42"` or `"3.5"`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        number = parse_number(value)
        if number is not None:
            return number
        raise NodeError(
            "type_mismatch", f"Operand '{field}' is a string that holds no number, one is needed"
        )
    raise _mismatch(field, value, "a number")


def need_boolean(value: Json, field: str) -> bool:
    """Take a boolean, or the text `true` or `false`, which a template with tags can give."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise _mismatch(field, value, "a boolean")


def need_list(value: Json, field: str) -> list[Json]:
    """Take a list."""
    if is_list(value):
        return list(value)
    raise _mismatch(field, value, "a list")


def need_items(value: Json, field: str) -> list[Json]:
    """Take a list; null counts as an empty one, since an undefined variable renders to it."""
    return [] if value is None else need_list(value, field)


def need_any(value: Json, field: str) -> Json:
    """Take any value."""
    del field
    return value


def parse_number(text: str) -> int | float | None:
    """Read a JSON number that fills the whole text; null when it is none or not finite."""
    found = _NUMBER.fullmatch(text) if len(text) <= _NUMBER_LENGTH_MAX else None
    if found is None:
        return None
    if found.group(1) is None and found.group(2) is None:
        return int(text)
    number = float(text)
    return number if math.isfinite(number) else None


def is_equal(left: Json, right: Json) -> bool:
    """Compare as JSON does: 1 equals 1.0, true does not equal 1, and no string is a number."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if is_list(left):
        return (
            is_list(right)
            and len(left) == len(right)
            and all(is_equal(a, b) for a, b in zip(left, right, strict=True))
        )
    if is_object(left):
        return (
            is_object(right)
            and left.keys() == right.keys()
            and all(is_equal(value, right[key]) for key, value in left.items())
        )
    return bool(left == right)


def _mismatch(field: str, value: Json, needed: str) -> NodeError:
    return NodeError("type_mismatch", f"Operand '{field}' is {kind_of(value)}, {needed} is needed")
