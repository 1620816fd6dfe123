"""Let the disk of a real service refuse to write, sync, read or grow: nothing told is lost."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from refold.journal import segment_verifier, verifier
from tests.support import archive_kit as kit
from tests.support.counts import PROFILE, count_of
from tests.support.fault_shim import GROWING, SYNC, Shim, built
from tests.support.http_kit import create, quick
from tests.support.io_trial import break_disk, io_trial, is_mended
from tests.support.service import Client, chain, node

FAULTS = count_of("IO_FAULTS", dev=5, ci=20, full=500)
ARCHIVINGS = count_of("ARCHIVE_FAULTS", dev=3, ci=5, full=200)
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(7200 if PROFILE == "full" else 300)
def test_a_disk_that_refuses_is_survived_without_a_restart(tmp_path: Path, seed: int) -> None:
    """Every answer is a good one or a 503; once mended all is well, and nothing told is lost."""
    print(f"seed {seed}")
    built()
    choice = random.Random(seed)
    with io_trial(tmp_path, seed) as (made, shim):
        is_over = threading.Event()
        rounds = 0
        with made.load(is_over):
            while shim.faults < FAULTS:
                rounds += 1
                said = break_disk(shim, choice, is_over)
                assert is_mended(made.service, is_over), said
                assert made.ledger.wrong == [], said
        made.finish()
        assert made.service.stop() == 0
        made.audit.at_last(made.ledger, list(made.endpoint.hits))
        assert made.audit.wrong == []
        assert [line for line in made.service.log if "unexpected" in line] == []
        print(f"{rounds} rounds, {shim.faults} faults: {made.summary()}")
        assert made.audit.interrupted() == 0, "the process lived through it all"
        assert_whole(tmp_path / "disk" / "data")


def assert_whole(data: Path) -> None:
    """See that no file is corrupt."""
    code, said, *_ = segment_verifier.verify(data)
    assert code == verifier.VALID, said
    for name in ("journal.db", "views.db"):
        with closing(sqlite3.connect(data / name)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def asks(client: Client, paths: dict[str, str]) -> dict[str, int]:
    """Ask for everything, and return the statuses; a 503 says when to come again, and why."""
    answers = {
        "execute": client.post(f"/workflows/{paths['workflow']}/execute"),
        "define": client.post("/workflows", quick()),
        "cancel": client.post(f"/workflows/runs/{paths['open']}/cancel"),
        "answer": client.post(f"/workflows/runs/{paths['open']}/interactions/f", {"action": "go"}),
        "run": client.get(f"/workflows/runs/{paths['ended']}"),
        "list": client.get(f"/workflows/{paths['workflow']}/executions"),
        "ready": client.get("/readyz"),
        "health": client.get("/healthz"),
    }
    for name in ("execute", "define", "cancel", "answer"):
        if answers[name].status == 503:
            assert answers[name].json["code"] == "read_only"
            assert answers[name].headers["retry-after"] == "1"
    assert answers["run"].json["status"] == "completed"
    return {name: reply.status for name, reply in answers.items()}


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_full_or_dead_disk_leaves_reads_and_says_so_until_it_is_mended(
    tmp_path: Path, error: int
) -> None:
    """Writes are refused with 503 and `Retry-After`, at once; reads go on; `/readyz` tells."""
    built()
    form = node("f", "form", actions=[{"id": "go"}])
    with io_trial(tmp_path, 1) as (made, shim), closing(made.service.client()) as client:
        workflow = create(client, quick())
        asking = create(client, chain(node("t", "manual_trigger"), form))
        wait = {"Prefer": "wait=20"}
        paths = {
            "workflow": workflow,
            "ended": client.post(f"/workflows/{workflow}/execute", **wait).json["id"],
            "open": client.post(f"/workflows/{asking}/execute", **wait).json["id"],
        }
        # The views stand in a file too: what they had not yet taken could not be listed.
        assert client.get(f"/workflows/{workflow}/executions").status == 200
        shim.fail(GROWING | SYNC, error)
        # The first one learns it from the disk; from then on it is known.
        assert client.post(f"/workflows/{workflow}/execute").status == 503
        refused = dict.fromkeys(("execute", "define", "cancel", "answer", "ready"), 503)
        assert asks(client, paths) == refused | {"run": 200, "list": 200, "health": 200}
        assert client.get("/readyz").json["journal"] == "read_only"
        shim.mend()
        assert is_mended(made.service, threading.Event())
        fine = {"execute": 202, "define": 201, "cancel": 202, "answer": 409}
        read = dict.fromkeys(("run", "list", "health", "ready"), 200)
        assert asks(client, paths) | {"ready": 200} == fine | read


@pytest.mark.timeout(3600 if PROFILE == "full" else 300)
def test_an_archiving_that_the_disk_stops_loses_nothing(tmp_path: Path, seed: int) -> None:
    """Whatever call fails, every body is somewhere, and the next archiving completes it."""
    print(f"seed {seed}")
    built()
    choice = random.Random(seed)
    fresh = tmp_path / "fresh"
    bodies = kit.make_journal(fresh)
    stopped = 0
    for number in range(ARCHIVINGS):
        disk = tmp_path / f"disk-{number}"
        shutil.copytree(fresh, disk / "data")
        folder = disk / "segments"
        with closing(Shim(disk, tmp_path / f"shim-{number}")) as shim:
            error = choice.choice((errno.EIO, errno.ENOSPC))
            shim.fail(
                GROWING | SYNC, error, after=choice.randrange(200), half=choice.random() < 0.5
            )
            code = archive(disk / "data", folder, shim)
            assert (code == 0) == (shim.faults == 0), "a refusal is told"
            stopped += code != 0
        kit.assert_nothing_lost(disk / "data", bodies, folder)
        kit.archived(disk / "data", to=folder)
        kit.assert_nothing_lost(disk / "data", bodies, folder)
        assert kit.judged(disk / "data", folder)[0] == verifier.VALID
        shutil.rmtree(disk)
    assert stopped > 0, "the faults were real"


def archive(data: Path, folder: Path, shim: Shim) -> int:
    """Archive in a process of its own; returns its exit code."""
    command = [sys.executable, "-m", "tests.support.archive_victim", str(data), str(folder), "0"]
    environ = {**os.environ, **shim.environment()}
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, check=False)
    return done.returncode
