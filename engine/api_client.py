"""The operator's API: one origin, called by nodes with a stored authorization.

The address is a setting, so it may be private without standing in `EGRESS_ALLOW`; nothing else
gets that right. The client's own rules allow the one host, every request is put together from the
judged address, and no redirect is followed, so no workflow reaches another port or host by it.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

from .egress import EgressRules, OutboundError, Target, invalid_request, parse_target
from .outbound import Headers, OutboundClient, OutboundResponse

DEFAULT_URL: Final = "https://v1.api.altostrat.io"
ENDPOINT_LENGTH_MAX: Final = 4096
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PATH_SAFE: Final = "%:/@!$&'()*+,;=-._~"
_QUERY_SAFE: Final = "%:/?@!$&'()*+,;=-._~"
_UNQUOTES_MAX: Final = 4


class ApiClient:
    """Calls paths below one address."""

    def __init__(self, base_url: str, *, max_response_bytes: int) -> None:
        """Raises `OutboundError` where the address can't be called."""
        target = parse_target(base_url)
        path, question, _ = target.path_query.partition("?")
        if question:
            raise invalid_request("The address of the API has a query.")
        self._target: Final[Target] = target
        self._prefix: Final = target.url.removesuffix(target.path_query) + path.rstrip("/")
        self._client = OutboundClient(
            _rules_of(target), max_response_bytes=max_response_bytes, redirects_max=0
        )

    @property
    def host(self) -> str:
        """The host that is called."""
        return self._target.host

    async def request(
        self, method: str, path_query: str, headers: Headers, body: bytes | None, timeout_s: float
    ) -> OutboundResponse:
        """Send one request below the address; raises `OutboundError`."""
        url = self._prefix + check_endpoint(path_query)
        assert parse_target(url).origin == self._target.origin, "the origin is the operator's"
        return await self._client.request(method, url, headers, body, timeout_s)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()


def check_endpoint(path_query: str) -> str:
    """Return a path and query, encoded, that can't lead out of the address they stand below.

    Raises:
        OutboundError: `invalid_request`, in one sentence that doesn't repeat it.
    """
    if len(path_query) > ENDPOINT_LENGTH_MAX:
        raise invalid_request(f"The endpoint is longer than {ENDPOINT_LENGTH_MAX} characters.")
    path, question, query = path_query.partition("?")
    if not path.startswith("/"):
        path = f"/{path}"
    if _CONTROL.search(path_query):
        raise invalid_request("The endpoint has a control character in it.")
    if "#" in path_query:
        raise invalid_request("The endpoint has a '#' in it.")
    # A server may decode more than once, so every layer is looked at.
    plain = path
    for _ in range(_UNQUOTES_MAX):
        if "\\" in plain:
            raise invalid_request("The endpoint has a backslash in it.")
        if "//" in plain:
            raise invalid_request("The endpoint has an empty part in its path ('//').")
        if any(part.partition(";")[0] in (".", "..") for part in plain.split("/")):
            raise invalid_request("The endpoint has '.' or '..' as a part of its path.")
        decoded = unquote(plain)
        if decoded == plain:
            break
        plain = decoded
    else:
        raise invalid_request("The endpoint is percent-encoded too often.")
    if _CONTROL.search(plain):
        raise invalid_request("The endpoint has a control character in it.")
    return quote(path, safe=_PATH_SAFE) + question + quote(query, safe=_QUERY_SAFE)


def _rules_of(target: Target) -> EgressRules:
    """Make the rules by which this one host may be called, wherever it is."""
    if target.address is not None:
        return EgressRules.parse(str(target.address))
    return EgressRules(hosts=frozenset({target.host}))


__all__ = ["DEFAULT_URL", "ApiClient", "OutboundError", "check_endpoint"]
