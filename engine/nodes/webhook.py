"""The `webhook` node: one HTTP request whose parts are templates, and its answer as output.

Failures, by the code that a retry policy may list:

- `http_<status>` (`http_503`): the answer came and was not 2xx; `received` holds it;
- the codes of `OutboundError` (`timeout`, `dns_error`, `egress_refused`, …);
- `invalid_request` and `request_too_large`: what was rendered can't be sent;
- `template_error`: a template failed while it was rendered.

A template can't move a request to another host. The part of a URL before its path is rendered
apart from the rest, and no value may end it early; only a URL that starts with one expression
(`{{ base }}/orders`) takes scheme and host from a value, since its author meant just that.

What is journaled of a request is rendered with the vault masked, and once more with secrets when
it is sent. So nothing that comes from a secret is journaled, wherever in the request it stands.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import quote

import msgspec

from ..component import (
    Call,
    ConfigError,
    Context,
    EffectNode,
    Json,
    NodeConfig,
    Outcome,
)
from ..egress import invalid_request, parse_target
from ..outbound import OutboundError, OutboundResponse, check_request
from ..secrets import MASK, is_masked
from ..template_parts import split_source
from ..template_values import SyntaxFault
from ..templates import compile_text
from .http_request import (
    REFUSED_IN_URL,
    URL_SAFE,
    BodyTemplate,
    Header,
    HeaderTemplates,
    answer_output,
    call_failure,
    completed_headers,
    masked_headers,
    masked_url,
    status_failure,
)

_WHAT = "Webhook"

_HEAD = re.compile(r"(?:[^/?#]*://)?[^/?#]*", re.DOTALL)
_ORIGIN = re.compile(r"https?://[^/?#@\\]*", re.IGNORECASE)
_BASE = re.compile(r"https?://[^?#@\\]*", re.IGNORECASE)


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
            pieces = list(split_source(source))
        except SyntaxFault as fault:
            raise ConfigError({"url": [str(fault)]}) from None
        source = "".join(piece for _, piece in pieces)
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
        """Render and percent-encode; `OutboundError` when it isn't a URL that may be called.

        A host that is masked can't be judged yet; it is when the URL is rendered to be sent.
        """
        head = self._head.render_text(context).strip()
        tail = self._tail.render_text(context)
        if tail == MASK:
            # Of a template with tags that touched a secret, which is masked with its first "/".
            tail = f"/{MASK}"
        if MASK in head and is_masked(context):
            return head + quote(tail, safe=URL_SAFE)
        if self._allowed_head is None:
            found = _HEAD.match(head)
            end = found.end() if found else 0
            head, tail = head[:end], head[end:]
        elif not self._allowed_head.fullmatch(head):
            raise invalid_request(
                "The host of the URL does not render to http:// or https:// and a plain host.",
            )
        if REFUSED_IN_URL.search(tail):
            raise invalid_request("The URL has a control character in it.")
        url = head + quote(tail, safe=URL_SAFE)
        parse_target(url)
        return url


class Webhook(EffectNode[WebhookConfig]):
    """Calls a URL; succeeds with `{status, headers, body}` when the answer is 2xx."""

    component = "webhook"
    config_type = WebhookConfig

    def __init__(self, config: WebhookConfig) -> None:
        errors: dict[str, list[str]] = {}
        self._method = config.method
        self._headers = HeaderTemplates(config.headers, errors)
        try:
            self._url = _Url(config.url)
        except ConfigError as fault:
            errors.update(fault.errors)
        try:
            self._body = BodyTemplate(config.body, self._headers.media_type)
        except ConfigError as fault:
            errors.update(fault.errors)
        if errors:
            raise ConfigError(errors)

    def prepare(self, context: Context) -> Json:
        """Render the request as it is journaled.

        Masked is what comes from a secret, and beside it each value under a credential-like name.
        """
        request = self._render(context)
        return {
            "method": self._method,
            "url": masked_url(request.url),
            "headers": masked_headers(request.headers),
            "body": request.body,
        }

    async def perform(self, context: Context, call: Call) -> Outcome:
        """Send the request; the same `Idempotency-Key` goes out with every automatic retry."""
        request = self._render(context)
        headers = completed_headers(request.headers, call.effect_key, request.body, request.content)
        try:
            response: OutboundResponse = await call.outbound.request(
                self._method, request.url, headers, request.content, call.timeout_s
            )
        except OutboundError as fault:
            raise call_failure(_WHAT, fault) from None
        output = answer_output(response)
        if not 200 <= response.status < 300:
            raise status_failure(_WHAT, response, output)
        return Outcome(output)

    def _render(self, context: Context) -> _Request:
        try:
            headers = self._headers.render(context)
            url = self._url.render(context)
            body, content = self._body.render(context)
            check_request(self._method, headers, content)
        except OutboundError as fault:
            raise call_failure(_WHAT, fault) from None
        return _Request(url, headers, body, content)
