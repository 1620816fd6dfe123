"""The key set (JWKS) of an identity provider: fetched, kept, and renewed when it must be.

1. A set is fresh for ten minutes. Then nobody is let in by it, not even from the cache of verified
   tokens, before a renewal was tried: a key withdrawn by the provider must stop working here.
2. If the renewal fails, the old keys go on being used: an outage at the provider is not one here.
   It is tried again every 30 seconds, and only the request that tries it waits for it.
3. An unknown ``kid`` asks for a renewal too (keys rotate), at most once in 30 seconds: callers
   who make up ids must not become a load on the provider.
4. One fetch at a time, in a task of its own: whoever needs it waits for the same one, and a
   caller that hangs up does not abort it for the others.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import InvalidKeyError, get_algorithm_by_name

from .auth_keys import AuthUnavailableError, PublicKey, VerificationKey, bind_public_key

FRESH_S = 600
REFETCH_S = 30
FIRST_RETRY_S = 5
FETCH_TIMEOUT_S = 5
BODY_BYTES_MAX = 256 * 1024

# Key type and curve decide the algorithm; an entry's own "alg" may only agree.
_ALGORITHM_OF = {("RSA", ""): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
_PUBLIC_MEMBERS = ("kty", "crv", "n", "e", "x", "y")

_log = logging.getLogger("refold.auth")


class _JwkSet(msgspec.Struct):
    keys: list[msgspec.Raw]


class _Jwk(msgspec.Struct, omit_defaults=True):
    kty: str
    use: str = "sig"
    key_ops: list[str] = []
    alg: str = ""
    kid: str | None = None
    crv: str = ""
    n: str = ""
    e: str = ""
    x: str = ""
    y: str = ""
    d: str = ""


class _FetchError(ValueError):
    """The provider's answer is no key set; the message holds nothing of the answer."""


class KeySet:
    """The usable keys of one fetched set, found by key id and algorithm."""

    def __init__(self, keys: dict[tuple[str | None, str], list[VerificationKey]]) -> None:
        self._keys = keys
        self._identity = frozenset(
            (kid, key.algorithm, _public_bytes(key))
            for (kid, _), found in keys.items()
            for key in found
        )

    def is_same(self, other: KeySet) -> bool:
        """Whether both hold the same keys under the same ids."""
        return self._identity == other._identity

    def pick(self, algorithm: str, kid: str | None) -> VerificationKey | None:
        """The key of that id, or, where the token names none, the only key of its algorithm."""
        if kid is not None:
            found = self._keys.get((kid, algorithm), [])
        else:
            found = [
                key for (_, its), keys in self._keys.items() if its == algorithm for key in keys
            ]
        return found[0] if len(found) == 1 else None


def parse_key_set(body: bytes, algorithms: frozenset[str]) -> KeySet:
    """The usable keys of a JWKS document; entries that can't be used are passed over.

    Raises ``ValueError`` where the document as a whole is no JWKS.
    """
    try:
        entries = msgspec.json.decode(body, type=_JwkSet).keys
    except (msgspec.DecodeError, RecursionError):
        raise _FetchError("the answer is not a JWKS document") from None
    keys: dict[tuple[str | None, str], list[VerificationKey]] = {}
    for entry in entries:
        try:
            jwk = msgspec.json.decode(entry, type=_Jwk)
            key = _usable_key(jwk)
        except (ValueError, RecursionError, InvalidKeyError, UnsupportedAlgorithm):
            continue
        if key is not None and key.algorithm in algorithms:
            keys.setdefault((jwk.kid, key.algorithm), []).append(key)
    return KeySet(keys)


class Jwks:
    """The key set behind one address, kept up to date as the head of this file says."""

    def __init__(
        self,
        url: str,
        algorithms: frozenset[str],
        *,
        monotonic: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        """``on_change`` is called, before the next token is judged, when the keys have changed."""
        self._url = url
        self._algorithms = algorithms
        self._monotonic = monotonic
        self._on_change = on_change
        self._keys: KeySet | None = None
        self._fetched_at = -math.inf
        self._tried_at = -math.inf
        self._is_failing = False
        self._flight: asyncio.Task[None] | None = None

    def is_due(self) -> bool:
        """Whether a renewal must be tried, or awaited, before the keys may be used."""
        if self._keys is not None and self._monotonic() - self._fetched_at < FRESH_S:
            return False
        if self._is_in_flight():
            # In a known outage the others carry on with the old keys instead of queueing up.
            return self._keys is None or not self._is_failing
        return self._may_try()

    async def find(self, algorithm: str, kid: str | None) -> VerificationKey | None:
        """The key that may check such a token, or None; `AuthUnavailableError` without any set."""
        if self.is_due():
            await self._renew()
        if self._keys is None:
            wait_s = math.ceil(self._tried_at + FIRST_RETRY_S - self._monotonic())
            raise AuthUnavailableError(max(1, wait_s))
        key = self._keys.pick(algorithm, kid)
        if key is None and kid is not None and (self._is_in_flight() or self._may_try()):
            await self._renew()
            key = self._keys.pick(algorithm, kid)
        return key

    def _is_in_flight(self) -> bool:
        return self._flight is not None and not self._flight.done()

    def _may_try(self) -> bool:
        pause_s = FIRST_RETRY_S if self._keys is None else REFETCH_S
        return self._monotonic() - self._tried_at >= pause_s

    async def _renew(self) -> None:
        if self._flight is None or self._flight.done():
            self._tried_at = self._monotonic()
            self._flight = asyncio.create_task(self._fetch_and_install())
        await asyncio.shield(self._flight)

    async def _fetch_and_install(self) -> None:
        import aiohttp  # Imported here because most installations never fetch a key set.

        # The age counts from the asking: the answer may have been made any time after that.
        asked_at = self._monotonic()
        try:
            keys = parse_key_set(await self._fetch(), self._algorithms)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self._is_failing = True
            # Only our own messages are known to hold no part of the address or the answer.
            reason = str(error) if isinstance(error, _FetchError) else type(error).__name__
            state = "no keys are known" if self._keys is None else "the old keys stay in use"
            _log.warning("The JWKS could not be fetched (%s); %s.", reason, state)
            return
        before, self._keys = self._keys, keys
        self._fetched_at = asked_at
        self._is_failing = False
        if before is not None and not before.is_same(keys):
            self._on_change()

    async def _fetch(self) -> bytes:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
        # No redirects, since they could lead from https to http or into the inner network, and
        # no decompression, since it would undo the bound on the size.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
            session.get(self._url, headers=headers, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise _FetchError(f"the answer has status {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(64 * 1024):
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise _FetchError(f"the answer is larger than {BODY_BYTES_MAX} bytes")
            return bytes(body)


def _usable_key(jwk: _Jwk) -> VerificationKey | None:
    algorithm = _ALGORITHM_OF.get((jwk.kty, jwk.crv))
    if algorithm is None or jwk.use != "sig" or jwk.alg not in ("", algorithm):
        return None
    if jwk.key_ops and "verify" not in jwk.key_ops:
        return None
    # Whoever publishes a private key has lost it: anyone can sign with it.
    if jwk.d:
        return None
    members: dict[str, Any] = {
        name: getattr(jwk, name) for name in _PUBLIC_MEMBERS if getattr(jwk, name)
    }
    return bind_public_key(get_algorithm_by_name(algorithm).from_jwk(members))


def _public_bytes(key: VerificationKey) -> bytes:
    public: PublicKey | bytes = key.key
    assert not isinstance(public, bytes), "a key set holds public keys only"
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
