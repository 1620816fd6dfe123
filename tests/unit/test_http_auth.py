"""Bearer tokens: forged, misshapen and huge ones, and what a good one says."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)

from refold.http.auth import (
    Authenticator,
    AuthSettings,
    Principal,
    UnauthorizedError,
)

SECRET = "a-secret-of-the-tests-0123456789abcdef"
NOW = 1_750_000_000
ABSENT = object()

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def pem_of(private_key: Any) -> str:
    """The public half as PEM."""
    pem: bytes = private_key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode()


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        """Return the time that it stands at."""
        return self.now


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that are accepted, with changes; ABSENT leaves a claim out."""
    good: dict[str, Any] = {"sub": "ada", "org_id": "acme", "scope": "admin", "exp": NOW + 600}
    return {name: value for name, value in (good | changes).items() if value is not ABSENT}


def b64(data: bytes | dict[str, Any]) -> str:
    """The base64url of bytes, or of a dict as JSON."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(header: bytes | dict[str, Any], payload: bytes | dict[str, Any], key: bytes) -> str:
    """A token put together by hand and signed with HMAC-SHA256, whatever its header says."""
    signed = f"{b64(header)}.{b64(payload)}"
    return f"{signed}.{b64(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"


def signed(payload: bytes | dict[str, Any], **header: Any) -> str:
    """A token with a right HS256 signature over any payload and header."""
    return forge({"alg": "HS256", "typ": "JWT"} | header, payload, SECRET.encode())


def authenticator(clock: Clock | None = None, **settings: Any) -> Authenticator:
    """An authenticator on the secret, at a clock that stands still."""
    chosen: dict[str, Any] = {"secret": SECRET} | settings
    return Authenticator(AuthSettings(**chosen), clock=clock or Clock())


def enter(subject: Authenticator, header: str | None) -> Principal:
    """What the authenticator makes of a header."""
    return asyncio.run(subject.authenticate(header))


def refusal(subject: Authenticator, header: str | None) -> str:
    """The reason for which a header is refused."""
    with pytest.raises(UnauthorizedError) as caught:
        enter(subject, header)
    assert caught.value.code == "unauthorized"
    assert subject.cached(header) is None
    return caught.value.reason


def test_a_good_token_names_subject_tenant_scopes_and_end() -> None:
    """The four things that every route relies on come from the token."""
    token = signed(claims(scope="workflows:read vault:read"))
    assert enter(authenticator(), f"Bearer {token}") == Principal(
        "ada", "acme", frozenset({"workflows:read", "vault:read"}), NOW + 600
    )


@pytest.mark.parametrize("prefix", ["Bearer ", "bearer ", "BEARER ", "Bearer   "])
def test_the_scheme_may_be_written_in_any_case_and_followed_by_spaces(prefix: str) -> None:
    """RFC 9110 calls the scheme case-insensitive and allows several spaces."""
    assert enter(authenticator(), prefix + signed(claims())).subject == "ada"


@pytest.mark.parametrize(
    ("private_key", "algorithm"), [(RSA_KEY, "RS256"), (EC_KEY, "ES256"), (ED_KEY, "EdDSA")]
)
def test_a_public_key_admits_its_own_algorithm_only(private_key: Any, algorithm: str) -> None:
    """The algorithm follows from the key's type, as text or as a file."""
    subject = authenticator(secret="", public_key=pem_of(private_key))
    good = jwt.encode(claims(), private_key, algorithm=algorithm)
    assert enter(subject, f"Bearer {good}").tenant == "acme"
    for other in {"HS256", "RS256", "ES256", "EdDSA"} - {algorithm}:
        token = forge({"alg": other}, claims(), SECRET.encode())
        assert refusal(subject, f"Bearer {token}") == "algorithm"
    header, payload, signature = good.split(".")
    flipped = ("B" if signature[0] != "B" else "C") + signature[1:]
    assert refusal(subject, f"Bearer {header}.{payload}.{flipped}") == "signature"


@pytest.mark.parametrize(
    "spelling", ["none", "None", "NONE", "nOnE", "", " none", "HS256 ", "hs256"]
)
@pytest.mark.parametrize("signature", ["", "AAAA"])
def test_no_spelling_of_no_signature_is_accepted(spelling: str, signature: str) -> None:
    """An unsigned token never counts, however it writes its algorithm."""
    token = f"{b64({'alg': spelling})}.{b64(claims())}.{signature}"
    assert refusal(authenticator(), f"Bearer {token}") in {"algorithm", "malformed"}


def test_an_empty_signature_is_refused_under_the_right_algorithm() -> None:
    """Leaving the signature away does not help where the algorithm is named correctly."""
    token = f"{b64({'alg': 'HS256'})}.{b64(claims())}"
    assert refusal(authenticator(), f"Bearer {token}.") == "malformed"
    assert refusal(authenticator(), f"Bearer {token}.AAAA") == "signature"


@pytest.mark.parametrize("algorithm", ["HS256", "RS256"])
def test_the_public_key_never_works_as_an_hmac_secret(algorithm: str) -> None:
    """The classic confusion attack signs with HMAC under the public PEM, which everybody has."""
    pem = pem_of(RSA_KEY)
    subject = authenticator(secret="", public_key=pem)
    token = forge({"alg": algorithm, "typ": "JWT"}, claims(), pem.encode())
    assert refusal(subject, f"Bearer {token}") in {"algorithm", "signature"}


@pytest.mark.parametrize("algorithm", ["HS384", "HS512", "RS512", "PS256", "ES384", "unknown"])
def test_algorithms_that_are_not_configured_are_refused(algorithm: str) -> None:
    """A right key does not make another algorithm of the library acceptable."""
    token = forge({"alg": algorithm}, claims(), SECRET.encode())
    assert refusal(authenticator(), f"Bearer {token}") == "algorithm"
    if algorithm.startswith("HS"):
        token = jwt.encode(claims(), SECRET.ljust(64, "x"), algorithm=algorithm)
        assert (
            refusal(authenticator(secret=SECRET.ljust(64, "x")), f"Bearer {token}") == "algorithm"
        )


def test_keys_and_addresses_in_a_token_are_never_used() -> None:
    """A token that brings its own key, or says where it lies, is still checked with ours."""
    own = b"k" * 32
    header = {
        "alg": "HS256",
        "jwk": {"kty": "oct", "k": b64(own)},
        "jku": "http://127.0.0.1:1/keys",
        "x5u": "http://127.0.0.1:1/cert",
        "x5c": ["AAAA"],
    }
    assert refusal(authenticator(), f"Bearer {forge(header, claims(), own)}") == "signature"


@pytest.mark.parametrize(
    "kid", ["../../../../dev/null", "' OR 1=1 --", "/proc/self/environ", "http://x/", "\u0000", ""]
)
def test_a_key_id_is_never_more_than_a_name(kid: str) -> None:
    """Whatever a key id says, the configured key decides: an empty HMAC key never does."""
    subject = authenticator()
    for key in (b"", b"\0", b"x" * 32):
        token = forge({"alg": "HS256", "kid": kid}, claims(), key)
        assert refusal(subject, f"Bearer {token}") == "signature"
    assert enter(subject, f"Bearer {signed(claims(), kid=kid)}").subject == "ada"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"alg": "HS256", "crit": ["exp"], "exp": NOW}, "critical"),
        ({"alg": "HS256", "crit": ["b64"], "b64": True}, "critical"),
        ({"alg": "HS256", "crit": ["b64"], "b64": False}, "critical"),
        ({"alg": "HS256", "crit": []}, "critical"),
        ({"alg": "HS256", "crit": None}, "critical"),
        ({"alg": "HS256", "b64": False}, "malformed"),
        ({"alg": "HS256", "kid": 7}, "malformed"),
        ({"alg": ["HS256"]}, "malformed"),
        ({"typ": "JWT"}, "malformed"),
        ({"alg": "HS256", "typ": "logout+jwt"}, "type"),
        (b"[1]", "malformed"),
        (b'{"alg":"HS256"', "malformed"),
        (b'{"alg":"HS256","x":' + b"[" * 2000 + b"]" * 2000 + b"}", "malformed"),
        (b"\xff\xfe", "malformed"),
    ],
)
def test_odd_headers_are_refused(header: bytes | dict[str, Any], reason: str) -> None:
    """Extensions we do not know, wrong types and broken JSON end at the header."""
    token = forge(header, claims(), SECRET.encode())
    assert refusal(authenticator(), f"Bearer {token}") == reason


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
def test_both_token_types_that_grant_access_are_accepted(typ: str) -> None:
    """RFC 9068 access tokens carry a type of their own."""
    assert enter(authenticator(), f"Bearer {signed(claims(), typ=typ)}").subject == "ada"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "missing"),
        ("", "missing"),
        ("   ", "missing"),
        ("Bearer", "missing"),
        ("Bearer ", "missing"),
        ("Bearer    ", "missing"),
        ("Basic YTpi", "scheme"),
        ("Bearerx a.b.c", "scheme"),
        (" Bearer a.b.c", "scheme"),
        ("Bearer\ta.b.c", "scheme"),
        ("Bearer a", "malformed"),
        ("Bearer a.b", "malformed"),
        ("Bearer a.b.c", "malformed"),
        ("Bearer a.b.c.d", "malformed"),
        ("Bearer a.b.c.d.e", "malformed"),
        ("Bearer ..", "malformed"),
        ("Bearer a.b.c ", "malformed"),
        ("Bearer a.b.c, Bearer a.b.c", "malformed"),
        ("Bearer \u00e4.b.c", "malformed"),
        ("Bearer \u0661.b.c", "malformed"),
        ("Bearer \udcff.b.c", "malformed"),
        ("Bearer a.b.c\n", "malformed"),
        ("Bearer a\0.b.c", "malformed"),
        ("Bearer " + "a" * 8193, "too_long"),
        ("Bearer " + "a" * 10_000_000, "too_long"),
    ],
)
def test_what_is_no_compact_token_is_refused_before_it_is_read(
    header: str | None, reason: str
) -> None:
    """Missing, misshapen and huge headers each get their own sentence."""
    assert refusal(authenticator(), header) == reason


def test_segments_left_out_or_added_to_a_good_token_are_noticed() -> None:
    """Two, four and padded segments are no token, even where the signature would be right."""
    subject = authenticator()
    token = signed(claims())
    head, body, _ = token.split(".")
    for variant in (f"{head}.{body}", f"{token}.", f"{token}.{body}", f"{token}=", f".{token}"):
        assert refusal(subject, f"Bearer {variant}") == "malformed"


def test_the_longest_token_is_accepted_and_one_character_more_is_not() -> None:
    """The bound on the length is 8 KiB, judged before anything is decoded."""
    subject = authenticator()
    size = next(size for size in range(5800, 6200) if len(signed(claims(pad="x" * size))) == 8192)
    assert enter(subject, f"Bearer {signed(claims(pad='x' * size))}").subject == "ada"
    assert refusal(subject, f"Bearer {signed(claims(pad='x' * (size + 1)))}") == "too_long"


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b"{", b"\xff", b'{"sub":"\\ud800","exp":1}', b"[" * 3000 + b"]" * 3000],
)
def test_a_signed_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    """What the issuer signed by mistake is a refusal, never a crash."""
    assert refusal(authenticator(), f"Bearer {signed(payload)}") in {"malformed", "claims"}


def test_a_deep_claim_that_is_not_read_does_not_exhaust_the_stack() -> None:
    """Nesting in a foreign claim is refused before it can overflow anything."""
    deep = b'{"sub":"a","exp":9999999999,"x":' + b"[" * 2900 + b"]" * 2900 + b"}"
    assert refusal(authenticator(), f"Bearer {signed(deep)}") == "malformed"


def test_a_refusal_repeats_nothing_of_the_token() -> None:
    """Tokens end up in error answers and logs only if we put them there."""
    marker = "Zebra7Marker"
    texts: list[str] = []
    variants: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"crit": [marker]}, {}),
        ({"kid": marker, "alg": marker}, {}),
        ({}, {"exp": marker}),
        ({}, {"sub": f"\n{marker}"}),
        ({}, {marker: 1, "exp": 1}),
    ]
    for header, changes in variants:
        token = signed(claims(**changes), **header)
        with pytest.raises(UnauthorizedError) as caught:
            enter(authenticator(), f"Bearer {token}")
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        texts += [str(caught.value), repr(caught.value), str(caught.value.__cause__)]
    assert not any(marker in text for text in texts)
