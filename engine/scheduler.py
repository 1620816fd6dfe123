"""The scheduler: starts the runs of all schedules when they come due, from one timer.

It keeps one time for each active schedule, which it learns from the `workflows` projection at the
start and from the journal's own feed from then on; between firings it sleeps. What comes due is
decided from the workflow's own events: `schedule.fired` and the run's first event are one commit
that expects the version of the workflow's stream. So whoever comes second, after a crash or beside
a change of the workflow, is refused and decides again.

A workflow has at most one firing under way, and those that are due take turns; so a schedule that
makes up for a year does not hold up the others.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from ..journal import events as e
from ..journal.actors import Pseudonyms
from ..journal.clock import Clock, IdSource
from ..journal.envelope import Recorded
from ..journal.errors import ConflictError, JournalError, StoreClosedError
from ..journal.journal import Commit, Journal, NewEvent, StreamWrite
from ..projections.errors import ProjectionError
from ..projections.workflow_state import WorkflowState
from .caller import Caller
from .engine import Engine
from .errors import BusyError, StateError, TooManyError
from .fault_text import fault_text
from .run_requests import RunRequests, accepted, request_facts
from .schedule import Schedule, ScheduleError, read_schedule
from .schedule_rules import scheduled_payload
from .scheduled_runs import FOLLOWED, ORIGIN, ScheduledRuns
from .timers import Timers
from .workflows import Workflows

SUBJECT: Final = "schedule"
"""Who a scheduled run belongs to, as far as events tell."""
FIRINGS_MAX: Final = 32
"""How many workflows fire at a time; their commits become durable together."""
WAITING_MAX: Final = 1000
"""With so many runs waiting for a place, nothing of the past is made up for yet."""
RETRY_US: Final = 1_000_000
"""How long a firing rests after a refusal; twice as long after each further one."""
RETRY_US_MAX: Final = 60_000_000
LOOK_US: Final = 60_000_000
"""The longest sleep: the machine may be put to sleep or its clock be set, and the timer of the
loop knows of neither."""
_FOLLOWED: Final = FOLLOWED | e.OBJECT_EVENTS
_COUNTED_AT_ONCE: Final = 100
_log = logging.getLogger("refold.scheduler")


class SchedulerParts(msgspec.Struct, frozen=True):
    """What the scheduler works with."""

    journal: Journal
    clock: Clock
    ids: IdSource
    timers: Timers
    pseudonyms: Pseudonyms
    workflows: Workflows
    requests: RunRequests
    engine: Engine
    scheduled: Callable[[], Awaitable[Mapping[str, int]]]
    """Reads when each active schedule fires next; never older than what is durable."""


class _Due(msgspec.Struct, frozen=True):
    """One firing to be made. The numbers were taken at one moment: the state moves on."""

    state: WorkflowState
    version: int
    """That of the workflow's stream."""
    number: int
    """That of the workflow."""
    schedule: Schedule
    at: int
    missed: int
    next_at: int


class Scheduler:
    """Fires all schedules of the service."""

    def __init__(self, parts: SchedulerParts, *, look_us: int = LOOK_US) -> None:
        self._parts = parts
        self._look_us = look_us
        self._wake: dict[str, int] = {}
        """When to look at each workflow next: its next time, later after a refusal."""
        self._heap: list[tuple[int, str]] = []
        """The same in order; an entry that `_wake` doesn't confirm means nothing any more."""
        self._ready: deque[str] = deque()
        self._up: set[str] = set()
        """The workflows that are ready or firing."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._setbacks: Counter[str] = Counter()
        self._runs = ScheduledRuns()
        self._heard: set[str] | None = set()
        """Until all is read: the workflows of which newer things were heard."""
        self._may_fire = False
        self._reading: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._cancel_timer: Callable[[], None] | None = None

    @property
    def scheduled_total(self) -> int:
        """How many schedules are active, those that fire just now left out."""
        return len(self._wake)

    def start(self) -> None:
        """Begin to fire, as soon as the journal and the views have told what there is."""
        self._unsubscribe = self._parts.journal.subscribe(self._follow, _FOLLOWED)
        self._reading = asyncio.create_task(self._read(), name="schedules")

    async def stop(self, seconds: float) -> None:
        """Fire nothing more; what is being committed gets `seconds` to get through."""
        self._may_fire = False
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None
        tasks = set(self._tasks)
        if self._reading is not None:
            self._reading.cancel()
            tasks.add(self._reading)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # What there is to fire

    async def _read(self) -> None:
        rest = RETRY_US
        while True:
            try:
                if not self._may_fire:
                    await self._runs.read(self._parts.journal)
                    # What was heard since the start can fire before the views are there.
                    self._may_fire = True
                    self._pump()
                self._take(await self._parts.scheduled())
                return
            except StoreClosedError:
                return
            except (ProjectionError, JournalError) as error:
                _log.warning("the schedules can't be read yet: %s", error)
            except Exception as error:
                told = fault_text(error)
                _log.error("the schedules can't be read; it is tried again: %s", told)
            await asyncio.sleep(rest / 1e6)
            rest = min(2 * rest, RETRY_US_MAX)

    def _take(self, rows: Mapping[str, int]) -> None:
        heard, self._heard = self._heard or set[str](), None
        for workflow, at in rows.items():
            if workflow not in heard:
                self._look_at(workflow, at)
        self._pump()

    def _follow(self, events: Sequence[Recorded]) -> None:
        is_changed = False
        for event in events:
            facts = event.facts
            if isinstance(facts, e.WorkflowDefined):
                next_at = facts.next_at if facts.active else 0
            elif isinstance(facts, e.ScheduleFired):
                next_at = facts.next_at
            elif isinstance(facts, e.WorkflowDeleted):
                next_at = 0
            else:
                self._runs.hear(event)
                continue
            is_changed = True
            if self._heard is not None:
                self._heard.add(event.stream)
            if next_at:
                self._look_at(event.stream, next_at)
            else:
                self._wake.pop(event.stream, None)
        if is_changed:
            self._pump()

    # When to look

    def _look_at(self, workflow: str, at: int) -> None:
        self._wake[workflow] = at
        if workflow not in self._up:
            heapq.heappush(self._heap, (at, workflow))

    def _pump(self) -> None:
        """Let everything fire that is due and has its turn, and sleep until the next."""
        if not self._may_fire:
            return
        now = self._parts.clock.now_us()
        while self._heap and self._heap[0][0] <= now:
            at, workflow = heapq.heappop(self._heap)
            if self._wake.get(workflow) == at and workflow not in self._up:
                del self._wake[workflow]
                self._up.add(workflow)
                self._ready.append(workflow)
        while self._ready and len(self._tasks) < FIRINGS_MAX:
            workflow = self._ready.popleft()
            task = asyncio.create_task(self._fire(workflow), name=f"schedule of {workflow}")
            self._tasks.add(task)
            task.add_done_callback(self._fired)
        self._sleep(now)

    def _sleep(self, now: int) -> None:
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None
        if len(self._heap) > 2 * len(self._wake) + FIRINGS_MAX:
            # Changes of workflows that are not due for long leave entries behind.
            self._heap = [(at, w) for w, at in self._wake.items() if w not in self._up]
            heapq.heapify(self._heap)
        if self._heap:
            at = min(self._heap[0][0], now + self._look_us)
            self._cancel_timer = self._parts.timers.call_at(at, self._wake_up)

    def _wake_up(self) -> None:
        self._cancel_timer = None
        self._pump()

    # One firing

    async def _fire(self, workflow: str) -> None:
        try:
            due = await self._decide(workflow)
            if due is not None:
                await self._commit(due)
            self._setbacks.pop(workflow, None)
        except ConflictError:
            # The workflow was changed, or fired by somebody else: it is looked at again at once.
            self._look_at(workflow, self._parts.clock.now_us())
        except StoreClosedError:
            _log.info("the journal is closed; schedules fire again at the next start")
        except (ScheduleError, StateError) as error:
            _log.error("workflow %s can't be started by its schedule: %s", workflow, error)
        except (BusyError, TooManyError, JournalError) as error:
            self._rest(workflow, str(error))
        except Exception as error:
            _log.error(
                "the schedule of workflow %s could not fire: %s", workflow, fault_text(error)
            )
            self._rest(workflow, str(error))
        finally:
            self._up.discard(workflow)
            if workflow in self._wake:
                heapq.heappush(self._heap, (self._wake[workflow], workflow))

    def _fired(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._pump()

    def _rest(self, workflow: str, why: str) -> None:
        """Try again later; what comes due meanwhile is counted, not lost."""
        self._setbacks[workflow] += 1
        count = self._setbacks[workflow]
        if count == 1:
            _log.warning("the schedule of workflow %s has to wait: %s", workflow, why)
        rest = min(RETRY_US << min(count - 1, 16), RETRY_US_MAX)
        self._look_at(workflow, self._parts.clock.now_us() + rest)

    async def _decide(self, workflow: str) -> _Due | None:
        """Say what a workflow is to fire now; None if nothing, and it knows when to look again."""
        state = await self._parts.workflows.find_any(workflow)
        if not state.exists or not state.next_at:
            return None
        version, number, at = state.version, state.current.number, state.next_at
        now = self._parts.clock.now_us()
        if at > now:
            self._look_at(workflow, at)
            return None
        schedule = read_schedule(state.schedule)
        if not schedule.catch_up:
            newest, missed, next_at = await _collapse(schedule, at, now)
            return _Due(state, version, number, schedule, newest, missed, next_at)
        next_at = schedule.next_after(at) or 0
        if 0 < next_at <= now and self._parts.engine.waiting_total >= WAITING_MAX:
            raise BusyError("Too many runs are waiting to make up for what was missed.")
        return _Due(state, version, number, schedule, at, 0, next_at)

    async def _commit(self, due: _Due) -> None:
        parts, state = self._parts, due.state
        workflow = state.workflow_id
        caller = Caller(state.tenant, SUBJECT, parts.ids.new())
        run: StreamWrite | None = None
        payload = {}
        if due.schedule.overlap == "allow" or not self._runs.is_going(workflow):
            parts.engine.refuse_when_full(state.tenant)
            definition = await parts.workflows.definition(state, due.number)
            payload = scheduled_payload(definition.trigger, due.at, due.missed)
            facts = request_facts(state, due.number, ORIGIN, ORIGIN, None)
            run = parts.requests.write(caller, facts, payload)
        fired = e.ScheduleFired(
            due_at=due.at,
            missed=due.missed,
            next_at=due.next_at,
            run="" if run is None else run.stream,
            skipped="overlap" if run is None else "",
        )
        meta = caller.metadata(parts.pseudonyms)
        write = StreamWrite(workflow, due.version, [NewEvent(parts.ids.new(), fired)], meta)
        if run is None:
            await parts.journal.append(Commit([write]), patient=True)
            return
        appended = await parts.journal.append(Commit([write, run]), patient=True)
        own = [event for event in appended.events if event.stream == run.stream]
        await parts.engine.begin(accepted(own, run, payload))


async def _collapse(schedule: Schedule, due_us: int, now_us: int) -> tuple[int, int, int]:
    """Return the newest time that is due, how many came before it, and the next one, 0 for none."""
    newest, missed = schedule.leap(due_us, now_us)
    for at in schedule.all_after(newest):
        if at > now_us:
            return newest, missed, at
        newest = at
        missed += 1
        if not missed % _COUNTED_AT_ONCE:
            # A minute of a year ago is one of half a million: others go on in between.
            await asyncio.sleep(0)
    return newest, missed, 0
