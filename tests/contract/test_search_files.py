"""The files of the searches: private, disposable, and without a byte of what was erased."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from refold.projections.checking import check
from refold.projections.generations import generations
from refold.projections.loading import load
from refold.projections.projection import Projection
from refold.projections.rebuild import rebuild
from refold.projections.search_projections import references
from tests.support.erasure_kit import ask, asked_beside, canary, erase, traces
from tests.support.http_kit import create, run
from tests.support.service import Client, Service, chain, node, running

ALL = "errors,payloads,logs"
FILES = [f"views.search_{name}.db" for name in ("errors", "logs", "payloads")]
PROJECTIONS: list[Projection] = [
    load(reference).projection for reference in references(("errors", "payloads", "logs"))
]
FOUND = {
    "views.search_errors.db": "runs/search?q=",
    "views.search_logs.db": "logs/search?q=",
    "views.search_payloads.db": "runs/search?payload.p=",
}
"""What of a canary each file is asked."""


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path / "data", SEARCH=ALL) as made:
        yield made


@pytest.fixture(name="client")
def _client(service: Service) -> Iterator[Client]:
    made = service.client()
    yield made
    made.close()


def failing(client: Client) -> str:
    """Create a workflow whose payload comes back as an output and in the error of its run."""
    stop = node("b", "terminate", status="failed", message="sorry {{ trigger.p }}")
    text = node("a", "text_transform", template="{{ trigger.p }}")
    return create(client, chain(node("t", "manual_trigger"), text, stop))


def fill(client: Client, total: int = 3) -> tuple[list[str], list[str]]:
    """Make runs full of canaries; returns the runs and the canaries."""
    workflow = failing(client)
    secrets = [canary(100) for _ in range(total)]
    made = [str(run(client, workflow, {"p": secret})["id"]) for secret in secrets]
    for secret in secrets:
        assert found(client, secret) == {"views.search_errors.db": 1, "views.search_logs.db": 3,
                                         "views.search_payloads.db": 1}  # fmt: skip
    return made, secrets


def found(client: Client, secret: str) -> dict[str, int]:
    """Count what each search finds."""
    asked = {name: client.get(f"/workflows/{path}{secret}") for name, path in FOUND.items()}
    assert {reply.status for reply in asked.values()} == {200}, asked
    return {name: len(reply.json["data"]) for name, reply in asked.items()}


def until(client: Client, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask how the projections are until they are so; returns how each is."""
    deadline = time.monotonic() + 30
    while True:
        shown = client.get("/projections").json
        by_name = {each["name"]: each for each in shown["data"]}
        if holds(by_name):
            return by_name
        assert time.monotonic() < deadline, shown


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Keep a read transaction open in a process of its own, as a backup would."""
    code = (
        "import sqlite3, sys\n"
        "c = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True, isolation_level=None)\n"
        "c.execute('BEGIN')\nc.execute('SELECT count(*) FROM meta').fetchone()\n"
        "print('reads', flush=True)\nsys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"reads\n"
        yield
        reader.communicate()


def test_each_search_copies_into_a_private_file(client: Client, service: Service) -> None:
    """Who looks must be able to find; nobody but the owner of the data may look."""
    _, secrets = fill(client)
    held = {name.removesuffix("-wal") for name in traces(service.data, secrets[0])}
    assert held == {"journal.db", *FILES}
    for name in FILES:
        for path in service.data.glob(f"{name}*"):
            assert path.stat().st_mode & 0o777 == 0o600, path


def test_an_erased_run_is_in_no_search_file_and_the_others_still_are(
    client: Client, service: Service
) -> None:
    """While the service runs, after a kill, after a start, and after a rebuild and its end."""
    made, (gone, *kept) = fill(client, 30)
    assert erase(client, run=made[0])["erased"] > 0
    assert traces(service.data, gone) == {}
    assert set(found(client, gone).values()) == {0}
    service.kill()
    assert traces(service.data, gone) == {}
    service.start()
    with closing(service.client()) as again:
        for secret in kept[:3]:
            assert found(again, secret)["views.search_logs.db"] == 3
        assert traces(service.data, gone) == {}
    assert service.stop() == 0
    assert traces(service.data, gone) == {}
    rebuilt = rebuild(service.data, projections=PROJECTIONS)
    assert [(each.is_live, each.generation) for each in rebuilt] == [(True, 2)] * 3
    assert all(each.is_equal for each in check(service.data, projections=PROJECTIONS))
    assert traces(service.data, gone) == {}
    for name in FILES:
        # What was live before is not kept: nobody would take out of it what is erased.
        with closing(sqlite3.connect(service.data / name)) as connection:
            assert [row.state for row in generations(connection)] == ["live"]


def test_the_answer_waits_for_a_search_that_is_still_overwritten(
    client: Client, service: Service
) -> None:
    """A reader of the file holds it up; a kill then leaves word of what is owed to the start."""
    made, (gone, *_) = fill(client)
    path = service.data / "views.search_logs.db"
    with reading(path):
        thread, replies = asked_beside(service.client(), run=made[0])
        # The journal has let go, and the others have; this one still holds the bytes.
        deadline = time.monotonic() + 30
        while {name.removesuffix("-wal") for name in traces(service.data, gone)} != {path.name}:
            assert time.monotonic() < deadline, traces(service.data, gone)
        assert replies == []
        assert path.with_suffix(".owed").exists()
        service.kill()
        thread.join(30)
    service.start()
    with closing(service.client()) as again:
        assert erase(again, run=made[0])["erased"] == 0
    assert traces(service.data, gone) == {}
    assert not path.with_suffix(".owed").exists()


def test_a_search_that_stopped_loses_its_file_to_an_erasure(
    client: Client, service: Service
) -> None:
    """Nobody takes anything out of it any more; told to try again, it is made anew."""
    made, secrets = fill(client)
    path = service.data / "views.search_logs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TRIGGER poison BEFORE INSERT ON log_run_1 BEGIN SELECT raise(ABORT, 'no'); END"
        )
    run(client, failing(client), {"p": "one more"})
    status = until(client, lambda by_name: by_name["search_logs"]["state"] == "stopped")
    assert {s["name"] for s in status.values() if s["state"] == "stopped"} == {"search_logs"}
    assert "one more" not in str(status["search_logs"]["error"])
    assert client.get("/workflows/logs/search?q=more").status == 503
    assert client.get("/readyz").status == 200
    assert erase(client, run=made[0])["erased"] > 0
    assert not path.exists()
    assert traces(service.data, secrets[0]) == {}
    assert client.post("/projections/search_logs/retry").status == 202
    until(client, lambda by_name: by_name["search_logs"]["state"] == "live")
    assert found(client, secrets[0])["views.search_logs.db"] == 0
    assert found(client, secrets[1])["views.search_logs.db"] == 3


def test_a_rebuild_under_way_keeps_nothing_that_is_erased_meanwhile(
    client: Client, service: Service
) -> None:
    """Neither what grows nor what was live before is left with a copy."""
    made, secrets = fill(client, 12)
    assert client.post("/projections/search_logs/rebuild").status == 202
    for one, secret in zip(made[:6], secrets, strict=False):
        assert ask(client, run=one).status == 200
        assert traces(service.data, secret) == {}
    until(client, lambda by_name: by_name["search_logs"]["state"] == "live")
    assert traces(service.data, *secrets[:6]) == {}
    assert found(client, secrets[7])["views.search_logs.db"] == 3
    assert service.stop() == 0
    assert all(each.is_equal for each in check(service.data, projections=PROJECTIONS))


def test_what_is_switched_off_is_deleted(client: Client, service: Service) -> None:
    """The copies go with the setting; switched on again, they are made from the journal."""
    _, secrets = fill(client)
    assert service.stop() == 0
    service.environ["REFOLD_SEARCH"] = "errors"
    service.start()
    names = [path.name for path in service.data.glob("views.search_*.db*")]
    assert [name for name in names if not name.startswith("views.search_errors.db")] == []
    service.stop()
    del service.environ["REFOLD_SEARCH"]
    service.start()
    assert list(service.data.glob("views.search_*.db*")) == []
    assert {name.removesuffix("-wal") for name in traces(service.data, *secrets)} == {"journal.db"}
    service.stop()
    service.environ["REFOLD_SEARCH"] = ALL
    service.start()
    with closing(service.client()) as again:
        until(again, lambda by_name: by_name["search_logs"]["state"] == "live")
        assert found(again, secrets[0])["views.search_payloads.db"] == 1


def test_a_damaged_or_deleted_file_is_made_anew(client: Client, service: Service) -> None:
    """While the service runs; the other searches go on."""
    _, secrets = fill(client)
    (service.data / FILES[0]).unlink()
    (service.data / FILES[1]).write_bytes(b"no database" * 1000)
    run(client, failing(client), {"p": "one more"})
    deadline = time.monotonic() + 30
    while True:
        replies = [client.get(f"/workflows/{FOUND[name]}{secrets[0]}") for name in FILES]
        assert {reply.status for reply in replies} <= {200, 503}, replies
        if [len(r.json["data"]) for r in replies if r.status == 200] == [1, 3, 1]:
            break
        assert time.monotonic() < deadline, replies


def test_the_command_lists_and_verifies_them(client: Client, service: Service) -> None:
    """`refold projections --verify` with the same setting, beside the running service."""
    fill(client)
    command = [sys.executable, "-m", "refold.scripts.cli", "projections", "--data"]
    command += [str(service.data), "--search", ALL]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert all(f"search_{name}" in listed.stdout for name in ("errors", "payloads", "logs"))
    command.append("--verify")
    verified = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert verified.returncode == 0, verified.stdout
    # The digests are of the rows: another word in one of them is noticed.
    assert service.stop() == 0
    with closing(sqlite3.connect(service.data / FILES[1])) as connection, connection:
        connection.execute("UPDATE log_text_1 SET words = 'forged' WHERE rowid = "
                           "(SELECT max(rowid) FROM log_text_1)")  # fmt: skip
    verified = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert verified.returncode == 1, verified.stdout
