"""What Liquid gives, as JSON and as text: the way out of the template engine."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from .component import is_list, is_object
from .template_values import OUTPUT_SIZE_MAX, check_number, fits, limit_error, to_text

if TYPE_CHECKING:
    from .component import Json

TEXT_LENGTH_MAX: Final = 2 * OUTPUT_SIZE_MAX
"""The longest text that a filter takes or gives, in characters."""
LIST_SIZE_MAX: Final = 4 * OUTPUT_SIZE_MAX
"""The largest list or object that a filter takes or gives, in characters of JSON."""


def to_json(value: object, size_max: int) -> Json:
    """Turn what Liquid gives into JSON, with everything undefined as null.

    Raises `NodeError` for numbers that are no JSON and for values longer than `size_max`.
    """
    if isinstance(value, range):
        value = list(value)
    if not fits(value, size_max):
        raise limit_error(f"a value is longer than {size_max} characters of JSON")
    return _plain(value)


def text_of(value: object) -> str:
    """Give the text of what Liquid gives: what a template would write for it."""
    return value if type(value) is str else to_text(to_json(value, LIST_SIZE_MAX))


def _plain(value: object) -> Json:
    if value is None or value is True or value is False or type(value) is str:
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (int, float)):
        check_number(value)
        return value
    if isinstance(value, Decimal):
        number = float(value)
        check_number(number)
        return int(number) if number.is_integer() else number
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if is_object(value):
        return {str(key): _plain(item) for key, item in value.items()}
    if is_list(value):
        return [_plain(item) for item in value]
    return None
