"""OAuth 2.0 as a client: asks a token endpoint for an access token (RFC 6749, sections 4.4 and 6).

Rules of this file:

1. A token endpoint is named by a user, so it is called through the guarded client, and that
   client must follow no redirect: the body of the request holds secrets.
2. What comes back is hostile: bounded, checked field by field, and never quoted in an error. An
   error description may repeat a secret, so only the six error names of the RFC are passed on.
3. Only such a named error says that the grant is no good. Everything else (no answer, a page of
   HTML, a status 500) says nothing about the grant, and may be tried again.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final, Literal, Protocol, TypeGuard
from urllib.parse import quote_plus, urlencode

import msgspec

from .component import Json, is_object
from .outbound import OutboundError, OutboundResponse

GrantType = Literal["client_credentials", "refresh_token"]
ClientAuth = Literal["basic", "post"]

LIFETIME_S_DEFAULT: Final = 3600
"""How long a token is used whose life its provider doesn't tell; a 401 ends it earlier."""
LIFETIME_S_MAX: Final = 24 * 3600
ANSWER_BYTES_MAX: Final = 64 * 1024
TIMEOUT_S: Final = 30.0
_TOKEN_LENGTH_MAX: Final = 16 * 1024

# RFC 6749, section 5.2.
_REFUSALS: Final = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)
# RFC 6749, appendices A.12 and A.17, and RFC 6750: an access token goes into a header, where a
# space would end it; a refresh token goes into a form.
_ACCESS_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_REFRESH_TOKEN: Final = re.compile(r"[\x20-\x7e]+")
_DIGITS: Final = re.compile(r"[0-9]{1,12}")


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider gave somebody, and all that is needed to use it. Never shown."""

    grant_type: GrantType
    token_url: str
    client_id: str
    client_secret: str
    refresh_token: str = ""
    scope: str = ""
    audience: str = ""
    client_auth: ClientAuth = "basic"

    def __repr__(self) -> str:
        """Say what it is, and nothing of what is in it."""
        return f"Grant({self.grant_type})"

    def __rich_repr__(self) -> Any:
        """Keep rich from reading the fields past `__repr__`."""
        yield self.grant_type


class Token(msgspec.Struct, frozen=True):
    """An access token, and the refresh token that replaces the one it was asked for with."""

    access_token: str
    lifetime_s: int
    """Seconds from now on; 0 for a token that can't be kept."""
    refresh_token: str
    """Empty where the provider leaves the old one in force."""

    def __repr__(self) -> str:
        """Say what it is, and nothing of what is in it."""
        return "Token(***)"

    def __rich_repr__(self) -> Any:
        """Keep rich from reading the fields past `__repr__`."""
        yield "***"


class GrantRefusedError(Exception):
    """The provider says that the grant is no good; `code` is one of the names of RFC 6749."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class TokenUnavailableError(Exception):
    """No usable answer came; `message` is one sentence, and it may be different next time."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class TokenClient(Protocol):
    """What sends a request and returns the answer (see `OutboundClient`)."""

    async def request(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str]],
        body: bytes | None,
        timeout_s: float,
        /,
    ) -> OutboundResponse:
        """Send one request; raise `OutboundError` where no answer came."""
        ...


async def fetch_token(client: TokenClient, grant: Grant) -> Token:
    """Ask the grant's token endpoint for an access token.

    Raises:
        GrantRefusedError: the provider refuses the grant.
        TokenUnavailableError: no usable answer came.
    """
    headers, body = _request(grant)
    try:
        response = await client.request("POST", grant.token_url, headers, body, TIMEOUT_S)
    except OutboundError as fault:
        raise TokenUnavailableError(f"The token endpoint gave no answer: {fault.message}") from None
    return read_answer(response)


def _request(grant: Grant) -> tuple[list[tuple[str, str]], bytes]:
    form: dict[str, str] = {"grant_type": grant.grant_type}
    optional = {
        "refresh_token": grant.refresh_token if grant.grant_type == "refresh_token" else "",
        "scope": grant.scope,
        "audience": grant.audience,
    }
    form |= {name: value for name, value in optional.items() if value}
    headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Accept", "application/json"),
        ("User-Agent", "refold"),
    ]
    if grant.client_auth == "basic":
        # Section 2.3.1: both parts are form-encoded before they are joined.
        pair = f"{quote_plus(grant.client_id)}:{quote_plus(grant.client_secret)}"
        headers.append(("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
    else:
        form |= {"client_id": grant.client_id, "client_secret": grant.client_secret}
    return headers, urlencode(form).encode()


def read_answer(response: OutboundResponse) -> Token:
    """Read the answer of a token endpoint; raises as `fetch_token` does."""
    value = _decode(response.body)
    if value is None:
        raise TokenUnavailableError(
            f"The token endpoint answered {response.status} and no JSON object."
        )
    error = value.get("error")
    # Some providers tell their errors with status 200.
    if isinstance(error, str) and error in _REFUSALS and response.status < 500:
        raise GrantRefusedError(error)
    if response.status != 200:
        raise TokenUnavailableError(f"The token endpoint answered {response.status}.")
    token = value.get("access_token")
    if not _is_token(token, _ACCESS_TOKEN):
        raise TokenUnavailableError("The token endpoint's answer has no usable access_token.")
    kind = value.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise TokenUnavailableError("The token endpoint gave a token that is no Bearer token.")
    rotated = value.get("refresh_token")
    if rotated is None or rotated == "":
        rotated = ""
    elif not _is_token(rotated, _REFRESH_TOKEN):
        raise TokenUnavailableError("The token endpoint's answer has an unusable refresh_token.")
    return Token(token, _lifetime_s(value.get("expires_in")), rotated)


def _decode(body: bytes) -> dict[str, Json] | None:
    if len(body) > ANSWER_BYTES_MAX:
        return None
    try:
        value: Json = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    return value if is_object(value) else None


def _is_token(value: Json, form: re.Pattern[str]) -> TypeGuard[str]:
    return (
        isinstance(value, str)
        and len(value) <= _TOKEN_LENGTH_MAX
        and form.fullmatch(value) is not None
    )


def _lifetime_s(value: Json) -> int:
    """Read `expires_in`; some providers send it as text, and some not at all."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return LIFETIME_S_DEFAULT
    return int(max(0, min(value, LIFETIME_S_MAX)))
