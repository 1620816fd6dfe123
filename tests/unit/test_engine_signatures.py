"""Signed calls: what is signed, what is accepted, and that everything else is not."""

from __future__ import annotations

import hmac
from hashlib import sha256

import msgspec
import pytest

from refold.engine.signatures import (
    TOLERANCE_SECONDS_MAX,
    SignatureConfig,
    accepted_signature,
    check_signature_config,
    sign,
    signed_text,
)

NOW = 1_762_000_000.5
BODY = b'{"order": 7}'
TIMED = SignatureConfig(secrets=["{{ vault.shop }}"])
UNTIMED = SignatureConfig(secrets=["{{ vault.shop }}"], tolerance_seconds=0)


def headers(secret: str = "s1", at: str = "1762000000", key: str | None = None) -> dict[str, str]:
    """Sign a call as a sender would."""
    text = f"{at}.{key}.".encode() if key else f"{at}.".encode()
    given = hmac.new(secret.encode(), text + BODY, sha256).hexdigest()
    made = {"x-signature": f"sha256={given}", "x-signature-timestamp": at}
    return made | ({"idempotency-key": key} if key else {})


def accepts(given: dict[str, str], *secrets: str, body: bytes = BODY) -> bool:
    """Say whether a call is accepted now."""
    found = accepted_signature(TIMED, secrets or ("s1",), given, body, NOW)
    assert found is None or len(found) == 64
    return found is not None


def test_a_signed_call_is_accepted_once_its_time_its_key_and_its_body_fit() -> None:
    """The forms that the trigger's page shows to senders."""
    assert accepts(headers())
    assert accepts(headers(key="0b0e1c5e-0000-4000-8000-000000000000"))
    assert accepts(headers("s2"), "s1", "s2")
    assert accepts(headers("s1"), "s1", "s2")
    upper = headers()
    upper["x-signature"] = "sha256=" + upper["x-signature"][7:].upper()
    assert accepts(upper)


def test_upper_and_lower_case_are_one_signature() -> None:
    """Else a copy in another case would be another call."""
    upper = headers()
    upper["x-signature"] = "sha256=" + upper["x-signature"][7:].upper()
    made = [accepted_signature(TIMED, ["s1"], given, BODY, NOW) for given in (headers(), upper)]
    assert made[0] == made[1] is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-signature", ""),
        ("x-signature", "sha256="),
        ("x-signature", "sha1=" + "0" * 64),
        ("x-signature", "sha256=" + "0" * 64),
        ("x-signature", "sha256=" + "0" * 63),
        ("x-signature", "sha256=" + "٠" * 64),
        ("x-signature", "x" * 10_000),
        ("x-signature-timestamp", ""),
        ("x-signature-timestamp", "1762000001"),
        ("x-signature-timestamp", "1762000000.0"),
        ("x-signature-timestamp", "-1762000000"),
        ("x-signature-timestamp", "١٧٦٢٠٠٠٠٠٠"),
        ("x-signature-timestamp", "9" * 5000),
        ("idempotency-key", "0b0e1c5e-0000-4000-8000-000000000000"),
    ],
)
def test_a_call_with_one_thing_changed_is_refused(name: str, value: str) -> None:
    """A key that is added to a captured call would make another run of it."""
    assert not accepts(headers() | {name: value})


def test_a_call_that_lacks_something_is_refused() -> None:
    """Each header in its turn, the body, and all of them."""
    for name in headers():
        assert not accepts({k: v for k, v in headers().items() if k != name})
    assert not accepts(headers(), body=BODY + b" ")
    assert not accepts({})
    assert not accepts(headers(), "other")


def test_the_window_is_open_both_ways_and_no_further() -> None:
    """A sender's clock may be ahead as well."""
    for off, good in ((0, True), (-299, True), (299, True), (-301, False), (302, False)):
        assert accepts(headers(at=str(int(NOW) + off))) is good, off


def test_without_a_secret_nothing_is_accepted() -> None:
    """Neither with none at all, nor with an empty one, whose signatures everybody can make."""
    assert accepted_signature(TIMED, [], headers(), BODY, NOW) is None
    assert not accepts(headers(""), "")
    assert accepts(headers(), "", "s1")


def test_without_tolerance_the_body_alone_is_signed() -> None:
    """The form of GitHub; time and key are of no concern."""
    given = {"x-signature": sign("s1", BODY), "idempotency-key": "k"}
    assert accepted_signature(UNTIMED, ["s1"], given, BODY, NOW)
    assert accepted_signature(UNTIMED, ["s1"], headers(), BODY, NOW) is None
    assert (TIMED.replays_show, UNTIMED.replays_show) == (True, False)
    # The example of RFC 4231, 4.3.
    assert sign("Jefe", b"what do ya want for nothing?").endswith(
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )
    assert signed_text(b"b", "1", None) == b"1.b"
    assert signed_text(b"b", "1", "k") == b"1.k.b"


def test_secrets_are_references() -> None:
    """A secret in clear would stand in every version of the workflow."""
    good = ["{{ vault.shop }}", "{{vault.shop-old}}", "{{- vault.a_1 -}}", "vlt_" + "0" * 26]
    good += ["{{ vault['shop:a.b'] }}"]
    config = SignatureConfig(secrets=good)
    assert check_signature_config(config) == {}
    assert config.references == ["shop", "shop-old", "a_1", "vlt_" + "0" * 26, "shop:a.b"]
    bad = ["hunter2", "", "{{ vault.a | upcase }}", "{{ vault.a }}{{ vault.b }}", "vlt_1"]
    errors = check_signature_config(SignatureConfig(secrets=bad))
    assert list(errors) == [f"signature.secrets[{n}]" for n in range(5)]
    assert "hunter2" not in str(errors)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"secrets": []},
        {"secrets": ["vlt_1"] * 6},
        {"secrets": "vlt_1"},
        {"secrets": ["x"], "tolerance_seconds": -1},
        {"secrets": ["x"], "tolerance_seconds": TOLERANCE_SECONDS_MAX + 1},
        {"secrets": ["x"], "tolerance": 5},
    ],
)
def test_a_configuration_that_can_not_be_is_refused(data: object) -> None:
    """A misspelt field, too: what it was meant to protect would be open."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(data, SignatureConfig)
