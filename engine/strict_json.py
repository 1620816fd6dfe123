"""Reads JSON strictly: nothing that two readers could understand differently.

Refused are duplicate keys, NaN and Infinity, numbers that would lose their value, invalid UTF-8,
lone surrogates and nesting beyond 64 levels. Request bodies and what nodes parse are read here.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

import msgspec

from .component import is_list, is_object

NESTING_MAX: Final = 64
_INTEGER_MIN: Final = -(2**63)
_INTEGER_MAX: Final = 2**64 - 1
_INTEGER_DIGITS_MAX: Final = 20


class InvalidJsonError(Exception):
    """A document is not acceptable JSON; the message says why, without quoting it."""


def decode(document: bytes | str, subject: str = "The body") -> Any:
    """Read a JSON document; `subject` is what a message calls it.

    Raises:
        InvalidJsonError: it is not acceptable.
    """
    try:
        text = document if isinstance(document, str) else document.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidJsonError(f"{subject} is not valid UTF-8.") from None
    try:
        value = _DECODER.decode(text)
        # Without many brackets there can't be much nesting, and most documents have few.
        if text.count("[") + text.count("{") > NESTING_MAX:
            _check_nesting(value)
        # Only an escape puts half a surrogate pair in bytes; a text may hold one as it is.
        if isinstance(document, str) or "\\u" in text:
            canonical(value)
    except RecursionError:
        raise InvalidJsonError(f"{subject} is nested over {NESTING_MAX} levels.") from None
    except UnicodeEncodeError:
        raise InvalidJsonError(f"{subject} has a lone surrogate.") from None
    except json.JSONDecodeError as error:
        raise InvalidJsonError(
            f"{subject} is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from None
    except ValueError as error:
        raise InvalidJsonError(f"{subject} is not valid JSON: {error}.") from None
    return value


def canonical(value: Any) -> bytes:
    """Write a value with sorted keys and no white space: what digests are made over."""
    return msgspec.json.encode(value, order="sorted")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return made


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _bounded(text: str) -> int:
    if len(text) > _INTEGER_DIGITS_MAX or not _INTEGER_MIN <= int(text) <= _INTEGER_MAX:
        raise ValueError("an integer is beyond 64 bits")
    return int(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check_nesting(value: Any) -> None:
    level: list[Any] = [value]
    for _ in range(NESTING_MAX + 1):
        inner: list[Any] = []
        nested = False
        for item in level:
            if is_object(item):
                inner.extend(item.values())
                nested = True
            elif is_list(item):
                inner.extend(item)
                nested = True
        if not nested:
            return
        level = inner
    raise RecursionError


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_float=_finite,
    parse_int=_bounded,
    parse_constant=_refuse_constant,
)
