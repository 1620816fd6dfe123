"""A journal with everything in it that exports must get right."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from refold.journal import events as e
from refold.journal import ids
from refold.journal.envelope import Recorded, source
from refold.journal.journal import Commit, Journal, Metadata, NewEvent, StreamWrite
from refold.journal.sqlite_file import JOURNAL_FILE, open_reader
from refold.journal.sqlite_reader import Reader
from tests.support.journal_kit import NEW_IDS, opened
from tests.support.projection_kit import defined
from tests.support.run_events import requested_facts

START_US = 1_761_912_000_000_000
TENANT = "acme"
OTHER_TENANT = "globex"
ACTOR = "a1" * 32
WORKFLOW = f"fl_{'a' * 26}"
CHILD_WORKFLOW = f"fl_{'b' * 26}"
OTHER_WORKFLOW = f"fl_{'c' * 26}"
HOSTILE_NODE = "n<&\">\x00\x0b\t\n\r\ufffe=cmd|'/c calc'!A1,;\"; DROP TABLE event; --\u2028😀/../1"
HOSTILE_BODY = json.dumps(
    {
        "xml": "]]><!--\x00\x0b\x1f\ufffe&amp;",
        "csv": '=1+1,"\n;',
        "lone": "\ud800",
        "text": "ü😀\u2028",
        "error": {"code": "http_503", "message": "Failed: \x1b[31m<b>&\x00"},
    }
).encode()
"""Valid JSON to Python alone: half a surrogate pair is written as an escape."""
PERSON = "canary-of-the-person"
ERASED_BODY = b'{"said":"canary-of-the-erased"}'
SECRET_BODY = b'{"ciphertext":"canary-of-the-vault"}'


def node_id(number: int, prefix: str) -> str:
    """Make a readable id of the right length."""
    return f"{prefix}{number:026}"


class Book:
    """Appends events to a journal, one commit each."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.versions: Counter[str] = Counter()
        self.at = START_US
        self.events: dict[str, list[Recorded]] = {}

    async def add(
        self,
        stream: str,
        facts: e.Facts,
        body: bytes | None = None,
        *,
        actor: str = "",
        tenant: str = TENANT,
        copy: Recorded | None = None,
        subject: str | None = None,
        erased: Sequence[int] = (),
    ) -> Recorded:
        """Append one event; `copy` is the one that it replays."""
        new = NewEvent(NEW_IDS.new(), facts, body, subject)
        if copy is not None:
            new = NewEvent(
                NEW_IDS.new(), facts, None, None, source(copy), copy.payload, copy.body_at
            )
        meta = Metadata(tenant=tenant, actor=actor, corr="request-1")
        write = StreamWrite(stream, self.versions[stream], [new], meta)
        done = await self.journal.append(Commit([write], erased=erased))
        # The store's own first event shares the stream of the system.
        self.versions[stream] = done.events[-1].version
        self.events.setdefault(stream, []).append(done.events[-1])
        return done.events[-1]

    def tick(self) -> int:
        """Let a second pass."""
        self.at += 1_000_000
        return self.at

    async def request(self, run: str, tenant: str = TENANT, **facts: Any) -> None:
        """Append what makes a run."""
        made = requested_facts(**{"workflow": WORKFLOW, **facts})
        await self.add(
            run, made, b'{"payload":{"n":1}}', actor=ACTOR, tenant=tenant, subject=PERSON
        )

    async def start(self, run: str, tenant: str = TENANT) -> None:
        """Append the start of a run."""
        facts = e.RunStarted(limit_us=3_600_000_000, started_at=self.tick())
        await self.add(run, facts, tenant=tenant)

    async def begin(
        self, run: str, node: str, component: str, iteration: str = "", attempt: int = 1
    ) -> None:
        """Append the start of an attempt with an effect."""
        facts = e.NodeStarted(
            attempt=attempt,
            component=component,
            effect_key="key" if component == "webhook" else "",
            iteration=iteration,
            node=node,
            started_at=self.tick(),
        )
        await self.add(run, facts, b'{"url":"http://x"}')

    async def succeed(
        self,
        run: str,
        node: str,
        component: str,
        iteration: str = "",
        *,
        attempt: int = 1,
        body: bytes = b'{"ok":true}',
        tenant: str = TENANT,
    ) -> Recorded:
        """Append a success."""
        facts = e.NodeSucceeded(
            attempt=attempt,
            component=component,
            ended_at=self.tick(),
            ends="",
            handle="true" if component == "number_condition" else "",
            iteration=iteration,
            node=node,
            source_id="",
            started_at=self.at - 500_000,
        )
        return await self.add(run, facts, body, tenant=tenant)

    async def fail(
        self, run: str, node: str, component: str, *, retried: int = 0, attempt: int = 1
    ) -> Recorded:
        """Append a failure."""
        facts = e.NodeFailed(
            attempt=attempt,
            code="http_503",
            component=component,
            ended_at=self.tick(),
            iteration="",
            node=node,
            retried=retried,
            source_id="",
            started_at=self.at - 500_000,
            tolerated=0,
        )
        return await self.add(run, facts, HOSTILE_BODY)


class Lives:
    """The ids of the runs of `fill`, and the position whose body was erased."""

    def __init__(self) -> None:
        self.failed = node_id(1, ids.RUN)
        self.resumed = node_id(2, ids.RUN)
        self.parent = node_id(3, ids.RUN)
        self.child = node_id(4, ids.RUN)
        self.loose = node_id(5, ids.RUN)
        self.looping = node_id(6, ids.RUN)
        self.asking = node_id(7, ids.RUN)
        self.foreign = node_id(8, ids.RUN)
        self.unfinished = node_id(9, ids.RUN)
        self.erased_at = 0


async def fill(journal: Journal) -> Lives:
    """Append a journal of everything."""
    book, lives = Book(journal), Lives()
    loops = {
        "nodes": [
            {"id": "left", "data": {"nodes": [{"id": "in_left", "data": {"n": 1}}]}},
            {"id": "right", "data": {"nodes": [{"id": "in_right", "data": {"n": 1}}]}},
        ]
    }
    text = json.dumps({"by": PERSON, "workflow": loops}).encode()
    for workflow in (WORKFLOW, CHILD_WORKFLOW):
        await book.add(workflow, defined(1, webhook_hash="canary-hash"), text, actor=ACTOR)
    await book.add(OTHER_WORKFLOW, defined(1), text, tenant=OTHER_TENANT)
    await _vault(book)
    await _failed_and_resumed(book, lives)
    await _family(book, lives)
    await _loops(book, lives)
    await _form(book, lives)
    await book.request(lives.foreign, OTHER_TENANT, workflow=OTHER_WORKFLOW)
    await book.start(lives.foreign, OTHER_TENANT)
    await book.succeed(lives.foreign, "t", "manual_trigger", tenant=OTHER_TENANT)
    await book.add(lives.foreign, e.RunCompleted(node=""), tenant=OTHER_TENANT)
    await book.request(lives.unfinished)
    await book.start(lives.unfinished)
    await book.begin(lives.unfinished, "call", "webhook")
    await book.begin(lives.unfinished, "call", "webhook")
    facts = e.PayloadErased(positions=str(lives.erased_at), reason="asked", target=lives.failed)
    book.versions[ids.SYS] = 1
    await book.add(ids.SYS, facts, erased=[lives.erased_at])
    return lives


async def _vault(book: Book) -> None:
    item = e.VaultDefined(
        api_key_hash="canary-hash",
        expires_at=0,
        idempotency_digest="",
        idempotency_key="",
        idempotency_scope="",
        item_version=1,
        name_hash="canary-hash",
    )
    await book.add("vlt_1", item, SECRET_BODY, actor=ACTOR)
    await book.add("vlt_1", e.KeyWrapped(item_version=1, key_id="k1"), SECRET_BODY)
    await book.add("auth_1", e.AuthorizationRefused(code="invalid_grant"), SECRET_BODY)


async def _failed_and_resumed(book: Book, lives: Lives) -> None:
    run = lives.failed
    await book.request(run)
    await book.start(run)
    trigger = await book.succeed(run, "t", "manual_trigger", body=ERASED_BODY)
    hostile = await book.succeed(run, HOSTILE_NODE, "text_transform", body=HOSTILE_BODY)
    lives.erased_at = trigger.position
    await book.begin(run, "ship", "webhook")
    await book.fail(run, "ship", "webhook", retried=1)
    again = e.NodeRetryScheduled(attempt=2, due_at=book.at + 1, iteration="", node="ship")
    await book.add(run, again)
    await book.begin(run, "ship", "webhook", attempt=2)
    await book.fail(run, "ship", "webhook", attempt=2)
    await book.add(run, e.RunFailed(code="http_503", node="ship"), b'{"message":"no"}')
    await book.request(
        lives.resumed, origin="resume", original_run=run, chosen_node=HOSTILE_NODE, replayed_total=2
    )
    for copied in (trigger, hostile):
        facts = msgspec.structs.replace(copied.facts, source_id=copied.id)
        await book.add(lives.resumed, facts, copy=copied)
    await book.start(lives.resumed)
    # It must stay huge in a format that compresses.
    huge = json.dumps({"huge": Random(4).randbytes(500_000).hex()}).encode()
    await book.succeed(lives.resumed, "ship", "text_transform", body=huge)
    await book.add(lives.resumed, e.RunCompleted(node=""))


async def _family(book: Book, lives: Lives) -> None:
    await book.request(lives.parent)
    await book.start(lives.parent)
    for node, child, waits in (("sub", lives.child, 1), ("let", lives.loose, 0)):
        await book.begin(lives.parent, node, "trigger_workflow")
        asked = e.ChildRequested(
            child=child,
            iteration="",
            node=node,
            waits=waits,
            workflow=CHILD_WORKFLOW,
            workflow_version=1,
        )
        await book.add(lives.parent, asked)
        await book.request(
            child,
            workflow=CHILD_WORKFLOW,
            origin="subworkflow",
            parent_run=lives.parent,
            parent_node=node,
            depth=1,
        )
        await book.start(child)
        await book.succeed(child, "t", "workflow_trigger")
        await book.add(child, e.RunCompleted(node=""))
        if waits:
            ended = e.ChildEnded(child=child, iteration="", node=node, status="completed")
            await book.add(lives.parent, ended, b'{"output":{}}')
        await book.succeed(lives.parent, node, "trigger_workflow")
    await book.add(lives.parent, e.RunCompleted(node=""))


async def _loops(book: Book, lives: Lives) -> None:
    """Two iterators side by side, whose items have the same paths at the same time."""
    run = lives.looping
    await book.request(run)
    await book.start(run)
    for iterator in ("left", "right"):
        await book.begin(run, iterator, "iterator")
        item = e.IterationStarted(iteration="0", node=iterator, started_at=book.tick())
        await book.add(run, item)
    await book.succeed(run, "in_right", "text_transform", "0")
    await book.succeed(run, "in_left", "text_transform", "0")
    for iterator, code in (("left", ""), ("right", "bad_item")):
        ended = e.IterationEnded(
            code=code, ended_at=book.tick(), failed_node="", iteration="0", node=iterator
        )
        await book.add(run, ended, b'{"result":1}')
        await book.succeed(run, iterator, "iterator")
    await book.add(run, e.RunCompleted(node=""))


async def _form(book: Book, lives: Lives) -> None:
    run = lives.asking
    await book.request(run)
    await book.start(run)
    await book.begin(run, "wait", "delay")
    await book.add(run, e.TimerSet(due_at=book.tick(), iteration="", node="wait"))
    await book.add(run, e.TimerFired(iteration="", node="wait"))
    await book.succeed(run, "wait", "delay")
    await book.begin(run, "ask", "form")
    asked = e.InteractionRequested(due_at=0, iteration="", node="ask", requested_at=book.tick())
    await book.add(run, asked, b'{"fields":[]}')
    answer = e.InteractionSubmitted(
        action="approve", iteration="", node="ask", submitted_at=book.tick()
    )
    await book.add(run, answer, b'{"by":"canary-of-the-person","values":{}}', actor=ACTOR)
    await book.add(
        run, e.RunCancelRequested(code="cancelled"), b'{"by":"canary-of-the-person"}', actor=ACTOR
    )
    stopped = e.NodeInterrupted(
        attempt=1,
        code="cancelled",
        component="form",
        ended_at=book.tick(),
        in_doubt=0,
        iteration="",
        node="ask",
        source_id="",
        started_at=book.at - 1,
    )
    await book.add(run, stopped, b'{"error":{"message":"stopped"}}')
    await book.add(run, e.RunCancelled(code="cancelled"), b'{"message":"stopped"}')


async def write_rich(directory: Path) -> Lives:
    """Leave the journal of everything in a directory."""
    async with opened(directory) as journal:
        return await fill(journal)


def recorded(directory: Path, up_to: int | None = None) -> list[Recorded]:
    """Read every event of a journal's file, by the reader that the service has."""
    with closing(open_reader(directory / JOURNAL_FILE)) as connection:
        reader, found = Reader(connection), list[Recorded]()
        while page := reader.page(len(found)):
            found.extend(page)
    return found[:up_to]


def entries_of(directory: Path) -> list[tuple[int, bytes, bytes, int]]:
    """Read position, entry, leaf and body's position of all events, as any program could."""
    with closing(sqlite3.connect(directory / JOURNAL_FILE)) as connection:
        statement = "SELECT position, entry, leaf, body_at FROM event ORDER BY position"
        return connection.execute(statement).fetchall()
