"""CloudEvents 1.0: reads the JSON format, its batches, and the binary mode of the HTTP binding.

Pure. An event comes out as one object: its attributes, and `data` as JSON, or as text where that
is what was sent, or as `data_base64` where it is bytes. Rules beyond the standard: names of
attributes have at most 20 letters or digits (which the standard recommends), a type has at most
255 characters, other texts 1,024, an event at most 64 extensions.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from . import strict_json
from .component import is_list, is_object

SPEC_VERSION: Final = "1.0"
STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
TEXT_LENGTH_MAX: Final = 1024
TYPE_LENGTH_MAX: Final = 255
EXTENSIONS_MAX: Final = 64
BATCH_MAX: Final = 100
_REQUIRED: Final = ("id", "source", "specversion", "type")
_OPTIONAL: Final = ("datacontenttype", "dataschema", "subject", "time")
_DATA: Final = ("data", "data_base64")
_NAME: Final = re.compile(r"[a-z0-9]{1,20}")
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:)(\d\d)(\.\d{1,12})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_INTEGER_MIN, _INTEGER_MAX = -(2**31), 2**31 - 1

Errors = dict[str, list[str]]


class NoEventError(Exception):
    """The request carries no event in a form that is known here."""

    def __init__(self) -> None:
        super().__init__(
            f"The body must be sent as {STRUCTURED} or {BATCH}, or the attributes of the event "
            "in ce- headers."
        )


class CloudEventError(Exception):
    """An event can't be read: `errors` maps each attribute to its faults."""

    def __init__(self, errors: Errors) -> None:
        first = next(iter(errors))
        super().__init__(f"{first or 'The body'} {errors[first][0]}.")
        self.errors = errors
        self.is_missing = all(faults == ["is required"] for faults in errors.values())


class CloudEvent(msgspec.Struct, frozen=True):
    """An event that was checked."""

    id: str
    source: str
    type: str
    payload: dict[str, Any]
    """All of it, as a workflow sees it."""


def media_type(content_type: str | None) -> str:
    """Return the media type of a `Content-Type`, in lower case and without parameters."""
    return (content_type or "").partition(";")[0].strip().lower()


def read_events(headers: Mapping[str, str], body: bytes) -> list[CloudEvent]:
    """Read what a request carries; the names of `headers` are in lower case.

    Raises:
        NoEventError: it carries none.
        CloudEventError: an attribute, or the shape of a batch, is faulty.
        InvalidJsonError: the body says that it is JSON and is none.
    """
    kind = media_type(headers.get("content-type"))
    if kind == BATCH:
        return _read_batch(strict_json.decode(body))
    if kind == STRUCTURED:
        return [_read_structured(strict_json.decode(body), "")]
    if kind.startswith("application/cloudevents") or not any(n.startswith("ce-") for n in headers):
        raise NoEventError
    return [_read_binary(headers, kind, body)]


def _read_batch(value: Any) -> list[CloudEvent]:
    if not is_list(value):
        raise CloudEventError({"": ["must be an array of events"]})
    if len(value) > BATCH_MAX:
        raise CloudEventError({"": [f"must have at most {BATCH_MAX} events"]})
    errors: Errors = {}
    events: list[CloudEvent] = []
    for index, item in enumerate(value):
        try:
            events.append(_read_structured(item, f"[{index}]"))
        except CloudEventError as error:
            errors |= error.errors
    if errors:
        raise CloudEventError(errors)
    return events


def _read_structured(value: Any, path: str) -> CloudEvent:
    if not is_object(value):
        raise CloudEventError({path: ["must be an object"]})
    # A null stands for an attribute that isn't there, as the JSON format has it.
    attributes = {
        name: given for name, given in value.items() if name not in _DATA and given is not None
    }
    event = _checked(attributes, f"{path}." if path else "")
    if "data_base64" not in value or value["data_base64"] is None:
        return event if "data" not in value else _with(event, data=value["data"])
    where = f"{path}.data_base64" if path else "data_base64"
    if value.get("data") is not None:
        raise CloudEventError({where: ["can't stand beside data"]})
    encoded = value["data_base64"]
    if not isinstance(encoded, str):
        raise CloudEventError({where: ["must be a string"]})
    try:
        base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise CloudEventError({where: ["is not base64"]}) from None
    return _with(event, data_base64=encoded)


def _read_binary(headers: Mapping[str, str], kind: str, body: bytes) -> CloudEvent:
    attributes: dict[str, Any] = {}
    for name, value in headers.items():
        if name.startswith("ce-"):
            attributes[name.removeprefix("ce-")] = _percent_decoded(name, value)
    if "datacontenttype" in attributes:
        raise CloudEventError({"ce-datacontenttype": ["is said by Content-Type in this mode"]})
    if kind:
        attributes["datacontenttype"] = headers["content-type"].strip()
    event = _checked(attributes, "ce-")
    if not body:
        return event
    if not kind or kind == "application/json" or kind.endswith("+json"):
        return _with(event, data=strict_json.decode(body))
    try:
        return _with(event, data=body.decode("utf-8"))
    except UnicodeDecodeError:
        return _with(event, data_base64=base64.b64encode(body).decode())


def _percent_decoded(name: str, value: str) -> str:
    """Decode a header by the rules of the HTTP binding: quotes, then percent signs."""
    text = value.strip()
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    try:
        return unquote(text.encode("latin-1").decode("utf-8"), errors="strict")
    except UnicodeError:
        raise CloudEventError({name[:64]: ["is not UTF-8, percent-encoded where needed"]}) from None


def _checked(attributes: Mapping[str, Any], prefix: str) -> CloudEvent:
    errors: Errors = {f"{prefix}{n}": ["is required"] for n in _REQUIRED if n not in attributes}
    extensions = [name for name in attributes if name not in (*_REQUIRED, *_OPTIONAL)]
    if len(extensions) > EXTENSIONS_MAX:
        raise CloudEventError({prefix: [f"at most {EXTENSIONS_MAX} extensions are allowed"]})
    for name, value in attributes.items():
        is_extension = name not in (*_REQUIRED, *_OPTIONAL)
        fault = _fault_of_extension(name, value) if is_extension else _fault_of_text(name, value)
        if fault:
            errors[f"{prefix}{name[:64]}"] = [fault]
    if errors:
        raise CloudEventError(errors)
    return CloudEvent(attributes["id"], attributes["source"], attributes["type"], dict(attributes))


def _fault_of_extension(name: str, value: Any) -> str:
    if not _NAME.fullmatch(name) or name in _DATA:
        return "is no name of an attribute: 1 to 20 lower-case letters and digits"
    if isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return "" if _INTEGER_MIN <= value <= _INTEGER_MAX else "is beyond 32 bits"
    if not isinstance(value, str):
        return "must be a string, a whole number or a boolean"
    return _fault_of_length(value)


def _fault_of_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        return "must be a string"
    if not value:
        return "must not be empty"
    if name == "specversion" and value != SPEC_VERSION:
        return f"must be '{SPEC_VERSION}'"
    if name == "time" and not _is_time(value):
        return "must be an RFC 3339 time"
    return _fault_of_length(value, TYPE_LENGTH_MAX if name == "type" else TEXT_LENGTH_MAX)


def _is_time(text: str) -> bool:
    parts = _TIME.fullmatch(text)
    if parts is None:
        return False
    day, minutes, seconds = parts[1], parts[2], parts[3]
    try:
        # RFC 3339 knows leap seconds, which the clock of the standard library does not.
        datetime.fromisoformat(f"{day}T{minutes}{'59' if seconds == '60' else seconds}")
    except ValueError:
        return False
    return True


def _fault_of_length(value: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    if len(value) > length_max:
        return f"has more than {length_max} characters"
    if any(letter < " " or "\x7f" <= letter <= "\x9f" for letter in value):
        return "holds control characters"
    return ""


def _with(event: CloudEvent, **data: Any) -> CloudEvent:
    return msgspec.structs.replace(event, payload=event.payload | data)
