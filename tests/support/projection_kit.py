"""Builders for projection tests: random histories, runs to append, and generations in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256

import msgspec
from hypothesis import strategies as st

from refold.journal import events as e
from refold.journal import ids
from refold.journal.envelope import Recorded
from refold.journal.journal import Commit, Metadata, NewEvent, StreamWrite
from refold.projections.applying import Applier
from refold.projections.generations import SCHEMA, create_generation
from refold.projections.projection import Projection
from tests.support.journal_kit import NEW_IDS, requested

START_US = 1_761_912_000_000_000
WORKFLOWS = tuple(f"fl_{letter * 26}" for letter in "ab")
NODES = ("n1", "n2")


def succeeded(node: str = "n1", ends: str = "") -> e.NodeSucceeded:
    """Make the facts of a node that succeeded."""
    return e.NodeSucceeded(
        attempt=1,
        component="text_transform",
        ended_at=START_US + 2,
        ends=ends,
        handle="",
        iteration="",
        node=node,
        source_id="",
        started_at=START_US + 1,
    )


def node_failed(node: str = "n1", *, retried: int = 0, tolerated: int = 0) -> e.NodeFailed:
    """Make the facts of a node that failed."""
    return e.NodeFailed(
        attempt=1,
        code="http_error",
        component="webhook",
        ended_at=START_US + 2,
        iteration="",
        node=node,
        retried=retried,
        source_id="",
        started_at=START_US + 1,
        tolerated=tolerated,
    )


def interrupted(node: str = "n1") -> e.NodeInterrupted:
    """Make the facts of a node that was ended from outside."""
    return e.NodeInterrupted(
        attempt=1,
        code="run_failed",
        component="delay",
        ended_at=START_US + 2,
        in_doubt=0,
        iteration="",
        node=node,
        source_id="",
        started_at=START_US + 1,
    )


def defined(
    number: int, *, active: int = 1, webhook_hash: str = "", next_at: int = 0
) -> e.WorkflowDefined:
    """Make the facts of a version of a workflow."""
    return e.WorkflowDefined(
        active=active,
        event_type="",
        idempotency_digest="",
        idempotency_key="",
        idempotency_scope="",
        next_at=next_at,
        schedule="",
        uses="",
        webhook_hash=webhook_hash,
        workflow_version=number,
    )


def request(workflow: str, origin: str = "execute", root: str = "") -> e.RunRequested:
    """Make the facts of a run's request; `root` is the run whose payload it inherits."""
    facts = requested(workflow).facts
    assert isinstance(facts, e.RunRequested)
    return msgspec.structs.replace(facts, origin=origin, original_run=root, payload_run=root)


STARTED = e.RunStarted(limit_us=1, started_at=START_US + 1)
COMPLETED = e.RunCompleted(node="")
FAILED: Sequence[e.Facts] = (
    STARTED,
    succeeded("n1"),
    node_failed("n2"),
    e.RunFailed(code="http_error", node="n2"),
)
"""What follows the request of a run that fails."""
RUN_FACTS: Sequence[e.Facts] = (
    STARTED,
    COMPLETED,
    e.RunFailed(code="http_error", node="n2"),
    e.RunCancelRequested(code="cancelled"),
    e.RunCancelled(code="cancelled"),
    *(
        facts
        for node in NODES
        for facts in (
            succeeded(node),
            succeeded(node, "completed"),
            succeeded(node, "failed"),
            node_failed(node),
            node_failed(node, retried=1),
            node_failed(node, tolerated=1),
            interrupted(node),
            e.NodeStarted(
                attempt=1,
                component="webhook",
                effect_key="k",
                iteration="",
                node=node,
                started_at=START_US,
            ),
        )
    ),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Recorded]:
    """Draw a journal of some runs and workflows, their events mixed in any order."""
    history = History()
    # A few kinds of events a history, so that rare orders of them come up.
    kinds = draw(st.lists(st.sampled_from(RUN_FACTS), min_size=1, max_size=6))
    for _ in range(draw(st.integers(1, 60))):
        history.at += draw(st.integers(0, 2))
        kind = draw(st.integers(0, 9))
        if kind == 0 or not history.runs:
            workflow = draw(st.sampled_from(WORKFLOWS))
            root = draw(st.sampled_from(["", *history.runs]))
            origin = draw(st.sampled_from(["rerun", "resume"])) if root else "execute"
            history.request(workflow, origin, root)
        elif kind == 1:
            history.change_workflow(
                draw(st.sampled_from(WORKFLOWS)), draw(st.booleans()), draw(st.booleans())
            )
        elif kind == 2:
            history.fire(draw(st.sampled_from(WORKFLOWS)))
        else:
            run = draw(st.sampled_from(history.runs))
            history.add(run, draw(st.sampled_from(kinds)), has_body=draw(st.booleans()))
    return history.events


class History:
    """A journal in a list."""

    def __init__(self) -> None:
        self.events: list[Recorded] = []
        self.runs: list[str] = []
        self.at = START_US
        self._versions: dict[str, int] = {}

    def request(self, workflow: str, origin: str, root: str) -> None:
        """Add a run."""
        run = f"{ids.RUN}{len(self.runs):026}"
        roots = {event.stream: event.facts for event in self.events if event.version == 1}
        facts = roots.get(root)
        first = facts.payload_run or root if isinstance(facts, e.RunRequested) else ""
        made = msgspec.structs.replace(
            request(workflow, origin, root), payload_run=first, original_run=root
        )
        self.runs.append(run)
        self.add(run, made, has_body=True)

    def change_workflow(self, workflow: str, is_deletion: bool, is_active: bool) -> None:
        """Add a version of a workflow, or its deletion if it exists."""
        number = self._versions.get(workflow, 0)
        if is_deletion and number:
            self.add(workflow, e.WorkflowDeleted(), has_body=True)
        else:
            facts = defined(
                number + 1, active=int(is_active), webhook_hash=f"hash{number}", next_at=self.at
            )
            self.add(workflow, facts, has_body=True)

    def fire(self, workflow: str) -> None:
        """Let a workflow's schedule come due, if there is such a workflow."""
        if self._versions.get(workflow, 0):
            facts = e.ScheduleFired(
                due_at=self.at, missed=0, next_at=self.at % 3, run="", skipped="overlap"
            )
            self.add(workflow, facts, has_body=False)

    def add(self, stream: str, facts: e.Facts, *, has_body: bool) -> None:
        """Add an event."""
        position = len(self.events) + 1
        version = self._versions[stream] = self._versions.get(stream, 0) + 1
        self.events.append(
            Recorded(
                position,
                position if has_body else 0,
                sha256(str(position).encode()).digest(),
                stream,
                version,
                f"{position:026}",
                self.at,
                "acme",
                "",
                "request-1",
                "",
                "",
                "",
                facts,
            )
        )


@contextmanager
def generation_of(
    projection: Projection, *groups: Sequence[Recorded]
) -> Generator[sqlite3.Connection]:
    """Apply groups of events to a generation in memory, whose tables have their plain names."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(SCHEMA)
        create_generation(connection, projection, state="live")
        applier = Applier(connection, projection, 1)
        for group in groups:
            applier.apply(group)
        yield connection


def run_commits(
    run: str, workflow: str, *, facts: Sequence[e.Facts] = (), tenant: str = "acme"
) -> tuple[Commit, Commit]:
    """Make the two commits of a run: its request, and all that followed."""
    meta = Metadata(tenant=tenant, actor="", corr="request-1")
    followed = facts or (STARTED, succeeded("n1"), succeeded("n2"), COMPLETED)
    first = [NewEvent(NEW_IDS.new(), request(workflow), b"{}")]
    rest = [NewEvent(NEW_IDS.new(), made, b"{}") for made in followed]
    return (
        Commit([StreamWrite(run, 0, first, meta)]),
        Commit([StreamWrite(run, 1, rest, meta)]),
    )


def new_run() -> str:
    """Make a run's id."""
    return NEW_IDS.new(ids.RUN)
