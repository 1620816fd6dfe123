"""`refold replay --step`: a run event by event, on a terminal and piped."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.example_kit import wait_for_event
from tests.support.http_kit import create, run, slow, started
from tests.support.journal_copies import changed_copy, clean_environ, command, erase, refold
from tests.support.service import Endpoint, Service, chain, endpoint, node, running

TITLE = "\x1b]0;owned\x07"
HOSTILE = f"\x1b[31m{TITLE}\u202e[bold red]x[/] :warning: \x9b2J"
"""What steers a terminal, or a library that draws on one, if it reaches it as it is."""


@pytest.fixture(scope="module")
def shop() -> Iterator[Endpoint]:
    """An endpoint that never answers well, nor nicely."""
    with endpoint(lambda hit: (503, {"problem": HOSTILE, "at": hit.path})) as made:
        yield made


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that runs while its journal is read."""
    with running(tmp_path_factory.mktemp("steps") / "data") as made:
        yield made


@pytest.fixture(scope="module")
def failed(service: Service, shop: Endpoint) -> str:
    """A run that failed at its second node, its payload as hostile as the answer to its call."""
    client = service.client()
    call = node("ship", "webhook", url=f"{shop.url}/ship")
    made = run(client, create(client, chain(node("t", "manual_trigger"), call)), {"n": HOSTILE})
    client.close()
    assert made["status"] == "failed"
    return str(made["id"])


@pytest.fixture(scope="module")
def each(service: Service) -> str:
    """A run with an iterator."""
    client = service.client()
    inside = node("x", "text_transform", template="{{ item }}")
    each = node("each", "iterator", items=[1, 2], nodes=[inside], edges=[])
    made = run(client, create(client, chain(node("t", "manual_trigger"), each)))
    client.close()
    return str(made["id"])


def lines_of(service: Service, *arguments: str) -> list[Any]:
    """Run `refold replay … --json` and read its lines."""
    done = refold("replay", *arguments, "--json", data=service.data)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def on_terminal(data: Path, *arguments: str, answer: Callable[[str], str]) -> tuple[int, str]:
    """Run the command on a terminal; `answer` gets what was shown since the last question."""
    ours, theirs = pty.openpty()
    environ = {**clean_environ(), "TERM": "xterm-256color", "COLUMNS": "100"}
    environ.pop("NO_COLOR", None)
    process = subprocess.Popen(
        command("replay", *arguments, data=data),
        env=environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
    )
    os.close(theirs)
    shown = since = ""
    # At the end of a terminal reading fails.
    with suppress(OSError):
        while part := os.read(ours, 65536):
            since += part.decode("utf-8", "replace")
            if "quit > " in since:
                os.write(ours, answer(since).encode())
                shown, since = shown + since, ""
    os.close(ours)
    return process.wait(30), shown + since


def test_each_event_stands_between_what_it_changed(service: Service, failed: str) -> None:
    """One object an event, whose entry can be hashed again without Refold."""
    lines = lines_of(service, failed, "--step")
    assert [line["event"]["type"] for line in lines] == [
        "run.requested",
        "run.started",
        "node.succeeded",
        "node.started",
        "node.failed",
        "run.failed",
    ]
    assert (lines[1]["before"]["/status"], lines[1]["after"]["/status"]) == ("pending", "running")
    assert "/nodes/ship/phase" not in lines[3]["before"]
    assert lines[3]["after"]["/nodes/ship/phase"] == "started"
    assert lines[4]["before"]["/nodes/ship/phase"] == "started"
    assert lines[4]["after"]["/nodes/ship/phase"] == "failed"
    assert lines[4]["after"]["/log/1"]["status"] == "error"
    assert lines[4]["body"]["body"]["problem"] == HOSTILE
    for line in lines:
        entry = json.dumps(line["event"], separators=(",", ":"), ensure_ascii=False)
        assert hashlib.sha256(b"\x00" + entry.encode()).hexdigest() == line["leaf"]


def test_a_part_of_a_run_is_walked_through_and_folded(service: Service, failed: str) -> None:
    """The state is that after the last version asked for; the steps before count though unseen."""
    lines = lines_of(service, failed, "--step", "--from", "4", "--to", "5")
    assert [line["event"]["version"] for line in lines] == [4, 5]
    assert lines == lines_of(service, failed, "--step")[3:5]
    *events, last = lines_of(service, failed, "--from", "4", "--to", "5")
    assert [event["entry"]["version"] for event in events] == [4, 5]
    assert (last["state"]["version"], last["state"]["status"]) == (5, "running")
    assert last["entries_verified"] == 5
    assert lines_of(service, failed, "--step", "--to", "900") == lines_of(service, failed, "--step")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--from", "0"], "--from: versions begin at 1, not at 0."),
        (["--from", "3", "--to", "2"], "--to: 2 is before 3, the first one to show."),
        (["--from", "99"], "--from 99: the run has only 6 events."),
    ],
)
def test_versions_that_there_are_not_are_refused_in_one_line(
    service: Service, failed: str, arguments: list[str], sentence: str
) -> None:
    """An empty answer would look like a run without events."""
    done = refold("replay", failed, "--step", *arguments, data=service.data)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr


def test_piped_it_asks_nothing_and_nothing_hostile_gets_through(
    service: Service, failed: str
) -> None:
    """Plain lines of at most 100 columns; escapes and markup stand there as text."""
    for arguments in (["--step"], []):
        done = refold("replay", failed, *arguments, data=service.data)
        assert (done.returncode, done.stderr) == (0, "")
        assert max(len(line) for line in done.stdout.splitlines()) <= 100
        assert not set("\x1b\x07\x9b\u202e") & set(done.stdout)
    shown = refold("replay", failed, "--step", data=service.data).stdout
    assert "quit >" not in shown
    assert "v6 of 6" in shown
    assert "[bold red]x[/] :warning:" in " ".join(shown.split())
    assert "\\u202e" in shown


def test_on_a_terminal_it_waits_for_enter_and_ends_by_q(service: Service, failed: str) -> None:
    """In colour, one event at a time; what is hostile stays text here too."""
    answers = iter(["\n", "\n", "q\n"])
    code, shown = on_terminal(service.data, failed, "--step", answer=lambda since: next(answers))
    assert code == 0
    assert "v3 of 6" in shown
    assert "v4 of 6" not in shown
    assert "\x1b[1;" in shown, "in colour"
    assert TITLE not in shown
    assert not set("\x07\x9b\u202e") & set(shown)


def test_on_a_terminal_the_rest_comes_without_asking(service: Service, failed: str) -> None:
    """After `c` nothing is asked, and after the last event there is nothing to ask."""
    asked: list[str] = []

    def go_on(since: str) -> str:
        asked.append(since)
        return "c\n"

    code, shown = on_terminal(service.data, failed, "--step", answer=go_on)
    assert (code, len(asked)) == (0, 1)
    assert "v6 of 6" in shown
    assert "http_503" in shown
    assert TITLE not in shown


def test_the_end_of_the_input_ends_the_walk(service: Service, failed: str) -> None:
    """Ctrl-D is no reason to go on."""
    code, shown = on_terminal(service.data, failed, "--step", answer=lambda since: "\x04")
    assert code == 0
    assert "v1 of 6" in shown
    assert "v2 of 6" not in shown


def test_a_run_with_an_iterator_is_shown_with_what_ran_inside(service: Service, each: str) -> None:
    """The state of each item's nodes stands under the path of its index."""
    *_, last = lines_of(service, each)
    assert last["state"]["inner"]["1"]["x"]["phase"] == "succeeded"
    assert set(last["state"]["nodes"]["each"]["items"]) == {"0", "1"}
    steps = [line["after"] for line in lines_of(service, each, "--step")]
    assert any(step.get("/inner/0/x/phase") == "succeeded" for step in steps)
    assert any(step.get("/nodes/each/items/1") == 0 for step in steps)
    shown = refold("replay", each, "--step", data=service.data).stdout
    assert "node.succeeded  x [1]" in shown
    assert "/inner/1/x/phase" in shown


def test_a_run_that_has_not_ended_is_shown_with_what_is_open(service: Service) -> None:
    """An auditor may look while it goes on."""
    client = service.client()
    waiting = started(client, create(client, slow()))
    wait_for_event(client, waiting, "timer.set")
    client.close()
    *_, last = lines_of(service, waiting)
    assert last["state"]["status"] == "running"
    wait = last["state"]["nodes"]["wait"]
    assert (wait["phase"], wait["open"]) == ("waiting", True)
    assert refold("replay", waiting, "--step", data=service.data).returncode == 0


def test_an_erased_body_is_walked_past(service: Service, failed: str, tmp_path: Path) -> None:
    """The facts tell what changed; what was said is gone."""
    at = lines_of(service, failed, "--step")[4]["position"]
    where = changed_copy(service, tmp_path)
    erase(service, where, at)
    done = refold("replay", failed, "--step", data=where)
    assert done.returncode == 0
    assert "body  (erased)" in done.stdout
    again = refold("replay", failed, "--step", "--json", data=where).stdout.splitlines()
    assert json.loads(again[4])["body"] == {"erased": True}
