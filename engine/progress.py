"""How far a run has come: takes the outcomes of attempts, in all of its scopes.

What was noted here counts at once for what comes next, and for the world once it is durable.
Iterators live here too: an item is a scope of its own, and its end may be its iterator's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ..journal import events as e
from ..journal.clock import Clock
from ..projections.node_state import SETTLED, NodeState, Place, index_of, outer_of, path_of
from . import decider
from .attempts import Attempts
from .calls import Calls, Result, encode_result, unexpected
from .component import AnswerError, FormNode, IteratorPlan, Json, NodeError, Outcome
from .decider import Attempt
from .definition import Definition, Step
from .errors import InvalidError, NodeNotFoundError, StateError
from .frontier import known_in
from .limits import Limits
from .memory import Memory
from .requests import AnswerRequest
from .results import final_nodes, result_of
from .scope import Failure, Loop, Scope, roots
from .transcript import Transcript

_decode = msgspec.json.Decoder().decode
_ROOT: Final = ("", "")


class Progress:
    """The scopes of one run, and everything that happens in them."""

    def __init__(
        self,
        clock: Clock,
        limits: Limits,
        transcript: Transcript,
        definition: Definition,
        calls: Calls,
        payload: dict[str, Json],
        memory: Memory,
    ) -> None:
        """Stand where the transcript's state stands."""
        self._clock = clock
        self._limits = limits
        self._transcript = transcript
        self._state = transcript.state
        self._definition = definition
        self._memory = memory
        self._attempts = Attempts(limits, transcript, definition, calls, payload)
        self.message = memory.message
        """The error message of a run that is ending."""
        self.ready: Final[deque[tuple[Scope, str]]] = deque()
        """Nodes that may start, in the order in which they became ready."""
        self.children: Final = self._attempts.children
        self.forms: Final = self._attempts.forms
        self.is_halting = False
        self._scopes: dict[tuple[str, str], Scope] = {}
        self._loops: dict[Place, Loop] = {}
        graph = definition.graph
        known = known_in(self._state, "", graph.nodes)
        self._enter(Scope("", "", graph, roots(self._state, payload), known=known), known)
        for node in sorted(self._state.open.values(), key=lambda known: known.iteration.count(".")):
            self._remember(node)

    def step_of(self, node: NodeState) -> Step | None:
        """Return a node's step; a run whose definition lost it can't go on there."""
        return self._definition.steps.get(node.node)

    def scope_of(self, place: Place) -> Scope:
        """Return the scope that a place is in."""
        return self._scopes[place[0], self._definition.steps[place[1]].owner]

    # Scopes

    def _enter(self, scope: Scope, known: Sequence[NodeState]) -> None:
        """Take a scope in, as far as it has come already: `known` are its nodes that ran."""
        self._scopes[scope.path, scope.owner] = scope
        for node in known:
            place = node.place
            if node.phase in SETTLED:
                self._see(scope, node.node, self._memory.outputs[place])
            elif node.phase == "failed" and scope.owner and scope.failure is None:
                error = self._memory.outputs[place].get("error", {})
                scope.failure = Failure(node.node, error.get("code", ""), error.get("message", ""))
            elif place in self._state.open:
                scope.active += 1
                if node.phase == "asked":
                    self.forms[place] = self._memory.inputs[place]
        self._take_ready(scope)

    def _see(self, scope: Scope, node: str, output: Json) -> None:
        """Remember a node's value for later ones."""
        scope.outputs[node] = output
        if not scope.owner and node == scope.graph.trigger:
            scope.surroundings["trigger"] = output

    def _remember(self, node: NodeState) -> None:
        """Take up an iterator that was under way, with its open items."""
        step = self.step_of(node)
        if node.phase != "iterating" or step is None or node.items is None:
            return
        began = self._memory.inputs[node.place]
        loop = self._loop(self.scope_of(node.place), step, began["items"], began["concurrency"])
        loop.next_index = len(node.items)
        for index, at in sorted(node.items.items()):
            if at:
                loop.ended[index] = self._memory.ended[node.place, index]
                continue
            loop.open += 1
            known = known_in(self._state, path_of(node.iteration, index), loop.body.nodes)
            self._enter(loop.scope_of(index, known), known)

    def _loop(self, scope: Scope, step: Step, items: list[Json], concurrency: int) -> Loop:
        place = scope.path, step.node
        context = scope.context(step.node)
        loop = self._loops[place] = Loop(place, step, scope, context, items, concurrency)
        return loop

    def go_on(self) -> None:
        """End what a crash left ended but for saying so, and begin the items that are left."""
        for loop in sorted(self._loops.values(), key=lambda known: -known.place[0].count(".")):
            if self._loops.get(loop.place) is not loop:
                continue
            for index in [index for index, at in self._items(loop).items() if not at]:
                scope = self._scopes.get((path_of(loop.place[0], index), loop.step.node))
                if scope is not None:
                    self._end_item_if_done(scope)
            if self._loops.get(loop.place) is loop:
                self._fill(loop)

    def _items(self, loop: Loop) -> Mapping[int, int]:
        known = self._state.at(loop.place)
        return (known.items or {}) if known is not None else {}

    def _take_ready(self, scope: Scope) -> None:
        for node in scope.frontier.ready:
            scope.active += 1
            self.ready.append((scope, node))
        scope.frontier.ready.clear()

    def start_next(self) -> None:
        """Begin the next ready node, unless its item is failing."""
        scope, node = self.ready.popleft()
        if scope.is_failing:
            self._leave(scope)
        else:
            self._begin(scope, self._definition.steps[node], 1)

    def _leave(self, scope: Scope) -> None:
        """Count a node as over."""
        scope.active -= 1
        self._end_item_if_done(scope)

    def _end_item_if_done(self, scope: Scope) -> None:
        if not scope.owner or scope.active or self._state.is_stopping:
            return
        loop = self._loops[outer_of(scope.path), scope.owner]
        del self._scopes[scope.path, scope.owner]
        loop.open -= 1
        if not loop.scope.is_failing:
            self._note_end(scope, loop)
        self._fill(loop)

    def _note_end(self, scope: Scope, loop: Loop) -> None:
        """Note what an item came to: its result or its failure."""
        index, failure, result = index_of(scope.path), scope.failure, None
        if failure is None and loop.time_out is not None:
            failure = Failure(scope.owner, loop.time_out.code, loop.time_out.message)
        elif failure is None:
            result, failure = self._result_of(scope)
        if failure is None:
            end: dict[str, Json] = {"result": result}
        else:
            at = {"index": index, "node_id": failure.node}
            end = {"error": at | {"code": failure.code, "message": failure.message}}
        loop.ended[index] = end
        facts = e.IterationEnded(
            code=failure.code if failure else "",
            ended_at=self._clock.now_us(),
            failed_node=failure.node if failure else "",
            iteration=scope.path,
            node=scope.owner,
        )
        self._transcript.note(facts, end)

    def _result_of(self, scope: Scope) -> tuple[Json, Failure | None]:
        """Return the result of an item; one that is larger than an output may be is a failure."""
        known = {
            node: state
            for node in scope.graph.nodes
            if (state := self._state.at((scope.path, node))) is not None
        }
        final = final_nodes(scope.graph, known)
        result = result_of(final, scope.outputs)
        if len(final) > 1:
            # That of one node is no larger than the limit.
            _, checked = encode_result(Outcome(result), 1, self._limits.output_bytes_max)
            if isinstance(checked, NodeError):
                return None, Failure(final[-1], checked.code, checked.message)
        return result, None

    def _fill(self, loop: Loop) -> None:
        """Begin as many items as may be under way, or end the iterator when none is left."""
        is_over = self._state.is_stopping or loop.is_failing
        while not is_over and not self.is_halting and loop.open < loop.concurrency:
            if loop.next_index >= len(loop.items):
                break
            index, loop.next_index = loop.next_index, loop.next_index + 1
            loop.open += 1
            scope = loop.scope_of(index)
            self._transcript.note(
                e.IterationStarted(
                    iteration=scope.path,
                    node=loop.step.node,
                    started_at=self._clock.now_us(),
                )
            )
            self._scopes[scope.path, scope.owner] = scope
            self._take_ready(scope)
        if loop.open or self._state.is_stopping:
            return
        if loop.scope.is_failing:
            self._loops.pop(loop.place, None)
            self.interrupt(loop.place, "item_failed", in_doubt=False)
        elif loop.time_out is not None:
            del self._loops[loop.place]
            known = self._state.open[loop.place]
            self.settle(loop.place, known.attempt, known.started_at, loop.time_out)
        elif loop.next_index >= len(loop.items):
            del self._loops[loop.place]
            known = self._state.open[loop.place]
            self.settle(loop.place, known.attempt, known.started_at, Outcome(loop.output))

    # What begins

    def start(self, place: Place, number: int) -> None:
        """Begin an attempt: pure nodes end at once, others are noted as started."""
        self._begin(self.scope_of(place), self._definition.steps[place[1]], number)

    def _begin(self, scope: Scope, step: Step, number: int) -> None:
        now = self._clock.now_us()
        result: Result | IteratorPlan | None
        try:
            result = self._attempts.begin(scope, step, number, now)
        except NodeError as error:
            result = error
        except Exception as error:
            result = unexpected(self._state.run_id, step.node, error)
        if isinstance(result, IteratorPlan):
            self._fill(self._loop(scope, step, result.items, result.concurrency))
        elif result is not None:
            self._settle(scope, step, number, now, result)

    # What comes of it

    def settle(self, place: Place, number: int, started_at: int, result: Result) -> None:
        """Note an attempt's outcome and let the frontier move past it."""
        step = self._definition.steps[place[1]]
        self._settle(self.scope_of(place), step, number, started_at, result)

    def _settle(
        self, scope: Scope, step: Step, number: int, started_at: int, result: Result
    ) -> None:
        place = scope.path, step.node
        attempt = Attempt(place, step.component, number, started_at, self._clock.now_us())
        was_ending = self._state.ending is not None
        body, result = encode_result(result, number, self._limits.output_bytes_max)
        if isinstance(result, Outcome):
            facts = decider.succeeded(attempt, result.handle, result.ends)
            self._transcript.note_bytes(facts, body)
        else:
            stopping = self._state.is_stopping or scope.is_failing
            failure, retry = decider.failed(attempt, result.code, step.policy, stopping=stopping)
            self._transcript.note_bytes(failure, body)
            if retry is not None:
                self._transcript.note(retry)
                return
        if not was_ending and self._state.ending is not None:
            self.message = result.message
        node = self._state.at(place)
        assert node is not None, "its outcome has just been noted"
        self.forms.pop(place, None)
        if node.phase in SETTLED:
            # What was recorded is what later nodes see, in this process and in every other.
            self._see(scope, step.node, _decode(body))
            scope.frontier.settle(node)
            self._take_ready(scope)
        elif isinstance(result, NodeError) and scope.owner and scope.failure is None:
            scope.failure = Failure(step.node, result.code, result.message)
        self._leave(scope)

    def interrupt(self, place: Place, code: str, *, in_doubt: bool) -> None:
        """Note that a node was ended from outside."""
        node = self._state.open[place]
        why = "its item failed" if code == "item_failed" else f"the run is ending ({code})"
        message = f"Node '{node.node}' was ended because {why}."
        error = {"code": code, "message": message, "attempt": node.attempt}
        now = self._clock.now_us()
        self._transcript.note(
            decider.interrupted(node, code, now, in_doubt=in_doubt), {"error": error}
        )
        self.forms.pop(place, None)
        self._leave(self.scope_of(place))

    def end(self, node: NodeState, *, in_doubt: bool) -> None:
        """End a node that a run that stops, or an item that failed, does not wait for."""
        code = decider.ending_code(self._state) if self._state.is_stopping else "item_failed"
        self.interrupt(node.place, code, in_doubt=in_doubt)

    def fail_in_doubt(self, node: NodeState) -> None:
        """Note that nobody knows what became of a call, which is not made again."""
        error = NodeError(
            decider.INTERRUPTED,
            f"Node '{node.node}' was interrupted: the service stopped during its call, "
            "whose outcome is unknown, and its delivery is at most once.",
        )
        self.settle(node.place, node.attempt, node.started_at, error)

    def wait_is_over(self, node: NodeState) -> None:
        """Take the end of a delay, of a retry's wait, or of a form that nobody answered."""
        if node.phase == "retrying":
            self.start(node.place, node.attempt + 1)
            return
        self._transcript.note(e.TimerFired(iteration=node.iteration, node=node.node))
        self.settle(
            node.place,
            node.attempt,
            node.started_at,
            self._attempts.end_of_wait(self.scope_of(node.place), node),
        )

    def deadline(self, node: NodeState) -> int:
        """Return when a step's time is over for its children or items, 0 for never or no more."""
        step, loop = self.step_of(node), self._loops.get(node.place)
        if step is None or (loop is not None and loop.is_failing) or self.is_over_at(node.place):
            return 0
        return decider.attempt_deadline(node, step.policy)

    def give_up(self, node: NodeState) -> None:
        """End an iterator whose time is over: nothing new begins, calls on the wire finish."""
        loop = self._loops[node.place]
        loop.give_up()
        self._fill(loop)

    def answer(self, place: Place, request: AnswerRequest) -> Outcome:
        """Return what an answer to an open form comes to.

        Raises:
            NodeNotFoundError, StateError, InvalidError: there is no such form, it is not open,
            or the answer does not fit it.
        """
        step = self._definition.steps.get(place[1])
        if step is None or not isinstance(step.run, FormNode):
            raise NodeNotFoundError(place[1])
        form = self.forms.get(place)
        if (
            form is None
            or self._state.is_stopping
            or self.is_failing(place)
            or self._is_over(place)
        ):
            raise StateError("interaction_closed", f"The form '{place[1]}' is not open.")
        try:
            return step.run.answer(form, request.action, request.values, request.subject)
        except AnswerError as error:
            raise InvalidError("The answer does not fit the form.", error.errors) from None

    def _is_over(self, place: Place) -> bool:
        """Tell whether a form's time has ended, although nothing was done about it yet."""
        return 0 < self._state.open[place].due_at <= self._clock.now_us()

    def is_failing(self, place: Place) -> bool:
        """Tell whether nothing new may begin at a place because its item failed."""
        return self.scope_of(place).is_failing

    def is_over_at(self, place: Place) -> bool:
        """Tell whether nothing that only waits goes on there: the run stops, or the item failed."""
        return self._state.is_stopping or self.is_failing(place)

    def to_end(self) -> list[NodeState]:
        """Return what must not be waited for: of a stopping run, and of items that failed."""
        if self._state.is_stopping:
            return decider.to_end(self._state)
        is_waiting_in_vain = any(scope.failure for scope in self._scopes.values())
        if not is_waiting_in_vain and not any(loop.time_out for loop in self._loops.values()):
            return []
        return [
            node
            for node in self._state.open.values()
            if node.phase in decider.IDLE and self.scope_of(node.place).is_failing
        ]
