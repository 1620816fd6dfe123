"""One run while it is active: does what the decider says, and nothing else.

A scheduling step runs every pure node up to the next effects, appends everything that came of it
together with the starts of those effects, and only then lets the effects begin. When nothing but
time is missing the run is parked: it leaves memory, and continues later as after a crash.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ..journal import events as e
from ..journal.clock import Clock, IdSource
from ..journal.journal import Journal, Metadata
from ..projections.run_state import SETTLED, NodeState
from . import decider
from .component import EffectNode, NodeError, Outcome, TriggerNode, WaitNode
from .decider import Attempt
from .definition import Definition, Step
from .frontier import Frontier
from .limits import Limits
from .outbound import OutboundClient
from .policy import SECOND_US
from .timers import Timers
from .transcript import EVENTS_PER_COMMIT_MAX, Snapshot, Transcript

SLICE_US: Final = 20_000
"""How long a run computes before it lets others have the event loop."""
_log = logging.getLogger("refold.engine")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

Json = Any
Result = Outcome | NodeError


class Services(msgspec.Struct, frozen=True):
    """What all runs share."""

    journal: Journal
    clock: Clock
    ids: IdSource
    timers: Timers
    outbound: OutboundClient
    limits: Limits


class EffectCall(msgspec.Struct, frozen=True):
    """What an effect node is lent while it performs (see `Call`)."""

    effect_key: str
    timeout_s: float
    outbound: OutboundClient


class StopRequest(msgspec.Struct, frozen=True):
    """Somebody asks the run to stop."""

    subject: str
    meta: Metadata
    accepted: asyncio.Future[None]


class Execution:
    """Carries one run on from where its state stands."""

    def __init__(
        self,
        services: Services,
        transcript: Transcript,
        definition: Definition,
        payload: dict[str, Json],
        outputs: Mapping[str, Json],
    ) -> None:
        """`outputs` are those of the nodes that the state knows as settled."""
        self._services = services
        self._limits = services.limits
        self._transcript = transcript
        self.state: Final = transcript.state
        self._definition = definition
        self._payload = payload
        self._outputs: dict[str, Json] = dict(outputs)
        self._frontier = Frontier(definition.graph, self.state)
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._results: list[tuple[str, Result]] = []
        self._to_call: list[tuple[Step, str, dict[str, Json]]] = []
        self._stop_requests: list[StopRequest] = []
        self._grace_ends_at = 0
        self._wake = asyncio.Event()
        self._is_halting = False
        self.message = ""
        """The error message of a run that is ending as failed."""

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
            if self.state.status == "pending":
                self._note_start()
            self._recover()
            while True:
                await self._take_stop_requests()
                self._take_time()
                await self._advance()
                await self._transcript.flush()
                if self.state.is_ended:
                    return 0
                self._begin_calls()
                if self._stop_requests:
                    continue
                if not self._calls:
                    return 0 if self._is_halting else self._next_due()
                await self._wait()
                self._take_results()
        finally:
            self._abandon()

    def request_stop(self, request: StopRequest) -> None:
        """Ask the run to stop; the request's future tells when that is durable."""
        self._stop_requests.append(request)
        self._wake.set()

    def halt(self) -> None:
        """Begin nothing new: the service is stopping. Calls on the wire may finish."""
        self._is_halting = True
        self._wake.set()

    # What happens at the beginning

    def _note_start(self) -> None:
        self._transcript.note(
            e.RunStarted(
                limit_us=int(self._limits.run_seconds_max * SECOND_US),
                started_at=self._services.clock.now_us(),
            )
        )

    def _recover(self) -> None:
        """Decide what becomes of calls that a crash cut off."""
        for node in list(self.state.nodes.values()):
            step = self._definition.steps.get(node.node)
            if step is None:
                continue
            fate = decider.after_crash(self.state, node, step.policy)
            if fate == "end":
                self._interrupt(node, self.state.cancelling, in_doubt=True)
            elif fate == "fail":
                error = NodeError(
                    decider.INTERRUPTED,
                    f"Node '{node.node}' was interrupted: the service stopped during its call, "
                    "whose outcome is unknown, and its delivery is at most once.",
                )
                self._settle_attempt(step, node.attempt, node.started_at, error)
            elif fate == "again":
                self._start(step, node.attempt)

    # One scheduling step

    async def _advance(self) -> None:
        """Run whatever is ready, up to the effects, and end the run when nothing is left."""
        clock, ready = self._services.clock, self._frontier.ready
        slice_ends = clock.now_us() + SLICE_US
        while ready and not self.state.is_stopping and not self._is_halting:
            self._start(self._definition.steps[ready.popleft()], 1)
            if self._transcript.pending >= EVENTS_PER_COMMIT_MAX:
                await self._transcript.flush()
            if clock.now_us() >= slice_ends:
                await asyncio.sleep(0)
                slice_ends = clock.now_us() + SLICE_US
        self._interrupt_waits()
        if self._is_halting and not self.state.is_stopping:
            return
        last = decider.conclusion(self.state, anything_ready=bool(ready))
        if last is None:
            return
        failed = not isinstance(last, e.RunCompleted)
        self._transcript.note(last, {"message": self.message} if failed else None)

    def _start(self, step: Step, number: int) -> None:
        """Begin an attempt: pure nodes end at once, others are noted as started."""
        now = self._services.clock.now_us()
        node = step.run
        try:
            if isinstance(node, EffectNode):
                self._start_effect(step, node, number, now)
            elif isinstance(node, WaitNode):
                self._start_wait(step, node, number, now)
            elif isinstance(node, TriggerNode):
                request = self.state.origin
                outcome = node.start(self._payload, request.trigger_type, self.state.run_id)
                self._settle_attempt(step, number, now, outcome)
            else:
                self._settle_attempt(step, number, now, node.run(self._context(step.node)))
        except NodeError as error:
            self._settle_attempt(step, number, now, error)
        except Exception as error:
            self._settle_attempt(step, number, now, self._unexpected(step, error))

    def _unexpected(self, step: Step, error: Exception) -> NodeError:
        """Make a failure of a fault of ours, so that one node can't hold its run for ever."""
        _log.exception("run %s: node %s failed unexpectedly", self.state.run_id, step.node)
        kind = type(error).__name__
        return NodeError("internal_error", f"Node '{step.node}' failed unexpectedly ({kind}).")

    def _start_effect(
        self, step: Step, node: EffectNode[Any], number: int, now: int
    ) -> None:
        context = self._context(step.node)
        rendered = node.prepare(context)
        key = decider.effect_key(self.state, step.node)
        self._note_node_started(step, number, now, key, rendered)
        self._to_call.append((step, key, context))

    def _start_wait(self, step: Step, node: WaitNode[Any], number: int, now: int) -> None:
        duration, _ = decider.wait_us(node.duration_us(self._context(step.node)), step.policy)
        limit = self._limits.delay_seconds_max
        if duration > limit * SECOND_US:
            raise NodeError(
                "delay_invalid",
                f"Node '{step.node}' would wait {duration / SECOND_US:g} s; "
                f"the limit is {limit:g} s.",
            )
        self._note_node_started(step, number, now, "", {"seconds": duration / SECOND_US})
        self._transcript.note(e.TimerSet(due_at=now + duration, iteration="", node=step.node))

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
        graph, outputs, state = self._definition.graph, self._outputs, self.state
        context = {name: outputs[name] for name in graph.upstream(node) if name in outputs}
        context["trigger"] = outputs.get(graph.trigger)
        context["payload"] = self._payload
        context["webhook_payload"] = self._payload.get("webhook_payload", self._payload)
        request = state.origin
        context["run"] = {
            "id": state.run_id,
            "workflow_id": request.workflow,
            "workflow_version": request.workflow_version,
            "origin": request.origin,
            "original_run_id": request.original_run or None,
        }
        return context

    # What comes of an attempt

    def _settle_attempt(
        self, step: Step, number: int, started_at: int, result: Result
    ) -> None:
        """Note an attempt's outcome and let the frontier move past it."""
        now = self._services.clock.now_us()
        attempt = Attempt(step.node, step.component, number, started_at, now)
        was_ending = self.state.ending is not None
        body, result = self._body_of(result, number)
        if isinstance(result, Outcome):
            facts = decider.succeeded(attempt, result.handle, result.ends)
            self._transcript.note_bytes(facts, body)
            message = result.message
        else:
            failure, retry = decider.failed(
                attempt, result.code, step.policy, stopping=self.state.is_stopping
            )
            self._transcript.note_bytes(failure, body)
            if retry is not None:
                self._transcript.note(retry)
            message = result.message
        if not was_ending and self.state.ending is not None:
            self.message = message
        node = self.state.nodes[step.node]
        if node.phase in SETTLED:
            self._outputs[step.node] = _decode(body)
            self._frontier.settle(node)

    def _body_of(self, result: Result, number: int) -> tuple[bytes, Result]:
        """Encode what is recorded of a result; an output beyond the limit is a failure."""
        if isinstance(result, Outcome):
            body = _encode(result.output)
            if len(body) <= self._limits.output_bytes_max:
                return body, result
            result = NodeError(
                "output_too_large",
                f"The output has {len(body)} bytes; the limit is "
                f"{self._limits.output_bytes_max}.",
            )
        error = {"code": result.code, "message": result.message, "attempt": number}
        body = _encode({"error": error, **result.received})
        if len(body) > self._limits.output_bytes_max:
            # What was received is left out rather than the failure itself.
            body = _encode({"error": error, "truncated": True})
        return body, result

    def _interrupt_waits(self) -> None:
        code = decider.ending_code(self.state)
        for node in decider.waits_to_end(self.state):
            self._interrupt(node, code, in_doubt=False)

    def _interrupt(self, node: NodeState, code: str, *, in_doubt: bool) -> None:
        now = self._services.clock.now_us()
        message = f"Node '{node.node}' was ended because the run is ending ({code})."
        error = {"code": code, "message": message, "attempt": node.attempt}
        self._transcript.note(
            decider.interrupted(node, code, now, in_doubt=in_doubt), {"error": error}
        )

    # Calls

    def _begin_calls(self) -> None:
        """Let the effects begin whose starts are durable now."""
        for step, key, context in self._to_call:
            task = asyncio.create_task(
                self._call(step, key, context), name=f"{self.state.run_id}:{step.node}"
            )
            self._calls[step.node] = task
        self._to_call.clear()

    async def _call(self, step: Step, key: str, context: dict[str, Json]) -> None:
        limit = min(
            step.policy.timeout or self._limits.node_seconds_max, self._limits.node_seconds_max
        )
        node = step.run
        assert isinstance(node, EffectNode)
        result: Result
        try:
            async with asyncio.timeout(limit):
                call = EffectCall(key, limit, self._services.outbound)
                result = await node.perform(context, call)
        except TimeoutError:
            result = NodeError("timeout", f"Node '{step.node}' timed out after {limit:g} s.")
        except NodeError as error:
            result = error
        except Exception as error:
            result = self._unexpected(step, error)
        self._results.append((step.node, result))
        self._wake.set()

    def _take_results(self) -> None:
        results, self._results = self._results, []
        for name, result in results:
            del self._calls[name]
            node = self.state.nodes[name]
            step = self._definition.steps[name]
            self._settle_attempt(step, node.attempt, node.started_at, result)

    # Time and requests to stop

    def _next_due(self) -> int:
        waiting = [n for n in self.state.nodes.values() if n.phase in ("waiting", "retrying")]
        due = decider.next_due(waiting, decider.deadline(self.state))
        return min(due, self._grace_ends_at) if self._grace_ends_at else due

    async def _wait(self) -> None:
        """Wait for a call, a request, or the next time at which something is due."""
        cancel_timer = self._services.timers.call_at(
            max(self._next_due(), self._services.clock.now_us()), self._wake.set
        )
        try:
            await self._wake.wait()
        finally:
            cancel_timer()
        self._wake.clear()

    def _take_time(self) -> None:
        """Do what has become due: waits that are over, retries, the ends of limits."""
        now = self._services.clock.now_us()
        if decider.is_past(self.state, now):
            limit = self.state.limit_us / SECOND_US
            self._note_stop("run_timeout", "", f"Run exceeded its time limit of {limit:g} s")
        if self._grace_ends_at and now >= self._grace_ends_at:
            self._cut_off_calls()
        if self.state.is_stopping or self._is_halting:
            return
        for node in list(self.state.nodes.values()):
            if node.phase in ("waiting", "retrying") and node.due_at <= now:
                self._resume_wait(node)

    def _resume_wait(self, node: NodeState) -> None:
        step = self._definition.steps[node.node]
        if node.phase == "retrying":
            self._start(step, node.attempt + 1)
            return
        run = step.run
        assert isinstance(run, WaitNode)
        self._transcript.note(e.TimerFired(iteration="", node=node.node))
        timeout = step.policy.timeout
        waited = node.due_at - node.started_at
        result: Result = run.finish(waited)
        wanted = run.duration_us(self._context(node.node))
        if timeout is not None and decider.wait_us(wanted, step.policy)[1]:
            result = NodeError("timeout", f"Node '{node.node}' timed out after {timeout:g} s.")
        self._settle_attempt(step, node.attempt, node.started_at, result)

    def _note_stop(self, code: str, subject: str, message: str) -> None:
        self._transcript.note(
            e.RunCancelRequested(code=code), {"by": subject, "message": message}
        )
        if self.state.ending is not None and self.state.ending.is_asked_for:
            self.message = message
        self._grace_ends_at = self._services.clock.now_us() + int(
            self._limits.cancel_seconds_max * SECOND_US
        )

    async def _take_stop_requests(self) -> None:
        requests, self._stop_requests = self._stop_requests, []
        for request in requests:
            if not self.state.cancelling:
                await self._transcript.flush()
                self._note_stop("cancelled", request.subject, f"Run cancelled by {request.subject}")
                await self._transcript.flush(request.meta)
            if not request.accepted.done():
                request.accepted.set_result(None)

    def _cut_off_calls(self) -> None:
        """The grace is over: what is still on the wire ends with its outcome unknown."""
        self._grace_ends_at = 0
        finished = {name for name, _ in self._results}
        for name, task in list(self._calls.items()):
            if name not in finished:
                task.cancel()
                del self._calls[name]
                self._interrupt(
                    self.state.nodes[name], decider.ending_code(self.state), in_doubt=True
                )

    def _abandon(self) -> None:
        """Leave nothing running behind, whatever ended this execution."""
        for task in self._calls.values():
            task.cancel()
        for request in self._stop_requests:
            if not request.accepted.done():
                request.accepted.cancel()
