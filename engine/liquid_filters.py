"""Liquid's filters, made safe: bounded in what they take and give, and at home in JSON.

Every filter is called through `guard`. Filters on text see values as templates write them (so
that `{{ list | append: "." }}` begins with JSON, not with Python); those that could multiply
their input, take quadratic time or read the local time zone are written anew here.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from dateutil import parser as date_parser
from liquid.builtin.filters import array, string
from liquid.filter import flatten
from liquid.undefined import Undefined

from .component import NodeError, is_list, is_object
from .template_values import (
    OUTPUT_SIZE_MAX,
    check_number,
    fits,
    kind_of,
    limit_error,
    to_json_text,
    to_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .component import Json

TEXT_LENGTH_MAX: Final = 2 * OUTPUT_SIZE_MAX
"""The longest text that a filter takes or gives, in characters."""
LIST_SIZE_MAX: Final = 4 * OUTPUT_SIZE_MAX
"""The largest list or object that a filter takes or gives, in characters of JSON."""
SPLIT_PARTS_MAX: Final = 50_000

_QUICK = frozenset({"size", "first", "last", "default"})
"""Filters whose work does not grow with their input, so that it need not be measured."""
_ON_TEXT = frozenset(
    {
        "append",
        "base64_decode",
        "base64_encode",
        "base64_url_safe_decode",
        "base64_url_safe_encode",
        "capitalize",
        "downcase",
        "escape",
        "escape_once",
        "escapejs",
        "lstrip",
        "newline_to_br",
        "prepend",
        "remove",
        "remove_first",
        "remove_last",
        "replace",
        "replace_first",
        "replace_last",
        "rstrip",
        "safe",
        "split",
        "squish",
        "strip",
        "strip_html",
        "strip_newlines",
        "truncate",
        "truncatewords",
        "upcase",
        "url_decode",
        "url_encode",
    }
)
_ON_TEXTS = frozenset(
    {
        "append",
        "prepend",
        "remove",
        "remove_first",
        "remove_last",
        "replace",
        "replace_first",
        "replace_last",
        "split",
    }
)
"""Those whose arguments are texts too."""
_NEWEST_SECOND: Final = 253_402_300_799
_DATE_LENGTH_MAX: Final = 64
_FORMAT_LENGTH_MAX: Final = 128
_PADDED = re.compile(r"%[-_^#0]*[0-9]")
_CLOSING = {
    "<!--": re.compile("-->"),
    "<script": re.compile("</script>", re.IGNORECASE),
    "<style": re.compile("</style>", re.IGNORECASE),
}
_TAG_END = re.compile(">")


def guard(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter so that it can't take or make too much, and fails as a `NodeError`.

    The message names the filter and the kind of value, never the value.
    """
    wants_environment = bool(getattr(function, "with_environment", False))
    is_quick = name in _QUICK
    on_text, on_texts = name in _ON_TEXT, name in _ON_TEXTS

    def guarded(left: object, *arguments: object, context: Any, **options: object) -> object:
        if not is_quick:
            _check_size(left)
        for value in (*arguments, *options.values()):
            _check_size(value)
        if on_text:
            left = text_of(left)
        if on_texts:
            arguments = tuple(text_of(argument) for argument in arguments)
        if wants_environment:
            options["environment"] = context.env
        try:
            result = function(left, *arguments, **options)
        except NodeError:
            raise
        except Exception as error:
            # Filters fail in every way, overflow and recursion included, with data in the text.
            message = f"Filter '{name}' can't be used so on {kind_of(left)}"
            raise NodeError("template_error", message) from error
        if isinstance(result, (int, float, Decimal)):
            return to_json(result, LIST_SIZE_MAX)
        if not is_quick:
            _check_size(result)
        return result

    guarded.with_context = True  # type: ignore[attr-defined]
    return guarded


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


def _check_size(value: object) -> None:
    if isinstance(value, str):
        _check_length(len(value))
    elif not fits(value, LIST_SIZE_MAX):
        raise limit_error(f"a filter meets a list of more than {LIST_SIZE_MAX} characters")


def _check_length(length: int) -> None:
    if length > TEXT_LENGTH_MAX:
        raise limit_error(f"a filter meets a text of more than {TEXT_LENGTH_MAX} characters")


def _items(value: object) -> list[object]:
    """Give the items that Liquid sees in a value: lists are flattened, others are one item."""
    if isinstance(value, Undefined) or value is None:
        return []
    if isinstance(value, range) or is_list(value):
        return flatten(value)
    return [value]


def _join(value: object, separator: object = " ") -> str:
    texts = [text_of(item) for item in _items(value)]
    between = text_of(separator)
    _check_length(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


def _replace(text: str, old: str, new: str = "") -> str:
    _check_length(len(text) + text.count(old) * (len(new) - len(old)))
    return text.replace(old, new)


def _split(text: str, separator: str) -> list[str]:
    parts = text.count(separator)
    if parts > SPLIT_PARTS_MAX:
        raise limit_error(f"a text is split in more than {SPLIT_PARTS_MAX} parts")
    return list(string.split(text, separator))


def _concat(value: object, other: object) -> list[object]:
    if not isinstance(other, (list, tuple, range, Undefined)) and other is not None:
        raise TypeError
    return [*_items(value), *(() if isinstance(other, Undefined) or other is None else other)]


def _map(value: object, key: object) -> Json:
    made = array.map_(value, key)
    # Liquid's own null, which marks a missing field, is unknown to its other filters.
    return [None if type(item).__name__ == "_Null" else item for item in made or ()]


def _uniq(value: object, key: object = None) -> list[object]:
    seen: set[Hashable] = set()
    kept: list[object] = []
    for item in _items(value):
        wanted = item
        if key is not None:
            wanted = item.get(str(key)) if is_object(item) else None
        mark = _hashable(wanted)
        if mark not in seen:
            seen.add(mark)
            kept.append(item)
    return kept


def _hashable(value: object) -> Hashable:
    if is_object(value):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    if is_list(value):
        return ("list", *map(_hashable, value))
    return (type(value) is bool, value)


def _strip_html(text: str) -> str:
    kept: list[str] = []
    at = 0
    while (opening := text.find("<", at)) >= 0:
        kept.append(text[at:opening])
        start = text[opening : opening + 8].lower()
        closing = next((end for name, end in _CLOSING.items() if start.startswith(name)), _TAG_END)
        end = closing.search(text, opening)
        if end is None:
            # What is never closed stays; going on from here would take quadratic time.
            return "".join(kept) + text[opening:]
        at = end.end()
    return "".join(kept) + text[at:]


def _date(value: object, form: object = "") -> object:
    """Format a time; `now` and `today` read the clock; a number is in seconds since 1970.

    All times without an offset count as UTC. What is no time is given back unchanged.
    """
    if isinstance(value, Undefined) or value is None:
        return ""
    pattern = text_of(form)
    if len(pattern) > _FORMAT_LENGTH_MAX or _PADDED.search(pattern):
        raise ValueError
    moment = _to_time(value)
    if moment is None:
        return text_of(value)
    return moment.strftime(pattern) if pattern else moment.isoformat()


def _to_time(value: object) -> datetime | date | None:
    if isinstance(value, (datetime, date)):
        return value
    if value in ("now", "today"):
        return datetime.now(UTC)
    if isinstance(value, str) and value.isdigit() and len(value) <= len(str(_NEWEST_SECOND)):
        value = int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC) if 0 <= value <= _NEWEST_SECOND else None
    if not isinstance(value, str) or len(value) > _DATE_LENGTH_MAX:
        return None
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        return date_parser.parse(value, default=today)
    except (ValueError, OverflowError):
        return None


def _json(value: object) -> str:
    return to_json_text(to_json(value, LIST_SIZE_MAX))


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "concat": _concat,
    "date": _date,
    "join": _join,
    "json": _json,
    "map": _map,
    "replace": _replace,
    "split": _split,
    "strip_html": _strip_html,
    "uniq": _uniq,
}
"""The filters that stand in for Liquid's own of the same name, and `json`, which it lacks."""
