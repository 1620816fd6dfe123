"""Claims and scopes of a verified token, and how long its verification is remembered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jwt
import pytest

from refold.http import auth
from refold.http.auth import (
    SCOPES,
    Authenticator,
    AuthSettings,
    ForbiddenError,
    Principal,
    UnauthorizedError,
    require,
)

SECRET = "a-secret-of-the-tests-0123456789abcdef"
NOW = 1_750_000_000
ABSENT = object()


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


def signed(payload: dict[str, Any]) -> str:
    """A token with a right HS256 signature over any payload."""
    return jwt.PyJWS().encode(json.dumps(payload).encode(), SECRET, algorithm="HS256")


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


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": ABSENT}, "claims"),
        ({"exp": str(NOW + 600)}, "claims"),
        ({"exp": True}, "claims"),
        ({"exp": None}, "claims"),
        ({"exp": [NOW + 600]}, "claims"),
        ({"exp": 1e300}, "claims"),
        ({"exp": 10**400}, "claims"),
        ({"exp": -1}, "claims"),
        ({"exp": float("inf")}, "malformed"),
        ({"exp": float("nan")}, "malformed"),
        ({"exp": 0}, "expired"),
        ({"exp": NOW - 30}, "expired"),
        ({"nbf": NOW + 31}, "not_yet_valid"),
        ({"iat": NOW + 31}, "not_yet_valid"),
        ({"nbf": str(NOW)}, "claims"),
        ({"nbf": True}, "claims"),
        ({"iat": "today"}, "claims"),
        ({"nbf": 1e300}, "claims"),
        ({"sub": ABSENT}, "claims"),
        ({"sub": 7}, "claims"),
        ({"sub": None}, "claims"),
        ({"sub": ""}, "subject"),
        ({"sub": "a" * 256}, "subject"),
        ({"sub": "a\nb"}, "subject"),
        ({"sub": "a\u202eb"}, "subject"),
        ({"org_id": 7}, "claims"),
        ({"org_id": None}, "claims"),
        ({"org_id": ""}, "tenant"),
        ({"org_id": "a" * 256}, "tenant"),
        ({"org_id": "a\u0000b"}, "tenant"),
        ({"org_id": "\u007f"}, "tenant"),
        ({"scope": ["admin"]}, "claims"),
        ({"scopes": "admin"}, "claims"),
        ({"scopes": [1]}, "claims"),
        ({"permissions": {"admin": True}}, "claims"),
    ],
)
def test_claims_of_the_wrong_form_or_time_are_refused(changes: dict[str, Any], reason: str) -> None:
    """A right signature does not excuse a claim that can't be relied on."""
    assert refusal(authenticator(), f"Bearer {signed(claims(**changes))}") == reason


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - 29},
        {"exp": NOW + 0.5},
        {"nbf": NOW + 30},
        {"iat": NOW + 30},
        {"sub": "a" * 255},
        {"org_id": "\u00e9cole 7"},
        {"iss": "anyone", "aud": ["any", "service"]},
    ],
)
def test_the_edges_of_what_is_allowed_are_accepted(changes: dict[str, Any]) -> None:
    """Leeway is 30 seconds either way; issuer and audience count only when configured."""
    assert enter(authenticator(), f"Bearer {signed(claims(**changes))}").scopes == {"admin"}


def test_the_tenant_is_the_subject_where_no_organisation_is_named() -> None:
    """A personal token gets a tenant of its own."""
    assert enter(authenticator(), f"Bearer {signed(claims(org_id=ABSENT))}").tenant == "ada"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": ABSENT}, "issuer"),
        ({"iss": "https://issuer.example/"}, "issuer"),
        ({"iss": ["https://issuer.example"]}, "claims"),
        ({"aud": ABSENT}, "audience"),
        ({"aud": "refold2"}, "audience"),
        ({"aud": "ref"}, "audience"),
        ({"aud": []}, "audience"),
        ({"aud": ["other"]}, "audience"),
        ({"aud": {"refold": 1}}, "claims"),
    ],
)
def test_issuer_and_audience_must_match_exactly_when_configured(
    changes: dict[str, Any], reason: str
) -> None:
    """Neither a prefix nor an absent claim passes for the configured value."""
    subject = authenticator(issuer="https://issuer.example", audience="refold")
    base = {"iss": "https://issuer.example", "aud": "refold"}
    assert refusal(subject, f"Bearer {signed(claims(**(base | changes)))}") == reason
    for audience in ("refold", ["other", "refold"]):
        token = signed(claims(**(base | {"aud": audience})))
        assert enter(subject, f"Bearer {token}").subject == "ada"


def test_scopes_are_the_union_of_three_claims_without_foreign_ones() -> None:
    """Issuers put scopes in different places, and give some that are not ours."""
    token = signed(
        claims(
            scope="openid  workflows:read",
            scopes=["vault:read", "WORKFLOWS:WRITE"],
            permissions=["journal:read", "workflows:*", ""],
        )
    )
    assert enter(authenticator(), f"Bearer {token}").scopes == {
        "workflows:read",
        "vault:read",
        "journal:read",
    }


def test_a_missing_scope_is_named() -> None:
    """The caller of a forbidden route learns which scope to ask for."""
    principal = Principal("ada", "acme", frozenset({"workflows:read"}), NOW)
    require(principal, "workflows:read")
    with pytest.raises(ForbiddenError, match="'workflows:write'") as caught:
        require(principal, "workflows:write")
    assert (caught.value.code, caught.value.scope) == ("insufficient_scope", "workflows:write")


def test_admin_implies_no_other_scope() -> None:
    """What a token may do can be read off its scopes."""
    principal = Principal("root", "acme", frozenset({"admin"}), NOW)
    require(principal, "admin")
    for scope in SCOPES - {"admin"}:
        with pytest.raises(ForbiddenError):
            require(principal, scope)


def test_a_route_that_asks_for_an_unknown_scope_is_a_bug() -> None:
    """A misspelt scope must not turn into a route that nobody can use."""
    with pytest.raises(AssertionError):
        require(Principal("ada", "acme", SCOPES, NOW), "workflow:read")


def test_a_verified_token_is_found_without_another_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hot path verifies no signature: it answers even while verification is out of order."""
    subject = authenticator()
    header = f"Bearer {signed(claims())}"
    assert subject.cached(header) is None
    principal = enter(subject, header)

    def broken(*_: object) -> bytes:
        raise AssertionError("the signature was checked again")

    monkeypatch.setattr(jwt.PyJWS, "decode", broken)
    assert subject.cached(header) is principal
    assert enter(subject, header) is principal
    for other in (None, "", "x" * 9000, "Bearer \u00e4", header + "A", header[:-1]):
        assert subject.cached(other) is None


def test_the_cache_stops_at_exp_and_the_full_check_decides_in_the_leeway() -> None:
    """A remembered token is never used past its end; the leeway belongs to the full check."""
    clock = Clock()
    subject = authenticator(clock)
    header = f"Bearer {signed(claims(exp=NOW + 60.5))}"
    enter(subject, header)
    clock.now = NOW + 59.9
    assert subject.cached(header) is not None
    clock.now = NOW + 60.5
    assert subject.cached(header) is None
    assert enter(subject, header).subject == "ada"
    assert subject.cached(header) is None
    clock.now = NOW + 90.5
    assert refusal(subject, header) == "expired"


def test_the_cache_is_not_used_before_nbf() -> None:
    """Neither a token let in by leeway nor a clock set back is served from memory."""
    clock = Clock()
    subject = authenticator(clock)
    header = f"Bearer {signed(claims(nbf=NOW + 20))}"
    enter(subject, header)
    assert subject.cached(header) is None
    clock.now = NOW + 20
    enter(subject, header)
    assert subject.cached(header) is not None
    clock.now = NOW + 19.9
    assert subject.cached(header) is None
    clock.now = NOW - 11
    assert refusal(subject, header) == "not_yet_valid"


def test_the_cache_forgets_the_oldest_beyond_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tokens cost a bounded amount of memory."""
    monkeypatch.setattr(auth, "CACHE_ENTRIES_MAX", 3)
    subject = authenticator()
    headers = [f"Bearer {signed(claims(sub=f'user{n}'))}" for n in range(5)]
    for header in headers:
        enter(subject, header)
    assert [subject.cached(header) is not None for header in headers] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_a_token_living_on_leeway_takes_no_place_in_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What can't be served from memory must not push out what can."""
    monkeypatch.setattr(auth, "CACHE_ENTRIES_MAX", 1)
    subject = authenticator()
    header = f"Bearer {signed(claims())}"
    enter(subject, header)
    for changes in ({"exp": NOW - 1}, {"nbf": NOW + 1}):
        enter(subject, f"Bearer {signed(claims(**changes))}")
    assert subject.cached(header) is not None


def test_a_refused_token_is_not_remembered() -> None:
    """A token that was refused as expired is not served from memory when the clock steps back."""
    clock = Clock()
    subject = authenticator(clock)
    header = f"Bearer {signed(claims(exp=NOW - 100))}"
    assert refusal(subject, header) == "expired"
    clock.now = NOW - 200
    assert subject.cached(header) is None
    assert enter(subject, header).subject == "ada"
