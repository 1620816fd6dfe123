"""`refold replay`: what an auditor sees of a run in the journal's file, and what is refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from refold.journal.sqlite_file import open_reader
from refold.journal.verified import read_verified
from tests.support.journal_copies import changed_copy, erase, refold
from tests.support.service import Endpoint, Service, chain, endpoint, node, running


@pytest.fixture(scope="module")
def shop() -> Iterator[Endpoint]:
    """An endpoint whose `/ship` fails the first time."""
    with endpoint() as made:
        made.answer = lambda hit: (
            (503, {"problem": "\x1b[31mclosed"})
            if hit.path == "/ship" and sum(h.path == "/ship" for h in made.hits) == 1
            else (200, {"ok": True})
        )
        yield made


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, shop: Endpoint) -> Iterator[Service]:
    """A service that runs while its journal is read."""
    del shop
    with running(tmp_path_factory.mktemp("replay") / "data") as made:
        yield made


@pytest.fixture(scope="module")
def runs(service: Service, shop: Endpoint) -> tuple[str, str]:
    """A run that failed at its third node, and the one that was resumed from its second."""
    client = service.client()
    text = chain(
        node("t", "manual_trigger"),
        node("charge", "webhook", url=f"{shop.url}/charge"),
        node("ship", "webhook", url=f"{shop.url}/ship"),
    )
    workflow = client.post("/workflows", text).json["id"]
    first = client.post(f"/workflows/{workflow}/execute", {"context": {"n": 1}}, Prefer="wait=20")
    path = f"/workflows/runs/{first.json['id']}/resume-from/charge"
    second = client.post(path, {}, Prefer="wait=20")
    client.close()
    assert first.json["status"] == "failed"
    assert second.json["new_run"]["status"] == "completed"
    return first.json["id"], second.json["new_run"]["id"]


def replay(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    """Run the command with its output piped."""
    return refold("replay", *arguments, data=data)


def test_a_run_is_shown_with_its_events_and_state_while_the_service_runs(
    service: Service, runs: tuple[str, str]
) -> None:
    """An auditor needs no cooperation of the service, and sees what was replayed from where."""
    done = replay(runs[1], data=service.data)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(len(line) for line in lines) <= 100
    assert any("node.succeeded" in li and "charge" in li and "original v5" in li for li in lines)
    assert any(li.split() == ["status", "completed"] for li in lines)
    assert runs[0] in done.stdout, "the original is named"
    assert lines[-1] == "8 entries verified: leaf hashes, chain and bodies."


def test_the_failure_of_a_run_is_told_with_its_message(
    service: Service, runs: tuple[str, str]
) -> None:
    """The message is user data: it is read from its body, and checked like everything else."""
    shown = replay(runs[0], data=service.data).stdout
    assert "Webhook request failed: 503 Service Unavailable" in shown
    assert "http_503" in shown


def test_json_lines_hold_the_hashed_bytes_and_the_state(
    service: Service, runs: tuple[str, str]
) -> None:
    """Whoever has the lines can compute each leaf hash again without Refold."""
    done = replay(runs[0], "--json", data=service.data)
    *events, last = done.stdout.splitlines()
    leaves: list[str] = []
    for line in events:
        shown = json.loads(line)
        start = line.index('"entry":') + len('"entry":')
        entry = line[start : line.index(',"body":')]
        assert hashlib.sha256(b"\x00" + entry.encode()).hexdigest() == shown["leaf"]
        assert shown["entry"]["prev"] == (leaves[-1] if leaves else "0" * 64)
        leaves.append(shown["leaf"])
    assert json.loads(events[0])["body"] == {"by": "me", "payload": {"n": 1}}
    state = json.loads(last)
    assert state["entries_verified"] == len(events) == state["state"]["version"]
    assert state["state"]["status"] == "failed"
    assert state["state"]["failed_node"] == "ship"


def test_an_unknown_run_is_told_in_one_line(service: Service) -> None:
    """Whatever was typed, nothing of it steers the terminal."""
    for name in ("fl_run_01k8x3m5n7p9q1r3s5t7v9w1x3", "fl_01k8x3m5n7p9q1r3s5t7v9w1x3", "\x1b[31m"):
        done = replay(name, data=service.data)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("refold: there is no run ")
        assert done.stderr.count("\n") == 1
        assert "\x1b" not in done.stderr


def test_a_directory_without_a_journal_is_told_in_one_line_and_left_as_it_is(
    tmp_path: Path,
) -> None:
    """A reader must not make what it looks for."""
    done = replay("fl_run_01k8x3m5n7p9q1r3s5t7v9w1x3", data=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("refold: there is no journal at ")
    assert list(tmp_path.iterdir()) == []


def positions(service: Service, run: str) -> list[int]:
    """The positions of a run's events."""
    with closing(open_reader(service.data / "journal.db")) as connection:
        return [verified.event.position for verified in read_verified(connection, run)]


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        (
            "UPDATE event SET entry = CAST(replace(CAST(entry AS TEXT), '\"attempt\":1', "
            "'\"attempt\":2') AS BLOB) WHERE position = ?",
            "was changed: its leaf hash is another",
        ),
        ("UPDATE event SET leaf = zeroblob(32) WHERE position = ?", "was changed"),
        (
            "UPDATE body SET data = CAST('{}' AS BLOB) WHERE position = ?",
            "has another body than it is committed to",
        ),
        ("DELETE FROM body WHERE position = ?", "has lost its body"),
        ("UPDATE event SET at = at + 1 WHERE position = ?", "does not stand where its row says"),
        ("DELETE FROM event WHERE position = ? - 1", "does not follow version"),
    ],
)
def test_an_entry_that_is_not_what_was_written_ends_with_its_position(
    service: Service, runs: tuple[str, str], tmp_path: Path, statement: str, sentence: str
) -> None:
    """One line says where and what; nothing is shown that can't be trusted."""
    at = positions(service, runs[0])[4]
    done = replay(runs[0], data=changed_copy(service, tmp_path, (statement, (at,))))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"refold: the entry at position {at} {sentence}")
    assert done.stderr.count("\n") == 1


def test_a_replayed_entry_whose_source_is_gone_is_noticed(
    service: Service, runs: tuple[str, str], tmp_path: Path
) -> None:
    """What a run shows as replayed must stand where it says that it came from."""
    source = positions(service, runs[0])[2]
    where = changed_copy(service, tmp_path, ("DELETE FROM event WHERE position = ?", (source,)))
    done = replay(runs[1], data=where)
    at = positions(service, runs[1])[1]
    assert done.stderr == (
        f"refold: the entry at position {at} names a source that is not in this journal\n"
    )


def test_a_body_that_no_event_says_was_erased_is_a_mismatch(
    service: Service, runs: tuple[str, str], tmp_path: Path
) -> None:
    """A row in the table of erasures is as easily forged as a body is taken away."""
    at = positions(service, runs[0])[4]
    where = changed_copy(
        service,
        tmp_path,
        ("DELETE FROM body WHERE position = ?", (at,)),
        ("INSERT INTO erasure VALUES (?, ?)", (at, at)),
    )
    done = replay(runs[0], data=where)
    assert done.stderr == (
        f"refold: the entry at position {at} has lost its body, and no event says that it was "
        "erased\n"
    )


def test_an_erased_body_is_no_mismatch_and_is_shown_as_erased(
    service: Service, runs: tuple[str, str], tmp_path: Path
) -> None:
    """The commitment stays when the body goes, so an erased run still verifies."""
    at = positions(service, runs[0])[4]
    where = changed_copy(service, tmp_path)
    erase(service, where, at)
    done = replay(runs[0], data=where)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].endswith("chain and bodies (1 erased).")
    lines = [json.loads(line) for line in replay(runs[0], "--json", data=where).stdout.splitlines()]
    assert lines[4]["body"] == {"erased": True}
    assert lines[-1]["bodies_erased"] == 1
