"""Deliveries of much: long streams, a long history, large bodies, and what is of no interest."""

from __future__ import annotations

import asyncio
from typing import Any

from refold.engine.courier import NOTE_AFTER
from refold.engine.subscriber_batch import BODY_BYTES_MAX
from tests.support.told import ADA, Ears, told
from tests.support.virtual_time import run_virtually

HOUR = 3600


def test_a_long_stream_that_is_refused_holds_up_no_other_and_comes_in_order() -> None:
    """Thousands of events, read again a piece at a time."""

    async def scenario() -> None:
        bad: set[str] = set()
        ears = Ears(lambda events: 400 if events[0]["subject"] in bad else 200, seconds=0.01)
        async with told(ears) as service:
            subscription = await service.subscribe()
            long = await service.run()
            bad.add(long)
            for turn in range(20):
                await service.note(long, 5 + turn * 250, 250)
            other = await service.run()
            await asyncio.sleep(30)
            assert ears.taken == await service.positions(other)
            await asyncio.sleep(2 * HOUR)
            bad.clear()
            await service.subscriptions.replay(ADA, subscription)
            await asyncio.sleep(0)
            await service.note(long, 5005, 3)
            await asyncio.sleep(30)
            assert ears.taken[5:] == await service.positions(long)

    run_virtually(scenario())


def test_a_long_history_is_told_from_its_beginning_and_can_be_left_at_any_time() -> None:
    """What is found first is sent before the last is looked at."""

    async def scenario() -> None:
        ears = Ears()
        async with told(ears) as service:
            run = await service.run()
            for turn in range(40):
                await service.note(run, 5 + turn * 250, 250, tenant="acme")
            last = await service.run()
            await service.subscribe(types=["run.completed"])
            read_all, seen = service.journal.read_all, 0

            async def counted(*args: Any) -> Any:
                nonlocal seen
                seen += 1
                await asyncio.sleep(0.1)
                assert seen < 5 or ears.taken
                return await read_all(*args)

            service.journal.read_all = counted  # type: ignore[method-assign,assignment]
            await asyncio.sleep(0.45)
            assert len(ears.taken) == 1
            await asyncio.sleep(10)
            service.journal.read_all = read_all  # type: ignore[method-assign]
            assert seen > 9
            assert ears.taken[-1] == (await service.positions(last))[-1]

    run_virtually(scenario())


def test_what_comes_while_the_past_is_read_comes_once_and_keeps_nobody_busy() -> None:
    """It stands in what is read and in memory; on virtual time, a busy loop would never end."""

    async def scenario() -> None:
        ears = Ears()
        async with told(ears) as service:
            for _ in range(3):
                await service.run()
            read_all = service.journal.read_all

            async def meanwhile(*args: Any) -> Any:
                await service.run()
                return await read_all(*args)

            await service.subscribe()
            service.journal.read_all = meanwhile  # type: ignore[method-assign,assignment]
            await asyncio.sleep(HOUR)
            service.journal.read_all = read_all  # type: ignore[method-assign]
            assert sorted(ears.taken) == await service.positions()

    run_virtually(scenario())


def test_what_is_of_no_interest_is_passed_over_unread_and_noted_now_and_then() -> None:
    """Another tenant's events wake nobody, and after a start are not looked at again."""

    async def scenario() -> None:
        ears = Ears()
        async with told(ears) as service:
            subscription = await service.subscribe()
            run = await service.run(tenant="globex")
            await asyncio.sleep(1)
            read_all = service.journal.read_all
            service.journal.read_all = _unwanted  # type: ignore[method-assign,assignment]
            for turn in range(NOTE_AFTER // 250 + 1):
                await service.note(run, 5 + turn * 250, 250, tenant="globex")
            own = await service.run()
            await asyncio.sleep(60)
            service.journal.read_all = read_all  # type: ignore[method-assign]
            assert ears.taken == await service.positions(own)
            assert (await service.row(subscription)).position >= NOTE_AFTER

    run_virtually(scenario())


def test_a_body_that_fits_into_no_request_is_withheld() -> None:
    """The event comes all the same, so its stream is not parked for ever."""

    async def scenario() -> None:
        ears = Ears()
        async with told(ears) as service:
            await service.subscribe()
            run = await service.run()
            await service.note(run, 5, body=b'"' + b"x" * BODY_BYTES_MAX + b'"')
            await service.note(run, 6, 3, body=b'"' + b"y" * (BODY_BYTES_MAX - 2) + b'"')
            await asyncio.sleep(1)
            assert ears.taken == await service.positions(run)
            data = [event["data"] for sent in ears.sent for event in sent.events][-4:]
            assert ["withheld" in one for one in data] == [True, False, False, False]
            assert len(data[1]["body"]) == BODY_BYTES_MAX - 2

    run_virtually(scenario())


def _unwanted(*_: Any) -> None:
    raise AssertionError("nothing of it needs to be read")
