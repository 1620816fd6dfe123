"""Liquid's filters, made safe: bounded in what they take and give, and at home in JSON.

Every filter is called through `guard`. Filters on text see values as templates write them (so
that `{{ list | append: "." }}` begins with JSON, not with Python); those that could multiply
their input or take quadratic time are written anew here, and those for dates in `liquid_dates.py`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
from liquid.builtin.filters import array, string
from liquid.filter import flatten
from liquid.undefined import Undefined

from .component import NodeError, is_list, is_object
from .liquid_dates import DATE_FILTERS
from .liquid_values import LIST_SIZE_MAX, TEXT_LENGTH_MAX, text_of, to_json
from .strict_json import InvalidJsonError, decode
from .template_values import fits, kind_of, limit_error, to_json_text
from .value_order import identity_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .component import Json

__all__ = ["FILTERS", "guard", "text_of", "to_json"]

SPLIT_PARTS_MAX: Final = 50_000

_INDENT_MAX: Final = 8

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
        "hmac_sha1",
        "hmac_sha256",
        "lstrip",
        "md5",
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
        "sha1",
        "sha256",
        "sha512",
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
        "hmac_sha1",
        "hmac_sha256",
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

    # How python-liquid asks a filter whether it wants the context: an attribute of the function.
    guarded.with_context = True  # type: ignore[attr-defined]
    return guarded


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
        mark = identity_of(wanted)
        if mark not in seen:
            seen.add(mark)
            kept.append(item)
    return kept


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


def _json(value: object, indent: object = 0) -> str:
    text = to_json_text(to_json(value, LIST_SIZE_MAX))
    if not isinstance(indent, int) or not 0 <= indent <= _INDENT_MAX:
        raise ValueError
    return msgspec.json.format(text, indent=indent) if indent else text


def _parse_json(value: object) -> Json:
    """Read a text strictly; what is no text is given back, and null for nothing."""
    if not isinstance(value, str):
        return to_json(value, LIST_SIZE_MAX)
    try:
        return decode(value, "the text")
    except InvalidJsonError as error:
        raise NodeError("template_error", f"Filter 'parse_json' failed: {error}") from error


def _keys(value: object) -> list[object]:
    return list(value) if is_object(value) else []


def _values(value: object) -> list[object]:
    return list(value.values()) if is_object(value) else []


def _digest(algorithm: str) -> Callable[[str], str]:
    def digest(text: str) -> str:
        return hashlib.new(algorithm, text.encode(), usedforsecurity=False).hexdigest()

    return digest


def _hmac(algorithm: str) -> Callable[[str, str], str]:
    def digest(text: str, key: str) -> str:
        if not key:
            # A variable that is missing would give a signature that anybody can make.
            raise NodeError("template_error", f"Filter 'hmac_{algorithm}' needs a key")
        return hmac.new(key.encode(), text.encode(), algorithm).hexdigest()

    return digest


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "concat": _concat,
    "hmac_sha1": _hmac("sha1"),
    "hmac_sha256": _hmac("sha256"),
    "join": _join,
    "json": _json,
    "keys": _keys,
    "map": _map,
    "md5": _digest("md5"),
    "parse_json": _parse_json,
    "replace": _replace,
    "sha1": _digest("sha1"),
    "sha256": _digest("sha256"),
    "sha512": _digest("sha512"),
    "split": _split,
    "strip_html": _strip_html,
    "uniq": _uniq,
    "values": _values,
    **DATE_FILTERS,
}
"""The filters that stand in for Liquid's own of the same name, and those that it lacks."""
