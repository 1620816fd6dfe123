"""One run while it is active: does what the decider says, and nothing else.

A scheduling step runs every pure node up to the next effects, appends everything that came of it
together with the starts of those effects, and only then lets the effects begin. When nothing but
time, people or other runs are missing the run is parked: it leaves memory, and continues later as
after a crash.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from ..journal import events as e
from ..journal.clock import Clock, IdSource
from ..journal.journal import Journal
from ..projections.node_state import NodeState, Place
from . import decider
from .calls import Calls, EffectCall, Outbound, Secrets
from .child_steps import ChildSteps
from .component import Json
from .definition import Definition
from .errors import EngineError
from .family import Family, unwaited
from .limits import Limits
from .memory import Memory
from .outbound import CONNECTIONS_MAX
from .places import Places
from .policy import SECOND_US
from .progress import Progress
from .requests import AnswerRequest, Inbox
from .run_figures import RunFigures
from .timers import Timers
from .transcript import EVENTS_PER_COMMIT_MAX, Snapshot, Transcript
from .turns import Turns

SLICE_US: Final = 20_000
"""How long a run computes before it lets others have the event loop."""


class Services(msgspec.Struct, frozen=True):
    """What all runs share."""

    journal: Journal
    clock: Clock
    ids: IdSource
    timers: Timers
    outbound: Outbound
    limits: Limits
    secrets: Secrets
    mailer: Any = None
    authorizations: Any = None
    figures: RunFigures = msgspec.field(default_factory=RunFigures)
    turns: Turns = msgspec.field(default_factory=Turns)
    places: Places = msgspec.field(
        default_factory=lambda: Places(CONNECTIONS_MAX, kept=CONNECTIONS_MAX // 4, few=8)
    )
    """A tenant finds one of the last 64 while it has fewer than 8."""


class Execution:
    """Carries one run on from where its state stands."""

    def __init__(
        self,
        services: Services,
        family: Family,
        transcript: Transcript,
        definition: Definition,
        payload: dict[str, Json],
        memory: Memory,
    ) -> None:
        """`memory` holds the bodies of what the state knows as settled or open."""
        self._services = services
        self._limits = services.limits
        self._transcript = transcript
        self.state: Final = transcript.state
        self._definition = definition
        self._wake = asyncio.Event()
        self.inbox: Final = Inbox(self._wake.set)
        """What others want of the run."""
        self._calls = Calls(
            self.state.run_id,
            self.state.tenant,
            services.secrets,
            self._lend,
            services.limits.node_seconds_max,
            services.figures,
            services.places,
        )
        self._calls.wake = self._wake.set
        self._progress = Progress(
            services.clock,
            services.limits,
            transcript,
            definition,
            self._calls,
            payload,
            memory,
        )
        self._children = ChildSteps(family, transcript, self._progress, self.inbox, services.ids)
        self._grace_ends_at = 0

    @property
    def snapshot(self) -> Snapshot | None:
        """The run as it was committed, where it was kept."""
        return self._transcript.snapshot

    async def run(self) -> int | None:
        """Carry on until the run ends, or waits for nothing in this process.

        Returns the time (microseconds) at which to continue, None where it has ended, the
        service is stopping, or no time is set for what it waits for.

        Raises:
            ConflictError: somebody else continues this run; let go of it.
        """
        try:
            await self._take_up()
            while True:
                self._take_results()
                await self._take_requests()
                await self._take_time()
                await self._advance()
                await self._transcript.flush()
                if self.state.is_ended:
                    return None
                self._calls.begin()
                await self._children.request_planned()
                if self._has_more:
                    # Others come first, and what they want of this run is seen.
                    await asyncio.sleep(0)
                    continue
                if not self._calls.any_open:
                    return None if self._progress.is_halting else self._next_due()
                await self._wait()
                if turn := self._services.turns.take(self.state.tenant):
                    await turn
        finally:
            self._calls.abandon()

    def halt(self) -> None:
        """Begin nothing new: the service is stopping. Calls on the wire may finish."""
        self._progress.is_halting = True
        self._wake.set()

    @property
    def _has_more(self) -> bool:
        """Whether something came up while the newest step was made durable."""
        progress = self._progress
        can_start = progress.ready and not progress.is_halting and not self.state.is_stopping
        return bool(self.inbox or self._transcript.pending or can_start)

    def _lend(self, effect_key: str, timeout_s: float) -> EffectCall:
        services = self._services
        return EffectCall(
            effect_key,
            timeout_s,
            services.outbound,
            services.mailer,
            services.authorizations,
            self.state.tenant,
            self._definition.authorization_id,
        )

    # What happens at the beginning

    async def _take_up(self) -> None:
        """Note the start of a new run, or what becomes of the calls that a crash cut off.

        A request to stop and the end of the run's time come first, so that no call is made again
        for a run that is over.
        """
        if self.state.status == "pending":
            now = self._services.clock.now_us()
            limit_us = int(self._limits.run_seconds_max * SECOND_US)
            self._transcript.note(e.RunStarted(limit_us=limit_us, started_at=now))
            delay_us = max(0, now - self.state.created_at)
            self._services.figures.start_delays.observe(delay_us / SECOND_US)
        await self._take_stop_requests()
        self._take_limits()
        if self._progress.is_halting:
            return
        self._give_up_iterators()
        for node in list(self.state.open.values()):
            if node.phase == "child":
                # A run that stops waits for none: what it cancelled itself is no result.
                if not self._progress.is_over_at(node.place):
                    self.inbox.child_ended(node.child)
            else:
                self._recover(node)
        self._progress.go_on()

    def _recover(self, node: NodeState) -> None:
        step = self._progress.step_of(node)
        if step is None:
            return
        is_failing = self._progress.is_failing(node.place)
        fate = decider.after_crash(self.state, node, step.policy, is_failing=is_failing)
        if fate == "end":
            self._progress.end(node, in_doubt=node.effect_key != "")
        elif fate == "succeed":
            self._progress.settle(node.place, node.attempt, node.started_at, unwaited(node.child))
        elif fate == "fail":
            self._progress.fail_in_doubt(node)
        elif fate == "again":
            self._progress.start(node.place, node.attempt)
        elif fate == "reschedule":
            now = self._services.clock.now_us()
            self._transcript.note(decider.rescheduled(node, step.policy, now))

    # One scheduling step

    def _take_results(self) -> None:
        for place, result in self._calls.take():
            node = self.state.open[place]
            self._progress.settle(place, node.attempt, node.started_at, result)

    async def _advance(self) -> None:
        """Run what is ready, up to the effects, and end the run when nothing is left.

        What would fill a commit, or take longer than a slice, goes on after that much of it is
        durable, and after a look at what else has come in and at the time.
        """
        clock, progress = self._services.clock, self._progress
        slice_ends = clock.now_us() + SLICE_US
        while progress.ready and not self.state.is_stopping and not progress.is_halting:
            progress.start_next()
            is_full = self._transcript.pending >= EVENTS_PER_COMMIT_MAX
            if is_full or clock.now_us() >= slice_ends:
                break
        await self._end_what_nobody_waits_for()
        last = decider.conclusion(self.state, anything_ready=bool(progress.ready))
        if last is not None:
            failed = not isinstance(last, e.RunCompleted)
            self._transcript.note(last, {"message": progress.message} if failed else None)

    async def _end_what_nobody_waits_for(self) -> None:
        """End delays, retries, forms and children of a run that stops, or of an item that failed.

        What ends may leave an iterator with nothing open, which then is ended as well.
        """
        while ending := self._progress.to_end():
            for node in ending:
                if node.place not in self.state.open:
                    continue
                if node.phase == "child" and not await self._children.end(node):
                    return
                self._progress.end(node, in_doubt=False)

    # Time and requests

    def _next_due(self) -> int | None:
        """Return when something is due next, None if nothing is."""
        due: list[int] = []
        if self._grace_ends_at:
            due.append(self._grace_ends_at)
        if not self.state.cancelling and not self.state.paused_at:
            due.append(decider.deadline(self.state))
        if not self._progress.is_halting:
            due.extend(node.due_at for node in decider.waits(self.state))
            due.extend(ends_at for ends_at, _ in self._deadlines())
        return min(due, default=None)

    async def _wait(self) -> None:
        """Wait for a call, a request, or the next time at which something is due."""
        due = self._next_due()
        if due is None:
            await self._wake.wait()
        else:
            now = self._services.clock.now_us()
            cancel_timer = self._services.timers.call_at(max(due, now), self._wake.set)
            try:
                await self._wake.wait()
            finally:
                cancel_timer()
        self._wake.clear()

    def _take_limits(self) -> None:
        """Do what the end of the run's time, or of the grace of its calls, asks for."""
        now = self._services.clock.now_us()
        if decider.is_past(self.state, now):
            limit = self.state.limit_us / SECOND_US
            self._note_stop("run_timeout", "", f"Run exceeded its time limit of {limit:g} s")
        if self._grace_ends_at and now >= self._grace_ends_at:
            self._grace_ends_at = 0
            code = decider.ending_code(self.state)
            for place in self._calls.cut_off():
                self._progress.interrupt(place, code, in_doubt=True)

    def _deadlines(self) -> list[tuple[int, NodeState]]:
        """Return the open iterators and children's steps with a time-out, and its end."""
        deadlines = [(self._progress.deadline(node), node) for node in self.state.open.values()]
        return [(ends_at, node) for ends_at, node in deadlines if ends_at]

    def _give_up_iterators(self) -> list[NodeState]:
        """Give up the iterators whose time is over; return the steps that wait for a child so."""
        now = self._services.clock.now_us()
        overdue = [node for ends_at, node in self._deadlines() if ends_at <= now]
        for node in overdue:
            if node.phase == "iterating" and self._progress.deadline(node):
                self._progress.give_up(node)
        return [node for node in overdue if node.phase == "child"]

    async def _take_time(self) -> None:
        """Do what has become due: the ends of limits, retries, waits that are over."""
        self._take_limits()
        if self._progress.is_halting:
            return
        for node in self._give_up_iterators():
            if self._progress.deadline(node):
                await self._children.give_up(node)
        now = self._services.clock.now_us()
        for node in sorted(decider.waits(self.state), key=lambda wait: wait.due_at):
            if self.state.is_stopping or self._progress.is_halting or node.due_at > now:
                return
            if node.place in self.state.open and not self._progress.is_failing(node.place):
                self._progress.wait_is_over(node)

    def _note_stop(self, code: str, subject: str, message: str) -> None:
        self._transcript.note(e.RunCancelRequested(code=code), {"by": subject, "message": message})
        if self.state.ending is not None and self.state.ending.is_asked_for:
            self._progress.message = message
        grace_us = int(self._limits.cancel_seconds_max * SECOND_US)
        self._grace_ends_at = self._services.clock.now_us() + grace_us

    async def _take_requests(self) -> None:
        await self._take_stop_requests()
        while self.inbox.answers:
            await self._take_answer(self.inbox.answers[0])
            self.inbox.answers.pop(0)
        await self._children.take_results()

    async def _take_stop_requests(self) -> None:
        while self.inbox.stops:
            request = self.inbox.stops[0]
            if not self.state.cancelling:
                await self._transcript.flush()
                self._note_stop("cancelled", request.subject, f"Run cancelled by {request.subject}")
                await self._transcript.flush(request.meta)
            # Taken only now, so that a request that met an error here is not lost.
            self.inbox.stops.pop(0)
            if not request.accepted.done():
                request.accepted.set_result(None)

    async def _take_answer(self, request: AnswerRequest) -> None:
        """Take an answer to a form, as its caller's own event, or refuse it."""
        place: Place = (request.iteration, request.node)
        try:
            outcome = self._progress.answer(place, request)
        except EngineError as error:
            request.refuse(error)
            return
        await self._transcript.flush()
        node = self.state.open[place]
        facts = e.InteractionSubmitted(
            action=request.action,
            iteration=request.iteration,
            node=request.node,
            submitted_at=self._services.clock.now_us(),
        )
        said = {"by": request.subject, "action": request.action, "values": request.values}
        self._transcript.note(facts, said)
        self._progress.settle(place, node.attempt, node.started_at, outcome)
        await self._transcript.flush(request.meta)
        request.accept()
