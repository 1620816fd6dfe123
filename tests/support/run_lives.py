"""Draws journals of runs as an engine could have written them: forms, waits, children, iterators.

`projection_kit.histories` mixes events in any order; here each node goes its way step by step,
so that what depends on the whole way, such as whom a run waits for, can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from hypothesis import strategies as st

from refold.journal import events as e
from refold.journal.envelope import Recorded
from tests.support import projection_kit as kit

COMPONENTS = {
    "pure": "text_transform",
    "call": "webhook",
    "pause": "delay",
    "ask": "form",
    "ask_too": "form",
    "sub": "trigger_workflow",
    "each": "iterator",
}
ITERATIONS = ("", "0", "1", "0.10")
PLACES = tuple((path, node) for path in ITERATIONS for node in COMPONENTS)
_OVER = "over"


class Life:
    """One run: what each of its nodes may do next."""

    def __init__(self, history: kit.History, run: str, places: Sequence[tuple[str, str]]) -> None:
        self._history = history
        self._places = places
        self.run = run
        self.is_ended = False
        self._is_started = False
        self._phases: dict[tuple[str, str], str] = {}

    def step(self, choose: Callable[[Sequence[str]], str]) -> None:
        """Do one of the things that can happen now."""
        # What a resume copies is over before the run starts.
        is_settled = set(self._phases.values()) <= {_OVER}
        if not self._is_started and is_settled and choose(["start"] * 3 + ["replay"]) == "start":
            self._is_started = True
            self._add(kit.STARTED)
            return
        if self._is_started and choose(["go on"] * 14 + ["end"]) == "end":
            self.is_ended = True
            ends = [kit.COMPLETED, e.RunFailed(code="x", node="call"), e.RunCancelled(code="x")]
            self._add(ends[int(choose(["0", "1", "2"]))])
            return
        place = self._places[int(choose([str(n) for n in range(len(self._places))]))]
        phase = self._phases.get(place, "")
        events = self._ways(place, phase)
        name = choose(list(events))
        next_phase, facts = events[name]
        self._phases[place] = next_phase
        for one in facts:
            self._add(one)

    def _ways(self, place: tuple[str, str], phase: str) -> dict[str, tuple[str, Sequence[e.Facts]]]:
        """Return what can happen at a place: the phase after it, and its events."""
        path, node = place
        component = COMPONENTS[node]
        at = {"iteration": path, "node": node}
        over: dict[str, tuple[str, Sequence[e.Facts]]] = {
            "succeed": (_OVER, [self._outcome(kit.succeeded(node), place)]),
            "fail": (_OVER, [self._outcome(kit.node_failed(node), place)]),
            "tolerate": (_OVER, [self._outcome(kit.node_failed(node, tolerated=1), place)]),
            "terminate": (_OVER, [self._outcome(kit.succeeded(node, "completed"), place)]),
        }
        if component == "text_transform":
            if phase == "retrying":
                return over | {"interrupt": (_OVER, [self._outcome(kit.interrupted(node), place)])}
            failed = self._outcome(kit.node_failed(node, retried=1), place)
            return over | {"retry": ("retrying", [failed])}
        started = e.NodeStarted(
            attempt=1, component=component, effect_key="", started_at=kit.START_US, **at
        )
        if phase in ("", _OVER):
            return {"start": ("started", [started]), "fail at once": over["fail"]}
        if phase == "retrying":
            schedule = e.NodeRetryScheduled(attempt=2, due_at=kit.START_US, **at)
            over = {"again": ("started", [started]), "schedule": ("retrying", [schedule])}
        elif phase != "asked" and component != "iterator":
            # A form that was asked is answered, or runs out of time, or is ended: never retried.
            # An iterator has no `retry`; the nodes inside have.
            retried = self._outcome(kit.node_failed(node, retried=1), place)
            over["retry"] = ("retrying", [retried])
        over["interrupt"] = (_OVER, [self._outcome(kit.interrupted(node), place)])
        if phase == "started":
            over |= self._waits(place, component)
        if phase == "asked":
            answered = e.InteractionSubmitted(action="ok", submitted_at=kit.START_US, **at)
            over["answer"] = ("answered", [answered])
        return over

    def _waits(
        self, place: tuple[str, str], component: str
    ) -> dict[str, tuple[str, Sequence[e.Facts]]]:
        path, node = place
        at = {"iteration": path, "node": node}
        if component == "form":
            asked = e.InteractionRequested(due_at=0, requested_at=kit.START_US, **at)
            return {"ask": ("asked", [asked]), "ask in vain": ("asked", [asked])}
        if component == "delay":
            return {"wait": ("waiting", [e.TimerSet(due_at=kit.START_US, **at)])}
        if component == "trigger_workflow":
            child = e.ChildRequested(
                child="fl_run_child", waits=1, workflow=kit.WORKFLOWS[1], workflow_version=1, **at
            )
            return {"call a child": ("waiting", [child])}
        if component == "iterator":
            item = f"{path}.2" if path else "2"
            begun = e.IterationStarted(iteration=item, node=node, started_at=kit.START_US)
            done = e.IterationEnded(
                code="", ended_at=kit.START_US, failed_node="", iteration=item, node=node
            )
            return {"begin an item": ("started", [begun]), "do an item": ("started", [begun, done])}
        # A crash came between, and the call is made again.
        again = e.NodeStarted(
            attempt=1, component=component, effect_key="", started_at=kit.START_US, **at
        )
        return {"recover": ("started", [again])}

    def _outcome(
        self, facts: e.NodeSucceeded | e.NodeFailed | e.NodeInterrupted, place: tuple[str, str]
    ) -> e.Facts:
        # What is copied ended before anything of this run began.
        ended_at = self._history.at if self._is_started else kit.START_US - 7
        return msgspec.structs.replace(
            facts,
            attempt=2 if self._phases.get(place) == "retrying" else 1,
            component=COMPONENTS[place[1]],
            ended_at=ended_at,
            iteration=place[0],
            source_id="" if self._is_started else "original",
            started_at=ended_at - 1,
        )

    def _add(self, facts: e.Facts) -> None:
        src = "" if self._is_started else "copied"
        self._history.add(self.run, facts, has_body=True)
        if src:
            newest = self._history.events[-1]
            self._history.events[-1] = msgspec.structs.replace(newest, src=src)


@st.composite
def lives(draw: st.DrawFn) -> list[Recorded]:
    """Draw a journal of some runs that go their way side by side."""
    history = kit.History()
    numbers = st.integers(0, 1_000_000)

    def choose(names: Sequence[str]) -> str:
        return names[draw(numbers) % len(names)]

    total = draw(st.integers(1, 2))
    running: list[Life] = []
    for _ in range(total):
        history.request(draw(st.sampled_from(kit.WORKFLOWS)), "execute", "")
        # A form and few other places, so that a form is often all that is left open.
        others = st.lists(st.sampled_from(PLACES), max_size=2)
        places = [(draw(st.sampled_from(ITERATIONS)), "ask"), *draw(others)]
        running.append(Life(history, history.runs[-1], places))
    for _ in range(draw(st.integers(1, 60))):
        history.at += draw(st.integers(0, 2))
        life = running[draw(numbers) % len(running)]
        if not life.is_ended:
            life.step(choose)
    return history.events
