"""When a provider's set of keys (JWKS) is fetched again: rotation, withdrawal and outage."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ed25519

from refold.http import jwks
from refold.http.auth import (
    AuthUnavailableError,
)
from refold.http.jwks import BODY_BYTES_MAX, FIRST_RETRY_S, FRESH_S, REFETCH_S
from tests.support.jwks_provider import Bench, bearer, jwk, provider_of, run

ED_KEY = ed25519.Ed25519PrivateKey.generate()
OTHER_ED_KEY = ed25519.Ed25519PrivateKey.generate()


def test_a_new_key_is_fetched_when_its_id_is_first_seen() -> None:
    """Rotation needs no restart, and made-up ids cost one fetch in thirty seconds at most."""

    async def scenario() -> None:
        async with provider_of(jwk(ED_KEY, "old")) as provider:
            bench = Bench(provider)
            assert await bench.reason(bearer(ED_KEY, "EdDSA", "old")) == ""
            provider.keys.append(jwk(OTHER_ED_KEY, "new"))
            fresh = bearer(OTHER_ED_KEY, "EdDSA", "new")
            bench.timer.now += REFETCH_S - 0.1
            assert await bench.reason(fresh) == "key"
            assert provider.fetches == 1
            bench.timer.now += 0.1
            assert await bench.reason(fresh) == ""
            assert provider.fetches == 2
            for kid in ("x", "y", "../keys", ""):
                assert await bench.reason(bearer(OTHER_ED_KEY, "EdDSA", kid)) == "key"
            assert provider.fetches == 2

    run(scenario)


def test_a_withdrawn_key_stops_working_even_for_remembered_tokens() -> None:
    """Ten minutes after the last fetch nobody enters before the set was asked for again."""

    async def scenario() -> None:
        async with provider_of(jwk(ED_KEY, "a"), jwk(OTHER_ED_KEY, "b")) as provider:
            bench = Bench(provider)
            kept, withdrawn = bearer(ED_KEY, "EdDSA", "a"), bearer(OTHER_ED_KEY, "EdDSA", "b")
            assert [await bench.reason(kept), await bench.reason(withdrawn)] == ["", ""]
            del provider.keys[1]
            bench.timer.now += FRESH_S - 0.1
            assert bench.subject.cached(withdrawn) is not None
            bench.timer.now += 0.1
            assert bench.subject.cached(kept) is None
            assert await bench.reason(withdrawn) == "key"
            assert provider.fetches == 2
            assert bench.subject.cached(withdrawn) is None
            assert await bench.reason(kept) == ""
            assert bench.subject.cached(kept) is not None

    run(scenario)


def test_remembered_tokens_of_a_key_withdrawn_by_a_rotation_are_dropped_at_once() -> None:
    """A renewal for an unknown id takes effect on the cache too, not ten minutes later."""

    async def scenario() -> None:
        async with provider_of(jwk(ED_KEY, "a")) as provider:
            bench = Bench(provider)
            withdrawn = bearer(ED_KEY, "EdDSA", "a")
            assert await bench.reason(withdrawn) == ""
            provider.keys[:] = [jwk(OTHER_ED_KEY, "b")]
            bench.timer.now += REFETCH_S
            assert bench.subject.cached(withdrawn) is not None
            assert await bench.reason(bearer(OTHER_ED_KEY, "EdDSA", "b")) == ""
            assert bench.subject.cached(withdrawn) is None

    run(scenario)


def test_a_renewal_without_change_keeps_what_is_remembered() -> None:
    """The cache is only dropped when the keys differ."""

    async def scenario() -> None:
        async with provider_of(jwk(ED_KEY, "a")) as provider:
            bench = Bench(provider)
            one, two = (bearer(ED_KEY, "EdDSA", "a", sub=name) for name in ("one", "two"))
            assert [await bench.reason(one), await bench.reason(two)] == ["", ""]
            bench.timer.now += FRESH_S
            assert await bench.reason(one) == ""
            assert provider.fetches == 2
            assert bench.subject.cached(two) is not None

    run(scenario)


def html() -> web.Response:
    """What a proxy answers instead of the provider."""
    return web.Response(text="<html>", content_type="text/html")


def huge() -> web.Response:
    """A key set larger than the bound, valid otherwise."""
    return web.json_response({"keys": [], "pad": "x" * BODY_BYTES_MAX})


def bomb() -> web.Response:
    """A small compressed answer that unpacks to something large."""
    packed = gzip.compress(json.dumps({"keys": [], "pad": "x" * 10_000_000}).encode())
    return web.Response(body=packed, headers={"Content-Encoding": "gzip"})


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=500),
        lambda: web.Response(status=302, headers={"Location": "/keys"}),
        lambda: web.Response(status=204),
        lambda: web.json_response({"keys": []}, status=404),
        lambda: web.json_response([]),
        lambda: web.json_response({"keys": "none"}),
        lambda: web.json_response({"keys": None}),
        lambda: web.Response(body=b'{"keys":[],"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
        lambda: web.Response(body=b"\xff"),
        html,
        huge,
        bomb,
    ],
)
def test_an_answer_that_is_no_key_set_leaves_the_old_keys_in_use(
    answer: Callable[[], web.Response], caplog: pytest.LogCaptureFixture
) -> None:
    """An outage at the provider, of any kind, is not an outage here; it is tried again later."""

    async def scenario() -> None:
        async with provider_of(jwk(ED_KEY, "a")) as provider:
            bench = Bench(provider)
            remembered, other = (bearer(ED_KEY, "EdDSA", "a", sub=name) for name in ("one", "two"))
            assert await bench.reason(remembered) == ""
            provider.answer = answer
            bench.timer.now += FRESH_S
            assert await bench.reason(other) == ""
            assert provider.fetches == 2
            assert bench.subject.cached(remembered) is not None
            assert await bench.reason(bearer(ED_KEY, "EdDSA", "a", sub="three")) == ""
            assert provider.fetches == 2
            provider.answer = provider.key_set
            provider.keys.clear()
            bench.timer.now += REFETCH_S
            assert await bench.reason(remembered) == "key"
            assert provider.fetches == 3

    run(scenario)
    assert [record.name for record in caplog.records] == ["refold.auth"]
    assert "the old keys stay in use" in caplog.text
    assert "127.0.0.1" not in caplog.text


def test_without_any_keys_the_service_is_unavailable_and_tries_again_soon() -> None:
    """Where no set was ever fetched no token can be judged, which is not the caller's fault."""

    async def scenario() -> None:
        async with provider_of(jwk(ED_KEY, "a")) as provider:
            bench = Bench(provider)
            provider.answer = lambda: web.Response(status=503)
            header = bearer(ED_KEY, "EdDSA", "a")
            with pytest.raises(AuthUnavailableError) as caught:
                await bench.subject.authenticate(header)
            assert (caught.value.code, caught.value.retry_after_s) == ("overloaded", FIRST_RETRY_S)
            provider.answer = provider.key_set
            bench.timer.now += FIRST_RETRY_S - 0.5
            with pytest.raises(AuthUnavailableError) as caught:
                await bench.subject.authenticate(header)
            assert (provider.fetches, caught.value.retry_after_s) == (1, 1)
            bench.timer.now += 0.5
            assert await bench.reason(header) == ""
            assert provider.fetches == 2

    run(scenario)


def test_a_provider_that_can_t_be_reached_makes_the_service_unavailable(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A refused connection is handled like any other outage, and its address is not logged."""

    async def scenario() -> None:
        async with provider_of() as provider:
            bench = Bench(provider)
        with pytest.raises(AuthUnavailableError):
            await bench.subject.authenticate(bearer(ED_KEY, "EdDSA", "a"))

    run(scenario)
    assert "no keys are known" in caplog.text
    assert "127.0.0.1" not in caplog.text


def test_a_provider_that_does_not_speak_http_makes_the_service_unavailable() -> None:
    """Another service on the configured port is an outage, not a crash."""

    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n")
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        async with await asyncio.start_server(babble, "127.0.0.1", 0) as server, provider_of() as p:
            p.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            with pytest.raises(AuthUnavailableError):
                await Bench(p).subject.authenticate(bearer(ED_KEY, "EdDSA", "a"))

    run(scenario)


def test_many_callers_share_one_fetch_and_one_that_hangs_up_does_not_abort_it() -> None:
    """A cold start under load asks the provider once, and a cancelled caller harms nobody."""

    async def scenario() -> None:
        async with provider_of(jwk(ED_KEY, "a")) as provider:
            bench = Bench(provider)
            provider.gate = asyncio.Event()
            headers = [bearer(ED_KEY, "EdDSA", "a", sub=f"user{n}") for n in range(20)]
            first, *others = [asyncio.create_task(bench.reason(header)) for header in headers]
            await provider.reached.wait()
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            provider.gate.set()
            assert await asyncio.gather(*others) == [""] * 19
            assert provider.fetches == 1

    run(scenario)


def test_in_a_known_outage_only_the_caller_that_tries_waits() -> None:
    """A provider that hangs must not stall every request each thirty seconds."""

    async def scenario() -> None:
        async with provider_of(jwk(ED_KEY, "a")) as provider:
            bench = Bench(provider)
            headers = [bearer(ED_KEY, "EdDSA", "a", sub=f"user{n}") for n in range(3)]
            assert await bench.reason(headers[0]) == ""
            # After a long silence the first renewal is waited for by all: the old keys may be
            # withdrawn since yesterday.
            bench.timer.now += FRESH_S
            provider.answer = lambda: web.Response(status=500)
            provider.gate = asyncio.Event()
            provider.reached.clear()
            first = asyncio.create_task(bench.reason(headers[1]))
            await provider.reached.wait()
            assert bench.subject.cached(headers[0]) is None
            provider.gate.set()
            assert await first == ""
            # Now the outage is known.
            bench.timer.now += REFETCH_S
            provider.gate = asyncio.Event()
            provider.reached.clear()
            second = asyncio.create_task(bench.reason(headers[0]))
            await provider.reached.wait()
            assert bench.subject.cached(headers[0]) is not None
            assert await bench.reason(headers[2]) == ""
            assert not second.done()
            provider.gate.set()
            assert await second == ""
            assert provider.fetches == 3
            # The provider is back, so the next silence is an ordinary one again.
            provider.answer = provider.key_set
            bench.timer.now += REFETCH_S
            assert await bench.reason(headers[0]) == ""
            bench.timer.now += FRESH_S
            provider.gate = asyncio.Event()
            provider.reached.clear()
            third = asyncio.create_task(bench.reason(headers[1]))
            await provider.reached.wait()
            assert bench.subject.cached(headers[0]) is None
            provider.gate.set()
            assert await third == ""

    run(scenario)


def test_a_provider_that_never_answers_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fetch has a time limit of its own, after which it counts as failed."""
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT_S", 0.05)

    async def scenario() -> None:
        async with provider_of(jwk(ED_KEY, "a")) as provider:
            bench = Bench(provider)
            provider.gate = asyncio.Event()
            with pytest.raises(AuthUnavailableError):
                await bench.subject.authenticate(bearer(ED_KEY, "EdDSA", "a"))
            provider.gate.set()

    run(scenario)
