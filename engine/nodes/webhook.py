"""The `webhook` node: one HTTP request whose parts are templates, and its answer as output.

Failures, by the code that a retry policy may list:

- `http_<status>` (`http_503`): the answer came and was not 2xx; `received` holds it;
- the codes of `OutboundError` (`timeout`, `dns_error`, `egress_refused`, …);
- `invalid_request` and `request_too_large`: what was rendered can't be sent;
- `template_error`: a template failed while it was rendered.

A template can't move a request to another host. The part of a URL before its path is rendered
apart from the rest, and no value may end it early; only a URL that starts with one expression
(`{{ base }}/orders`) takes scheme and host from a value, since its author meant just that.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Literal
from urllib.parse import quote, unquote

import msgspec

from ..component import (
    Call,
    ConfigError,
    Context,
    EffectNode,
    Json,
    NodeConfig,
    NodeError,
    Outcome,
    is_list,
    is_object,
)
from ..egress import invalid_request, parse_target
from ..outbound import (
    REQUEST_BYTES_MAX,
    OutboundError,
    OutboundResponse,
    check_request,
    is_credential_name,
)
from ..template_values import SyntaxFault
from ..templates import (
    Template,
    compile_json_text,
    compile_text,
    compile_value,
    split_markup,
)

MASK = "***"
JSON_DEPTH_MAX = 64
# Above the limit of a request, so that a body which is too large fails as a request and not
# as a template, unless it is far too large to be rendered at all.
_BODY_LENGTH_MAX = 4 * REQUEST_BYTES_MAX
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1

_HEAD = re.compile(r"(?:[^/?#]*://)?[^/?#]*", re.DOTALL)
_ORIGIN = re.compile(r"https?://[^/?#@\\]*", re.IGNORECASE)
_BASE = re.compile(r"https?://[^?#@\\]*", re.IGNORECASE)
# A line break or a tab in a value is harmless once it is encoded; what else is below a space
# has no place in a URL and points to bytes that aren't text.
_REFUSED_IN_URL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# Reserved and unreserved characters and "%": what the author encoded is not encoded again.
_URL_SAFE = "%:/?#[]@!$&'()*+,;=-._~"
_QUERY_PAIR = re.compile(r"(?<=[?&;])(?P<name>[^&;=#]+)=[^&;#]*")
_RESPONSE_CREDENTIALS = frozenset(
    {"authorization", "cookie", "proxy-authorization", "set-cookie", "set-cookie2", "x-api-key"}
)


class Header(msgspec.Struct, frozen=True):
    """One header of a request; the value is a template, the name is not."""

    key: str
    value: str


class WebhookConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `webhook` node."""

    url: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: tuple[Header, ...] = ()
    body: Json = None
    """Any JSON value with templates in it, or a text; null sends no body.

    A text that is a JSON document around its templates is sent as JSON, unless a Content-Type
    header says otherwise."""


class _Request(msgspec.Struct, frozen=True):
    """What one rendering of the node's templates gave."""

    url: str
    headers: list[tuple[str, str]]
    body: Json
    content: bytes | None
    """`body` as it is sent."""


class _Url:
    """A URL template in two halves: what comes before the path, and the rest."""

    def __init__(self, source: str) -> None:
        source = source.strip()
        try:
            pieces = list(split_markup(source))
        except SyntaxFault as fault:
            raise ConfigError({"url": [str(fault)]}) from None
        # Templates are covered up, so that a "/" inside an expression doesn't end the host.
        covered = "".join(text if kind == "text" else "x" * len(text) for kind, text in pieces)
        found = _HEAD.match(covered)
        end = found.end() if found else 0
        head, tail = source[:end], source[end:]
        if "{%" in head:
            raise ConfigError({"url": ["The host of the URL can't hold '{% … %}'."]})
        fixed_scheme = "://" in covered[:end]
        if "{{" in head and not fixed_scheme and head != pieces[0][1]:
            raise ConfigError(
                {"url": ["The URL must start with http://, https:// or one expression."]}
            )
        if fixed_scheme and head.endswith("}}") and head[head.rfind("{{") - 1].isalnum():
            # `https://api.example{{ path }}`: the value ".evil.example" would make it a host.
            raise ConfigError({"url": ["A '/' is missing between the host and the template."]})
        self._head = compile_text(head, "url")
        self._tail = compile_text(tail, "url")
        # One expression alone is the whole URL; before a path it may be a base with a path.
        self._allowed_head = _ORIGIN if fixed_scheme else _BASE if tail else None
        try:
            if self._head.is_static:
                parse_target(self.render({}) if self._tail.is_static else head)
        except OutboundError as fault:
            raise ConfigError({"url": [fault.message]}) from None

    def render(self, context: Context) -> str:
        """Render and percent-encode; `OutboundError` when it isn't a URL that may be called."""
        head = self._head.render_text(context).strip()
        tail = self._tail.render_text(context)
        if self._allowed_head is None:
            found = _HEAD.match(head)
            end = found.end() if found else 0
            head, tail = head[:end], head[end:]
        elif not self._allowed_head.fullmatch(head):
            raise invalid_request(
                "The host of the URL does not render to http:// or https:// and a plain host.",
            )
        if _REFUSED_IN_URL.search(tail):
            raise invalid_request("The URL has a control character in it.")
        url = head + quote(tail, safe=_URL_SAFE)
        parse_target(url)
        return url


class _Body:
    """A body template, and how its value becomes bytes."""

    def __init__(self, source: Json, media_type: str) -> None:
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


class Webhook(EffectNode[WebhookConfig]):
    """Calls a URL; succeeds with `{status, headers, body}` when the answer is 2xx."""

    component = "webhook"
    config_type = WebhookConfig

    def __init__(self, config: WebhookConfig) -> None:
        errors: dict[str, list[str]] = {}
        self._method = config.method
        self._headers: list[tuple[str, Template]] = []
        media_type = ""
        for index, header in enumerate(config.headers):
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
                    media_type = header.value
        try:
            self._url = _Url(config.url)
        except ConfigError as fault:
            errors.update(fault.errors)
        try:
            self._body = _Body(config.body, media_type)
        except ConfigError as fault:
            errors.update(fault.errors)
        if errors:
            raise ConfigError(errors)

    def prepare(self, context: Context) -> Json:
        """Render the request as it is journaled: values under credential-like names are masked."""
        request = self._render(context)
        headers: dict[str, str] = {}
        for name, value in request.headers:
            shown = MASK if is_credential_name(name) else value
            headers[name] = f"{headers[name]}, {shown}" if name in headers else shown
        return {
            "method": self._method,
            "url": _QUERY_PAIR.sub(_mask_pair, request.url),
            "headers": headers,
            "body": request.body,
        }

    async def perform(self, context: Context, call: Call) -> Outcome:
        """Send the request; the same `Idempotency-Key` goes out with every automatic retry."""
        request = self._render(context)
        headers = list(request.headers)
        named = {name.lower() for name, _ in headers}
        if "idempotency-key" not in named:
            headers.append(("Idempotency-Key", call.effect_key))
        if "user-agent" not in named:
            headers.append(("User-Agent", "refold"))
        if request.content is not None and "content-type" not in named:
            is_text = isinstance(request.body, str)
            media_type = "text/plain; charset=utf-8" if is_text else "application/json"
            headers.append(("Content-Type", media_type))
        try:
            response: OutboundResponse = await call.outbound.request(
                self._method, request.url, headers, request.content, call.timeout_s
            )
        except OutboundError as fault:
            raise _failure(fault) from None
        output: dict[str, Json] = {
            "status": response.status,
            "headers": {
                name: MASK if name in _RESPONSE_CREDENTIALS else value
                for name, value in response.headers.items()
            },
            "body": _read_body(response),
        }
        if not 200 <= response.status < 300:
            reason = response.reason or _usual_reason(response.status)
            raise NodeError(
                f"http_{response.status}",
                f"Webhook request failed: {response.status} {reason}".rstrip(),
                output,
            )
        return Outcome(output)

    def _render(self, context: Context) -> _Request:
        try:
            headers = [(name, value.render_text(context).strip()) for name, value in self._headers]
            url = self._url.render(context)
            body, content = self._body.render(context)
            check_request(self._method, headers, content)
        except OutboundError as fault:
            raise _failure(fault) from None
        return _Request(url, headers, body, content)


def _failure(fault: OutboundError) -> NodeError:
    return NodeError(fault.code, f"Webhook request failed: {fault.message}")


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
