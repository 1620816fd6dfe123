"""Reads request bodies: JSON, and nothing that two readers could understand differently.

Refused are duplicate keys, NaN and Infinity, numbers that would lose their value, invalid UTF-8,
lone surrogates and nesting beyond 64 levels.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

import msgspec

from ..engine.component import is_list, is_object

NESTING_MAX: Final = 64
_INTEGER_MIN: Final = -(2**63)
_INTEGER_MAX: Final = 2**64 - 1
_INTEGER_DIGITS_MAX: Final = 20


class InvalidJsonError(Exception):
    """The body is not acceptable JSON; the message says why, without quoting it."""


def decode(body: bytes) -> Any:
    """Read a JSON document.

    Raises:
        InvalidJsonError: it is not acceptable.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidJsonError("The body is not valid UTF-8.") from None
    try:
        value = _DECODER.decode(text)
        # Without many brackets there can't be much nesting, and most bodies have few.
        if body.count(b"[") + body.count(b"{") > NESTING_MAX:
            _check_nesting(value)
        if b"\\u" in body:
            canonical(value)
    except RecursionError:
        raise InvalidJsonError(f"The body is nested over {NESTING_MAX} levels.") from None
    except UnicodeEncodeError:
        raise InvalidJsonError("The body has a lone surrogate.") from None
    except json.JSONDecodeError as error:
        raise InvalidJsonError(
            f"The body is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from None
    except ValueError as error:
        raise InvalidJsonError(f"The body is not valid JSON: {error}.") from None
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
