"""Records a loaded service, and judges what power cuts at points of its log leave of it."""

from __future__ import annotations

import asyncio
import errno
import http.client
import random
import shutil
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from refold.http.assembly import assemble
from refold.http.settings import Settings
from refold.journal import segment_verifier, verifier
from refold.journal.errors import JournalError
from refold.journal.sqlite_file import JOURNAL_FILE
from refold.projections.errors import ProjectionError
from tests.support.fault_shim import EVER, SYNC, Record, Shim, read_log
from tests.support.kill_audit import Audit
from tests.support.kill_load import Ledger, answer_form, end_schedule
from tests.support.kill_trial import ends, trial
from tests.support.power_cut import Disk
from tests.support.sent import Message, Promises, messages, promised
from tests.support.service import SECRET, Endpoint, Service

DATA: Final = "data"
FAILURES: Final = 6
"""How many syncs fail while a service is loaded, where any do."""


@dataclass
class Recording:
    """What a service wrote and sent, from the first start on an empty disk."""

    records: list[Record]
    told: list[Message]
    ledger: Ledger
    endpoint: Endpoint
    """What its workflows call; it goes on answering, so that they can be carried on."""
    kills: list[int]
    """Where the journal ended when the process was killed while it was recorded."""


@contextmanager
def recorded(
    scratch: Path,
    seed: int,
    seconds: float,
    *command: str,
    rounds: int = 2,
    failing: bool = False,
) -> Generator[Recording]:
    """Load a service some times, with a kill and a stop in turn between, and record it all.

    With `failing`, syncs of the journal fail now and then, and all of them before each kill.
    """
    disk = scratch / "disk"
    disk.mkdir()
    shim = Shim(disk, scratch / "shim")
    with trial(disk / DATA, seed) as made, closing(shim):
        if command:
            made.service.command = command
        made.service.environ.update(shim.environment(records=True))
        made.begin()
        for number in range(rounds):
            is_over = threading.Event()
            made.start()
            with made.load(is_over), _reading(made.service, made.ledger, is_over):
                for left in reversed(range(FAILURES if failing else 1)):
                    is_over.wait(seconds / (FAILURES if failing else 1))
                    if failing:
                        times = EVER if number % 2 == 0 and not left else 1
                        shim.fail(SYNC, errno.EIO, "journal.db", times=times)
                if number % 2 == 0:
                    # With clients still there, so that something is under way.
                    made.service.kill()
            shim.mend()
            if number % 2:
                made.service.stop()
            made.audit.killed(made.ledger, list(made.endpoint.hits))
        records = list(read_log(shim.log))
        yield Recording(records, messages(records), made.ledger, made.endpoint, made.audit.kills)


@contextmanager
def _reading(service: Service, ledger: Ledger, is_over: threading.Event) -> Generator[None]:
    """Ask for lists all the while: their answers say which position they are of."""

    def read() -> None:
        client = service.client()
        with suppress(OSError, http.client.HTTPException):
            while not is_over.is_set():
                for workflow in ledger.workflows.values():
                    client.get(f"/workflows/{workflow}/executions?per_page=1")
        client.close()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def points_of(recording: Recording, count: int, choice: random.Random) -> list[int]:
    """Choose points: anywhere, and right after something was promised, half and half."""
    anywhere = [choice.randrange(len(recording.records) + 1) for _ in range(count - count // 2)]
    promises = [message.index + 1 for message in recording.told]
    return sorted(anywhere + [choice.choice(promises) for _ in range(count // 2)])


def cuts(
    recording: Recording, points: list[int], scratch: Path, choice: random.Random
) -> Generator[tuple[Path, Promises, str]]:
    """Cut the power at each point: yield what is left, what had been promised, and how it was."""
    disk, taken = Disk(forgets=choice.random() < 0.5), 0
    for point in points:
        for one in recording.records[taken:point]:
            disk.take(one)
        taken = max(taken, point)
        left = scratch / "left"
        shutil.rmtree(left, ignore_errors=True)
        seed = choice.getrandbits(32)
        how = disk.cut(left, seed)
        promises = promised(recording.told, point, recording.ledger)
        yield left / DATA, promises, f"power cut at {point}, seed {seed}: {how}"


def judge(data: Path, promises: Promises) -> list[str]:
    """Open what is left with the service's own code, and say everything that is wrong with it."""
    return _judged(data, promises, Audit(data / JOURNAL_FILE))


def _judged(data: Path, promises: Promises, audit: Audit) -> list[str]:
    data.mkdir(mode=0o700, exist_ok=True)
    try:
        asyncio.run(_open(data))
    except (JournalError, ProjectionError, OSError) as error:
        return [f"it does not open: {error}"]
    code, said, *_ = segment_verifier.verify(data)
    if code != verifier.VALID:
        audit.wrong.append(f"verify says {code}: {said}")
    audit.killed(promises.ledger, promises.hits)
    audit.wrong += [f"told of and lost: {run}" for run in promises.runs - audit.runs.keys()]
    if promises.position > audit.head:
        told, head = promises.position, audit.head
        audit.wrong.append(f"an answer was of position {told}, what is left ends at {head}")
    return list(audit.wrong)


async def _open(data: Path) -> None:
    """Open everything that a service opens: journal, keys, tree, checkpoints and views."""
    settings = Settings(data=data, jwt_secret=SECRET)
    async with assemble(settings, "http://127.0.0.1") as (app, _):
        head = app.journal.head
        await app.proofs.note(head)
        await app.views.wait_for(head)


def carry_on(data: Path, promises: Promises, recording: Recording) -> list[str]:
    """Serve what is left until every run has ended, and say everything that is wrong then."""
    audit = Audit(data / JOURNAL_FILE)
    wrong = _judged(data, promises, audit)
    if wrong:
        return wrong
    audit.kills[:0] = [position for position in recording.kills if position < audit.head]
    target = recording.endpoint
    called = len(target.hits)
    with _served(data) as service:
        _finish(service, audit, promises.ledger)
        service.stop()
        log = [line for line in service.log if "Traceback" in line or " ERROR " in line]
    audit.at_last(promises.ledger, [*promises.hits, *target.hits[called:]])
    return audit.wrong + log


@contextmanager
def _served(data: Path) -> Generator[Service]:
    service = Service(data)
    service.start()
    try:
        yield service
    finally:
        service.kill()


def _finish(service: Service, audit: Audit, ledger: Ledger) -> None:
    """Wait until nothing is under way any more."""
    client = service.client()
    known = {one["id"] for one in client.get("/workflows").json}
    if ledger.workflows["timed"] in known:
        end_schedule(client, ledger)

    def answer(run: str) -> None:
        mine = service.client()
        answer_form(mine, ledger, run)
        mine.close()

    audit.read_on()
    for run in audit.unfinished():
        if not ends(service.port, run, answer):
            audit.wrong.append(f"stuck: {run}")
            break
    client.close()
