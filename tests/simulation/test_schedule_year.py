"""A year of schedules through the real scheduler, with crashes and outages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from random import Random
from typing import Any

import pytest

from refold.engine.schedule import moment_text
from refold.engine.workflows import WorkflowText
from refold.journal import events as e
from refold.journal.envelope import Recorded
from tests.support.schedule_oracle import CALENDARS, YEAR, calendar_year, micros
from tests.support.simulated import CALLER, Simulated, edge, node, restarted
from tests.support.virtual_time import run_virtually

SECOND_US = 1_000_000
START_US = micros(datetime(YEAR, 1, 1)) - SECOND_US
END_US = micros(datetime(YEAR + 1, 1, 1)) - SECOND_US
INTERVAL = ("interval", "31 hours")
PLAN = [
    # Type and value, zone.
    (INTERVAL, "UTC"),
    (("daily", "02:30"), "Europe/Berlin"),
    (("weekly", "sun 02:00"), "Australia/Lord_Howe"),
    (("monthly", "31 23:59"), "America/New_York"),
    (("cron", "30 2 * * *"), "America/New_York"),
    (("cron", "0 12 * * 1-5"), "Asia/Kathmandu"),
    (("cron", "0 0 29 2 *"), "UTC"),
]


@dataclass
class Outage:
    """What was lost of the journal, and the time until somebody was there again."""

    from_us: int
    until_us: int


@cache
def expected(what: tuple[str, str], zone: str) -> Sequence[int]:
    """Say when a schedule that was saved at the start is due until the end of the year."""
    if what == INTERVAL:
        step = 31 * 3600 * SECOND_US
        return range(START_US + step, END_US, step)
    for type_, value, goes_as_time_passes, is_match in CALENDARS:
        if (type_, value) == what:
            return calendar_year(zone, goes_as_time_passes, is_match)
    raise KeyError(what)


async def define(sim: Simulated, what: tuple[str, str], **options: Any) -> str:
    """Save a workflow with a schedule."""
    trigger = node("start", "schedule_trigger", **options)
    nodes = [trigger, node("say", "text_transform", template="{{ trigger.scheduled_at }}")]
    text = WorkflowText(
        name="scheduled",
        nodes=nodes,
        edges=[edge("start", "say")],
        schedule_type=what[0],
        schedule_value=what[1],
    )
    appended = await sim.authoring.create(CALLER, text, None)
    return appended.events[0].stream


@dataclass
class Year:
    """What is left of a year."""

    sim: Simulated
    workflows: list[str]
    outages: list[Outage]
    times: dict[str, int]
    """When each event was committed; copying a journal gives it new times."""


def note_times(sim: Simulated, times: dict[str, int]) -> None:
    """Keep the time of each event that comes from now on."""
    sim.journal.subscribe(lambda events: times.update({v.id: v.at for v in events}))


async def live(seed: int, *, catch_up: bool) -> Year:
    """Live through a year with some crashes."""
    random = Random(seed)
    sim = Simulated(seed=seed, start_us=START_US)
    times: dict[str, int] = {}
    note_times(sim, times)
    sim.scheduler.start()
    workflows = [await define(sim, what, timezone=zone, catch_up=catch_up) for what, zone in PLAN]
    defined = sim.journal.head
    outages: list[Outage] = []
    for at in sorted(random.sample(range(10, 355), 7)):
        due = START_US + at * 86_400 * SECOND_US + random.randrange(86_400) * SECOND_US
        await pass_time(max(1, due - sim.clock.now_us()))
        # The last commits are lost now and then, and with them firings that were made.
        kept = [head for head in sim.journal.commits if head >= defined]
        head = kept[-random.choice((1, 1, 2, 3, 7))]
        events = await sim.journal.read_all(limit=head)
        now = sim.clock.now_us()
        lost_from = times[events[-1].id] if head < sim.journal.head else now
        down = random.choice((0, 60, 3600, 30 * 3600, 12 * 86_400)) * SECOND_US
        until = now + down
        outages.append(Outage(lost_from, until))
        sim = await restarted(sim, head, downtime_s=(until - events[-1].at) / 1e6)
        sim.journal.commits.append(head)
        note_times(sim, times)
        sim.scheduler.start()
    await pass_time(END_US - sim.clock.now_us())
    return Year(sim, workflows, outages, times)


async def pass_time(microseconds: int) -> None:
    """Let virtual time pass."""
    await asyncio.sleep(microseconds / 1e6)


def check_firings(
    fired: Sequence[Recorded], due: Sequence[int], lived: Year, *, catch_up: bool
) -> None:
    """See that each due time was fired once or stands in another's count, in order, in time."""
    place = 0
    for event in fired:
        facts = event.facts
        assert isinstance(facts, e.ScheduleFired)
        place += facts.missed + 1
        assert facts.due_at == due[place - 1]
        assert facts.next_at > facts.due_at
        assert not (catch_up and facts.missed)
        at = lived.times[event.id]
        assert at >= facts.due_at
        if at > facts.due_at + SECOND_US:
            assert any(
                o.from_us <= facts.due_at <= o.until_us <= at <= o.until_us + SECOND_US
                for o in lived.outages
            )
    assert place == len(due)


@pytest.mark.parametrize(("seed", "catch_up"), [(1, False), (2, True), (3, False), (4, True)])
def test_a_year_with_crashes_and_outages_fires_everything_once(seed: int, catch_up: bool) -> None:
    """No firing is missed, doubled, early or late, and each has the one run that says so."""

    async def scenario() -> None:
        lived = await live(seed, catch_up=catch_up)
        sim = lived.sim
        events = await sim.journal.read_all(limit=sim.journal.head)
        requests = {v.stream: v for v in events if isinstance(v.facts, e.RunRequested)}
        ended = {event.stream for event in events if isinstance(event.facts, e.RunCompleted)}
        assert ended == set(requests)
        bodies = await sim.journal.read_bodies([v.body_at for v in requests.values()])
        made: set[str] = set()
        for workflow, (what, zone) in zip(lived.workflows, PLAN, strict=True):
            own = [event for event in events if event.stream == workflow]
            fired = [event for event in own if isinstance(event.facts, e.ScheduleFired)]
            due = expected(what, zone)
            check_firings(fired, due, lived, catch_up=catch_up)
            made |= check_runs(fired, requests, {at: body.data for at, body in bodies.items()})
        assert made == set(requests)
        if not catch_up:
            assert any(
                event.facts.missed for event in events if isinstance(event.facts, e.ScheduleFired)
            )
        await sim.close()

    run_virtually(scenario())


def check_runs(
    fired: Sequence[Recorded], requests: Mapping[str, Recorded], bodies: Mapping[int, bytes]
) -> set[str]:
    """See that each firing stands beside its run, which says what it is for."""
    runs: set[str] = set()
    for event in fired:
        facts = event.facts
        assert isinstance(facts, e.ScheduleFired)
        request = requests[facts.run]
        assert request.position == event.position + 1
        assert isinstance(request.facts, e.RunRequested)
        assert (request.facts.workflow, request.facts.origin) == (event.stream, "schedule")
        assert json.loads(bodies[request.body_at])["payload"] == {
            "scheduled_at": moment_text(facts.due_at),
            "missed": facts.missed,
        }
        runs.add(facts.run)
    assert len(runs) == len(fired)
    return runs
