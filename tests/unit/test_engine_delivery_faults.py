"""Deliveries where something goes wrong: whose trouble it is, and that nobody is forgotten."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from refold.engine.courier import ON_WIRE_MAX, TRIES_MAX
from refold.engine.errors import BusyError, NotFoundError, StateError
from refold.engine.subscriptions import PER_TENANT_MAX, Created, NewSubscription
from refold.journal.errors import StoreFailedError
from refold.journal.journal import RequestKey
from refold.projections.errors import StaleViewsError
from tests.support.told import ADA, URL, Ears, Told, told
from tests.support.virtual_time import run_virtually

HOUR = 3600


@pytest.mark.parametrize(("answer", "is_parked"), [(500, True), (503, False), ("timeout", False)])
def test_a_batch_that_fails_while_others_are_taken_waits_alone(
    answer: int | str, is_parked: bool
) -> None:
    """It neither slows others down nor holds up the position; what is the batch's is parked."""

    async def scenario() -> None:
        bad: set[str] = set()
        ears = Ears(lambda events: answer if events[0]["subject"] in bad else 200)
        async with told(ears) as service:
            subscription = await service.subscribe()
            bad.add(await service.run())
            for _ in range(300):
                await service.run()
                await asyncio.sleep(20)
            late = [sent.at_us for sent in ears.sent if sent.status == answer]
            assert len(late) <= TRIES_MAX + (4 if is_parked else 20)
            row = await service.row(subscription)
            assert row.position > (await service.positions())[-1] - 50
            parked = [(x.stream, x.code) for x in row.parked]
            assert parked == ([(*bad, f"http_{answer}")] if is_parked else [])
            assert is_parked or row.backlog.keys() == bad
            bad.clear()
            await service.subscriptions.replay(ADA, subscription)
            await asyncio.sleep(700)
            assert sorted(ears.taken) == await service.positions()

    run_virtually(scenario())


def test_one_hiccup_is_one_trouble_however_much_is_on_the_wire() -> None:
    """A subscriber that is back after a second is told again after seconds, not minutes."""

    async def scenario() -> None:
        away = True
        ears = Ears(lambda _: 503 if away else 200)
        async with told(ears) as service:
            for _ in range(20):
                await service.run()
            await service.subscribe()
            await asyncio.sleep(0.5)
            assert len(ears.sent) == ON_WIRE_MAX
            away = False
            await asyncio.sleep(2)
            assert sorted(ears.taken) == await service.positions()

    run_virtually(scenario())


def test_a_subscriber_that_is_gone_is_parked_once() -> None:
    """Also where all that was on the wire says so."""

    async def scenario() -> None:
        async with told(Ears(lambda _: 410)) as service:
            for _ in range(20):
                await service.run()
            subscription = await service.subscribe()
            await asyncio.sleep(60)
            assert [x.stream for x in (await service.row(subscription)).parked] == [""]

    run_virtually(scenario())


def test_what_was_taken_is_not_sent_again_because_another_stream_is_refused() -> None:
    """A refused stream is backlog: after a kill the others go on where they were."""

    async def scenario() -> None:
        bad: set[str] = set()
        ears = Ears(lambda events: 400 if events[0]["subject"] in bad else 200)
        service = Told(ears)
        subscription = await service.subscribe()
        bad.add(await service.run())
        for _ in range(30):
            await service.run()
        await asyncio.sleep(60)
        await service.kill()
        before = len(ears.taken)
        service = Told(ears, since=service)
        service.subscriptions.start()
        await asyncio.sleep(60)
        assert len(ears.taken) == before
        bad.clear()
        await asyncio.sleep(HOUR)
        assert sorted(ears.taken) == await service.positions()
        assert (await service.row(subscription)).backlog == {}
        await service.subscriptions.stop(10)

    run_virtually(scenario())


def test_what_was_replayed_and_parked_again_stays_parked_after_a_start() -> None:
    """Although it stands in the newest backlog too."""

    async def scenario() -> None:
        bad: set[str] = set()
        ears = Ears(lambda events: 400 if events[0]["subject"] in bad else 200)
        service = Told(ears)
        subscription = await service.subscribe()
        run = await service.run()
        bad.add(run)
        await asyncio.sleep(2 * HOUR)
        await service.run()
        await asyncio.sleep(60)
        await service.subscriptions.replay(ADA, subscription)
        await asyncio.sleep(2 * HOUR)
        row = await service.row(subscription)
        assert [x.stream for x in row.parked] == [*row.backlog] == [run]
        await service.kill()
        tried = len(ears.sent)
        service = Told(ears, since=service)
        service.subscriptions.start()
        await asyncio.sleep(2 * HOUR)
        assert len(ears.sent) == tried
        assert len((await service.row(subscription)).parked) == 1
        await service.subscriptions.stop(10)

    run_virtually(scenario())


def test_a_fault_of_ours_in_a_batch_ends_no_deliveries(caplog: pytest.LogCaptureFixture) -> None:
    """The batch is tried again and then parked; the log tells the place, never the text."""

    async def scenario() -> None:
        bad: set[str] = set()

        def judge(events: list[dict[str, Any]]) -> int:
            if events[0]["subject"] in bad:
                raise RuntimeError("whsec_hush")
            return 200

        ears = Ears(judge)
        async with told(ears) as service:
            subscription = await service.subscribe()
            bad.add(await service.run())
            await asyncio.sleep(2 * HOUR)
            other = await service.run()
            await asyncio.sleep(1)
            assert ears.taken == await service.positions(other)
            row = await service.row(subscription)
            assert [(x.stream, x.code) for x in row.parked] == [(*bad, "internal_error")]

    run_virtually(scenario())
    assert "RuntimeError at" in caplog.text
    assert "hush" not in caplog.text


def test_a_courier_that_fails_begins_anew(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it was, and also where the views can't say at once where it was."""

    async def scenario() -> None:
        ears = Ears()
        async with told(ears) as service:
            await service.subscribe()
            await service.run()
            await asyncio.sleep(1)
            service.view_faults += [StaleViewsError(9, 1), RuntimeError("hush")]
            with monkeypatch.context() as patch:
                patch.setattr("refold.engine.lanes.Lanes.next_due", _broken)
                await service.run()
                await asyncio.sleep(1)
            assert service.subscriptions.count["interrupted"] == 1
            await service.run()
            await asyncio.sleep(20)
            assert service.subscriptions.count["active"] == 1
            assert sorted(set(ears.taken)) == await service.positions()

    run_virtually(scenario())
    assert "hush" not in caplog.text


def _broken(*_: Any) -> None:
    raise ValueError("hush")


def test_one_subscription_that_can_not_begin_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor do views that fail at a start stop all of them."""

    async def scenario() -> None:
        ears = Ears()
        service = Told(ears)
        broken = await service.subscribe()
        subscriptions = [broken, await service.subscribe()]
        assert len(set(subscriptions)) == 2
        await service.subscriptions.stop(10)
        after = Told(ears, since=service)
        opened = after.subscriptions._sealer.open  # pyright: ignore[reportPrivateUsage]

        def fussy(name: str, sealed: str) -> str:
            if name == broken:
                raise ValueError(name)
            return opened(name, sealed)

        monkeypatch.setattr(after.subscriptions._sealer, "open", fussy)  # pyright: ignore[reportPrivateUsage]
        after.view_faults += [StaleViewsError(9, 1), RuntimeError("hush")]
        after.subscriptions.start()
        run = await after.run()
        await asyncio.sleep(20)
        assert ears.taken == await after.positions(run)
        await after.subscriptions.stop(10)

    run_virtually(scenario())


def test_a_deletion_that_the_disk_refuses_leaves_it_told() -> None:
    """And one that is made ends it."""

    async def scenario() -> None:
        ears = Ears()
        async with told(ears) as service:
            subscription = await service.subscribe()
            service.journal.failures.append(StoreFailedError("full"))
            with pytest.raises(StoreFailedError):
                await service.subscriptions.delete(ADA, subscription)
            await service.run()
            await asyncio.sleep(1)
            assert ears.taken == await service.positions()
            await service.subscriptions.delete(ADA, subscription)
            assert not any(service.subscriptions.count.values())

    run_virtually(scenario())


def test_a_request_that_is_cut_off_after_its_commit_has_begun_a_subscription() -> None:
    """Whoever asked hears nothing of it, and the subscriber does."""

    async def scenario() -> None:
        ears = Ears()
        async with told(ears) as service:
            await asyncio.sleep(1)
            append = service.journal.append

            async def cut_off(*args: Any, **named: Any) -> Any:
                await append(*args, **named)
                raise asyncio.CancelledError

            service.journal.append = cut_off  # type: ignore[method-assign]
            with pytest.raises(asyncio.CancelledError):
                await service.subscribe()
            service.journal.append = append  # type: ignore[method-assign]
            run = await service.run()
            await asyncio.sleep(1)
            assert ears.taken == await service.positions(run)

    run_virtually(scenario())


def test_a_full_tenant_hears_again_what_it_has_made() -> None:
    """Its last subscription, under the same key; and two at a time never make one too many."""

    async def scenario() -> None:
        async with told(Ears()) as service:
            new = NewSubscription(URL, (), "", None, with_bodies=True)
            request = RequestKey("acme", "key", "digest")

            async def make(key: RequestKey | None) -> Created:
                return await service.subscriptions.create(ADA, new, key)

            for _ in range(PER_TENANT_MAX - 2):
                await make(None)
            service.journal.commit_seconds = 0.1
            several = (make(request), make(None), make(None))
            made = await asyncio.gather(*several, return_exceptions=True)
            assert [isinstance(one, StateError) for one in made] == [False, False, True]
            again = await make(request)
            assert (again.is_repeated, again.secret) == (True, "")
            first = made[0]
            assert isinstance(first, Created)
            assert first.secret not in f"{first!r} {list(first.__rich_repr__())}"

    run_virtually(scenario())


def test_a_replay_is_answered_whatever_becomes_of_the_subscription() -> None:
    """Busy where it can't be noted, missing where it was deleted meanwhile, never silence."""

    async def scenario() -> None:
        ears = Ears(lambda _: 410)
        async with told(ears) as service:
            subscription = await service.subscribe()
            await service.run()
            await asyncio.sleep(1)
            replay = service.subscriptions.replay
            service.journal.failures.append(StoreFailedError("full"))
            with pytest.raises(BusyError):
                await replay(ADA, subscription)
            service.journal.commit_seconds = 1
            deletion = asyncio.create_task(service.subscriptions.delete(ADA, subscription))
            await asyncio.sleep(0.5)
            with pytest.raises(NotFoundError):
                await replay(ADA, subscription)
            await deletion
            service.journal.commit_seconds = 0
            subscription = await service.subscribe()
            asked = asyncio.create_task(replay(ADA, subscription))
            await asyncio.sleep(0)
            await service.subscriptions.stop(10)
            with pytest.raises(BusyError):
                await asked

    run_virtually(scenario())
