"""A whole engine in memory: a journal that can lose its end, an endpoint, ids from a seed.

Nothing of the engine is replaced. Below it stand the memory journal and virtual time; at the
seam where it calls out stands an endpoint that answers by a script and keeps what it saw.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from random import Random
from typing import Any

from refold.engine.authoring import Authoring
from refold.engine.caller import Caller
from refold.engine.calls import Secrets
from refold.engine.engine import Engine
from refold.engine.execution import Services
from refold.engine.limits import Limits
from refold.engine.outbound import OutboundError, OutboundResponse
from refold.engine.requests import AnswerRequest, StopRequest
from refold.engine.run_requests import RunRequests, Started
from refold.engine.runs import Runs
from refold.engine.scheduler import Scheduler, SchedulerParts
from refold.engine.sealing import Sealer
from refold.engine.starts import Starts, Which
from refold.engine.timers import LoopTimers
from refold.engine.workflows import Workflows, WorkflowText
from refold.journal import events as e
from refold.journal.actors import Pseudonyms
from refold.journal.clock import Clock
from refold.journal.envelope import Recorded
from refold.journal.ids import is_workflow
from refold.journal.journal import Body, Commit, Metadata, NewEvent, StreamWrite
from refold.journal.memory_store import MemoryJournal
from refold.projections.run_state import RunState
from refold.projections.workflow_state import WorkflowState, evolve
from tests.support.simulated_journal import SeededIds, SimulatedJournal
from tests.support.simulated_vault import SimulatedVault
from tests.support.virtual_time import START_US, VirtualClock

KEY = b"k" * 32
CALLER = Caller("acme", "ada", "request-1")
HOST = "http://endpoint.test/"
DAY_US = 86_400_000_000


@dataclass
class Reply:
    """What the endpoint does with one attempt of a node's call."""

    status: int = 200
    seconds: float = 0.1
    body: Any = None
    """The answer's JSON; None for one that is made of the request."""
    error: str = ""
    """The code of a failure without an answer, such as `connection_failed`."""


@dataclass
class SeenCall:
    """One request as the endpoint got it."""

    run_id: str
    node: str
    key: str
    at_us: int


@dataclass
class Endpoint:
    """Answers by node and attempt, which it reads off the journal: so answers are deterministic.

    It sees to it that the start of what calls it is durable and still without an outcome.
    """

    script: Mapping[str, Sequence[Reply]] = field(default_factory=dict[str, Sequence[Reply]])
    """Node to its replies, one an attempt; the last one is given ever after."""
    is_anchored: bool = False
    """Whether a repeated call is answered when the first one of its attempt would have been."""
    calls: list[SeenCall] = field(default_factory=list[SeenCall])
    bodies: list[bytes] = field(default_factory=list[bytes])
    """What each request sent."""
    faults: list[str] = field(default_factory=list[str])
    on_wire: int = 0
    journal: MemoryJournal | None = None
    clock: Clock | None = None

    async def request(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
        timeout_s: float,
        /,
    ) -> OutboundResponse:
        """Answer one request as the script says."""
        del method, timeout_s
        assert self.journal is not None
        assert self.clock is not None
        named = {name.lower(): value for name, value in headers}
        self.bodies.append(body or b"")
        node, run_id, now = url.removeprefix(HOST), named["x-run"], self.clock.now_us()
        self.calls.append(SeenCall(run_id, node, named["idempotency-key"], now))
        attempt, first = await self._attempt(run_id, node, named["idempotency-key"])
        replies = self.script.get(node) or [Reply()]
        reply = replies[min(attempt, len(replies)) - 1]
        self.on_wire += 1
        try:
            due = (first if self.is_anchored else now) + round(reply.seconds * 1e6)
            await asyncio.sleep(max(0, due - now) / 1e6)
        finally:
            self.on_wire -= 1
        if reply.error:
            raise OutboundError(reply.error, "No answer came.")
        answer = reply.body
        if answer is None:
            answer = {"node": node, "digest": digest(json.loads(body or b"null"))}
        content = json.dumps(answer).encode()
        return OutboundResponse(reply.status, "", {"content-type": "application/json"}, content)

    async def close(self) -> None:
        """Nothing is open."""

    async def _attempt(self, run_id: str, node: str, key: str) -> tuple[int, int]:
        assert self.journal is not None
        attempt, first = 0, 0
        place = "", node
        is_open = False
        for event in await self.journal.read_stream(run_id, limit=100_000):
            facts = event.facts
            if isinstance(facts, e.NodeStarted) and facts.effect_key == key:
                is_open = True
                place = facts.iteration, facts.node
                if facts.attempt != attempt:
                    attempt, first = facts.attempt, facts.started_at
            elif isinstance(facts, e.NodeSucceeded | e.NodeFailed | e.NodeInterrupted):
                is_open = is_open and (facts.iteration, facts.node) != place
        if not is_open:
            self.faults.append(f"{node} was called without a durable start of its own")
        return attempt, first


def digest(value: Any) -> str:
    """Return a short digest of a JSON value, whatever the order of its keys."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


class Simulated:
    """A service without its HTTP room. To be made on a running `VirtualLoop`."""

    def __init__(
        self,
        endpoint: Endpoint | None = None,
        limits: Limits | None = None,
        *,
        seed: int = 0,
        start_us: int = START_US,
        clock: Clock | None = None,
        commit_seconds: float = 0,
    ) -> None:
        random = Random(seed)
        self.clock = clock or VirtualClock(start_us)
        self.ids = SeededIds(self.clock, random)
        self.journal = SimulatedJournal(self.clock, random, commit_seconds)
        self.endpoint = endpoint or Endpoint()
        self.endpoint.journal, self.endpoint.clock = self.journal, self.clock
        self.limits = limits or Limits()
        self.secrets: dict[str, str] = {}
        """What the vault of every tenant holds, by name."""
        pseudonyms = Pseudonyms(KEY)
        sealer = Sealer(KEY)
        self.workflows = Workflows(self.journal, sealer)
        self.authoring = Authoring(
            self.journal, self.clock, self.ids, pseudonyms, sealer, self.limits, self.workflows
        )
        self.runs = Runs(self.journal, self.workflows)
        requests = RunRequests(self.ids, pseudonyms)
        self.starts = Starts(self.journal, self.ids, requests, self.workflows, self.runs)
        timers = LoopTimers(self.clock)
        self.services = Services(
            self.journal,
            self.clock,
            self.ids,
            timers,
            self.endpoint,
            self.limits,
            Secrets(SimulatedVault(self.secrets)),
        )
        self.engine = Engine(self.services, self.workflows, self.runs, requests, pseudonyms)
        self.scheduler = Scheduler(
            SchedulerParts(
                self.journal,
                self.clock,
                self.ids,
                timers,
                pseudonyms,
                self.workflows,
                requests,
                self.engine,
                self.scheduled,
            ),
            # Virtual time makes no jumps that a timer doesn't know of.
            look_us=DAY_US,
        )

    async def define(
        self,
        nodes: Sequence[dict[str, Any]],
        edges: Sequence[dict[str, Any]],
        caller: Caller = CALLER,
    ) -> str:
        """Save a workflow and return its id."""
        text = WorkflowText(name="simulated", nodes=list(nodes), edges=list(edges))
        appended = await self.authoring.create(caller, text, None)
        return appended.events[0].stream

    async def scheduled(self) -> dict[str, int]:
        """Say when each active schedule fires next, folded from the whole journal."""
        states: dict[str, WorkflowState] = {}
        for event in await self.journal.read_all(limit=self.journal.head):
            if is_workflow(event.stream):
                state = states.setdefault(event.stream, WorkflowState(event.stream))
                evolve(state, event)
        return {name: state.next_at for name, state in states.items() if state.next_at}

    async def execute(
        self, workflow: str, payload: dict[str, Any] | None = None, caller: Caller = CALLER
    ) -> str:
        """Start a run and return its id."""
        return await self._begun(
            await self.starts.execute(
                caller,
                workflow,
                payload or {},
                origin="execute",
                trigger_type="manual",
                request=None,
            )
        )

    async def resume(
        self, run_id: str, node: str, which: Which = "original", *, allow_completed: bool = False
    ) -> str:
        """Resume a run from a node and return the new run's id."""
        return await self._begun(
            await self.starts.resume(
                CALLER, run_id, node, which, allow_completed=allow_completed, request=None
            )
        )

    async def rerun(self, run_id: str, which: Which = "current") -> str:
        """Run again with the same payload and return the new run's id."""
        return await self._begun(await self.starts.rerun(CALLER, run_id, which, None))

    async def cancel(self, run_id: str, caller: Caller = CALLER) -> None:
        """Ask a run to stop."""
        meta = caller.metadata(Pseudonyms(KEY))
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self.engine.ask(caller, StopRequest(caller.subject, meta, accepted), run_id)

    async def answer(
        self,
        run_id: str,
        node: str,
        action: str,
        values: dict[str, Any] | None = None,
        iteration: str = "",
    ) -> None:
        """Answer a form of a run."""
        meta = CALLER.metadata(Pseudonyms(KEY))
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        request = AnswerRequest(
            iteration, node, action, values or {}, CALLER.subject, meta, accepted
        )
        await self.engine.ask(CALLER, request, run_id)

    async def until(self, run_id: str, holds: Callable[[RunState], bool]) -> RunState:
        """Wait until something is true of a run, commit by commit."""
        while not holds(state := await self.state(run_id)):
            heard = _Heard()
            unsubscribe = self.journal.subscribe(heard)
            try:
                if not holds(await self.state(run_id)):
                    await heard.wait()
            finally:
                unsubscribe()
        return state

    async def state(self, run_id: str) -> RunState:
        """Fold a run as the journal has it now."""
        return (await self.runs.load(run_id)).state

    async def ended(self, run_id: str) -> RunState:
        """Wait for a run's end and fold it."""
        await self.engine.watch(run_id)
        return await self.state(run_id)

    async def bodies(self, state: RunState) -> dict[str, Any]:
        """Read what each node of a run has to show."""
        positions = {name: node.body_at for name, node in state.nodes.items()}
        bodies = await self.journal.read_bodies(list(positions.values()))
        return {name: json.loads(bodies[at].data) for name, at in positions.items() if at}

    async def message(self, state: RunState) -> str:
        """Read a failed run's error message."""
        bodies = await self.journal.read_bodies([state.message_at])
        return str(json.loads(bodies[state.message_at].data)["message"])

    async def close(self) -> None:
        """Stop at once, as a service would that has no time left."""
        await self.scheduler.stop(0)
        await self.engine.stop(0)

    async def crashed(self, head: int, *, endpoint: Endpoint, downtime_s: float = 0) -> Simulated:
        """Return the service that finds the first `head` events, as after losing the rest.

        This one must have been closed or be done with all its runs.
        """
        events = await self.journal.read_all(limit=head)
        bodies = await self.journal.read_bodies([event.position for event in events])
        at = events[-1].at + round(downtime_s * 1e6)
        after = Simulated(endpoint, self.limits, seed=self.journal.head + head, start_us=at)
        for event in events:
            await MemoryJournal.append(after.journal, _again(event, bodies))
        return after

    async def _begun(self, started: Started) -> str:
        await self.engine.begin(started)
        return started.run_id


class _Heard(asyncio.Event):
    """Set by the next commit."""

    def __call__(self, events: Sequence[Recorded]) -> None:
        """Hear of a commit."""
        del events
        self.set()


def _again(event: Recorded, bodies: Mapping[int, Body]) -> Commit:
    """Return the commit that writes an event once more, alone."""
    body = bodies.get(event.position)
    replayed = event.body_at not in (0, event.position)
    new = NewEvent(
        event.id,
        event.facts,
        None if body is None else body.data,
        src=event.src,
        payload=event.payload if replayed else "",
        body_at=event.body_at if replayed else 0,
    )
    meta = Metadata(event.tenant, event.actor, event.corr, event.cause)
    return Commit([StreamWrite(event.stream, event.version - 1, [new], meta)])


async def restarted(sim: Simulated, head: int, **options: Any) -> Simulated:
    """Start a service that finds the first `head` events."""
    endpoint = options.pop("endpoint", None) or Endpoint(sim.endpoint.script)
    after = await sim.crashed(head, endpoint=endpoint, **options)
    await sim.close()
    await after.engine.recover()
    return after


# Definitions


def node(name: str, component: str, **data: Any) -> dict[str, Any]:
    """Write a node of a definition."""
    return {"id": name, "type": component, "data": {"componentId": component, **data}}


def call(name: str, body: Any = None, **data: Any) -> dict[str, Any]:
    """Write a webhook node that calls the endpoint under its own name."""
    headers = [{"key": "X-Run", "value": "{{ run.id }}"}]
    sent = {} if body is None else {"body": body}
    return node(
        name, "webhook", method="POST", url=f"{HOST}{name}", headers=headers, **sent, **data
    )


def edge(source: str, target: str, handle: str | None = None) -> dict[str, Any]:
    """Write an edge of a definition."""
    made = {"id": f"{source}-{target}-{handle}", "source": source, "target": target}
    return made if handle is None else {**made, "sourceHandle": handle}


def line(*names: str) -> list[dict[str, Any]]:
    """Write plain edges from each name to the next."""
    return [edge(a, b) for a, b in pairwise(names)]


TRIGGER = node("start", "manual_trigger")
