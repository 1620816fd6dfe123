"""What of a body can be searched for: its words, and the fields of a payload.

Both are bounded, so that a run of any size costs a bounded time and room. Words are told apart by
SQLite (`unicode61`: letters and digits of any script, whatever their case and accents).
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final, TypeGuard

import msgspec

TEXT_MAX: Final = 32_768
"""How many characters of one body are searched, from its beginning."""
FIELDS_MAX: Final = 64
"""How many fields of one payload can be searched for, from its beginning."""
PATH_MAX: Final = 200
VALUE_MAX: Final = 256
"""The longest path and value, in characters, that are kept; a longer one is left out."""
DEPTH_MAX: Final = 8
"""How deep in a payload a field may be."""


class _Message(msgspec.Struct, frozen=True):
    message: str = ""


class _Requested(msgspec.Struct, frozen=True):
    payload: Any = None


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_requested = msgspec.json.Decoder(_Requested).decode


def words_of_message(body: bytes) -> str:
    """Return the error message of a run's last event."""
    return _plain(_decode_message(body).message)[:TEXT_MAX]


def words_of_output(body: bytes) -> str:
    """Return what an output says: its keys and values in order, a line each."""
    try:
        output = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        # A node may pass on what no reader of JSON takes; its words are there all the same.
        return _plain(body.decode(errors="replace"))[:TEXT_MAX]
    kept: list[str] = []
    room = TEXT_MAX
    for part in _parts(output):
        kept.append(part[:room])
        room -= len(part) + 1
        if room <= 0:
            break
    return _plain("\n".join(kept))


def fields_of_payload(body: bytes) -> list[tuple[str, str]]:
    """Return path and value of the fields in the payload of a run's first body, each once.

    A path has the keys joined by dots; the elements of a list are at the path of the list.
    """
    found: dict[tuple[str, str], None] = {}
    for path, value in _fields(_decode_requested(body).payload, "", 0):
        if len(path) <= PATH_MAX and len(value) <= VALUE_MAX:
            found[_plain(path), _plain(value)] = None
            if len(found) == FIELDS_MAX:
                break
    return list(found)


def scope_of(tenant: str) -> str:
    """Return the word that marks everything of a tenant in an index."""
    return f"t{sha256(tenant.encode()).hexdigest()[:32]}"


def scope_of_workflow(workflow: str) -> str:
    """Return the word that marks everything of a workflow in an index."""
    return f"w{workflow.rpartition('_')[2]}"


def text_of(value: str | int | float | bool | None) -> str:
    """Return a scalar as it is searched for: a string as it is, anything else as JSON has it."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        # The encoder takes no more than 64 bits.
        return str(value)
    return msgspec.json.encode(value).decode()


def _parts(value: Any) -> Iterator[str]:
    if _is_object(value):
        for key, inner in value.items():
            yield key
            yield from _parts(inner)
    elif _is_list(value):
        for inner in value:
            yield from _parts(inner)
    else:
        yield text_of(value)


def _fields(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if _is_object(value):
        if depth < DEPTH_MAX:
            for key, inner in value.items():
                yield from _fields(inner, f"{path}.{key}" if depth else key, depth + 1)
    elif _is_list(value):
        for inner in value:
            # A list in a list is no deeper: its elements are at the same path.
            yield from _fields(inner, path, depth)
    elif depth:
        yield path, text_of(value)


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _plain(text: str) -> str:
    """Keep what SQLite can hold, and no end of a C string."""
    return text.replace("\0", " ")
