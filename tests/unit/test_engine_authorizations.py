"""Stored grants: who may use them, what is kept of them, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from refold.engine.authorizations import CACHED_MAX, NewAuthorization
from refold.engine.component import NodeError
from refold.engine.egress import EgressRules
from refold.engine.errors import InvalidError, NotFoundError, StateError
from refold.journal import events as e
from refold.journal.journal import Commit, Metadata, NewEvent, RequestKey, StreamWrite
from refold.projections.authorization_state import AuthorizationState, fold
from refold.projections.authorizations_projection import (
    AUTHORIZATIONS,
    AuthorizationsProjection,
    authorization_row,
)
from tests.support import projection_kit
from tests.support.authorization_server import (
    CALLER,
    CLIENT_SECRET,
    STRANGER,
    Scene,
    authorizations_on,
    grant_of,
    scene,
)
from tests.support.journal_kit import NEW_IDS, FakeClock, requested

Script = Callable[[Scene], Awaitable[None]]
REFRESH: dict[str, Any] = {"grant_type": "refresh_token", "refresh_token": "refresh-token-0"}


def play(directory: Path, script: Script) -> None:
    """Play a script on a journal of its own."""

    async def scenario() -> None:
        async with scene(directory, FakeClock()) as made:
            await script(made)

    asyncio.run(scenario())


async def code_of(waiting: Awaitable[Any]) -> str:
    """Give the code of a node's failure."""
    with pytest.raises(NodeError) as caught:
        await waiting
    return caught.value.code


def test_another_tenants_grant_looks_exactly_like_none(tmp_path: Path) -> None:
    """For clients and for nodes, also once a token of it is in memory."""

    async def script(at: Scene) -> None:
        auth = await at.store()
        await at.token(auth)
        messages: set[str] = set()
        for id_ in (auth, "auth_" + "0" * 26, "auth_x", "fl_" + "0" * 26, "", "auth_" + "ü" * 26):
            with pytest.raises(NotFoundError) as hidden:
                await at.grants.find(STRANGER.tenant, id_)
            with pytest.raises(NodeError) as refused:
                await at.grants.token(STRANGER.tenant, id_)
            with pytest.raises(NotFoundError):
                await at.grants.delete(STRANGER, id_)
            assert refused.value.code == "authorization_missing"
            messages |= {str(hidden.value), refused.value.message}
        assert messages == {"No such authorization.", "There is no such authorization."}
        assert (await at.grants.find(CALLER.tenant, auth)).exists

    play(tmp_path, script)


def test_no_secret_stands_in_the_journal_in_any_form(tmp_path: Path) -> None:
    """Client secret, refresh tokens old and new, and access tokens: none reaches the disk."""

    async def script(at: Scene) -> None:
        at.server.rotates = True
        auth = await at.store(**REFRESH, client_auth="post")
        await at.token(auth)
        at.server.refresh_token = "another"
        await at.grants.invalidate("acme", auth, "access-token-1")
        assert await code_of(at.token(auth)) == "authorization_refused"
        at.server.answers = []

    play(tmp_path, script)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert b"acme-crm" in stored
    for secret in (CLIENT_SECRET.encode(), b"client secret", b"refresh-token", b"access-token"):
        assert secret not in stored
        assert secret.hex().encode() not in stored


def test_a_deleted_grant_can_be_decrypted_by_nobody(tmp_path: Path) -> None:
    """Every wrapped key of it is gone from the journal, also those of earlier secrets."""

    async def script(at: Scene) -> None:
        at.server.rotates = True
        auth = await at.store(**REFRESH)
        await at.token(auth)
        await at.grants.delete(CALLER, auth)
        events = await at.journal.read_stream(auth)
        keys = [event.position for event in events if isinstance(event.facts, e.KeyWrapped)]
        assert len(keys) == 2
        assert await at.journal.read_bodies(keys) == {}
        assert await code_of(at.token(auth)) == "authorization_missing"
        with pytest.raises(NotFoundError):
            await at.grants.delete(CALLER, auth)

    play(tmp_path, script)


def test_a_grant_that_a_workflow_holds_stays(tmp_path: Path) -> None:
    """Whether it is in use is decided by the journal, in the commit of the deletion."""

    async def script(at: Scene) -> None:
        auth = await at.store()
        run = "fl_run_" + "0" * 26
        meta = Metadata("acme", "", "request-3")
        # Any hold will do: a run holds what its request names.
        await at.journal.append(Commit([StreamWrite(run, 0, [requested(auth)], meta)]))
        with pytest.raises(StateError) as caught:
            await at.grants.delete(CALLER, auth)
        assert caught.value.code == "workflow_in_use"
        ended = NewEvent(NEW_IDS.new(), e.RunCompleted(node=""))
        await at.journal.append(Commit([StreamWrite(run, 1, [ended], meta)]))
        await at.grants.delete(CALLER, auth)

    play(tmp_path, script)


def test_a_grant_that_is_deleted_while_it_is_renewed_is_gone(tmp_path: Path) -> None:
    """The new refresh token is not recorded in a stream that has ended, nor its token used."""

    async def script(at: Scene) -> None:
        at.server.rotates = True
        at.server.held = asyncio.Event()
        auth = await at.store(**REFRESH)
        await at.grants.find("acme", auth)
        caller = asyncio.create_task(at.token(auth))
        await at.server.heard.wait()
        await at.grants.delete(CALLER, auth)
        at.server.held.set()
        assert await code_of(caller) == "authorization_missing"
        assert (await at.types(auth))[-1] == "authorization.deleted"
        assert await code_of(at.token(auth)) == "authorization_missing"

    play(tmp_path, script)


def test_what_a_deletion_leaves_in_memory_is_dropped(tmp_path: Path) -> None:
    """Neither a token nor a refresh token that could not be recorded outlives its grant."""

    async def script(at: Scene) -> None:
        auth = await at.store()
        await at.token(auth)
        cache: Any = at.grants._tokens  # pyright: ignore[reportPrivateUsage]
        assert list(cache._held) == [auth]
        await at.grants.delete(CALLER, auth)
        assert not cache._held

    play(tmp_path, script)


def test_a_create_that_is_repeated_stores_one_grant(tmp_path: Path) -> None:
    """The key is in the event, so a kill in between changes nothing."""

    async def script(at: Scene) -> None:
        key = RequestKey("acme\nauthorizations\n", "k", "d")
        first = await at.grants.create(CALLER, grant_of(at.url), key)
        second = await at.grants.create(CALLER, grant_of(at.url), key)
        assert (first.repeated, second.repeated) == (False, True)
        assert first.events[0].stream == second.events[0].stream

    play(tmp_path, script)


def test_a_service_that_starts_again_uses_what_was_stored(tmp_path: Path) -> None:
    """Everything but the access tokens follows from the journal."""

    async def script(at: Scene) -> None:
        auth = await at.store()
        assert await at.token(auth) == "access-token-1"
        async with authorizations_on(at.journal, FakeClock()) as again:
            assert await again.token("acme", auth) == "access-token-2"
            # Each follows what the other writes.
            await again.delete(CALLER, auth)
            assert await code_of(at.token(auth)) == "authorization_missing"

    play(tmp_path, script)


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"token_url": "http://auth.example/token"}, "token_url"),
        ({"token_url": "http://192.168.1.1/token"}, "token_url"),
        ({"token_url": "https://192.168.1.1/token"}, "token_url"),
        ({"token_url": "https://[::1]/token"}, "token_url"),
        ({"token_url": "https://169.254.169.254/token"}, "token_url"),
        ({"token_url": "https://0x7f.1/token"}, "token_url"),
        ({"token_url": "https://u:hush@auth.example/"}, "token_url"),
        ({"token_url": "file:///etc/passwd"}, "token_url"),
        ({"token_url": "auth.example"}, "token_url"),
        ({"token_url": ""}, "token_url"),
        ({"token_url": "https://a.example/\r\nX: hush"}, "token_url"),
        ({"grant_type": "refresh_token"}, "refresh_token"),
        ({"refresh_token": "hush"}, "refresh_token"),
    ],
)  # fmt: skip
def test_a_grant_that_could_never_be_used_is_refused(
    tmp_path: Path, parts: dict[str, Any], field: str
) -> None:
    """Secrets are sent to the address, so it must be public and encrypted unless allowed."""

    async def script(at: Scene) -> None:
        with pytest.raises(InvalidError) as caught:
            await at.store(**parts)
        assert list(caught.value.errors) == [field]
        assert "hush" not in str(caught.value.errors)
        assert at.journal.head == 1

    play(tmp_path, script)


@pytest.mark.parametrize(
    "email", ["", "nobody", "Ann <a@b.example>", "a@b\r\nBcc: c@d", "x" * 9999]
)
def test_an_email_that_is_none_is_refused(tmp_path: Path, email: str) -> None:
    """It is shown in lists, and never anything but an address."""

    async def script(at: Scene) -> None:
        grant = grant_of(at.url).grant
        with pytest.raises(InvalidError) as caught:
            await at.grants.create(CALLER, NewAuthorization("crm", email, grant), None)
        assert list(caught.value.errors) == ["email"]

    play(tmp_path, script)


def test_what_an_endpoint_name_resolves_to_is_judged_when_it_is_called(tmp_path: Path) -> None:
    """A public name may lead to a private address; the guard sits where the call is made."""

    async def script(at: Scene) -> None:
        auth = await at.store(token_url="https://localhost/token")
        async with authorizations_on(at.journal, FakeClock(), rules=EgressRules()) as strict:
            with pytest.raises(NodeError) as caught:
                await strict.token("acme", auth)
        assert caught.value.code == "authorization_unavailable"
        assert "loopback" in caught.value.message

    play(tmp_path, script)


def test_a_row_says_what_the_fold_of_its_stream_says(tmp_path: Path) -> None:
    """Lists and single grants are read on different ways and must not contradict each other."""

    async def script(at: Scene) -> None:
        at.server.rotates = True
        kept = await at.store(**REFRESH)
        gone, refused = await at.store(), await at.store()
        foreign = await at.store(STRANGER)
        await at.token(kept)
        await at.grants.delete(CALLER, gone)
        at.server.refresh_token = "another"
        await at.grants.record_refusal(refused, "invalid_grant")
        events = await at.journal.read_all()
        states: dict[str, AuthorizationState] = {}
        for id_ in (kept, gone, refused, foreign):
            states[id_] = fold(id_, [event for event in events if event.stream == id_])
            assert states[id_].exists == (id_ != gone)
        with projection_kit.generation_of(AuthorizationsProjection(), events) as connection:
            rows = [authorization_row(row) for row in connection.execute(AUTHORIZATIONS, ("acme",))]
        assert [(r.authorization_id, r.status, r.created_at, r.body_at) for r in rows] == [
            (id_, states[id_].status, states[id_].created_at, states[id_].body_at)
            for id_ in (kept, refused)
        ]
        assert [r.status for r in rows] == ["active", "refused"]

    play(tmp_path, script)


def test_memory_is_bounded_and_what_was_dropped_is_read_again(tmp_path: Path) -> None:
    """A service with many grants keeps the states of some."""

    async def script(at: Scene) -> None:
        auth = await at.store()
        await at.token(auth)
        states: Any = at.grants._states  # pyright: ignore[reportPrivateUsage]
        for number in range(CACHED_MAX):
            states[f"auth_{number}"] = AuthorizationState(f"auth_{number}")
        other = await at.store()
        await at.token(other)
        assert len(states) <= CACHED_MAX + 1
        states.clear()
        assert await at.token(auth) == "access-token-1"

    play(tmp_path, script)


def test_a_stored_grant_is_read_back_whole(tmp_path: Path) -> None:
    """Nothing of it is lost on its way through the seal."""

    async def script(at: Scene) -> None:
        parts: dict[str, Any] = {
            **REFRESH,
            "scope": "a b",
            "audience": "x",
            "client_auth": "post",
        }
        auth = await at.store(**parts)
        assert await at.grants.read_grant(auth) == grant_of(at.url, **parts).grant

    play(tmp_path, script)
