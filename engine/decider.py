"""The decider: what a run's state and a node's result come to, as events.

Pure. Times come in as arguments; nothing is begun here.

| result of an attempt            | events                                          |
| ------------------------------- | ----------------------------------------------- |
| success                         | node.succeeded                                  |
| failure, covered by `retry`     | node.failed (retried), node.retry_scheduled     |
| failure, `continue_on_error`    | node.failed (tolerated)                         |
| failure, otherwise              | node.failed; the run is ending                  |
| ended from outside              | node.interrupted                                |

| state of the run                | event                                           |
| ------------------------------- | ----------------------------------------------- |
| ending as asked, nothing open   | run.cancelled                                   |
| ending as failed, nothing open  | run.failed, with the first failure              |
| ending as completed, or nothing ready and nothing open | run.completed            |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from ..journal import events as e
from ..projections.node_state import ITERATOR, NodeState, Place
from ..projections.run_state import RunState
from .policy import SECOND_US, NodePolicy

INTERRUPTED = "interrupted"
IDLE = ("waiting", "retrying", "asked", "child")
EFFECT_CALLS = 1
"""The last part of an effect key: the number of the call within the node, all have one."""


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """Which attempt of which node a result belongs to, and when it began and ended."""

    place: Place
    component: str
    number: int
    started_at: int
    ended_at: int


def succeeded(attempt: Attempt, handle: str, ends: str) -> e.NodeSucceeded:
    """Record a success."""
    return e.NodeSucceeded(
        attempt=attempt.number,
        component=attempt.component,
        ended_at=attempt.ended_at,
        ends=ends,
        handle=handle,
        iteration=attempt.place[0],
        node=attempt.place[1],
        source_id="",
        started_at=attempt.started_at,
    )


def failed(
    attempt: Attempt, code: str, policy: NodePolicy, *, stopping: bool
) -> tuple[e.NodeFailed, e.NodeRetryScheduled | None]:
    """Record a failure, and the next attempt where the policy has one.

    Once the run is stopping there is no next attempt. A failure that would have had one is then
    not tolerated either: the node has not got to its result, and a resume gives it a new chance.
    """
    retry = policy.retry
    is_covered = retry is not None and retry.covers(code, attempt.number)
    again = is_covered and not stopping
    failure = e.NodeFailed(
        attempt=attempt.number,
        code=code,
        component=attempt.component,
        ended_at=attempt.ended_at,
        iteration=attempt.place[0],
        node=attempt.place[1],
        retried=int(again),
        source_id="",
        started_at=attempt.started_at,
        tolerated=int(policy.continue_on_error and not is_covered),
    )
    if not again or retry is None:
        return failure, None
    return failure, e.NodeRetryScheduled(
        attempt=attempt.number + 1,
        due_at=attempt.ended_at + retry.wait_us(attempt.number),
        iteration=attempt.place[0],
        node=attempt.place[1],
    )


def interrupted(node: NodeState, code: str, now: int, *, in_doubt: bool) -> e.NodeInterrupted:
    """Record that a node was ended from outside."""
    return e.NodeInterrupted(
        attempt=node.attempt,
        code=code,
        component=node.component,
        ended_at=now,
        in_doubt=int(in_doubt),
        iteration=node.iteration,
        node=node.node,
        source_id="",
        started_at=node.started_at,
    )


def ending_code(state: RunState) -> str:
    """Return why open nodes of a stopping run are ended."""
    if state.cancelling:
        return state.cancelling
    return "run_completed" if state.ending and state.ending.status == "completed" else "run_failed"


def waits(state: RunState) -> list[NodeState]:
    """Return the nodes that wait for a time: delays, retries, and forms that close."""
    return [
        node
        for node in state.open.values()
        if node.phase in ("waiting", "retrying") or (node.phase == "asked" and node.due_at)
    ]


def to_end(state: RunState) -> list[NodeState]:
    """Return what a stopping run does not wait for: delays, retries, forms and children.

    An iterator is ended when nothing inside any iterator is open any more.
    """
    if not state.is_stopping:
        return []
    idle = [node for node in state.open.values() if node.phase in IDLE]
    if any(node.component != ITERATOR and node.phase not in IDLE for node in state.open.values()):
        return idle
    inner_first = sorted(state.open.values(), key=lambda node: -len(node.iteration))
    return idle + [node for node in inner_first if node.phase not in IDLE]


def conclusion(
    state: RunState, *, anything_ready: bool
) -> e.RunCompleted | e.RunFailed | e.RunCancelled | None:
    """Return the run's last event once nothing of it is open, else None."""
    if state.open:
        return None
    ending = state.ending
    if ending is not None and ending.is_asked_for:
        return e.RunCancelled(code=ending.code)
    if ending is not None and ending.status == "failed":
        return e.RunFailed(code=ending.code, node=ending.node)
    if ending is not None:
        return e.RunCompleted(node=ending.node)
    return None if anything_ready else e.RunCompleted(node="")


def after_crash(
    state: RunState, node: NodeState, policy: NodePolicy, *, is_failing: bool = False
) -> Literal["again", "fail", "end", "reschedule", "succeed", "none"]:
    """Say what becomes of an attempt that a crash cut off; `is_failing` says that its item failed.

    A run that was asked to stop makes no call again; one that is failing does, because a call
    that was on the wire when the failure came finishes and is logged. A wait whose timer did not
    become durable starts anew, whatever its delivery: it had no effect yet.
    """
    if node.phase == "retrying" and not node.due_at and not state.is_stopping:
        return "reschedule"
    if node.phase != "started":
        # Forms, children and iterators go on by themselves from what is recorded.
        return "none"
    if node.child:
        # The request of a run that is not waited for is its node's success.
        return "succeed"
    if state.cancelling:
        return "end"
    if not node.effect_key:
        return "end" if state.is_stopping or is_failing else "again"
    return "fail" if policy.delivery == "at_most_once" else "again"


def rescheduled(node: NodeState, policy: NodePolicy, now: int) -> e.NodeRetryScheduled:
    """Schedule a retry whose failure became durable and whose time didn't."""
    wait_us = policy.retry.wait_us(node.attempt) if policy.retry else 0
    return e.NodeRetryScheduled(
        attempt=node.attempt + 1, due_at=now + wait_us, iteration=node.iteration, node=node.node
    )


def is_past(state: RunState, now: int) -> bool:
    """Tell whether the run's own time is over and nothing has been done about it yet."""
    return not state.cancelling and not state.paused_at and now >= deadline(state)


def inherited_keys(state: RunState) -> dict[Place, str]:
    """Return the effect keys of calls of the original whose outcome is in doubt."""
    return {place_of(key): key for key in state.origin.in_doubt.split()}


def effect_key(state: RunState, place: Place, inherited: Mapping[Place, str]) -> str:
    """Return the idempotency key of a node's call.

    It is the same for every retry and recovery of a run, and the original's where the outcome
    of the original's call is in doubt, so that the receiver can tell a repeat.
    """
    if place in inherited:
        return inherited[place]
    known = state.at(place)
    if known is not None and known.effect_key:
        return known.effect_key
    iteration, node = place
    return f"{state.run_id}:{node}:{iteration or '-'}:{EFFECT_CALLS}"


def place_of(key: str) -> Place:
    """Return the place that an effect key was made for."""
    _, node, iteration, _ = key.split(":")
    return "" if iteration == "-" else iteration, node


def deadline(state: RunState) -> int:
    """Return when the run's time is over, in microseconds; waiting for people does not count."""
    return state.started_at + state.limit_us + state.paused_us


def attempt_deadline(node: NodeState, policy: NodePolicy) -> int:
    """Return when the time of an iterator's or a child's step is over, 0 for never.

    Waiting for people counts, as whoever set the time-out can't know who waits inside.
    """
    is_open = node.phase in ("child", "iterating")
    if not is_open or policy.timeout is None:
        return 0
    return node.started_at + int(policy.timeout * SECOND_US)


def wait_us(duration_us: int, policy: NodePolicy) -> tuple[int, bool]:
    """Return how long a wait lasts, and whether it ends by the node's time-out instead."""
    if policy.timeout is not None and policy.timeout * SECOND_US < duration_us:
        return int(policy.timeout * SECOND_US), True
    return duration_us, False
