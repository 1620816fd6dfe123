"""What stops a start: one clear line on standard error, a non-zero exit, and nothing broken."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.service import SECRET, Service, chain, node, running


def refused(data: Path, *flags: str, **variables: str) -> tuple[int, str]:
    """Try to serve a data directory; returns the exit code and what stands on standard error."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")}
    environ |= {"REFOLD_JWT_SECRET": SECRET, **variables}
    done = subprocess.run(
        [sys.executable, "-m", "refold.scripts.cli", "serve", "--data", str(data), *flags],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def one_line(refusal: tuple[int, str], code: int) -> str:
    """See that a refusal is one line of ours, and return its sentence."""
    assert refusal[0] == code, refusal
    assert refusal[1].startswith("refold: ")
    assert refusal[1].count("\n") == 1
    return refusal[1].removeprefix("refold: ").strip()


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that was served, and holds a run."""
    data = tmp_path_factory.mktemp("used") / "data"
    with running(data) as service:
        client = service.client()
        made = client.post("/workflows", chain(node("t", "manual_trigger")))
        path = f"/workflows/{made.json['id']}/execute"
        assert client.post(path, {}, Prefer="wait=10").status == 200
        client.close()
        assert service.stop() == 0
    return data


@pytest.fixture
def data(used: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return shutil.copytree(used, tmp_path / "data")


def lists_its_workflow(service: Service) -> bool:
    """Ask a service for what the directory holds; a list waits until the views have caught up."""
    client = service.client()
    try:
        listed = client.get("/workflows")
        return listed.status == 200 and len(listed.json) == 1
    finally:
        client.close()


def test_a_second_process_on_the_same_data_is_refused_and_the_first_goes_on(data: Path) -> None:
    """Two writers would tear the journal; the line names the owner."""
    with running(data) as service:
        assert service.process is not None
        sentence = one_line(refused(data, "--port", "0"), 1)
        assert f"owned by another process (pid {service.process.pid})" in sentence
        assert lists_its_workflow(service)


def test_the_data_can_be_served_again_right_after_a_crash(data: Path) -> None:
    """The lock is the kernel's, so a killed owner leaves nothing behind."""
    first = Service(data).start()
    first.kill()
    with running(data) as service:
        assert lists_its_workflow(service)


def test_a_busy_port_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    """A mistyped port must not leave a data directory behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = one_line(refused(tmp_path / "data", "--port", str(port)), 2)
    assert f"can't listen on 127.0.0.1 port {port}" in sentence
    assert list(tmp_path.iterdir()) == []


def test_another_vault_key_than_the_journal_was_made_with_is_refused(data: Path) -> None:
    """With another key every actor and token would silently be somebody else's."""
    key = base64.b64encode(b"k" * 32).decode()
    sentence = one_line(refused(data, "--port", "0", REFOLD_VAULT_KEY=key), 1)
    assert "REFOLD_VAULT_KEY" in sentence
    assert key not in sentence


def test_an_unusable_vault_key_is_refused_without_being_shown(data: Path) -> None:
    """What was meant as a key stays secret also where it is none."""
    sentence = one_line(refused(data, "--port", "0", REFOLD_VAULT_KEY="a-secret-word"), 2)
    assert "32 bytes in base64" in sentence
    assert "a-secret-word" not in sentence


@pytest.mark.parametrize("kept", [0.0, 0.4, 0.99])
def test_a_torn_journal_is_refused_and_left_as_it_is(data: Path, kept: float) -> None:
    """A file that lost its end is for the operator to judge, not for us to repair."""
    journal = data / "journal.db"
    whole = journal.read_bytes()
    # An empty file is what a crash leaves before the first commit, so a page at least remains.
    torn = whole[: max(600, int(len(whole) * kept))]
    journal.write_bytes(torn)
    sentence = one_line(refused(data, "--port", "0"), 1)
    assert "journal.db" in sentence
    assert any(word in sentence for word in ("torn", "damaged", "altered")), sentence
    assert journal.read_bytes() == torn


def test_a_flipped_bit_in_the_newest_entry_is_refused(data: Path) -> None:
    """The newest entries are hashed again at each start."""
    journal = data / "journal.db"
    content = journal.read_bytes()
    at = content.rindex(b'"type":"run.completed"')
    journal.write_bytes(content[:at] + b'"type":"run.c0mpleted"' + content[at + 22 :])
    sentence = one_line(refused(data, "--port", "0"), 1)
    assert "was changed" in sentence


@pytest.mark.parametrize("content", [b"this is no database\n" * 100, b"SQLite format 3\x00" * 64])
def test_a_foreign_file_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    """Whatever stands in the journal's place, it is not ours to overwrite."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "journal.db").write_bytes(content)
    sentence = one_line(refused(data, "--port", "0"), 1)
    assert "journal.db" in sentence
    assert (data / "journal.db").read_bytes() == content


def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """A path that was mixed up must not cost somebody their data."""
    data = tmp_path / "data"
    data.mkdir()
    with closing(sqlite3.connect(data / "journal.db")) as connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
    assert "another program" in one_line(refused(data, "--port", "0"), 1)


@pytest.mark.parametrize(
    ("flags", "variables", "word"),
    [
        (("--prot", "1"), {}, "--prot"),
        ((), {"REFOLD_PROT": "1"}, "REFOLD_PROT is not a setting of Refold"),
        (("--port", "high"), {}, "--port"),
        ((), {"REFOLD_LOG_FORMAT": "xml"}, "REFOLD_LOG_FORMAT"),
        ((), {"REFOLD_EGRESS_ALLOW": "10.0.0.0/99"}, "REFOLD_EGRESS_ALLOW"),
    ],
)
def test_an_unknown_or_unusable_setting_is_refused_before_anything_is_made(
    tmp_path: Path, flags: tuple[str, ...], variables: dict[str, str], word: str
) -> None:
    """A setting that was meant and not heard is worse than no start."""
    assert word in one_line(refused(tmp_path / "data", *flags, **variables), 2)
    assert list(tmp_path.iterdir()) == []


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """The operating system's own words are enough, without a traceback."""
    (tmp_path / "data").write_text("notes", encoding="utf-8")
    refusal = refused(tmp_path / "data", "--port", "0")
    assert refusal[0] != 0
    assert refusal[1].startswith("refold: ")
    assert refusal[1].count("\n") == 1
    assert (tmp_path / "data").read_text(encoding="utf-8") == "notes"
