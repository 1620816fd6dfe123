"""Access tokens: fetched once, renewed in time, and never fooled by what a provider answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from refold.engine.component import NodeError
from refold.engine.oauth import (
    Grant,
    GrantRefusedError,
    Token,
    TokenUnavailableError,
    read_answer,
)
from refold.engine.outbound import OutboundResponse
from tests.support.authorization_server import CLIENT_SECRET, Scene, scene
from tests.support.journal_kit import START_US, FakeClock

Script = Callable[[Scene, FakeClock], Awaitable[None]]


def play(directory: Path, script: Script) -> None:
    """Play a script on a journal of its own."""

    async def scenario() -> None:
        clock = FakeClock()
        async with scene(directory, clock) as made:
            await script(made, clock)

    asyncio.run(scenario())


async def failure(waiting: Awaitable[str]) -> NodeError:
    """Wait for a token that does not come and give the reason."""
    with pytest.raises(NodeError) as caught:
        await waiting
    return caught.value


@pytest.mark.parametrize("way", ["basic", "post"])
def test_a_client_shows_its_credentials_as_its_provider_wants_them(
    tmp_path: Path, way: str
) -> None:
    """Both ways of RFC 6749, with characters that must be encoded; what is optional is sent."""

    async def script(at: Scene, clock: FakeClock) -> None:
        del clock
        auth = await at.store(client_auth=way, scope="a b", audience="https://api.example")
        assert await at.token(auth) == "access-token-1"
        assert at.server.authentications == [way]
        (form,) = at.server.forms
        assert {name: form[name] for name in form if not name.startswith("client_")} == {
            "grant_type": "client_credentials", "scope": "a b", "audience": "https://api.example",
        }  # fmt: skip

    play(tmp_path, script)


def test_a_token_is_renewed_before_it_expires_and_not_sooner(tmp_path: Path) -> None:
    """A call must not begin with a token that ends under way."""

    async def script(at: Scene, clock: FakeClock) -> None:
        auth = await at.store()
        seen: list[str] = []
        for second in (0, 539, 540, 1079, 1080):
            clock.time_us = START_US + second * 1_000_000
            seen.append(await at.token(auth))
        assert seen == [f"access-token-{n}" for n in (1, 1, 2, 2, 3)]

    play(tmp_path, script)


@pytest.mark.parametrize(
    ("expires_in", "kept_s"),
    [(None, 3540), (60, 30), ("600", 540), (0, 0), (-5, 0), (True, 3540), ("soon", 3540),
     (10**18, 24 * 3600 - 60), (1e300, 24 * 3600 - 60), (59.9, 29.5), ([], 3540)],
)  # fmt: skip
def test_a_life_is_read_with_care(tmp_path: Path, expires_in: Any, kept_s: float) -> None:
    """Optional, sometimes text, sometimes nonsense; a token without life is used once."""

    async def script(at: Scene, clock: FakeClock) -> None:
        at.server.expires_in = expires_in
        auth = await at.store()
        await at.token(auth)
        if kept_s:
            clock.time_us = START_US + round(kept_s * 1_000_000) - 1
            assert await at.token(auth) == "access-token-1"
        clock.time_us = START_US + round(kept_s * 1_000_000)
        assert await at.token(auth) == "access-token-2"

    play(tmp_path, script)


def test_fifty_callers_share_one_request(tmp_path: Path) -> None:
    """A provider counts requests, and a rotated token would be spent by the second one."""

    async def script(at: Scene, clock: FakeClock) -> None:
        del clock
        at.server.held = asyncio.Event()
        auth = await at.store(grant_type="refresh_token", refresh_token="refresh-token-0")
        # Once its state is in memory, nobody is behind the others.
        await at.grants.find("acme", auth)
        callers = [asyncio.create_task(at.token(auth)) for _ in range(50)]
        await at.server.heard.wait()
        # Whoever is cut off ends nothing for the others.
        callers[0].cancel()
        at.server.held.set()
        first, *others = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        assert set(others) == {"access-token-1"}
        assert len(at.server.forms) == 1

    play(tmp_path, script)


def test_a_token_that_a_server_did_not_take_is_dropped_once(tmp_path: Path) -> None:
    """Of many callers who got 401, only the first asks for a new token."""

    async def script(at: Scene, clock: FakeClock) -> None:
        del clock
        auth = await at.store()
        old = await at.token(auth)
        await at.grants.invalidate("acme", auth, old)
        new = await at.token(auth)
        await at.grants.invalidate("acme", auth, old)
        assert await at.token(auth) == new != old

    play(tmp_path, script)


def test_a_new_refresh_token_is_durable_before_its_access_token_is_used(tmp_path: Path) -> None:
    """The old one is spent; a restart goes on with the new one."""

    async def script(at: Scene, clock: FakeClock) -> None:
        at.server.rotates = True
        auth = await at.store(grant_type="refresh_token", refresh_token="refresh-token-0")
        for turn in range(3):
            clock.time_us = START_US + turn * 600_000_000
            await at.token(auth)
        assert [form["refresh_token"] for form in at.server.forms] == [
            "refresh-token-0", "refresh-token-1", "refresh-token-2",
        ]  # fmt: skip
        assert await at.types(auth) == ["authorization.defined", "key.wrapped"] + [
            "authorization.refreshed", "key.wrapped",
        ] * 3  # fmt: skip

    play(tmp_path, script)

    async def after() -> None:
        clock = FakeClock(START_US + 10_000_000_000)
        async with scene(tmp_path, clock) as at:
            at.server.refresh_token = "refresh-token-3"
            events = await at.journal.read_all()
            auth = next(e.stream for e in events if e.facts.type == "authorization.defined")
            grant = await at.grants.read_grant(auth)
            assert grant.refresh_token == "refresh-token-3"

    asyncio.run(after())


def test_a_new_refresh_token_that_could_not_be_recorded_is_recorded_first_of_all(
    tmp_path: Path,
) -> None:
    """Until it is durable, no token is handed out, and the spent one is not sent again."""

    async def script(at: Scene, clock: FakeClock) -> None:
        del clock
        at.server.rotates = True
        auth = await at.store(grant_type="refresh_token", refresh_token="refresh-token-0")
        append = at.journal.append
        refusals = [2]

        async def refusing(*given: Any, **named: Any) -> Any:
            from refold.journal.errors import OverloadedError

            if refusals[0]:
                refusals[0] -= 1
                raise OverloadedError("the journal's queue is full")
            return await append(*given, **named)

        at.journal.append = refusing  # type: ignore[method-assign]
        assert (await failure(at.token(auth))).code == "authorization_unavailable"
        assert (await failure(at.token(auth))).code == "authorization_unavailable"
        assert len(at.server.forms) == 1
        assert await at.token(auth) == "access-token-2"
        assert at.server.forms[1]["refresh_token"] == "refresh-token-1"

    play(tmp_path, script)


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "invalid_grant"), (200, "invalid_grant"), (401, "invalid_client"),
     (403, "unauthorized_client"), (400, "invalid_scope"), (400, "unsupported_grant_type"),
     (400, "invalid_request")],
)  # fmt: skip
def test_a_refused_grant_is_remembered_and_not_asked_for_again(
    tmp_path: Path, code: str, status: int
) -> None:
    """A provider that hears a bad credential over and over shuts its client out."""

    async def script(at: Scene, clock: FakeClock) -> None:
        del clock
        said = {"error": code, "error_description": CLIENT_SECRET}
        at.server.answers = [web.json_response(said, status=status)]
        auth = await at.store()
        first, second = await failure(at.token(auth)), await failure(at.token(auth))
        assert first.code == second.code == "authorization_refused"
        assert code in first.message
        assert CLIENT_SECRET not in first.message
        assert len(at.server.forms) == 1
        assert (await at.types(auth))[-1] == "authorization.refused"
        assert (await at.grants.find("acme", auth)).status == "refused"

    play(tmp_path, script)


HUGE = b'{"access_token": "' + b"x" * 70_000 + b'"}'
HOSTILE: list[tuple[int, bytes]] = [
    (200, b""), (200, b"<html>sign in</html>"), (200, b"[]"), (200, b"null"), (200, b'"token"'),
    (200, b"{}"), (200, b'{"access_token": null}'), (200, b'{"access_token": 7}'),
    (200, b'{"access_token": ""}'), (200, b'{"access_token": "a b"}'), (200, HUGE),
    (200, b'{"access_token": "a\\r\\nX: y"}'), (200, '{"access_token": "ü"}'.encode()),
    (200, b'{"access_token": "' + b"x" * 20_000 + b'"}'), (200, b"\xff\xfe"), (200, b"[" * 60_000),
    (200, b'{"access_token": "a", "token_type": "mac"}'),
    (200, b'{"access_token": "a", "token_type": 1}'),
    (200, b'{"access_token": "a", "refresh_token": 7}'),
    (200, b'{"access_token": "a", "refresh_token": "\\n"}'),
    (200, b'{"error": "server_error"}'), (200, b'{"error": {"code": "invalid_grant"}}'),
    (500, b'{"error": "invalid_grant"}'), (503, b"busy"), (429, b'{"error": "slow_down"}'),
    (400, b"<html>invalid_grant</html>"), (401, b'{"error": "please log in"}'), (404, b"{}"),
    (201, b'{"access_token": "a"}'), (302, b'{"access_token": "a"}'),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body"), HOSTILE)
def test_an_answer_that_says_nothing_about_the_grant_leaves_it_active(
    tmp_path: Path, status: int, body: bytes
) -> None:
    """A page of a proxy must not end an authorization, and nothing of it is repeated."""

    async def script(at: Scene, clock: FakeClock) -> None:
        del clock
        at.server.answers = [web.Response(status=status, body=body)]
        auth = await at.store()
        error = await failure(at.token(auth))
        assert error.code == "authorization_unavailable"
        assert "html" not in error.message
        assert error.received == {}
        assert await at.token(auth) == "access-token-1"
        assert (await at.grants.find("acme", auth)).status == "active"

    play(tmp_path, script)


def test_a_redirect_takes_no_secret_anywhere(tmp_path: Path) -> None:
    """With 307 a client would send the form, secrets included, to whatever address is named."""

    async def script(at: Scene, clock: FakeClock) -> None:
        del clock
        at.server.answers = [web.Response(status=307, headers={"Location": f"{at.url}/other"})]
        auth = await at.store(client_auth="post")
        assert (await failure(at.token(auth))).code == "authorization_unavailable"
        assert len(at.server.forms) == 1

    play(tmp_path, script)


def test_a_provider_that_is_away_is_no_refusal_and_a_token_is_used_up_meanwhile(
    tmp_path: Path,
) -> None:
    """Within the margin the old token is still good."""

    async def script(at: Scene, clock: FakeClock) -> None:
        auth = await at.store()
        await at.token(auth)
        at.server.answers = [web.Response(status=503), web.Response(status=503)]
        clock.time_us = START_US + 590_000_000
        assert await at.token(auth) == "access-token-1"
        clock.time_us = START_US + 600_000_000
        assert (await failure(at.token(auth))).code == "authorization_unavailable"
        gone = await at.store(token_url="http://127.0.0.1:1/token")
        assert (await failure(at.token(gone))).code == "authorization_unavailable"

    play(tmp_path, script)


def test_closing_ends_what_is_under_way(tmp_path: Path) -> None:
    """A provider that never answers does not hold up the end of the service."""

    async def script(at: Scene, clock: FakeClock) -> None:
        del clock
        at.server.held = asyncio.Event()
        auth = await at.store()
        caller = asyncio.create_task(at.token(auth))
        await at.server.heard.wait()
        await at.grants.close()
        with pytest.raises(asyncio.CancelledError):
            await caller
        at.server.held.set()

    play(tmp_path, script)


def test_what_holds_secrets_shows_none() -> None:
    """Neither in a log line nor in a traceback."""
    grant = Grant(
        grant_type="refresh_token", token_url="https://a/t", client_id="hush", client_secret="hush",
        refresh_token="hush",
    )  # fmt: skip
    token = Token("hush", 1, "hush")
    assert "hush" not in f"{grant!r} {token!r} {list(grant.__rich_repr__())}"
    assert "hush" not in str(list(token.__rich_repr__()))


@given(
    st.integers(100, 599),
    st.binary(max_size=200)
    | st.dictionaries(
        st.sampled_from(["error", "access_token", "token_type", "expires_in", "refresh_token"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
        | st.lists(st.none(), max_size=2),
    ).map(lambda value: json.dumps(value).encode()),
)  # fmt: skip
def test_any_answer_is_a_token_a_refusal_or_no_answer(status: int, body: bytes) -> None:
    """Nothing that a provider sends is an unexpected error."""
    try:
        token = read_answer(OutboundResponse(status, "", {}, body))
    except (GrantRefusedError, TokenUnavailableError):
        return
    assert status == 200
    assert token.access_token.isascii()
    assert token.access_token.isprintable()
    assert 0 <= token.lifetime_s <= 24 * 3600
