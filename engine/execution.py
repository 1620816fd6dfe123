"""One run while it is active: does what the decider says, and nothing else.

A scheduling step runs every pure node up to the next effects, appends everything that came of it
together with the starts of those effects, and only then lets the effects begin. When nothing but
time is missing the run is parked: it leaves memory, and continues later as after a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec

from ..journal import events as e
from ..journal.clock import Clock, IdSource
from ..journal.journal import Journal, Metadata
from ..projections.run_state import SETTLED, NodeState
from . import decider
from .calls import Calls, Outbound, PlannedCall, Result, encode_result, unexpected
from .component import EffectNode, Json, NodeError, Outcome, TriggerNode, WaitNode
from .decider import Attempt
from .definition import Definition, Step
from .frontier import Frontier
from .limits import Limits
from .policy import SECOND_US
from .timers import Timers
from .transcript import EVENTS_PER_COMMIT_MAX, Snapshot, Transcript

SLICE_US: Final = 20_000
"""How long a run computes before it lets others have the event loop."""
_decode = msgspec.json.Decoder().decode


class Services(msgspec.Struct, frozen=True):
    """What all runs share."""

    journal: Journal
    clock: Clock
    ids: IdSource
    timers: Timers
    outbound: Outbound
    limits: Limits


class StopRequest(msgspec.Struct, frozen=True):
    """Somebody asks the run to stop."""

    subject: str
    meta: Metadata
    accepted: asyncio.Future[None]
    """Done once the request is durable; holds the refusal where it never will be."""


class Execution:
    """Carries one run on from where its state stands."""

    def __init__(
        self,
        services: Services,
        transcript: Transcript,
        definition: Definition,
        payload: dict[str, Json],
        outputs: Mapping[str, Json],
        message: str = "",
    ) -> None:
        """`outputs` are those of the nodes that the state knows as settled.

        `message` is the error message of a run that is ending already.
        """
        self._services = services
        self._limits = services.limits
        self._transcript = transcript
        self.state: Final = transcript.state
        self._definition = definition
        self._payload = payload
        self._outputs: dict[str, Json] = dict(outputs)
        self._message = message
        self._frontier = Frontier(definition.graph, self.state)
        self._wake = asyncio.Event()
        self._calls = Calls(self.state.run_id, services.outbound, services.limits, self._wake.set)
        self._stop_requests: list[StopRequest] = []
        self._grace_ends_at = 0
        self._is_halting = False

    @property
    def snapshot(self) -> Snapshot | None:
        """The run as it was committed, where it was kept."""
        return self._transcript.snapshot

    async def run(self) -> int:
        """Carry on until the run ends or only time is missing.

        Returns 0 when the run has ended or the service is stopping, else the time (microseconds)
        at which to continue.

        Raises:
            ConflictError: somebody else continues this run; let go of it.
        """
        try:
            await self._take_up()
            while True:
                await self._take_stop_requests()
                self._take_time()
                await self._advance()
                await self._transcript.flush()
                if self.state.is_ended:
                    return 0
                self._calls.begin()
                if self._stop_requests:
                    continue
                if not self._calls.any_open:
                    return 0 if self._is_halting else self._next_due() or 0
                await self._wait()
                for step, result in self._calls.take():
                    node = self.state.nodes[step.node]
                    self._settle(step, node.attempt, node.started_at, result)
        finally:
            self._calls.abandon()

    def request_stop(self, request: StopRequest) -> None:
        """Ask the run to stop; the request's future tells when that is durable."""
        self._stop_requests.append(request)
        self._wake.set()

    def untaken_stop_requests(self) -> list[StopRequest]:
        """Return the requests that nothing came of."""
        requests, self._stop_requests = self._stop_requests, []
        return requests

    def halt(self) -> None:
        """Begin nothing new: the service is stopping. Calls on the wire may finish."""
        self._is_halting = True
        self._wake.set()

    # What happens at the beginning

    async def _take_up(self) -> None:
        """Note the start of a new run, or what becomes of the calls that a crash cut off.

        A request to stop and the end of the run's time come first, so that no call is made again
        for a run that is over.
        """
        if self.state.status == "pending":
            self._transcript.note(
                e.RunStarted(
                    limit_us=int(self._limits.run_seconds_max * SECOND_US),
                    started_at=self._services.clock.now_us(),
                )
            )
        await self._take_stop_requests()
        self._take_limits()
        if self._is_halting:
            return
        for node in list(self.state.nodes.values()):
            step = self._definition.steps.get(node.node)
            if step is not None:
                self._recover(step, node)

    def _recover(self, step: Step, node: NodeState) -> None:
        fate = decider.after_crash(self.state, node, step.policy)
        if fate == "end":
            code = decider.ending_code(self.state)
            self._interrupt(node, code, in_doubt=node.effect_key != "")
        elif fate == "fail":
            error = NodeError(
                decider.INTERRUPTED,
                f"Node '{node.node}' was interrupted: the service stopped during its call, "
                "whose outcome is unknown, and its delivery is at most once.",
            )
            self._settle(step, node.attempt, node.started_at, error)
        elif fate == "again":
            self._start(step, node.attempt)
        elif fate == "reschedule":
            now = self._services.clock.now_us()
            self._transcript.note(decider.rescheduled(node, step.policy, now))

    # One scheduling step

    async def _advance(self) -> None:
        """Run whatever is ready, up to the effects, and end the run when nothing is left."""
        clock, ready = self._services.clock, self._frontier.ready
        slice_ends = clock.now_us() + SLICE_US
        while ready and not self.state.is_stopping and not self._is_halting:
            self._start(self._definition.steps[ready.popleft()], 1)
            if self._transcript.pending >= EVENTS_PER_COMMIT_MAX:
                await self._transcript.flush()
                self._calls.begin()
            if clock.now_us() >= slice_ends:
                await asyncio.sleep(0)
                slice_ends = clock.now_us() + SLICE_US
        code = decider.ending_code(self.state)
        for node in decider.waits_to_end(self.state):
            self._interrupt(node, code, in_doubt=False)
        last = decider.conclusion(self.state, anything_ready=bool(ready))
        if last is not None:
            failed = not isinstance(last, e.RunCompleted)
            self._transcript.note(last, {"message": self._message} if failed else None)

    def _start(self, step: Step, number: int) -> None:
        """Begin an attempt: pure nodes end at once, others are noted as started."""
        now = self._services.clock.now_us()
        result: Result | None
        try:
            result = self._begin_attempt(step, number, now)
        except NodeError as error:
            result = error
        except Exception as error:
            result = unexpected(self.state.run_id, step.node, error)
        if result is not None:
            self._settle(step, number, now, result)

    def _begin_attempt(self, step: Step, number: int, now: int) -> Result | None:
        """Return the outcome of a node that has it at once, None for one that was only begun."""
        node = step.run
        if isinstance(node, TriggerNode):
            trigger_type = self.state.origin.trigger_type
            return node.start(self._payload, trigger_type, self.state.run_id)
        context = self._context(step.node)
        if isinstance(node, EffectNode):
            key = decider.effect_key(self.state, step.node)
            self._note_node_started(step, number, now, key, node.prepare(context))
            self._calls.plan(PlannedCall(step, key, context))
            return None
        if isinstance(node, WaitNode):
            duration, _ = decider.wait_us(node.duration_us(context), step.policy)
            seconds, limit = duration / SECOND_US, self._limits.delay_seconds_max
            if seconds > limit:
                message = f"Node '{step.node}' would wait {seconds:g} s; the limit is {limit:g} s."
                raise NodeError("delay_invalid", message)
            self._note_node_started(step, number, now, "", {"seconds": seconds})
            self._transcript.note(e.TimerSet(due_at=now + duration, iteration="", node=step.node))
            return None
        return node.run(context)

    def _note_node_started(
        self, step: Step, number: int, now: int, key: str, rendered: Json
    ) -> None:
        self._transcript.note(
            e.NodeStarted(
                attempt=number,
                component=step.component,
                effect_key=key,
                iteration="",
                node=step.node,
                started_at=now,
            ),
            rendered,
        )

    def _context(self, node: str) -> dict[str, Json]:
        """Return what a node's templates see: the outputs upstream of it, and the roots."""
        graph, outputs, request = self._definition.graph, self._outputs, self.state.origin
        context = {name: outputs[name] for name in graph.upstream(node) if name in outputs}
        context["trigger"] = outputs.get(graph.trigger)
        context["payload"] = self._payload
        context["webhook_payload"] = self._payload.get("webhook_payload", self._payload)
        context["run"] = {
            "id": self.state.run_id,
            "workflow_id": request.workflow,
            "workflow_version": request.workflow_version,
            "origin": request.origin,
            "original_run_id": request.original_run or None,
        }
        return context

    # What comes of an attempt

    def _settle(self, step: Step, number: int, started_at: int, result: Result) -> None:
        """Note an attempt's outcome and let the frontier move past it."""
        now = self._services.clock.now_us()
        attempt = Attempt(step.node, step.component, number, started_at, now)
        was_ending = self.state.ending is not None
        body, result = encode_result(result, number, self._limits.output_bytes_max)
        if isinstance(result, Outcome):
            facts = decider.succeeded(attempt, result.handle, result.ends)
            self._transcript.note_bytes(facts, body)
        else:
            failure, retry = decider.failed(
                attempt, result.code, step.policy, stopping=self.state.is_stopping
            )
            self._transcript.note_bytes(failure, body)
            if retry is not None:
                self._transcript.note(retry)
        if not was_ending and self.state.ending is not None:
            self._message = result.message
        node = self.state.nodes[step.node]
        if node.phase in SETTLED:
            # What was recorded is what later nodes see, in this process and in every other.
            self._outputs[step.node] = _decode(body)
            self._frontier.settle(node)

    def _interrupt(self, node: NodeState, code: str, *, in_doubt: bool) -> None:
        now = self._services.clock.now_us()
        message = f"Node '{node.node}' was ended because the run is ending ({code})."
        error = {"code": code, "message": message, "attempt": node.attempt}
        self._transcript.note(
            decider.interrupted(node, code, now, in_doubt=in_doubt), {"error": error}
        )

    # Time and requests to stop

    def _next_due(self) -> int | None:
        """Return when something is due next, None if nothing is."""
        due: list[int] = []
        if self._grace_ends_at:
            due.append(self._grace_ends_at)
        if not self.state.cancelling:
            due.append(decider.deadline(self.state))
        if not self._is_halting:
            due.extend(node.due_at for node in decider.waits(self.state))
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
            for name in self._calls.cut_off():
                self._interrupt(self.state.nodes[name], code, in_doubt=True)

    def _take_time(self) -> None:
        """Do what has become due: the ends of limits, retries, waits that are over."""
        self._take_limits()
        now = self._services.clock.now_us()
        for node in sorted(decider.waits(self.state), key=lambda wait: wait.due_at):
            if self.state.is_stopping or self._is_halting or node.due_at > now:
                return
            step = self._definition.steps[node.node]
            if node.phase == "retrying":
                self._start(step, node.attempt + 1)
            else:
                self._transcript.note(e.TimerFired(iteration="", node=node.node))
                self._settle(step, node.attempt, node.started_at, self._end_of_wait(step, node))

    def _end_of_wait(self, step: Step, node: NodeState) -> Result:
        """Tell a wait that is over from one that the node's time-out ended."""
        run, timeout = step.run, step.policy.timeout
        assert isinstance(run, WaitNode)
        try:
            if timeout is not None:
                wanted = run.duration_us(self._context(step.node))
                if decider.wait_us(wanted, step.policy)[1]:
                    message = f"Node '{step.node}' timed out after {timeout:g} s."
                    return NodeError("timeout", message)
            return run.finish(node.due_at - node.started_at)
        except NodeError as error:
            return error
        except Exception as error:
            return unexpected(self.state.run_id, step.node, error)

    def _note_stop(self, code: str, subject: str, message: str) -> None:
        self._transcript.note(e.RunCancelRequested(code=code), {"by": subject, "message": message})
        if self.state.ending is not None and self.state.ending.is_asked_for:
            self._message = message
        grace_us = int(self._limits.cancel_seconds_max * SECOND_US)
        self._grace_ends_at = self._services.clock.now_us() + grace_us

    async def _take_stop_requests(self) -> None:
        while self._stop_requests:
            request = self._stop_requests[0]
            if not self.state.cancelling:
                await self._transcript.flush()
                self._note_stop("cancelled", request.subject, f"Run cancelled by {request.subject}")
                await self._transcript.flush(request.meta)
            # Taken only now, so that a request that met an error here is not lost.
            self._stop_requests.pop(0)
            if not request.accepted.done():
                request.accepted.set_result(None)
