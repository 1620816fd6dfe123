"""After an erasure, what was erased is in no file of the data directory, and evidence still holds.

Canaries go in as payload, as input and output of nodes, as error text, as an answer to a form and
as a definition; short ones, and long ones on pages of their own. Each window of 16 bytes counts.
All searches are switched on, which copy much of that.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from refold.journal import verifier
from refold.journal.bundle import Checkpointed, make_bundle
from refold.journal.checkpoints import open_checkpoints
from refold.journal.clock import IdSource, SystemClock
from refold.journal.sqlite_file import JOURNAL_FILE, open_reader
from refold.journal.tree_store import open_tree
from tests.support.erasure_kit import ask, asked_beside, canary, erase, erasures_told, traces
from tests.support.http_kit import create, followed, quick, refused, run
from tests.support.journal_kit import KEY, opened
from tests.support.service import Client, Endpoint, Hit, Service, chain, endpoint, node, running

SIZES = (64, 9_000)
"""Bytes of canaries: in the row, and on pages of its own."""
PLACES = ("payload", "input", "output", "error", "form", "definition")


class World:
    """A service with a run whose every body holds canaries, and a fork of it."""

    def __init__(self, service: Service, client: Client, sink: Endpoint, size: int) -> None:
        self.service = service
        self.client = client
        self.canaries = {place: canary(size) for place in PLACES}
        self._sink = sink
        sink.answer = self._answer
        text = chain(
            node("t", "manual_trigger"),
            node("a", "webhook", url=f"{sink.url}/ok", body={"in": self.canaries["input"]}),
            node(
                "f", "form", fields=[{"name": "note", "max_length": size}], actions=[{"id": "go"}]
            ),
        )
        last = node("c", "webhook", url=f"{sink.url}/fail", retry={"max_attempts": 1})
        text["nodes"].append(last)
        text["edges"].append({"id": "fc", "source": "f", "target": "c", "sourceHandle": "go"})
        text["description"] = self.canaries["definition"][:1000]
        text["nodes"][0]["data"]["description"] = self.canaries["definition"]
        self.workflow = create(client, text)
        context = {"p": self.canaries["payload"]}
        started = client.post(
            f"/workflows/{self.workflow}/execute", {"context": context}, Prefer="wait=30"
        ).json
        self.run = str(started["id"])
        answer = {"action": "go", "values": {"note": self.canaries["form"]}}
        done = client.post(f"/workflows/runs/{self.run}/interactions/f", answer)
        assert done.status == 202, done.body
        assert followed(client, self.run)["status"] == "failed"
        made = client.post(f"/workflows/runs/{self.run}/resume-from/f", None, Prefer="wait=30")
        self.fork = str(made.json["new_run"]["id"])

    def _answer(self, hit: Hit) -> tuple[int, object]:
        if hit.path == "/fail":
            return 503, {"problem": self.canaries["error"]}
        return 200, {"out": self.canaries["output"]}

    def of_run(self) -> list[str]:
        """Return the canaries that stand in runs alone; the input is written by the definition."""
        return [self.canaries[place] for place in ("payload", "output", "error", "form")]


@contextmanager
def world(data: Path, size: int) -> Generator[World]:
    """Serve a data directory and fill it."""
    key = base64.b64encode(KEY).decode()
    with (
        endpoint() as sink,
        running(data, VAULT_KEY=key, SEARCH="errors,payloads,logs") as service,
        closing(service.client()) as client,
    ):
        yield World(service, client, sink, size)


@pytest.mark.parametrize("size", SIZES)
def test_what_was_erased_is_in_no_file(tmp_path: Path, size: int) -> None:
    """While the service runs, after it was killed, after it started, and after it stopped."""
    data = tmp_path / "data"
    with world(data, size) as made:
        for place, text in made.canaries.items():
            # Who looks must be able to find.
            assert traces(data, text), place
        made.client.post(f"/workflows/{made.workflow}/webhook-token")
        run(made.client, create(made.client, quick()), {"name": "neighbour"})
        first = erase(made.client, run=made.fork)
        assert made.run in first["left"]
        erase(made.client, run=made.run)
        assert traces(data, *made.of_run()) == {}
        assert made.client.call("DELETE", f"/workflows/{made.workflow}").status == 204
        assert erase(made.client, workflow=made.workflow)["left"] == []
        every = list(made.canaries.values())
        assert traces(data, *every) == {}
        made.service.kill()
        assert traces(data, *every) == {}
        made.service.start()
        assert traces(data, *every) == {}
        assert made.service.stop() == 0
        assert traces(data, *every) == {}
        log = "".join(made.service.log)
        assert not [text for text in every if text[:16] in log]
    evidence_holds(data, made.run, made.fork)


def evidence_holds(data: Path, *runs: str) -> None:
    """See that the journal and the bundles of runs verify, with erased bodies."""
    alone = [sys.executable, verifier.__file__, str(data)]
    done = subprocess.run(alone, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (10, ""), done
    for bundle in asyncio.run(bundles(data, runs)):
        path = data.parent / "run.zip"
        path.write_bytes(bundle)
        alone[2] = str(path)
        done = subprocess.run(alone, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (10, ""), done


async def bundles(data: Path, runs: tuple[str, ...]) -> list[bytes]:
    """Sign a checkpoint of a journal that nobody serves, and make bundles against it."""
    clock = SystemClock()
    async with (
        opened(data, clock) as journal,
        open_tree(data, journal) as tree,
        open_checkpoints(data, journal, tree, IdSource(clock), host="refold.example") as signed,
    ):
        against = Checkpointed(await signed.covering(journal.head), signed.public_keys, tree.joint)
        with closing(open_reader(data / JOURNAL_FILE)) as connection:
            return [make_bundle(connection, run_id, against) for run_id in runs]


READER = """import sqlite3, sys
reader = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, isolation_level=None)
reader.execute("BEGIN")
reader.execute("SELECT count(*) FROM event").fetchone()
print("reads", flush=True)
sys.stdin.read()
"""


@contextmanager
def busy_reader(data: Path) -> Generator[None]:
    """Keep a read transaction open, as a backup would.

    In a process of its own: whoever looks into a file here drops all locks of this process on it.
    """
    command = [sys.executable, "-c", READER, str(data / JOURNAL_FILE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"reads\n"
        yield
        reader.communicate()


def test_the_answer_waits_for_whoever_keeps_the_bytes_in_the_log(tmp_path: Path) -> None:
    """A backup that reads holds the log; 200 means that the bytes are gone."""
    data = tmp_path / "data"
    with world(data, 64) as made, closing(made.service.client()) as other:
        with busy_reader(data):
            total = erase(made.client, run=made.fork, dry_run=True)["erased"]
            thread, replies = asked_beside(other, run=made.fork)
            while erasures_told(data) < total:
                made.client.get("/healthz")
            # The service answers others meanwhile, and the data is gone for every one of them.
            shown = made.client.get(f"/workflows/runs/{made.fork}").json
            assert shown["trigger_payload"] == {"erased": True}
            assert traces(data, made.canaries["payload"])
            assert replies == []
        thread.join(30)
        assert replies[0].status == 200, replies[0].body
        assert traces(data, made.canaries["payload"]) == {}


def test_a_kill_before_the_log_was_emptied_leaves_nothing_once_asked_again(tmp_path: Path) -> None:
    """The start empties the log; a reader that prevents it only makes the next answer wait."""
    data = tmp_path / "data"
    with world(data, 9_000) as made:
        with busy_reader(data):
            total = erase(made.client, run=made.fork, dry_run=True)["erased"]
            thread, replies = asked_beside(made.service.client(), run=made.fork)
            while erasures_told(data) < total:
                made.client.get("/healthz")
            made.service.kill()
            thread.join(30)
            assert replies == []
            assert traces(data, made.canaries["payload"])
            made.service.start()
            assert traces(data, made.canaries["payload"])
            with closing(made.service.client()) as again:
                refused(ask(again, run=made.fork), 503, "overloaded")
        with closing(made.service.client()) as client:
            assert erase(client, run=made.fork)["erased"] == 0
        assert traces(data, made.canaries["payload"]) == {}
