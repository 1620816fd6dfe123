"""Deliveries to subscribers: at least once, in order within a stream, parked and sent again."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from refold.engine.courier import ON_WIRE_MAX, TRIES_MAX
from refold.engine.errors import InvalidError, NotFoundError, StateError
from refold.engine.subscriber import signature
from refold.engine.subscriptions import PER_TENANT_MAX
from refold.journal import events as e
from refold.journal.errors import StoreFailedError
from tests.support.told import ADA, WORKFLOW, Ears, Told, told
from tests.support.virtual_time import run_virtually

HOUR = 3600


def test_every_event_arrives_once_signed_and_in_order_within_its_stream() -> None:
    """Those from before, where they were asked for, and those that come later."""

    async def scenario() -> None:
        ears = Ears()
        async with told(ears) as service:
            runs = [await service.run() for _ in range(30)]
            await service.subscribe()
            runs += [await service.run() for _ in range(30)]
            await asyncio.sleep(10)
            assert sorted(ears.taken) == await service.positions()
            for run in runs:
                own = await service.positions(run)
                assert [at for at in ears.taken if at in own] == own
            assert all(sent.is_signed for sent in ears.sent)
            assert 1 < ears.most_on_wire <= ON_WIRE_MAX

    run_virtually(scenario())


def test_an_event_says_what_the_journal_says() -> None:
    """A CloudEvent with facts and body."""

    async def scenario() -> None:
        ears = Ears()
        async with told(ears) as service:
            await service.subscribe()
            run = await service.run()
            await asyncio.sleep(1)
            first = ears.sent[0].events[0]
            assert (first["specversion"], first["type"]) == ("1.0", "refold.run.requested")
            assert (first["subject"], first["data"]["body"]) == (run, {})
            assert first["data"]["facts"]["workflow"] == WORKFLOW
            assert first["source"] == f"urn:uuid:{service.journal.id}"

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"types": ["run.completed"]}, {"refold.run.completed": 2}),
        ({"types": ["run.completed", "run.started"], "workflow": f"fl_{'b' * 26}"},
         {"refold.run.completed": 1, "refold.run.started": 1}),
        ({"position": None, "types": ["run.requested"]}, {"refold.run.requested": 1}),
        ({"position": 2, "types": ["run.requested"]}, {"refold.run.requested": 1}),
    ],
)  # fmt: skip
def test_only_what_was_asked_for_is_sent(wanted: Any, expected: dict[str, int]) -> None:
    """Types, a workflow with its runs, from a position on; never another tenant's."""

    async def scenario() -> None:
        ears = Ears()
        async with told(ears) as service:
            await service.run()
            await service.subscribe(**wanted)
            await service.run(f"fl_{'b' * 26}")
            await service.run(tenant="globex")
            await asyncio.sleep(1)
            types = [event["type"] for sent in ears.sent for event in sent.events]
            assert {type_: types.count(type_) for type_ in types} == expected

    run_virtually(scenario())


def test_bodies_that_are_not_wanted_are_withheld() -> None:
    """The event says so, and keeps its commitment."""

    async def scenario() -> None:
        ears = Ears()
        async with told(ears) as service:
            await service.subscribe(with_bodies=False)
            await service.run()
            await asyncio.sleep(1)
            data = [event["data"] for sent in ears.sent for event in sent.events]
            assert len(data) == 5
            assert all("body" not in one and one["withheld"] and one["payload"] for one in data)

    run_virtually(scenario())


def test_a_stream_that_is_refused_waits_alone_and_is_parked() -> None:
    """Others go on; a replay sends it from the first event that was not taken, in order."""

    async def scenario() -> None:
        bad: set[str] = set()

        def judge(events: list[dict[str, Any]]) -> int:
            return 422 if {event["subject"] for event in events} & bad else 200

        ears = Ears(judge)
        async with told(ears) as service:
            subscription = await service.subscribe()
            first = await service.run()
            bad.add(first)
            await asyncio.sleep(0)
            others = [await service.run() for _ in range(5)]
            await asyncio.sleep(30)
            own = await service.positions(first)
            assert sorted(ears.taken) == [x for x in await service.positions() if x not in own]
            await asyncio.sleep(2 * HOUR)
            row = await service.row(subscription)
            assert [(p.stream, p.position, p.code) for p in row.parked] == [
                (first, own[0], "http_422")
            ]
            tries = [sent for sent in ears.sent if sent.status == 422]
            assert len(tries) == TRIES_MAX
            gaps = [(b.at_us - a.at_us) / 1e6 for a, b in pairwise(tries)]
            assert gaps == sorted(gaps)
            assert gaps[-1] == pytest.approx(600, rel=0.01)
            await service.note(first, len(own))
            await service.note(others[0], 5)
            await asyncio.sleep(30)
            bad.clear()
            assert [at for at in ears.taken if at in own] == []
            await service.subscriptions.replay(ADA, subscription)
            await asyncio.sleep(30)
            own = await service.positions(first)
            assert [at for at in ears.taken if at in own] == own
            assert sorted(ears.taken) == await service.positions()
            row = await service.row(subscription)
            assert (row.parked, row.backlog) == ((), {})

    run_virtually(scenario())


@pytest.mark.parametrize("trouble", [503, 429, "connect_error", "timeout", 302])
def test_a_subscriber_that_is_away_is_asked_by_one_batch_at_a_time(trouble: int | str) -> None:
    """When it is back, everything arrives, in order, and no stream was parked."""

    async def scenario() -> None:
        away = True
        # A redirect is followed by nobody: the client that subscriptions have refuses it.
        answer = "too_many_redirects" if trouble == 302 else trouble
        ears = Ears(lambda _: answer if away else 200)
        async with told(ears) as service:
            subscription = await service.subscribe()
            for _ in range(20):
                await service.run()
            await asyncio.sleep(300)
            failed = len(ears.sent)
            assert failed < ON_WIRE_MAX + TRIES_MAX
            away = False
            await asyncio.sleep(600)
            assert sorted(ears.taken) == await service.positions()
            assert (await service.row(subscription)).parked == ()

    run_virtually(scenario())


@pytest.mark.parametrize(("answer", "tries"), [(500, TRIES_MAX), (410, 1)])
def test_a_subscriber_that_stays_away_is_parked_whole(answer: int, tries: int) -> None:
    """Nothing more is sent until somebody asks for it, and then all of it is."""

    async def scenario() -> None:
        away = True
        ears = Ears(lambda _: answer if away else 200)
        async with told(ears) as service:
            subscription = await service.subscribe()
            await service.run()
            await asyncio.sleep(3 * HOUR)
            row = await service.row(subscription)
            assert [(p.stream, p.code) for p in row.parked] == [("", f"http_{answer}")]
            assert len(ears.sent) == tries
            await service.run()
            await asyncio.sleep(HOUR)
            assert len(ears.sent) == tries
            away = False
            await service.subscriptions.replay(ADA, subscription)
            await asyncio.sleep(1)
            assert sorted(ears.taken) == await service.positions()

    run_virtually(scenario())


def test_a_restart_at_any_moment_loses_nothing_and_keeps_the_order() -> None:
    """What was taken last may come twice; the first time that each comes is in order."""

    async def scenario() -> None:
        taken: list[int] = []
        refusing: set[str] = set()
        ears = Ears(lambda events: 400 if events[0]["subject"] in refusing else 200, seconds=0.3)
        service = Told(ears)
        subscription = await service.subscribe()
        runs: list[str] = []
        for turn in range(25):
            runs.append(await service.run())
            if turn == 3:
                refusing.add(runs[-1])
            await asyncio.sleep(0.13 * (turn % 7))
            if turn % 5 == 4:
                await service.kill()
            elif turn % 5 == 2:
                await service.subscriptions.stop(10)
            if turn % 5 in (2, 4):
                service = Told(ears, since=service)
                service.subscriptions.start()
            if turn == 20:
                await asyncio.sleep(2 * HOUR)
                refusing.clear()
                await service.subscriptions.replay(ADA, subscription)
        await asyncio.sleep(60)
        await service.subscriptions.stop(10)
        taken = list(dict.fromkeys(ears.taken))
        assert sorted(taken) == await service.positions()
        for run in runs:
            own = await service.positions(run)
            assert [at for at in taken if at in own] == own
        assert len(ears.taken) > len(taken)

    run_virtually(scenario())


def test_how_far_it_came_is_journaled_now_and_then() -> None:
    """Not with every batch, and nothing at all where nothing was sent."""

    async def scenario() -> None:
        ears = Ears()
        async with told(ears) as service:
            await service.subscribe(types=["run.completed"])
            for _ in range(50):
                await service.run()
                await asyncio.sleep(0.2)
            await asyncio.sleep(20)
            events = await service.journal.read_all(0, 100_000)
            noted = [x.facts for x in events if isinstance(x.facts, e.SubscriptionAdvanced)]
            assert 2 <= len(noted) <= 4
            assert noted[-1].position >= (await service.positions())[-1]
            await asyncio.sleep(HOUR)
            assert service.journal.head == len(events)

    run_virtually(scenario())


def test_a_disk_that_refuses_holds_up_no_delivery() -> None:
    """What could not be noted is noted later."""

    async def scenario() -> None:
        ears = Ears()
        async with told(ears) as service:
            subscription = await service.subscribe()
            await service.run()
            await asyncio.sleep(1)
            service.journal.failures += [StoreFailedError("full")] * 2
            await asyncio.sleep(30)
            assert (await service.row(subscription)).position == (await service.positions())[-1]

    run_virtually(scenario())


def test_a_deleted_subscription_is_told_no_more() -> None:
    """It looks like one that never was."""

    async def scenario() -> None:
        ears = Ears()
        async with told(ears) as service:
            subscription = await service.subscribe()
            await service.run()
            await asyncio.sleep(1)
            await service.subscriptions.delete(ADA, subscription)
            before = len(ears.sent)
            await service.run()
            await asyncio.sleep(60)
            assert len(ears.sent) == before
            for again in (service.subscriptions.delete, service.subscriptions.replay):
                with pytest.raises(NotFoundError):
                    await again(ADA, subscription)

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"types": ["run.completed", "run.over"]}, "types[1]"),
        ({"position": 7}, "after"),
    ],
)
def test_what_could_never_be_told_is_refused(wanted: Any, field: str) -> None:
    """With the field that is wrong."""

    async def scenario() -> None:
        async with told(Ears()) as service:
            with pytest.raises(InvalidError) as refused:
                await service.subscribe(**wanted)
            assert list(refused.value.errors) == [field]

    run_virtually(scenario())


def test_a_tenant_has_only_so_many() -> None:
    """And another tenant's are none of its business."""

    async def scenario() -> None:
        async with told(Ears()) as service:
            for _ in range(PER_TENANT_MAX):
                await service.subscribe()
            with pytest.raises(StateError):
                await service.subscribe()
            assert await service.subscriptions.list_all("globex") == []

    run_virtually(scenario())


def test_a_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks specification's own test vectors."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_is_parked_and_what_is_owed_survive_a_kill() -> None:
    """A parked stream stays so after a start, and a replay that a kill cut off goes on."""

    async def scenario() -> None:
        bad: set[str] = set()
        ears = Ears(lambda events: 400 if events[0]["subject"] in bad else 200, seconds=2)
        service = Told(ears)
        subscription = await service.subscribe()
        run = await service.run()
        bad.add(run)
        await asyncio.sleep(2 * HOUR)
        other = await service.run()
        await asyncio.sleep(60)
        assert (await service.row(subscription)).position >= (await service.positions(other))[-1]
        await service.kill()
        service = Told(ears, since=service)
        service.subscriptions.start()
        tried = len(ears.sent)
        await service.note(run, 5)
        await asyncio.sleep(HOUR)
        assert len(ears.sent) == tried
        bad.clear()
        await service.subscriptions.replay(ADA, subscription)
        await asyncio.sleep(0.5)
        await service.kill()
        assert ears.taken == await service.positions(other)
        service = Told(ears, since=service)
        service.subscriptions.start()
        await asyncio.sleep(60)
        assert ears.taken[5:] == await service.positions(run)
        row = await service.row(subscription)
        assert (row.backlog, row.position >= ears.taken[-1]) == ({}, True)
        await service.subscriptions.stop(10)

    run_virtually(scenario())
