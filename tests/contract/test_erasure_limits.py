"""Large erasures: many commits, a bound on each request, and going on after a crash."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from refold.engine import forgetting
from refold.engine.erasure import Erasures
from refold.engine.errors import StateError
from refold.engine.forgetting import Forgetting, Forgotten
from refold.engine.runs import Runs
from refold.engine.sealing import Sealer
from refold.engine.workflows import WorkflowBody, Workflows, WorkflowText
from refold.journal import events as e
from refold.journal.actors import Pseudonyms
from refold.journal.envelope import Recorded
from refold.journal.events import PayloadErased
from refold.journal.journal import Commit, NewEvent
from refold.journal.sqlite_store import SqliteJournal
from tests.support.erasure_kit import ERASED, asked_beside, erase, erasures_told
from tests.support.http_kit import create, quick, run
from tests.support.journal_kit import KEY, META, NEW_IDS, commit, completed, requested, write
from tests.support.journal_kit import started as body
from tests.support.projection_kit import defined, succeeded
from tests.support.service import chain, node, running
from tests.support.views_kit import WORKFLOW, served

ADA = Pseudonyms(KEY).actor(META.tenant, "ada")
PARENT, CHILD, FORK = (f"fl_run_{letter * 26}" for letter in "pcf")
BODIES_EACH = 4
PAYLOAD_AT = 3
ITEMS = 700
KINDS_OF_CHILD: list[tuple[forgetting.Kind, str]] = [("run", CHILD), ("subject", "ada")]


@asynccontextmanager
async def room(directory: Path) -> AsyncGenerator[tuple[SqliteJournal, Forgetting]]:
    """Open what erases, on a journal in a directory."""
    async with served(directory) as (journal, views):
        workflows = Workflows(journal, Sealer(KEY))
        erasures = Erasures(journal, NEW_IDS)
        runs = Runs(journal, workflows)
        yield journal, Forgetting(journal, erasures, runs, workflows, views, Pseudonyms(KEY))


async def fill(journal: SqliteJournal, *, ends: bool = True) -> None:
    """Write a run that ada asked for, what it started, and a rerun of it by somebody else."""
    made = NewEvent(NEW_IDS.new(), defined(1), b'{"by":"me"}')
    await journal.append(commit(write(WORKFLOW, 0, made)))
    last = (completed(),) if ends else ()
    for run_id, change in (
        (PARENT, {}),
        (CHILD, {"parent_run": PARENT, "parent_node": "s"}),
        (FORK, {"original_run": PARENT, "payload_run": PARENT, "origin": "rerun"}),
    ):
        facts = msgspec.structs.replace(requested(WORKFLOW).facts, **change)
        first = NewEvent(NEW_IDS.new(), facts, b"{}", ADA if run_id == PARENT else None)
        bodies = [body(b"x" * 100) for _ in range(BODIES_EACH - 1)]
        end = last if run_id == FORK else (completed(),)
        await journal.append(commit(write(run_id, 0, first, *bodies, *end)))


async def until_complete(found: Forgetting, kind: forgetting.Kind, name: str) -> list[Forgotten]:
    """Ask until there is nothing more to do."""
    answers: list[Forgotten] = []
    while not answers or not answers[-1].is_complete:
        answers.append(await found.forget(META, kind, name, "asked", is_rehearsal=False))
    return answers


@pytest.mark.parametrize("kind", ["run", "workflow", "subject"])
def test_a_request_has_a_bound_and_the_next_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: forgetting.Kind
) -> None:
    """Nothing is lost sight of on the way: what leads to the rest goes last."""
    monkeypatch.setattr(forgetting, "BODIES_MAX", 2)
    monkeypatch.setattr(forgetting, "ERASED_MAX", 2)

    async def main() -> None:
        async with room(tmp_path) as (journal, found):
            await fill(journal)
            if kind == "workflow":
                deleted = NewEvent(NEW_IDS.new(), e.WorkflowDeleted(), b"{}")
                await journal.append(commit(write(WORKFLOW, 1, deleted)))
            name = {"run": PARENT, "workflow": WORKFLOW, "subject": "ada"}[kind]
            whole = await found.forget(META, kind, name, "asked", is_rehearsal=True)
            total = sum(len(loss.positions) for loss in whole.losses)
            answers = await until_complete(found, kind, name)
            assert len(answers) > 1
            counts = [sum(len(loss.positions) for loss in told.losses) for told in answers]
            assert sum(counts) == total
            assert max(counts) <= 2
            streams = [PARENT] if kind == "run" else [PARENT, CHILD, FORK]
            standing = await journal.standing_in(streams)
            assert all(not there.sizes for there in standing.values())
            said = [event for event in await journal.read_stream("sys") if is_erasure(event.facts)]
            assert [event.position for event in said] == [
                position for told in answers for position in told.erasures
            ]

    asyncio.run(main())


def is_erasure(facts: Any) -> bool:
    """Tell the events that say what was erased."""
    return isinstance(facts, PayloadErased)


def test_large_bodies_make_smaller_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit holds up all others for as long as it overwrites; one large body goes alone."""
    monkeypatch.setattr(forgetting, "BYTES_PER_COMMIT_MAX", 150)

    async def main() -> None:
        async with room(tmp_path) as (journal, found):
            await fill(journal)
            told = await found.forget(META, "run", PARENT, "asked", is_rehearsal=False)
            assert len(told.erasures) == 2
            assert told.left == [CHILD, FORK]

    asyncio.run(main())


def test_an_unfinished_rerun_keeps_what_it_reads(tmp_path: Path) -> None:
    """Of every kind of request, and in a rehearsal too."""

    async def main() -> None:
        async with room(tmp_path) as (journal, found):
            await fill(journal, ends=False)
            named: list[tuple[forgetting.Kind, str]] = [("run", PARENT), ("run", FORK)]
            named.append(("subject", "ada"))
            for kind, name in named:
                for is_rehearsal in (True, False):
                    with pytest.raises(StateError, match=f"in use by {FORK}"):
                        await found.forget(META, kind, name, "asked", is_rehearsal=is_rehearsal)
            standing = await journal.standing_in([PARENT, CHILD, FORK])
            assert all(there.erased == 0 for there in standing.values())

    asyncio.run(main())


def test_a_rerun_that_begins_in_between_stops_an_erasure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal decides which came first; what the rerun reads stays, and the rest can wait."""
    monkeypatch.setattr(forgetting, "ERASED_MAX", 1)

    async def main() -> None:
        async with room(tmp_path) as (journal, found):
            await fill(journal)
            facts = msgspec.structs.replace(requested(WORKFLOW).facts, payload_run=PARENT)
            late = "fl_run_" + "l" * 26
            begun: list[asyncio.Task[Any]] = []

            def begin(events: Sequence[Recorded]) -> None:
                if not begun and any(is_erasure(event.facts) for event in events):
                    first = NewEvent(NEW_IDS.new(), facts, b"{}")
                    payload = (PAYLOAD_AT,)
                    made = Commit([write(late, 0, first)], needs=payload)
                    begun.append(asyncio.create_task(journal.append(made)))

            stop = journal.subscribe(begin)
            with pytest.raises(StateError, match=f"in use by {late}"):
                await found.forget(META, "run", PARENT, "asked", is_rehearsal=False)
            await begun[0]
            stop()
            assert PAYLOAD_AT in (await journal.standing_in([PARENT]))[PARENT].sizes
            await journal.append(commit(write(late, 1, completed())))
            told = await found.forget(META, "run", PARENT, "asked", is_rehearsal=False)
            assert (told.gone_before, told.is_complete) == (1, True)
            assert (await journal.standing_in([PARENT]))[PARENT].sizes == {}

    asyncio.run(main())


def test_an_erased_definition_is_not_kept_in_memory(tmp_path: Path) -> None:
    """What was compiled before is forgotten with what it was compiled from."""

    async def main() -> None:
        async with room(tmp_path) as (journal, found):
            text = quick()
            said = WorkflowText(name="w", nodes=text["nodes"], edges=text["edges"])
            made = WorkflowBody("me", said, "")
            first = NewEvent(NEW_IDS.new(), defined(1), msgspec.json.encode(made))
            gone = NewEvent(NEW_IDS.new(), e.WorkflowDeleted(), b"{}")
            await journal.append(commit(write(WORKFLOW, 0, first, gone)))
            workflows = Workflows(journal, Sealer(KEY))
            state = await workflows.find(META.tenant, WORKFLOW, deleted_too=True)
            await workflows.definition(state, 1)
            await found.forget(META, "workflow", WORKFLOW, "asked", is_rehearsal=False)
            with pytest.raises(StateError) as caught:
                await workflows.definition(state, 1)
            assert caught.value.code == "payload_erased"

    asyncio.run(main())


def test_a_child_stays_until_its_parent_has_its_result(tmp_path: Path) -> None:
    """A parent that goes on, and has not noted yet what its child came to, will read it there."""
    begun = e.NodeStarted(
        attempt=1,
        component="trigger_workflow",
        effect_key="",
        iteration="",
        node="s",
        started_at=1,
    )
    asked = e.ChildRequested(
        child=CHILD, iteration="", node="s", waits=1, workflow=WORKFLOW, workflow_version=1
    )
    noted = e.ChildEnded(child=CHILD, iteration="", node="s", status="completed")

    async def main() -> None:
        async with room(tmp_path) as (journal, found):
            first = NewEvent(NEW_IDS.new(), defined(1), b"{}")
            await journal.append(commit(write(WORKFLOW, 0, first)))
            said = [requested(WORKFLOW), event(begun), event(asked)]
            await journal.append(commit(write(PARENT, 0, *said)))
            facts = msgspec.structs.replace(
                requested(WORKFLOW).facts, parent_run=PARENT, parent_node="s"
            )
            own = NewEvent(NEW_IDS.new(), facts, b"{}", ADA)
            await journal.append(commit(write(CHILD, 0, own, completed())))
            for kind, name in KINDS_OF_CHILD:
                with pytest.raises(StateError, match=f"in use by {PARENT}"):
                    await found.forget(META, kind, name, "asked", is_rehearsal=False)
            await journal.append(commit(write(PARENT, 3, event(noted), event(succeeded("s")))))
            told = await found.forget(META, "run", CHILD, "asked", is_rehearsal=False)
            assert len(told.erasures) == 1

    asyncio.run(main())


def event(facts: e.Facts) -> NewEvent:
    """Make an event without a body."""
    return NewEvent(NEW_IDS.new(), facts)


def test_a_reader_that_stays_is_told_of(tmp_path: Path) -> None:
    """The files are asked for in vain while it reads, and are clean when it has gone."""

    async def main() -> None:
        async with room(tmp_path) as (journal, found), opened_reader(tmp_path) as let_go:
            await fill(journal)
            await found.forget(META, "run", PARENT, "asked", is_rehearsal=False)
            assert not await journal.erased_from_files(0.01)
            let_go()
            assert await journal.erased_from_files(20)
            assert (tmp_path / "journal.db-wal").stat().st_size == 0

    asyncio.run(main())


@asynccontextmanager
async def opened_reader(directory: Path) -> AsyncGenerator[Any]:
    """Hold a read transaction, as soon as there is a journal, until it is let go of."""
    with closing(sqlite3.connect(directory / "journal.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event").fetchone()
        yield lambda: reader.execute("COMMIT")


def test_a_run_of_thousands_of_bodies_is_erased_although_the_service_dies(tmp_path: Path) -> None:
    """It takes several commits; who asks again after a kill in between gets the rest."""
    data = tmp_path / "data"
    text = chain(
        node("t", "manual_trigger"),
        node("it", "iterator", items="{{ trigger.n }}",
             **chain(node("in", "text_transform", template="a {{ item }}"))),
    )  # fmt: skip
    with running(data) as service, closing(service.client()) as client:
        made = run(client, create(client, text), {"n": list(range(ITEMS))})
        total = erase(client, run=made["id"], dry_run=True)["erased"]
        assert total > 2 * ITEMS
        thread, _ = asked_beside(service.client(), run=made["id"])
        while erasures_told(data) == 0:
            assert client.get("/healthz").status == 200
        service.kill()
        thread.join(30)
        told = erasures_told(data)
        service.start()
        with closing(service.client()) as again:
            rest = erase(again, run=made["id"])
            assert (rest["erased"], rest["erased_before"]) == (total - told, told)
            shown = again.get(f"/workflows/runs/{made['id']}").json
            assert {str(log["output"]) for log in shown["logs"]} == {str(ERASED)}
            assert len(shown["logs"]) == len(made["logs"])
