"""Checks an object against a Struct field by field, so that each fault has its own path."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)
# Reading the annotations of a type costs more than converting a small request by them.
_fields_of = lru_cache(maxsize=256)(msgspec.structs.fields)


def check_fields(
    struct: type[S], data: Mapping[str, Any], path: str, *, closed: bool = False
) -> tuple[S | None, dict[str, list[str]]]:
    """Convert `data`, or say what is wrong with each of its fields.

    With `closed`, a field that the Struct doesn't have is a fault too; otherwise it is ignored.
    """
    errors: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    prefix = f"{path}." if path else ""
    fields = _fields_of(struct)
    for field in fields:
        name = field.encode_name
        where = f"{prefix}{name}"
        if name not in data:
            if field.required:
                errors[where] = ["is required"]
            continue
        try:
            values[field.name] = msgspec.convert(data[name], field.type, strict=True)
        except msgspec.ValidationError as error:
            inner, message = _split(str(error))
            errors[f"{where}{inner}"] = [message]
    if closed:
        known = {field.encode_name for field in fields}
        for name in data:
            if name not in known:
                errors[f"{prefix}{name[:64]}"] = ["is not a known field"]
    return (None if errors else struct(**values)), errors


def _split(message: str) -> tuple[str, str]:
    """Part msgspec's message into the path below the field and the fault itself."""
    fault, _, where = message.partition(" - at `")
    inner = where.rstrip("`").removeprefix("$")
    fault = fault.replace("`", "'")
    return inner, fault[:1].lower() + fault[1:]
