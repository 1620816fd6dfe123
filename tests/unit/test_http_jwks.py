"""Which keys of a provider's set (JWKS) may check a token."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.utils import base64url_encode

from refold.http.jwks import REFETCH_S, parse_key_set
from tests.support.jwks_provider import CLAIMS, Bench, bearer, jwk, provider_of, run

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
OTHER_ED_KEY = ed25519.Ed25519PrivateKey.generate()


def test_each_kind_of_key_is_accepted_by_its_id_after_one_fetch() -> None:
    """RSA, EC and Ed25519 keys work side by side, and the set is fetched once."""

    async def scenario() -> None:
        keys = [jwk(RSA_KEY, "r"), jwk(EC_KEY, "e", use="sig"), jwk(ED_KEY, "o", alg="EdDSA")]
        async with provider_of(*keys) as provider:
            bench = Bench(provider)
            assert provider.fetches == 0
            assert await bench.reason(bearer(RSA_KEY, "RS256", "r")) == ""
            assert await bench.reason(bearer(EC_KEY, "ES256", "e")) == ""
            assert await bench.reason(bearer(ED_KEY, "EdDSA", "o")) == ""
            assert await bench.reason(bearer(OTHER_ED_KEY, "EdDSA", "o")) == "signature"
            # A known id under another algorithm is an unknown key, never a try with this one.
            assert await bench.reason(bearer(EC_KEY, "ES256", "r")) == "key"
            assert provider.fetches == 1

    run(scenario)


def test_configured_algorithms_bound_what_a_set_can_offer() -> None:
    """A provider that adds a key of another family does not widen what is accepted."""

    async def scenario() -> None:
        async with provider_of(jwk(RSA_KEY, "r"), jwk(EC_KEY, "e")) as provider:
            bench = Bench(provider, algorithms=("ES256",))
            assert await bench.reason(bearer(EC_KEY, "ES256", "e")) == ""
            assert await bench.reason(bearer(RSA_KEY, "RS256", "r")) == "algorithm"

    run(scenario)
    document = json.dumps({"keys": [jwk(RSA_KEY, "r"), jwk(EC_KEY, "e")]}).encode()
    keys = parse_key_set(document, frozenset({"ES256"}))
    assert keys.pick("RS256", "r") is None
    assert keys.pick("ES256", "e") is not None


def small_rsa() -> Any:
    """An RSA key too short to be safe."""
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)


def ed_private_part() -> str:
    """The private member of an Ed25519 JWK."""
    entry = jwt.get_algorithm_by_name("EdDSA").to_jwk(ED_KEY, as_dict=True)
    return str(entry["d"])


@pytest.mark.parametrize(
    ("entry", "header"),
    [
        (lambda: jwk(ED_KEY, "k", use="enc"), lambda: bearer(ED_KEY, "EdDSA", "k")),
        (lambda: jwk(ED_KEY, "k", key_ops=["sign"]), lambda: bearer(ED_KEY, "EdDSA", "k")),
        (lambda: jwk(ED_KEY, "k", alg="ES256"), lambda: bearer(ED_KEY, "EdDSA", "k")),
        (lambda: jwk(ED_KEY, "k", crv="X25519"), lambda: bearer(ED_KEY, "EdDSA", "k")),
        (lambda: jwk(ED_KEY, "k", d=ed_private_part()), lambda: bearer(ED_KEY, "EdDSA", "k")),
        (lambda: jwk(ED_KEY, "k", x="AAAA"), lambda: bearer(ED_KEY, "EdDSA", "k")),
        (lambda: jwk(ED_KEY, "k", x=7), lambda: bearer(ED_KEY, "EdDSA", "k")),
        (lambda: jwk(ED_KEY, None), lambda: bearer(ED_KEY, "EdDSA", "k")),
        (lambda: jwk(EC_KEY, "k", alg="ES384"), lambda: bearer(EC_KEY, "ES256", "k")),
        (lambda: jwk(EC_KEY, "k", y=jwk(EC_KEY, "k")["x"]), lambda: bearer(EC_KEY, "ES256", "k")),
        (lambda: jwk(RSA_KEY, "k", alg="PS256"), lambda: bearer(RSA_KEY, "RS256", "k")),
        (lambda: jwk(RSA_KEY, "k", e="AQ"), lambda: bearer(RSA_KEY, "RS256", "k")),
        (lambda: jwk(RSA_KEY, "k", n=""), lambda: bearer(RSA_KEY, "RS256", "k")),
    ],
)
def test_keys_not_meant_or_not_fit_for_signatures_are_passed_over(
    entry: Callable[[], Any], header: Callable[[], str]
) -> None:
    """An entry that can't be used neither admits a token nor spoils its neighbours."""

    async def scenario() -> None:
        async with provider_of(entry(), "text", None, {}, jwk(OTHER_ED_KEY, "fine")) as provider:
            bench = Bench(provider)
            assert await bench.reason(header()) == "key"
            assert await bench.reason(bearer(OTHER_ED_KEY, "EdDSA", "fine")) == ""

    run(scenario)


def test_an_rsa_key_that_is_too_short_is_passed_over() -> None:
    """A weak key in the set does not count, even with a right signature."""

    async def scenario() -> None:
        weak = small_rsa()
        async with provider_of(jwk(weak, "k")) as provider:
            signature_input = jwt.encode(CLAIMS, RSA_KEY, algorithm="RS256", headers={"kid": "k"})
            signed = signature_input.rpartition(".")[0].encode()
            signature = jwt.get_algorithm_by_name("RS256").sign(signed, weak)
            token = f"{signed.decode()}.{base64url_encode(signature).decode()}"
            assert await Bench(provider).reason(f"Bearer {token}") == "key"

    run(scenario)


def test_symmetric_keys_in_a_set_are_ignored() -> None:
    """A published HMAC key is known to everybody, so it proves nothing."""

    async def scenario() -> None:
        key = b"k" * 32
        entry = {"kty": "oct", "kid": "k", "k": base64url_encode(key).decode()}
        async with provider_of(entry | {"alg": "HS256"}, entry | {"alg": "RS256"}) as provider:
            bench = Bench(provider)
            token = jwt.encode(CLAIMS, key, algorithm="HS256", headers={"kid": "k"})
            assert await bench.reason(f"Bearer {token}") == "algorithm"
            assert await bench.reason(bearer(RSA_KEY, "RS256", "k")) == "key"

    run(scenario)


def test_a_token_without_key_id_is_tried_only_against_a_single_key() -> None:
    """With several keys of its algorithm there is no guessing."""

    async def scenario() -> None:
        header = bearer(ED_KEY, "EdDSA", None)
        async with provider_of(jwk(ED_KEY, "a"), jwk(RSA_KEY, "r")) as provider:
            assert await Bench(provider).reason(header) == ""
            provider.keys.append(jwk(OTHER_ED_KEY, "b"))
            bench = Bench(provider)
            assert await bench.reason(header) == "key"
            bench.timer.now += REFETCH_S
            assert await bench.reason(header) == "key"
            assert provider.fetches == 2
            provider.keys[:] = [jwk(ED_KEY, "a"), jwk(OTHER_ED_KEY, "a")]
            assert await Bench(provider).reason(bearer(ED_KEY, "EdDSA", "a")) == "key"

    run(scenario)


def test_tokens_that_can_not_be_right_never_cause_a_fetch() -> None:
    """Garbage from outside is refused before the provider is bothered."""

    async def scenario() -> None:
        async with provider_of(jwk(ED_KEY, "a")) as provider:
            bench = Bench(provider)
            unsigned = jwt.encode(CLAIMS, "", algorithm="none", headers={"kid": "a"})
            for header in ("", "Bearer x", "Bearer a.b.c", f"Bearer {unsigned}AA"):
                assert await bench.reason(header) != ""
            assert provider.fetches == 0

    run(scenario)
