"""What tokens are checked with: the settings, made into keys that are each bound to one algorithm.

The errors of authentication, by who must act::

    AuthError
    +-- AuthSettingsError       the operator: a setting can't work, so the service does not start
    +-- AuthUnavailableError    a retry: the key set could not be fetched and none is known
    +-- UnauthorizedError       the caller: no usable token (auth.py)
    +-- ForbiddenError          the caller: a good token without the scope (auth.py)

Rules of this file:

1. A key knows its one algorithm from its own type. A token's ``alg`` can only agree with it, so a
   public key can never be used as an HMAC secret.
2. Nothing here is ever shown: neither a secret nor a key stands in a message or a ``repr``.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, TypeAlias
from urllib.parse import urlsplit

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

SECRET_ALGORITHM = "HS256"
PUBLIC_ALGORITHMS = frozenset({"RS256", "ES256", "EdDSA"})
KNOWN_ALGORITHMS = PUBLIC_ALGORITHMS | {SECRET_ALGORITHM}

SECRET_BYTES_MIN = 32
RSA_BITS_MIN = 2048
PEM_BYTES_MAX = 64 * 1024
LEEWAY_S_MAX = 300


class AuthError(Exception):
    """Authentication or authorisation did not succeed."""

    code: ClassVar[str] = "unauthorized"


class AuthSettingsError(AuthError):
    """The authentication settings contradict each other or can't be used."""

    code: ClassVar[str] = "auth_settings_invalid"


class AuthUnavailableError(AuthError):
    """No token can be judged now, because no key could be fetched; worth trying again later."""

    code: ClassVar[str] = "overloaded"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            "The keys that tokens are checked with could not be fetched; "
            f"try again in {retry_after_s} seconds."
        )
        self.retry_after_s = retry_after_s


class AuthSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are checked; exactly one of secret, public key and JWKS address is given.

    ``public_key`` is a PEM text or the path of a PEM file. Empty ``algorithms`` means those that
    fit what is configured. An empty ``issuer`` or ``audience`` is not checked. ``leeway_s`` is
    the clock difference, in seconds, that ``exp``, ``nbf`` and ``iat`` are forgiven.
    """

    secret: str = ""
    public_key: str = ""
    jwks_url: str = ""
    algorithms: tuple[str, ...] = ()
    issuer: str = ""
    audience: str = ""
    leeway_s: int = 30

    def sources(self) -> list[str]:
        """The names of the key settings that are not empty."""
        given = {
            "JWT_SECRET": self.secret,
            "JWT_PUBLIC_KEY": self.public_key,
            "JWKS_URL": self.jwks_url,
        }
        return [name for name, value in given.items() if value]

    # All three sources stay hidden: a private key put into the wrong setting and a password in
    # an address are exactly the mistakes after which settings get printed.
    def __repr__(self) -> str:
        return (
            f"AuthSettings(sources={self.sources()!r}, algorithms={self.algorithms!r}, "
            f"issuer={self.issuer!r}, audience={self.audience!r}, leeway_s={self.leeway_s!r})"
        )

    # msgspec gives every Struct this method for rich, which would print each field.
    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [
            ("sources", self.sources()),
            ("algorithms", self.algorithms),
            ("issuer", self.issuer),
            ("audience", self.audience),
            ("leeway_s", self.leeway_s),
        ]


class VerificationKey:
    """A key and the only algorithm that it may check a signature with."""

    __slots__ = ("algorithm", "key")

    def __init__(self, algorithm: str, key: PublicKey | bytes) -> None:
        self.algorithm = algorithm
        self.key = key

    def __repr__(self) -> str:
        return f"VerificationKey({self.algorithm})"


def bind_public_key(key: object) -> VerificationKey:
    """The key with the one algorithm of its type; ``ValueError`` says why a key is not accepted."""
    if isinstance(key, RSAPublicKey):
        if key.key_size < RSA_BITS_MIN:
            raise ValueError(f"has {key.key_size} bits, and RSA needs at least {RSA_BITS_MIN}")
        return VerificationKey("RS256", key)
    if isinstance(key, EllipticCurvePublicKey):
        if not isinstance(key.curve, SECP256R1):
            raise ValueError(f"is on the curve {key.curve.name}, and only P-256 is supported")
        return VerificationKey("ES256", key)
    if isinstance(key, Ed25519PublicKey):
        return VerificationKey("EdDSA", key)
    raise ValueError("is neither RSA, nor EC on P-256, nor Ed25519")


def check_settings(settings: AuthSettings) -> None:
    """Refuses settings that are wrong whatever the keys are; raises `AuthSettingsError`."""
    sources = settings.sources()
    if not sources:
        raise AuthSettingsError(
            "No way to check tokens is configured: set one of JWT_SECRET, JWT_PUBLIC_KEY, JWKS_URL."
        )
    if len(sources) > 1:
        raise AuthSettingsError(f"Only one source of keys may be set, not {' and '.join(sources)}.")
    unknown = [name for name in settings.algorithms if name not in KNOWN_ALGORITHMS]
    if unknown:
        raise AuthSettingsError(
            f"JWT_ALGORITHMS holds {unknown[0][:32]!r}; "
            f"known are {', '.join(sorted(KNOWN_ALGORITHMS))}."
        )
    if not 0 <= settings.leeway_s <= LEEWAY_S_MAX:
        raise AuthSettingsError(
            f"The leeway of {settings.leeway_s} seconds is not between 0 and {LEEWAY_S_MAX}."
        )


def static_key(settings: AuthSettings) -> VerificationKey:
    """The key made of the configured secret or public key; raises `AuthSettingsError`."""
    if settings.secret:
        key = VerificationKey(SECRET_ALGORITHM, secret_bytes(settings.secret))
    else:
        key = _bind_pem(_read_pem(settings.public_key))
    source = settings.sources()[0]
    # Public algorithms that this key is not made for are harmless, since the key is bound to its
    # own; a mix of the two families shows that the operator expects something else.
    family = {SECRET_ALGORITHM} if settings.secret else PUBLIC_ALGORITHMS
    strangers = [name for name in settings.algorithms if name not in family]
    if strangers:
        raise AuthSettingsError(
            f"JWT_ALGORITHMS holds {strangers[0]}, which {source} can't be used for."
        )
    if settings.algorithms and key.algorithm not in settings.algorithms:
        raise AuthSettingsError(
            f"JWT_ALGORITHMS lacks {key.algorithm}, which the key of {source} is made for."
        )
    return key


def jwks_algorithms(settings: AuthSettings) -> frozenset[str]:
    """The algorithms accepted from a JWKS, whose address is checked too; `AuthSettingsError`."""
    if SECRET_ALGORITHM in settings.algorithms:
        raise AuthSettingsError(
            "JWT_ALGORITHMS holds HS256, which needs JWT_SECRET and never works with JWKS_URL."
        )
    try:
        address = urlsplit(settings.jwks_url)
        usable = address.scheme in {"http", "https"} and bool(address.hostname)
        # Reading the port is what makes urllib check it.
        usable = usable and address.port != 0 and settings.jwks_url.isprintable()
    except ValueError:
        usable = False
    else:
        if usable and (address.username is not None or address.password is not None):
            raise AuthSettingsError("JWKS_URL must not hold a user name or password.")
    if not usable:
        raise AuthSettingsError("JWKS_URL is not a usable http:// or https:// address.")
    return frozenset(settings.algorithms) or PUBLIC_ALGORITHMS


def secret_bytes(secret: str) -> bytes:
    """The HMAC key of a secret that is long enough and not a key of another kind."""
    try:
        encoded = secret.encode()
    except UnicodeEncodeError:
        raise AuthSettingsError("JWT_SECRET is not valid UTF-8 text.") from None
    if len(encoded) < SECRET_BYTES_MIN:
        raise AuthSettingsError(
            f"JWT_SECRET has {len(encoded)} bytes and needs at least {SECRET_BYTES_MIN}."
        )
    try:
        # The library refuses public keys, certificates and JWKs as secrets at each use; better
        # the operator hears of it at the start than every caller later.
        jwt.get_algorithm_by_name(SECRET_ALGORITHM).prepare_key(encoded)
    except jwt.InvalidKeyError:
        raise AuthSettingsError(
            "JWT_SECRET is a public key, a certificate or a JWK, not a secret."
        ) from None
    return encoded


def _read_pem(text_or_path: str) -> bytes:
    if "-----BEGIN" in text_or_path:
        return text_or_path.encode(errors="replace")
    try:
        with Path(text_or_path).open("rb") as file:
            pem = file.read(PEM_BYTES_MAX + 1)
    except OSError as error:
        # The value itself is not repeated: it may be a key that lost its first line.
        raise AuthSettingsError(
            f"The file named by JWT_PUBLIC_KEY can't be read: {error.strerror}."
        ) from None
    except ValueError:
        raise AuthSettingsError("JWT_PUBLIC_KEY is not the path of a file.") from None
    if len(pem) > PEM_BYTES_MAX:
        raise AuthSettingsError(
            f"The file named by JWT_PUBLIC_KEY is larger than {PEM_BYTES_MAX} bytes."
        )
    return pem


def _bind_pem(pem: bytes) -> VerificationKey:
    if b"PRIVATE KEY" in pem:
        raise AuthSettingsError(
            "JWT_PUBLIC_KEY holds a private key; give the public key and keep the other away."
        )
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise AuthSettingsError(
            "JWT_PUBLIC_KEY is not a readable public key in PEM form."
        ) from None
    try:
        return bind_public_key(key)
    except ValueError as error:
        raise AuthSettingsError(f"The key of JWT_PUBLIC_KEY {error}.") from None
