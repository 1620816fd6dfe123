"""The steps of one run that start runs of other workflows, from the request to the result.

A step that waits has its result from its child, or fails by its own time-out. Which of the two it
is depends on the journal's times alone: a child that ended when the step's time was over came too
late, whoever saw it first. So a crash between the two changes nothing.
"""

from __future__ import annotations

from ..journal import events as e
from ..journal.clock import IdSource
from ..projections.node_state import NodeState
from .calls import timed_out
from .family import Family
from .progress import Progress
from .requests import Inbox
from .transcript import Transcript


class ChildSteps:
    """Starts the children of one run, and takes what becomes of them."""

    def __init__(
        self,
        family: Family,
        transcript: Transcript,
        progress: Progress,
        inbox: Inbox,
        ids: IdSource,
    ) -> None:
        self._family = family
        self._transcript = transcript
        self._state = transcript.state
        self._progress = progress
        self._inbox = inbox
        self._ids = ids

    async def request_planned(self) -> None:
        """Start the planned children, each in one commit with its note in this stream."""
        children = self._progress.children
        while children and not self._progress.is_halting and not self._inbox.stops:
            planned = children[0]
            node = self._state.open.get(planned.place)
            if node is None:
                children.pop(0)
                continue
            if self._progress.is_over_at(planned.place):
                # What began without its child is ended like a wait.
                children.pop(0)
                self._progress.end(node, in_doubt=False)
                continue
            await self._transcript.flush()
            outcome = await self._family.request(
                self._transcript, planned.place, planned.wanted, self._ids
            )
            children.pop(0)
            if outcome is not None:
                self._progress.settle(planned.place, node.attempt, node.started_at, outcome)

    async def take_results(self) -> None:
        """Take the results of the children that ended."""
        for run_id in self._inbox.take_children():
            node = next((n for n in self._state.open.values() if n.child == run_id), None)
            if node is not None:
                await self._take_result(node)

    async def _take_result(self, node: NodeState) -> bool:
        """Take the result of a child in time; False if there is none yet."""
        ended = await self._family.result(node.child)
        if ended is None or node.place not in self._state.open:
            return False
        deadline = self._progress.deadline(node)
        if deadline and ended.ended_at >= deadline:
            self._give_up(node)
            return True
        facts = e.ChildEnded(
            child=node.child, iteration=node.iteration, node=node.node, status=ended.status
        )
        self._transcript.note_bytes(facts, ended.body)
        self._progress.settle(node.place, node.attempt, node.started_at, ended.result)
        return True

    async def give_up(self, node: NodeState) -> None:
        """Cancel a child whose step waited long enough, unless it ended in time."""
        await self._transcript.flush()
        if await self._take_result(node):
            return
        # Its end may have been on the way to the disk: then it is there by now.
        is_cancelled = await self._family.cancel(self._state, node.child)
        if is_cancelled and not await self._take_result(node):
            self._give_up(node)

    async def end(self, node: NodeState) -> bool:
        """Cancel a child that is not waited for any more; False where that can't be done now."""
        # Why the other run is cancelled has to be on disk before that is done.
        await self._transcript.flush()
        return await self._family.cancel(self._state, node.child)

    def _give_up(self, node: NodeState) -> None:
        step = self._progress.step_of(node)
        assert step is not None, "its deadline was known"
        error = timed_out(node.node, step.policy.timeout, f", before run {node.child} had ended")
        error.received["run_id"] = node.child
        self._progress.settle(node.place, node.attempt, node.started_at, error)
