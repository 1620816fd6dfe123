"""The `altostrat_api` node: a request to the configured API with the workflow's authorization.

Failures, by the code that a retry policy may list:

- `authorization_missing`, `authorization_refused`, `authorization_unavailable`: no token;
- `http_<status>` (`http_503`): the answer came and was not 2xx; `received` holds it;
- the codes of `OutboundError` (`timeout`, `dns_error`, `too_many_redirects`, …);
- `invalid_request` and `request_too_large`: what was rendered can't be sent;
- `template_error`: a template failed while it was rendered.

Where the API answers 401, the token is dropped and the request is sent once more with a new one.
An endpoint can't leave the address of the API, whatever is put into it (api_client.py). The
token is masked wherever the answer repeats it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal
from urllib.parse import quote

import msgspec

from ..api_client import check_endpoint
from ..component import (
    Call,
    ConfigError,
    Context,
    EffectNode,
    Json,
    NodeConfig,
    NodeError,
    Outcome,
    is_object,
)
from ..outbound import OutboundError, OutboundResponse, check_request
from ..secret_search import SecretSearch
from ..templates import Template, compile_text, compile_value
from .http_request import (
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

_WHAT = "API"
_UNAUTHORIZED = 401


class AltostratApiConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of an `altostrat_api` node."""

    endpoint: str
    """A path below the address of the API, such as `/sites/{{ trigger.site }}`."""
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    query: dict[str, Json] = msgspec.field(default_factory=dict[str, Json])
    """Parameters of the query; each value is encoded as a whole, null leaves its name out."""
    headers: tuple[Header, ...] = ()
    body: Json = None
    """Any JSON value with templates in it, or a text; null sends no body."""


class _Request(msgspec.Struct, frozen=True):
    """What one rendering of the node's templates gave."""

    endpoint: str
    headers: list[tuple[str, str]]
    body: Json
    content: bytes | None
    """`body` as it is sent."""


class _Endpoint:
    """A path template and the parameters that are put behind it."""

    def __init__(self, source: str, query: dict[str, Json], errors: dict[str, list[str]]) -> None:
        self._path: Template | None = None
        self._query: Template | None = None
        try:
            self._path = compile_text(source.strip(), "endpoint")
            if not source.strip():
                errors["endpoint"] = ["is empty"]
            elif "://" in source.partition("{{")[0].partition("?")[0]:
                errors["endpoint"] = ["must be a path below the address of the API, not a URL"]
            elif self._path.is_static:
                check_endpoint(source.strip())
        except OutboundError as fault:
            errors["endpoint"] = [fault.message]
        except ConfigError as fault:
            errors.update(fault.errors)
        try:
            self._query = compile_value(query, "query")
        except ConfigError as fault:
            errors.update(fault.errors)

    def render(self, context: Context) -> str:
        """Render to an encoded path and query; `OutboundError` where it leads elsewhere."""
        assert self._path is not None
        assert self._query is not None
        path = self._path.render_text(context).strip()
        if not path:
            raise OutboundError("invalid_request", "The endpoint renders to nothing.")
        endpoint = check_endpoint(path)
        values = self._query.render(context)
        assert is_object(values)
        pairs = [
            f"{_encoded(name)}={_encoded(_text(name, value))}"
            for name, value in values.items()
            if value is not None
        ]
        if pairs:
            endpoint += ("&" if "?" in endpoint else "?") + "&".join(pairs)
        return endpoint


class AltostratApi(EffectNode[AltostratApiConfig]):
    """Calls the API; succeeds with `{status, headers, body}` when the answer is 2xx."""

    component = "altostrat_api"
    config_type = AltostratApiConfig

    def __init__(self, config: AltostratApiConfig) -> None:
        errors: dict[str, list[str]] = {}
        self._method = config.method
        self._headers = HeaderTemplates(config.headers, errors)
        for index, header in enumerate(config.headers):
            if header.key.lower() == "authorization":
                errors[f"headers[{index}].key"] = ["is set from the workflow's authorization"]
        self._endpoint = _Endpoint(config.endpoint, config.query, errors)
        try:
            self._body = BodyTemplate(config.body, self._headers.media_type)
        except ConfigError as fault:
            errors.update(fault.errors)
        if errors:
            raise ConfigError(errors)

    def prepare(self, context: Context) -> Json:
        """Render the request as it is journaled: values under credential-like names are masked."""
        request = self._render(context)
        return {
            "method": self._method,
            "endpoint": masked_url(request.endpoint),
            "headers": masked_headers(request.headers),
            "body": request.body,
        }

    async def perform(self, context: Context, call: Call) -> Outcome:
        """Send the request; the same `Idempotency-Key` goes out with every repeat."""
        if not call.authorization_id or call.authorizations is None:
            raise NodeError(
                "authorization_missing", "The workflow names no authorization (authorization_id)."
            )
        request = self._render(context)
        grants = call.authorizations
        token: str = await grants.token(call.tenant, call.authorization_id)
        response = await self._send(request, call, token)
        if response.status == _UNAUTHORIZED:
            # The provider may have withdrawn the token before its time; once is enough to know.
            await grants.invalidate(call.tenant, call.authorization_id, token)
            token = await grants.token(call.tenant, call.authorization_id)
            response = await self._send(request, call, token)
        search = _searched(token)
        output = search.mask_json(answer_output(response))
        if not 200 <= response.status < 300:
            failure = status_failure(_WHAT, response, output)
            raise NodeError(failure.code, search.mask_text(failure.message), failure.received)
        return Outcome(output)

    async def _send(self, request: _Request, call: Call, token: str) -> OutboundResponse:
        headers = completed_headers(request.headers, call.effect_key, request.body, request.content)
        if not any(name.lower() == "accept" for name, _ in headers):
            headers.append(("Accept", "application/json"))
        headers.append(("Authorization", f"Bearer {token}"))
        try:
            response: OutboundResponse = await call.authorizations.api.request(
                self._method, request.endpoint, headers, request.content, call.timeout_s
            )
        except OutboundError as fault:
            raise call_failure(_WHAT, fault) from None
        return response

    def _render(self, context: Context) -> _Request:
        try:
            headers = self._headers.render(context)
            endpoint = self._endpoint.render(context)
            body, content = self._body.render(context)
            check_request(self._method, headers, content)
        except OutboundError as fault:
            raise call_failure(_WHAT, fault) from None
        return _Request(endpoint, headers, body, content)


@lru_cache(maxsize=64)
def _searched(token: str) -> SecretSearch:
    """Return what finds a token in an answer; making it takes milliseconds."""
    return SecretSearch([token])


def _encoded(text: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise OutboundError(
            "invalid_request", "The query has an unpaired surrogate in it."
        ) from None


def _text(name: str, value: Json) -> str:
    """Write a value of the query as text; a list or an object has no agreed form there."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise OutboundError(
        "invalid_request", f"The query parameter '{name[:60]}' is neither text, number nor boolean."
    )
