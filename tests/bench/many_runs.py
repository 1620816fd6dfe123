"""A start on a data directory with many runs: how long until the first answers.

    python tests/bench/many_runs.py --runs 1000000 --unfinished 1000

It fills a new data directory through the journal's own code, lets a service catch up with it once,
and starts another: it prints how long it takes until the process serves, until a run is read, until
a list is there, and until a new run has ended. Exit code 1 where the first answer takes longer than
two seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import msgspec

from refold.journal import events as e
from refold.journal.clock import SystemClock
from refold.journal.journal import Commit, Journal, Metadata, NewEvent, StreamWrite
from refold.journal.sqlite_store import open_journal
from tests.support.http_kit import slow
from tests.support.journal_kit import KEY, NEW_IDS
from tests.support.projection_kit import COMPLETED, STARTED, defined, new_run, request, succeeded
from tests.support.service import Service, running

META = Metadata(tenant="acme", actor="", corr="bench")
RUNS_PER_COMMIT = 250
FIRST_ANSWER_S_MAX = 2.0


def ended_run(workflow: str) -> StreamWrite:
    """Make a run of five events that ended."""
    facts: list[tuple[e.Facts, bytes | None]] = [
        (request(workflow), b'{"by":"me","payload":{}}'),
        (STARTED, None),
        (succeeded("t"), b"{}"),
        (succeeded("a"), b'{"text":"x"}'),
        (COMPLETED, None),
    ]
    return _write(facts)


def begun_run(workflow: str) -> StreamWrite:
    """Make a run that was just accepted and has to go on."""
    return _write([(request(workflow), b'{"by":"me","payload":{}}')])


def _write(facts: list[tuple[e.Facts, bytes | None]]) -> StreamWrite:
    events = [NewEvent(NEW_IDS.new(), one, body) for one, body in facts]
    return StreamWrite(new_run(), 0, events, META)


async def fill(data: Path, runs: int, unfinished: int) -> tuple[str, str]:
    """Fill a data directory; returns a workflow and one of its runs that ended."""
    workflow = NEW_IDS.new("fl_")
    text: dict[str, Any] = {"by": "me", "workflow": slow(), "webhook_token": ""}
    async with open_journal(data, KEY, SystemClock()) as journal:
        made = NewEvent(NEW_IDS.new(), defined(1), json.dumps(text).encode())
        await journal.append(Commit([StreamWrite(workflow, 0, [made], META)]))
        known = ended_run(workflow)
        await journal.append(Commit([known]))
        await _append_all(journal, workflow, runs - 1, is_ended=True)
        await _append_all(journal, workflow, unfinished, is_ended=False)
    return workflow, known.stream


async def _append_all(journal: Journal, workflow: str, count: int, *, is_ended: bool) -> None:
    make = ended_run if is_ended else begun_run
    began, left = time.perf_counter(), count
    while left:
        commits: list[Commit] = []
        for _ in range(8):
            size = min(left, RUNS_PER_COMMIT)
            if size:
                commits.append(Commit([make(workflow) for _ in range(size)]))
            left -= size
        await asyncio.gather(*(journal.append(commit, patient=True) for commit in commits))
        rate = (count - left) / (time.perf_counter() - began)
        print(f"\r{count - left:,} runs, {rate:,.0f} a second", end="", flush=True)
    print()


def measure(service: Service, workflow: str, run: str) -> float:
    """Start a service and print how long what takes; returns when the first answer was there."""
    began = time.perf_counter()
    service.start()
    client = service.client()
    said: list[tuple[str, float]] = []

    def note(what: str, status: int, wanted: tuple[int, ...] = (200,)) -> None:
        assert status in wanted, (what, status)
        said.append((what, time.perf_counter() - began))

    note("first answer", client.get("/healthz").status)
    note("a run is read", client.get(f"/workflows/runs/{run}").status)
    note("a new run is accepted", client.post(f"/workflows/{workflow}/execute").status, (202,))
    note("a list is shown", client.get(f"/workflows/{workflow}/executions?per_page=5").status)
    while b"refold_runs_waiting 0.0" not in client.get("/metrics").body:
        pass
    note("all unfinished runs go on", 200)
    client.close()
    for what, seconds in said:
        print(f"{what}: {seconds:.2f} s")
    return said[0][1]


def main() -> int:
    """Read the command line, fill and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--unfinished", type=int, default=1_000)
    parser.add_argument("--data", type=Path, default=None, help="fill this directory and keep it")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        data: Path = wanted.data or Path(made) / "data"
        data.mkdir(parents=True, exist_ok=True)
        workflow, run = asyncio.run(fill(data, wanted.runs, wanted.unfinished))
        key = b64encode(KEY).decode()
        began = time.perf_counter()
        with running(data, VAULT_KEY=key, RUN_SECONDS_MAX="86400") as service:
            client = service.client()
            while client.get("/readyz").status != 200:
                time.sleep(0.2)
            print(f"views made in {time.perf_counter() - began:.1f} s")
            client.close()
            service.stop()
            files = sorted(path for path in data.iterdir() if path.is_file())
            sizes = {path.name: path.stat().st_size >> 20 for path in files}
            print(f"MB: {msgspec.json.encode(sizes).decode()}")
            first = measure(service, workflow, run)
    return 0 if first <= FIRST_ANSWER_S_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
