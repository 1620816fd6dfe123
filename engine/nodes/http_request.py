"""What nodes that send HTTP requests share: headers and bodies of templates, answers as output."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import unquote

import msgspec

from ..component import ConfigError, Context, Json, NodeError, is_list, is_object
from ..credentials import PrivateHeader
from ..egress import invalid_request
from ..outbound import (
    REQUEST_BYTES_MAX,
    OutboundError,
    OutboundResponse,
    check_request,
    is_credential_name,
)
from ..secrets import secrets_given
from ..templates import Template, compile_json_text, compile_text, compile_value

MASK = "***"
JSON_DEPTH_MAX = 64
# A line break or a tab in a value is harmless once it is encoded; what else is below a space
# has no place in a URL and points to bytes that aren't text.
REFUSED_IN_URL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# Reserved and unreserved characters and "%": what the author encoded is not encoded again.
URL_SAFE = "%:/?#[]@!$&'()*+,;=-._~"

# Above the limit of a request, so that a body which is too large fails as a request and not
# as a template, unless it is far too large to be rendered at all.
_BODY_LENGTH_MAX = 4 * REQUEST_BYTES_MAX
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
_QUERY_PAIR = re.compile(r"(?<=[?&;])(?P<name>[^&;=#]+)=[^&;#]*")
_RESPONSE_CREDENTIALS = frozenset(
    {"authorization", "cookie", "proxy-authorization", "set-cookie", "set-cookie2", "x-api-key"}
)


class Header(msgspec.Struct, frozen=True):
    """One header of a request; the value is a template, the name is not."""

    key: str
    value: str


class HeaderTemplates:
    """The headers of a request; `media_type` is what a fixed Content-Type among them says."""

    def __init__(self, headers: Sequence[Header], errors: dict[str, list[str]]) -> None:
        """Compile them, and add what is wrong with them to `errors`."""
        self.media_type = ""
        self._headers: list[tuple[str, Template]] = []
        for index, header in enumerate(headers):
            try:
                check_request("GET", [(header.key, "")], None)
                template = compile_text(header.value, f"headers[{index}].value")
            except OutboundError as fault:
                errors[f"headers[{index}].key"] = [fault.message]
            except ConfigError as fault:
                errors.update(fault.errors)
            else:
                self._headers.append((header.key, template))
                if template.is_static and header.key.lower() == "content-type":
                    self.media_type = header.value

    def render(self, context: Context) -> list[tuple[str, str]]:
        """Render each value; what holds a secret is a `PrivateHeader`."""
        headers: list[tuple[str, str]] = []
        for name, value in self._headers:
            given = secrets_given(context)
            header = (name, value.render_text(context).strip())
            headers.append(PrivateHeader(header) if secrets_given(context) > given else header)
        return headers


class BodyTemplate:
    """A body template, and how its value becomes bytes."""

    def __init__(self, source: Json, media_type: str) -> None:
        """Compile it; raise `ConfigError` with one entry for each fault."""
        if isinstance(source, str) and media_type and not _is_json(media_type):
            self._template: Template = compile_text(source, "body", size_max=_BODY_LENGTH_MAX)
        elif isinstance(source, str):
            self._template = compile_json_text(source, "body", size_max=_BODY_LENGTH_MAX)
        else:
            self._template = compile_value(source, "body", size_max=_BODY_LENGTH_MAX)

    def render(self, context: Context) -> tuple[Json, bytes | None]:
        """Render to a value and its bytes: a text as it is, anything else as JSON."""
        value = self._template.render(context)
        if value is None or value == "":
            return None, None
        try:
            return value, value.encode() if isinstance(value, str) else msgspec.json.encode(value)
        except (UnicodeEncodeError, OverflowError, RecursionError):
            raise invalid_request("The body can't be written as JSON.") from None


def completed_headers(
    headers: Sequence[tuple[str, str]], effect_key: str, body: Json, content: bytes | None
) -> list[tuple[str, str]]:
    """Return the headers as they are sent: what the author left out is filled in."""
    completed = list(headers)
    named = {name.lower() for name, _ in headers}
    if "idempotency-key" not in named:
        completed.append(("Idempotency-Key", effect_key))
    if "user-agent" not in named:
        completed.append(("User-Agent", "refold"))
    if content is not None and "content-type" not in named:
        is_text = isinstance(body, str)
        media_type = "text/plain; charset=utf-8" if is_text else "application/json"
        completed.append(("Content-Type", media_type))
    return completed


def masked_headers(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the headers as they are journaled: values under credential-like names are masked."""
    masked: dict[str, str] = {}
    for name, value in headers:
        shown = MASK if is_credential_name(name) else value
        masked[name] = f"{masked[name]}, {shown}" if name in masked else shown
    return masked


def masked_url(url: str) -> str:
    """Return a URL as it is journaled: values under credential-like names are masked."""
    return _QUERY_PAIR.sub(_mask_pair, url)


def answer_output(response: OutboundResponse) -> dict[str, Json]:
    """Return what a node gives on of an answer: `{status, headers, body}`."""
    return {
        "status": response.status,
        "headers": {
            name: MASK if name in _RESPONSE_CREDENTIALS else value
            for name, value in response.headers.items()
        },
        "body": _read_body(response),
    }


def status_failure(what: str, response: OutboundResponse, output: dict[str, Json]) -> NodeError:
    """Make the failure of an answer that is not 2xx: `<what> request failed: 503 …`."""
    reason = response.reason or _usual_reason(response.status)
    return NodeError(
        f"http_{response.status}",
        f"{what} request failed: {response.status} {reason}".rstrip(),
        output,
    )


def call_failure(what: str, fault: OutboundError) -> NodeError:
    """Make the failure of a request to which no answer came."""
    return NodeError(fault.code, f"{what} request failed: {fault.message}")


def _mask_pair(pair: re.Match[str]) -> str:
    return f"{pair['name']}={MASK}" if is_credential_name(unquote(pair["name"])) else pair[0]


def _usual_reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _is_json(media_type: str) -> bool:
    plain = media_type.partition(";")[0].strip().lower()
    return plain == "application/json" or plain.endswith("+json")


def _read_body(response: OutboundResponse) -> Json:
    """Return the parsed JSON of an answer that says it is JSON, else its text."""
    if response.body and _is_json(response.headers.get("content-type", "")):
        try:
            value: Json = msgspec.json.decode(response.body)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            pass
        else:
            if _can_be_stored(value):
                return value
    return response.body.decode("utf-8", "replace")


def _can_be_stored(value: Json) -> bool:
    """Say whether every reader of the journal can take `value` back: integers and depth."""
    level: list[Json] = [value]
    for depth in range(JSON_DEPTH_MAX + 1):
        inner: list[Json] = []
        nested = False
        for item in level:
            if isinstance(item, int):
                if not _INT_MIN <= item <= _INT_MAX:
                    return False
            elif is_object(item):
                inner.extend(item.values())
                nested = True
            elif is_list(item):
                inner.extend(item)
                nested = True
        if nested and depth == JSON_DEPTH_MAX:
            return False
        level = inner
    return True
