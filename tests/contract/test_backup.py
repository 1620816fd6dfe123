"""`refold backup` and `refold restore` as real processes: under load, elsewhere, and refused."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from refold.journal.backup import MANIFEST, PART, BackupError, back_up, restore
from tests.support.archive_kit import quiet
from tests.support.http_kit import create, quick, run, slow, started
from tests.support.service import Service, chain, node, running

KEYS = {"checkpoint.key", "vault_key", "jwt_secret"}
LOAD_RUNS_MIN = 30


def refold(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")}
    command = [sys.executable, "-m", "refold.scripts.cli", *map(str, arguments)]
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def told(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    """See that a command ended so, in words and not in a traceback; returns what it said."""
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said
    return said


class Load:
    """A client that starts run after run, and the ledger of those that were acknowledged."""

    def __init__(self, service: Service, workflow: str) -> None:
        self.acknowledged: list[str] = []
        self.reached = threading.Event()
        self._service = service
        self._path = f"/workflows/{workflow}/execute"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        client = self._service.client()
        while not self._stop.is_set():
            reply = client.post(self._path, {"context": {"name": "x" * 500}})
            if reply.status == 202:
                self.acknowledged.append(str(reply.json["id"]))
            if len(self.acknowledged) >= LOAD_RUNS_MIN:
                self.reached.set()
        client.close()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()
        self._thread.join(30)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup with its keys beside it: `backup`, `keys`, and the `data` that it was made of."""
    home = tmp_path_factory.mktemp("kept")
    environ = {"REFOLD_JWT_SECRET": ""}
    service = Service(home / "data", environ).start()
    service.kill()
    told(refold("backup", home / "backup", "--data", home / "data", "--keys-to", home / "keys"))
    return home


def test_a_backup_under_load_has_every_run_that_was_acknowledged_before(tmp_path: Path) -> None:
    """Made beside the service, restored elsewhere, proven, and served: nothing is missing."""
    data, backup, keys, again = (tmp_path / name for name in ("data", "backup", "keys", "again"))
    with running(data) as service:
        client = service.client()
        waiting = started(client, create(client, slow()))
        asking = create(client, chain(node("t", "manual_trigger"), node("ask", "form")))
        asked = client.post(f"/workflows/{asking}/execute", None, Prefer="wait=20").json["id"]
        load = Load(service, create(client, quick()))
        load.start()
        assert load.reached.wait(60)
        before = list(load.acknowledged)
        said = told(refold("backup", backup, "--data", data, "--keys-to", keys))
        during = len(load.acknowledged)
        load.stop()
        # The original goes on and signs what the backup has not.
        assert client.get("/readyz").status == 200
        later = client.get("/journal/checkpoint").body
        origin = later.split(b"\n", 1)[0].decode()
        client.close()
    assert "verified" in said
    assert during > len(before), "nothing was written while the backup was made"
    assert told(refold("verify", backup)).startswith("Valid")
    assert "generation 2" in told(refold("restore", backup, again, "--keys", keys))
    shutil.rmtree(data)
    told(refold("verify", again))
    with running(again) as service:
        client = service.client()
        shown = {run_id: client.get(f"/workflows/runs/{run_id}").status for run_id in before}
        assert set(shown.values()) == {200}
        answer = client.post(f"/workflows/runs/{asked}/interactions/ask", {"action": "submit"})
        assert answer.status in (202, 422), answer.body
        assert client.post(f"/workflows/runs/{waiting}/cancel").status == 202
        assert run(client, create(client, quick()), {"name": "Ann"})["status"] == "completed"
        note = client.get("/journal/checkpoint").body.decode()
        assert note.startswith(f"{origin}/g2\n")
        client.close()
        assert service.stop() == 0
    told(refold("verify", again))


def test_no_key_is_in_a_backup_and_every_file_is_its_owners(kept: Path) -> None:
    """Whoever finds it reads the journal, and opens no secret and signs nothing with it."""
    secrets = {name: (kept / "data" / name).read_bytes() for name in KEYS}
    assert {path.name for path in (kept / "keys").iterdir()} == KEYS
    for path in (kept / "backup").rglob("*"):
        assert path.name not in KEYS
        for name, secret in secrets.items():
            assert secret.strip() not in path.read_bytes(), (path, name)
    for path in [*(kept / "backup").rglob("*"), *(kept / "keys").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
    manifest = json.loads((kept / "backup" / MANIFEST).read_text())
    assert set(manifest["files"]) >= {"journal.db", "checkpoint.note", "checkpoint.pub"}


def test_without_its_keys_a_restored_journal_says_what_it_needs(kept: Path, tmp_path: Path) -> None:
    """And is not opened with another key by a start that makes its own."""
    said = told(refold("restore", kept / "backup", tmp_path / "data"))
    assert "REFOLD_VAULT_KEY" in said
    service = Service(tmp_path / "data")
    service.launch().wait(30)
    assert service.process is not None
    assert service.process.wait(30) == 1
    assert "REFOLD_VAULT_KEY" in "".join(service.log)
    service.stop()


def test_each_restoring_may_be_told_its_generation_and_none_is_taken_twice(
    kept: Path, tmp_path: Path
) -> None:
    """Two that go on from one backup would sign two histories under one name."""
    restore(kept / "backup", tmp_path / "a", tell=quiet, generation=3)
    with closing(sqlite3.connect(tmp_path / "a" / "journal.db")) as db:
        entry = db.execute("SELECT entry FROM event ORDER BY position DESC LIMIT 1").fetchone()[0]
    last = json.loads(entry)
    facts = last["facts"]
    manifest = json.loads((kept / "backup" / MANIFEST).read_text())
    assert last["type"] == "journal.restored"
    assert (facts["generation"], facts["from_size"]) == (3, manifest["position"])
    back_up(tmp_path / "a", tmp_path / "b", refold="1", tell=quiet)
    with pytest.raises(BackupError, match="generation 3 already"):
        restore(tmp_path / "b", tmp_path / "c", tell=quiet, generation=3)
    assert not (tmp_path / "c").exists()
    assert restore(tmp_path / "b", tmp_path / "c", tell=quiet).generation == 4
    told(refold("restore", kept / "backup", tmp_path / "d", "--generation", "1"), 2)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _changed_manifest(path: Path, **changes: Any) -> None:
    manifest = json.loads((path / MANIFEST).read_text()) | changes
    (path / MANIFEST).write_text(json.dumps(manifest))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit of the journal": lambda b: _flip(b / "journal.db"),
    "a bit of the checkpoint": lambda b: _flip(b / "checkpoint.note"),
    "a file that is gone": lambda b: (b / "checkpoint.pub").unlink(),
    "the journal that is gone": lambda b: (b / "journal.db").unlink(),
    "no manifest": lambda b: (b / MANIFEST).unlink(),
    "a manifest that is none": lambda b: (b / MANIFEST).write_text("{}"),
    "a later format": lambda b: _changed_manifest(b, format=2),
    "a name that leads elsewhere": lambda b: _changed_manifest(b, files={"../../x": "0" * 64}),
    "an absolute name": lambda b: _changed_manifest(b, files={"/etc/passwd": "0" * 64}),
    "no journal in it": lambda b: _changed_manifest(b, files={}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_backup_is_refused_and_leaves_nothing(
    kept: Path, tmp_path: Path, damage: str
) -> None:
    """Whatever happened to it on its shelf is said before anybody serves it."""
    shutil.copytree(kept / "backup", tmp_path / "backup")
    DAMAGE[damage](tmp_path / "backup")
    with pytest.raises(Exception, match=r".") as refused:
        restore(tmp_path / "backup", tmp_path / "data", tell=quiet)
    assert getattr(refused.value, "code", "") in ("backup_unusable", "store_failed")
    assert not (tmp_path / "data").exists()


def test_a_journal_that_is_damaged_is_not_backed_up_as_if_it_were_whole(
    kept: Path, tmp_path: Path
) -> None:
    """A copy that nobody checked is found to be worthless on the worst day."""
    shutil.copytree(kept / "data", tmp_path / "data")
    with closing(sqlite3.connect(tmp_path / "data" / "journal.db")) as db:
        for (name,) in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            db.execute(f'DROP TRIGGER "{name}"')
        db.execute("UPDATE event SET at = at + 1 WHERE position = 1")
        db.commit()
    with pytest.raises(BackupError, match="can't be relied on"):
        back_up(tmp_path / "data", tmp_path / "b", refold="1", tell=quiet)
    assert not (tmp_path / "b").exists()


def test_nothing_is_written_over_and_what_a_kill_left_is_thrown_away(
    kept: Path, tmp_path: Path
) -> None:
    """A folder with something in it is refused; half a backup never has the backup's name."""
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("keep")
    for command in (
        ("backup", taken, "--data", kept / "data"),
        ("restore", kept / "backup", taken),
    ):
        assert "name a new folder" in told(refold(*command), 1)
    assert [path.name for path in taken.iterdir()] == ["mine"]
    half = tmp_path / f"new{PART}"
    half.mkdir()
    (half / "journal.db").write_bytes(b"half")
    back_up(kept / "data", tmp_path / "new", refold="1", tell=quiet)
    assert not half.exists()
    with pytest.raises(BackupError):
        restore(taken, tmp_path / "other", tell=quiet)
    told(refold("backup", tmp_path / "x", "--data", tmp_path / "nowhere"), 1)
