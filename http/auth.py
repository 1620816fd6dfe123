"""Bearer tokens: from an Authorization header to a principal, and the check of scopes.

Rules of this file:

1. A token chooses nothing. Its ``alg`` must be one that is configured and the one the key is bound
   to; its ``kid`` is looked up among keys already fetched from the configured address; ``jku``,
   ``jwk``, ``x5u`` and ``x5c`` are never read, and anything under ``crit`` is refused.
2. A verified token is remembered under its SHA-256, never before its ``nbf`` nor past its ``exp``.
   The leeway for clocks that differ belongs to the full check alone.
3. Each refusal is one fixed sentence. Nothing of a token is repeated, logged or chained.
4. The scope ``admin`` grants what only it names (such as erasure) and implies no other scope:
   what a token may do can be read off its scopes.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import ClassVar, NoReturn

import jwt
import msgspec
from jwt.utils import base64url_decode

from .auth_keys import (
    SECRET_ALGORITHM,
    AuthError,
    AuthSettings,
    AuthSettingsError,
    AuthUnavailableError,
    VerificationKey,
    check_settings,
    jwks_algorithms,
    secret_bytes,
    static_key,
)
from .jwks import Jwks

__all__ = [
    "SCOPES",
    "AuthError",
    "AuthSettings",
    "AuthSettingsError",
    "AuthUnavailableError",
    "Authenticator",
    "ForbiddenError",
    "Principal",
    "UnauthorizedError",
    "mint",
    "require",
]

SCOPES = frozenset(
    {
        "workflows:read",
        "workflows:write",
        "workflows:execute",
        "vault:read",
        "vault:write",
        "journal:read",
        "admin",
    }
)

TOKEN_CHARACTERS_MAX = 8 * 1024
NAME_CHARACTERS_MAX = 255
CACHE_ENTRIES_MAX = 1024
TTL_S_MAX = 10 * 366 * 24 * 3600
# Times past the year 9999 can't be shown as a date; a token that holds one is broken.
TIME_S_MAX = 253_402_300_799

_HEADER_CHARACTERS_MAX = TOKEN_CHARACTERS_MAX + len("Bearer ") + 16
_COMPACT_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TOKEN_TYPES = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})

_REFUSALS = {
    "missing": "The Authorization header with a bearer token is missing.",
    "scheme": "The Authorization header must have the form 'Bearer <token>'.",
    "too_long": f"The token is longer than {TOKEN_CHARACTERS_MAX} characters.",
    "malformed": "The token is not a well-formed JSON Web Token.",
    "algorithm": "The token's signature algorithm is not accepted here.",
    "critical": "The token demands extensions that are not supported.",
    "type": "The token is of a type that does not grant access.",
    "key": "The token is signed with a key that is not known here.",
    "signature": "The token's signature is wrong.",
    "claims": "The token lacks a required claim, or a claim has the wrong form.",
    "expired": "The token has expired.",
    "not_yet_valid": "The token is not valid yet.",
    "issuer": "The token comes from another issuer.",
    "audience": "The token is meant for another audience.",
    "subject": "The token's subject is empty, too long or not printable.",
    "tenant": "The token's tenant is empty, too long or not printable.",
    "api_key": "The API key is unknown, expired or deleted.",
}


class UnauthorizedError(AuthError):
    """There is no usable token; ``reason`` is a key of a closed set, fit for a metric."""

    code: ClassVar[str] = "unauthorized"

    def __init__(self, reason: str) -> None:
        super().__init__(_REFUSALS[reason])
        self.reason = reason


class ForbiddenError(AuthError):
    """The token is good, but it was not given the scope that this needs."""

    code: ClassVar[str] = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(f"The token does not have the scope {scope!r}, which this needs.")
        self.scope = scope


class Principal(msgspec.Struct, frozen=True):
    """Who is asking, for which tenant, with which of the known scopes, until when (s, UTC)."""

    subject: str
    tenant: str
    scopes: frozenset[str]
    expires_at: int


class _JoseHeader(msgspec.Struct):
    alg: str
    kid: str | None = None
    typ: str = ""
    crit: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Claims(msgspec.Struct):
    sub: str
    exp: int | float
    nbf: int | float = 0
    iat: int | float = 0
    iss: str = ""
    aud: str | list[str] = ""
    org_id: str | msgspec.UnsetType = msgspec.UNSET
    scope: str = ""
    scopes: list[str] = []
    permissions: list[str] = []


_header_decoder = msgspec.json.Decoder(_JoseHeader)
_claims_decoder = msgspec.json.Decoder(_Claims)


class _Verified(msgspec.Struct, frozen=True):
    principal: Principal
    not_before: float


def require(principal: Principal, scope: str) -> None:
    """Raises `ForbiddenError` unless the principal was given exactly this scope."""
    assert scope in SCOPES, "a route asks for a scope that nobody can have"
    if scope not in principal.scopes:
        raise ForbiddenError(scope)


class Authenticator:
    """Turns Authorization headers into principals, by the settings it was made with."""

    def __init__(
        self,
        settings: AuthSettings,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Checks the settings and reads the key; raises `AuthSettingsError`.

        ``clock`` gives seconds since 1970 and judges tokens; ``monotonic`` gives seconds that
        never step back and judges the age of a JWKS.
        """
        check_settings(settings)
        self._settings = settings
        self._clock = clock
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._key: VerificationKey | None = None
        self._jwks: Jwks | None = None
        if settings.jwks_url:
            self._algorithms = jwks_algorithms(settings)
            self._jwks = Jwks(
                settings.jwks_url,
                self._algorithms,
                monotonic=monotonic,
                on_change=self._verified.clear,
            )
        else:
            self._key = static_key(settings)
            self._algorithms = frozenset({self._key.algorithm})
        self._jws = jwt.PyJWS(
            algorithms=sorted(self._algorithms), options={"enforce_minimum_key_length": True}
        )

    def cached(self, authorization_header: str | None) -> Principal | None:
        """The principal of a header verified before and still good by itself; never waits."""
        header = authorization_header
        if header is None or len(header) > _HEADER_CHARACTERS_MAX or not header.isascii():
            return None
        digest = hashlib.sha256(header.encode("ascii")).digest()
        known = self._verified.get(digest)
        if known is None:
            return None
        if not known.not_before <= self._clock() < known.principal.expires_at:
            return None
        # A withdrawn key must not live on in here while nobody looks at the key set.
        if self._jwks is not None and self._jwks.is_due():
            return None
        return known.principal

    async def authenticate(self, authorization_header: str | None) -> Principal:
        """The principal of a header; raises `UnauthorizedError` or `AuthUnavailableError`."""
        known = self.cached(authorization_header)
        if known is not None:
            return known
        token = _bearer_token(authorization_header)
        jose = _read_jose_header(token)
        if jose.alg not in self._algorithms:
            raise UnauthorizedError("algorithm")
        if jose.crit is not msgspec.UNSET:
            raise UnauthorizedError("critical")
        # The same provider signs other things (logout tokens, security events) with the same key.
        if jose.typ.lower() not in _TOKEN_TYPES:
            raise UnauthorizedError("type")
        key = self._key if self._jwks is None else await self._jwks.find(jose.alg, jose.kid)
        # From here on nothing waits, so the key can't be withdrawn before the result is kept.
        if key is None:
            raise UnauthorizedError("key")
        claims = _read_claims(self._verified_payload(token, key))
        now = self._clock()
        self._judge_claims(claims, now)
        principal = _principal_of(claims)
        if claims.nbf <= now < principal.expires_at:
            self._remember(str(authorization_header), _Verified(principal, claims.nbf))
        return principal

    def _verified_payload(self, token: str, key: VerificationKey) -> bytes:
        try:
            payload = self._jws.decode(token, key=key.key, algorithms=[key.algorithm])
        except jwt.InvalidSignatureError:
            _refuse("signature")
        except jwt.InvalidAlgorithmError:
            _refuse("algorithm")
        except jwt.PyJWTError:
            _refuse("malformed")
        assert isinstance(payload, bytes), "the library returns the payload as it was signed"
        return payload

    def _judge_claims(self, claims: _Claims, now: float) -> None:
        settings = self._settings
        if now >= claims.exp + settings.leeway_s:
            raise UnauthorizedError("expired")
        if max(claims.nbf, claims.iat) > now + settings.leeway_s:
            raise UnauthorizedError("not_yet_valid")
        if settings.issuer and claims.iss != settings.issuer:
            raise UnauthorizedError("issuer")
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if settings.audience and settings.audience not in audiences:
            raise UnauthorizedError("audience")

    def _remember(self, header: str, verified: _Verified) -> None:
        self._verified[hashlib.sha256(header.encode("ascii")).digest()] = verified
        if len(self._verified) > CACHE_ENTRIES_MAX:
            self._verified.popitem(last=False)


def mint(
    secret: str,
    *,
    subject: str,
    tenant: str,
    scopes: Iterable[str],
    ttl_s: int,
    now: float,
    issuer: str = "",
    audience: str = "",
) -> str:
    """A token signed with the secret, good from ``now`` (s since 1970) for ``ttl_s`` seconds.

    Raises `AuthSettingsError` where the server would refuse the token.
    """
    key = secret_bytes(secret)
    granted = frozenset(scopes)
    if not granted <= SCOPES:
        raise AuthSettingsError(
            f"Unknown scope {min(granted - SCOPES)[:64]!r}; known are {', '.join(sorted(SCOPES))}."
        )
    if not (_is_name(subject) and _is_name(tenant)):
        raise AuthSettingsError(
            f"Subject and tenant must have 1 to {NAME_CHARACTERS_MAX} printable characters."
        )
    if not 0 < ttl_s <= TTL_S_MAX:
        raise AuthSettingsError(
            f"A token can last from 1 to {TTL_S_MAX} seconds, not {ttl_s} seconds."
        )
    claims: dict[str, object] = {
        "sub": subject,
        "org_id": tenant,
        "scope": " ".join(sorted(granted)),
        "iat": int(now),
        "exp": int(now) + ttl_s,
    }
    if issuer:
        claims["iss"] = issuer
    if audience:
        claims["aud"] = audience
    return jwt.encode(claims, key, algorithm=SECRET_ALGORITHM)


def _refuse(reason: str) -> NoReturn:
    # The library's messages quote from the token, so they must not be chained to ours.
    raise UnauthorizedError(reason) from None


def _bearer_token(header: str | None) -> str:
    if header is None or not header.strip():
        raise UnauthorizedError("missing")
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "bearer":
        raise UnauthorizedError("scheme")
    token = rest.lstrip(" ")
    if not token:
        raise UnauthorizedError("missing")
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise UnauthorizedError("too_long")
    if _COMPACT_FORM.fullmatch(token) is None:
        raise UnauthorizedError("malformed")
    return token


def _read_jose_header(token: str) -> _JoseHeader:
    segment = token.partition(".")[0]
    try:
        return _header_decoder.decode(base64url_decode(segment))
    except (ValueError, RecursionError):
        _refuse("malformed")


def _read_claims(payload: bytes) -> _Claims:
    try:
        claims = _claims_decoder.decode(payload)
    except msgspec.ValidationError:
        _refuse("claims")
    except (ValueError, RecursionError):
        _refuse("malformed")
    times = (claims.exp, claims.nbf, claims.iat)
    if not all(0 <= seconds <= TIME_S_MAX for seconds in times):
        raise UnauthorizedError("claims")
    return claims


def _principal_of(claims: _Claims) -> Principal:
    tenant = claims.sub if claims.org_id is msgspec.UNSET else claims.org_id
    if not _is_name(claims.sub):
        raise UnauthorizedError("subject")
    if not _is_name(tenant):
        raise UnauthorizedError("tenant")
    # Scopes of other services are dropped, which also bounds what the cache holds.
    granted = SCOPES.intersection([*claims.scope.split(" "), *claims.scopes, *claims.permissions])
    return Principal(claims.sub, tenant, granted, int(claims.exp))


def _is_name(text: str) -> bool:
    return 0 < len(text) <= NAME_CHARACTERS_MAX and text.isprintable()
