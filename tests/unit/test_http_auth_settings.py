"""Authentication settings: the ones refused at the start, and tokens minted to fit them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from refold.http.auth import (
    SCOPES,
    Authenticator,
    AuthSettings,
    AuthSettingsError,
    Principal,
    UnauthorizedError,
    mint,
)
from refold.http.auth_keys import PEM_BYTES_MAX, static_key

SECRET = "a-secret-of-the-tests-0123456789abcdef"
NOW = 1_750_000_000

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
CLAIMS = {"sub": "ada", "org_id": "acme", "scope": "admin", "exp": NOW + 600}


def pem_of(private_key: Any) -> str:
    """The public half as PEM."""
    pem: bytes = private_key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode()


def authenticator(**settings: Any) -> Authenticator:
    """An authenticator on the secret, at a clock that stands still."""
    chosen: dict[str, Any] = {"secret": SECRET} | settings
    return Authenticator(AuthSettings(**chosen), clock=lambda: NOW)


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


def small_rsa() -> Any:
    """An RSA key too short to be safe."""
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)


def private_pem(private_key: Any) -> str:
    """A private key as PEM, as somebody may paste it by mistake."""
    pem: bytes = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (dict, "No way to check tokens"),
        (lambda: {"secret": SECRET, "public_key": "x"}, "JWT_SECRET and JWT_PUBLIC_KEY"),
        (lambda: {"public_key": "x", "jwks_url": "http://x/"}, "JWT_PUBLIC_KEY and JWKS_URL"),
        (lambda: {"secret": "x" * 31}, "31 bytes"),
        (lambda: {"secret": "\udcff" * 40}, "UTF-8"),
        (lambda: {"secret": pem_of(RSA_KEY)}, "JWT_SECRET is a public key"),
        (lambda: {"secret": '{"kty":"oct","k":"' + "A" * 43 + '"}'}, "a JWK"),
        (lambda: {"secret": SECRET, "algorithms": ("none",)}, "'none'"),
        (lambda: {"secret": SECRET, "algorithms": ("HS512",)}, "'HS512'"),
        (lambda: {"secret": SECRET, "algorithms": ("hs256",)}, "'hs256'"),
        (lambda: {"secret": SECRET, "algorithms": ("HS256", "RS256")}, "RS256"),
        (lambda: {"public_key": pem_of(RSA_KEY), "algorithms": ("HS256",)}, "HS256"),
        (lambda: {"public_key": pem_of(RSA_KEY), "algorithms": ("RS256", "HS256")}, "HS256"),
        (lambda: {"public_key": pem_of(RSA_KEY), "algorithms": ("ES256",)}, "lacks RS256"),
        (lambda: {"public_key": private_pem(EC_KEY)}, "private key"),
        (lambda: {"public_key": "/nonexistent/key.pem"}, "can't be read"),
        (lambda: {"public_key": "a\0b"}, "not the path"),
        (lambda: {"public_key": "-----BEGIN PUBLIC KEY-----\nAAAA"}, "not a readable"),
        (lambda: {"public_key": pem_of(small_rsa())}, "1024 bits"),
        (
            lambda: {"public_key": pem_of(ec.generate_private_key(ec.SECP384R1()))},
            "secp384r1",
        ),
        (lambda: {"jwks_url": "https://x/", "algorithms": ("HS256",)}, "HS256"),
        (lambda: {"jwks_url": "file:///etc/passwd"}, "not a usable"),
        (lambda: {"jwks_url": "ftp://host/keys"}, "not a usable"),
        (lambda: {"jwks_url": "https://"}, "not a usable"),
        (lambda: {"jwks_url": "https://x:99999/"}, "not a usable"),
        (lambda: {"jwks_url": "https://[x/"}, "not a usable"),
        (lambda: {"jwks_url": "https://x/\r\nHost: y"}, "not a usable"),
        (lambda: {"jwks_url": "https://user:pass@x/"}, "user name or password"),
        (lambda: {"secret": SECRET, "leeway_s": -1}, "leeway"),
        (lambda: {"secret": SECRET, "leeway_s": 301}, "leeway"),
    ],
)
def test_settings_that_make_no_sense_stop_the_start(
    settings: Callable[[], dict[str, Any]], words: str
) -> None:
    """Each wrong setting is one clear sentence, and the value of a secret is not in it."""
    given = settings()
    with pytest.raises(AuthSettingsError, match=words) as caught:
        Authenticator(AuthSettings(**given))
    message = str(caught.value)
    assert caught.value.code == "auth_settings_invalid"
    assert "\n" not in message
    assert message.endswith(".")
    for name in ("secret", "public_key", "jwks_url"):
        assert not (len(given.get(name, "")) > 8 and given[name] in message)


def test_public_algorithms_besides_the_key_s_own_are_harmless() -> None:
    """Listing every public algorithm still admits only the one that the key is made for."""
    subject = authenticator(
        secret="", public_key=pem_of(RSA_KEY), algorithms=("RS256", "ES256", "EdDSA")
    )
    token = jwt.encode(CLAIMS, EC_KEY, algorithm="ES256")
    assert refusal(subject, f"Bearer {token}") == "algorithm"


def test_a_public_key_is_read_from_a_file(tmp_path: Path) -> None:
    """The setting may name a file instead of holding the key."""
    path = tmp_path / "key.pem"
    path.write_text(pem_of(ED_KEY))
    subject = authenticator(secret="", public_key=str(path))
    token = jwt.encode(CLAIMS, ED_KEY, algorithm="EdDSA")
    assert enter(subject, f"Bearer {token}").subject == "ada"


def test_a_key_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    """A path that leads to something huge must not fill the memory."""
    path = tmp_path / "key.pem"
    path.write_text("x" * (PEM_BYTES_MAX + 1))
    with pytest.raises(AuthSettingsError, match="larger than"):
        authenticator(secret="", public_key=str(path))


def test_no_representation_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Settings get printed, by us, by rich and by test reports; secrets must not be."""
    caplog.set_level(logging.DEBUG)
    settings = AuthSettings(
        secret=SECRET, public_key=private_pem(EC_KEY), jwks_url="https://user:pass@x/"
    )
    subject = authenticator()
    enter(subject, f"Bearer {jwt.encode(CLAIMS, SECRET, algorithm='HS256')}")
    shown = [repr(settings), str(settings), str(settings.__rich_repr__()), f"{settings}"]
    shown += [repr(subject), repr(static_key(AuthSettings(secret=SECRET))), caplog.text]
    for secret in (SECRET, "PRIVATE", "pass"):
        assert not any(secret in text for text in shown)


def test_a_minted_token_is_accepted_by_the_server_with_that_secret() -> None:
    """`refold token` and the server agree."""
    token = mint(
        SECRET,
        subject="me",
        tenant="acme",
        scopes=SCOPES,
        ttl_s=3600,
        now=NOW + 0.9,
        issuer="i",
        audience="a",
    )
    subject = authenticator(issuer="i", audience="a")
    assert enter(subject, f"Bearer {token}") == Principal("me", "acme", SCOPES, NOW + 3600)
    assert refusal(authenticator(secret="y" * 32), f"Bearer {token}") == "signature"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret": "short"}, "5 bytes"),
        ({"subject": ""}, "printable"),
        ({"tenant": "a\nb"}, "printable"),
        ({"tenant": "a" * 256}, "printable"),
        ({"scopes": ["workflows:*"]}, r"workflows:\*"),
        ({"ttl_s": 0}, "0 seconds"),
        ({"ttl_s": 10**12}, "seconds"),
    ],
)
def test_a_token_that_would_be_refused_is_not_minted(changes: dict[str, Any], words: str) -> None:
    """The command line hears at once of what the server would refuse later."""
    good: dict[str, Any] = {
        "secret": SECRET,
        "subject": "me",
        "tenant": "acme",
        "scopes": ["admin"],
        "ttl_s": 60,
        "now": NOW,
    }
    with pytest.raises(AuthSettingsError, match=words):
        mint(**(good | changes))
