"""`refold doctor`: what is well is said to be, and each thing that goes wrong is named."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from refold.http.settings import Settings
from refold.journal.checkpoint_keys import load_keys, rotate_key
from refold.scripts import doctor_checks
from refold.scripts.doctor_checks import CHECKS, Finding, examined
from tests.support.http_kit import create, quick, run
from tests.support.service import SECRET, Service


def _refold(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")}
    command = [sys.executable, "-m", "refold.scripts.cli", *map(str, arguments)]
    return subprocess.run(
        command, env=environ | variables, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with all its keys, stopped in order; and what was said while it served."""
    data = tmp_path_factory.mktemp("doctor") / "data"
    service = Service(data, {"REFOLD_JWT_SECRET": ""}).start()
    done = _refold("doctor", "--data", data)
    (data.parent / "said").write_text(done.stdout)
    service.stop()
    with_runs = Service(data).start()
    client = with_runs.client()
    run(client, create(client, quick()))
    client.close()
    with_runs.stop()
    return data


@pytest.fixture
def data(healthy: Path, tmp_path: Path) -> Path:
    """A copy that may be harmed."""
    shutil.copytree(healthy, tmp_path / "data")
    return tmp_path / "data"


def _found(data: Path, **settings: str) -> dict[str, Finding]:
    environ = {f"REFOLD_{name}": value for name, value in settings.items()}
    loaded = Settings.load({}, {"REFOLD_DATA": str(data), **environ})
    return {finding.name: finding for finding in examined(loaded)}


def _contents(data: Path) -> dict[str, bytes]:
    # What SQLite keeps for who reads side by side is no content.
    files = [p for p in data.rglob("*") if p.is_file() and not p.name.endswith(("-shm", "-wal"))]
    return {str(path): path.read_bytes() for path in files}


def test_a_healthy_directory_is_well_served_or_not(healthy: Path) -> None:
    """One line for each check, 0 at the end, and nothing is changed by looking."""
    said = (healthy.parent / "said").read_text().splitlines()
    assert [line.split()[1] for line in said] == [name for name, _ in CHECKS]
    assert {line.split()[0] for line in said} == {"ok"}, said
    assert "serves the directory" in next(line for line in said if " owner " in line)
    before = _contents(healthy)
    done = _refold("doctor", "--data", healthy, "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["code"]) == (0, 0), answer
    assert {finding["state"] for finding in answer["findings"]} == {"ok"}
    assert {finding["remedy"] for finding in answer["findings"]} == {""}
    assert _contents(healthy) == before


def _sql(data: Path, *statements: str) -> None:
    with closing(sqlite3.connect(data / "journal.db")) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def _without_triggers(data: Path) -> None:
    with closing(sqlite3.connect(data / "journal.db")) as db:
        names = db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    _sql(data, f'DROP TRIGGER "{names[0][0]}"')


def _other_vault_key(data: Path) -> None:
    (data / "vault_key").write_text("A" * 43 + "=\n")


def _cut_journal(data: Path) -> None:
    with (data / "journal.db").open("r+b") as file:
        file.truncate(8192)


def _other_checkpoint_key(data: Path) -> None:
    rotate_key(data / "checkpoint.key")
    assert len(load_keys(data / "checkpoint.key")) == 2
    lines = (data / "checkpoint.note").read_text().replace("localhost", "elsewhere")
    (data / "checkpoint.note").write_text(lines)


HARM: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "others may write": (lambda d: d.chmod(0o777), "data", "warn"),
    "a trigger is gone": (_without_triggers, "journal", "fail"),
    "the journal is cut": (_cut_journal, "journal", "fail"),
    "the journal is gone": (lambda d: (d / "journal.db").unlink(), "journal", "fail"),
    "an archiving stopped": (
        lambda d: (d / "archive.unfinished").write_text('{"folder":"x","is_compact":true}'),
        "journal",
        "warn",
    ),
    "another key": (_other_vault_key, "keys", "fail"),
    "no vault key": (lambda d: (d / "vault_key").unlink(), "keys", "fail"),
    "no secret of tokens": (lambda d: (d / "jwt_secret").unlink(), "keys", "fail"),
    "no checkpoint key": (lambda d: (d / "checkpoint.key").unlink(), "keys", "fail"),
    "a key for everybody": (lambda d: (d / "vault_key").chmod(0o644), "keys", "fail"),
    "a note of another": (_other_checkpoint_key, "tree", "fail"),
    "no note": (lambda d: (d / "checkpoint.note").unlink(), "tree", "warn"),
    "no tiles": (lambda d: shutil.rmtree(d / "tree"), "tree", "warn"),
    "no views": (lambda d: (d / "views.db").unlink(), "projections", "warn"),
    "no such views": (lambda d: (d / "views.db").write_bytes(b"x" * 99), "projections", "fail"),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARM)
def test_what_is_wrong_is_named_with_what_to_do(data: Path, harm: str) -> None:
    """The check that it belongs to says so; nothing is made in the place of what is missing."""
    do, name, state = HARM[harm]
    do(data)
    names = {path.name for path in data.iterdir()}
    found = _found(data)
    assert (found[name].state, bool(found[name].remedy)) == (state, True), found[name]
    made = {path.name for path in data.iterdir()} - names
    assert not {name for name in made if not name.endswith(("-shm", "-wal"))}


def test_what_depends_on_the_machine_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, few files, an old SQLite and a clock that was set back."""
    monkeypatch.setattr(doctor_checks, "FREE_BYTES_MIN", 2**70)
    monkeypatch.setattr(doctor_checks, "OPEN_FILES_MIN", 2**40)
    monkeypatch.setattr(doctor_checks, "SQLITE_MIN", (99, 0, 0))
    monkeypatch.setattr(doctor_checks, "CLOCK_SECONDS_MAX", -1e9)
    found = _found(data, EGRESS_ALLOW="0.0.0.0/0")
    states = {name: found[name].state for name in ("disk", "files", "version", "clock", "egress")}
    assert states == {
        "disk": "fail", "files": "warn", "version": "fail", "clock": "fail", "egress": "warn"
    }  # fmt: skip


def test_keys_that_are_settings_need_no_files(data: Path) -> None:
    """Whoever keeps them elsewhere is not told that they are missing."""
    (data / "jwt_secret").unlink()
    assert _found(data, JWT_SECRET=SECRET)["keys"].state == "ok"


def test_the_exit_code_tells_how_bad_it_is_and_no_secret_is_shown(data: Path) -> None:
    """10 for what should be seen to, 20 for what can't be relied on."""
    secret = (data / "vault_key").read_text().strip()
    shutil.rmtree(data / "tree")
    assert _refold("doctor", "--data", data).returncode == 10
    (data / "vault_key").chmod(0o644)
    done = _refold("doctor", "--data", data)
    assert done.returncode == 20
    assert secret not in done.stdout + done.stderr
    assert "chmod 600" in done.stdout
