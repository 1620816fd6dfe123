"""`refold export`, interrupted: what is left behind, and how the next one takes it up."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from refold.journal.journal import Commit, StreamWrite
from refold.projections.errors import ExportRefusedError
from refold.projections.exports import target
from refold.projections.exports.export import export
from refold.projections.exports.formats import FORMATS
from refold.projections.exports.plan import Selection
from tests.support import export_kit as kit
from tests.support.export_files import ALL, STREAMED, command, has, made
from tests.support.journal_kit import META, opened, started

KILLED = """
import os, signal, sys
from pathlib import Path
from refold.projections.exports import target
from refold.projections.exports.export import export
from refold.projections.exports.plan import Selection
target.SAFE_BYTES = 2000
def report(done, total):
    assert 0 < done <= total, (done, total)
    if done >= 40:
        os.kill(os.getpid(), signal.SIGKILL)
export(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Selection(), report=report)
"""


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, kit.Lives]:
    """A directory with the journal of everything, which no test changes."""
    directory = tmp_path_factory.mktemp("rich")
    return directory, asyncio.run(kit.write_rich(directory))


@pytest.mark.parametrize("name", list(FORMATS))
def test_an_export_that_is_killed_leaves_no_file_and_the_next_one_makes_the_same(
    name: str, rich: tuple[Path, kit.Lives], tmp_path: Path
) -> None:
    """A copy of a large journal takes minutes; what was safe is not done again."""
    has(name)
    data, _ = rich
    file = tmp_path / "file"
    arguments = [sys.executable, "-c", KILLED, str(data), name, str(file)]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    assert not file.exists()
    assert (tmp_path / "file.part").stat().st_mode & 0o777 == 0o600
    with (tmp_path / "file.part").open("ab") as part:
        part.write(b"\0" * 4_000_000)
    done = export(data, name, file, ALL)
    assert file.read_bytes() == made(data, name, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
    assert (done.taken_up > 0) == (name in STREAMED)
    assert (done.events, done.erased) == (len(events_of(name, data)), 2)
    assert file.stat().st_mode & 0o777 == 0o600


def events_of(name: str, data: Path) -> list[object]:
    """Return the events that a format has: some have only those of runs."""
    found = kit.recorded(data)
    in_runs = name in ("xes", "otlp")
    return [event for event in found if not in_runs or event.stream.startswith("fl_run_")]


def interrupt(data: Path, file: Path, monkeypatch: pytest.MonkeyPatch, **asked: Any) -> None:
    """Begin an export and leave it in the middle."""
    monkeypatch.setattr(target, "SAFE_BYTES", 2000)

    def report(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(data, "ndjson", file, Selection(**asked), report=report)
    assert file.with_name(f"{file.name}.part").exists()


def test_an_interrupted_export_keeps_its_last_position_although_the_journal_grew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its beginning and its end would be of two different exports."""
    asyncio.run(kit.write_rich(tmp_path))
    whole = made(tmp_path, "ndjson", tmp_path)
    file = tmp_path / "file"
    interrupt(tmp_path, file, monkeypatch)

    async def grow() -> None:
        async with opened(tmp_path) as journal:
            await journal.append(Commit([StreamWrite("other", 0, [started()], META)]))

    asyncio.run(grow())
    done = export(tmp_path, "ndjson", file, ALL)
    assert done.taken_up > 0
    assert file.read_bytes() == whole


@pytest.mark.parametrize("change_", ["selection", "up to", "short part", "format", "garbage"])
def test_what_is_not_the_beginning_of_the_same_export_is_begun_anew(
    change_: str, rich: tuple[Path, kit.Lives], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file made of two exports would be worse than none."""
    data, _ = rich
    file = tmp_path / "file"
    interrupt(data, file, monkeypatch)
    part, mark = tmp_path / "file.part", tmp_path / "file.part.json"
    name, selection, up_to = "ndjson", ALL, None
    if change_ == "selection":
        selection = Selection(with_bodies=False)
    elif change_ == "up to":
        up_to = 50
    elif change_ == "short part":
        os.truncate(part, 100)
    elif change_ == "format":
        name = "cloudevents"
    else:
        mark.write_bytes(b'{"plan":')
    done = export(data, name, file, selection, up_to)
    assert done.taken_up == 0
    assert file.read_bytes() == made(data, name, tmp_path, selection, up_to)


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_disk_that_is_full_is_told_in_one_line_and_leaves_no_file(
    name: str, rich: tuple[Path, kit.Lives], tmp_path: Path
) -> None:
    """Half an export that looks like one would be taken for one."""
    has(name)
    file = tmp_path / "file"
    done = command(name, "--to", str(file), data=rich[0], file_bytes_max=300_000)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "can't be written" in done.stderr
    assert not file.exists()
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"file.part", "file.part.json"}
    assert left == set() or name in STREAMED
    assert command(name, "--to", str(file), data=rich[0]).returncode == 0
    assert file.read_bytes() == made(rich[0], name, tmp_path)


def test_two_processes_cannot_export_to_one_file(
    rich: tuple[Path, kit.Lives], tmp_path: Path
) -> None:
    """They would write into each other's part."""
    file = tmp_path / "file"
    with target.Target(file).owned(force=False):
        with pytest.raises(ExportRefusedError, match="another process is exporting"):
            export(rich[0], "xes", file, ALL)
        assert (tmp_path / "file.part.lock").exists()
    assert export(rich[0], "xes", file, ALL).events == 67


def test_an_interrupt_is_told_and_taken_up(rich: tuple[Path, kit.Lives], tmp_path: Path) -> None:
    """Ctrl-C is what a person does who needs the machine for something else."""
    script = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "raise KeyboardInterrupt")
    script = script.split("export(Path")[0] + (
        "from contextlib import contextmanager\n"
        "from refold.scripts import cli, progress_bar\n"
        "def bar(title, unit):\n"
        "    yield report\n"
        "progress_bar.progress_bar = contextmanager(bar)\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    file = tmp_path / "file"
    arguments = ["export", "cloudevents", "--to", str(file), "--data", str(rich[0])]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (130, ""), done.stderr
    assert done.stderr == (
        "refold: the export was interrupted; give the same command again to complete it\n"
    )
    assert "before an interruption" in command(*arguments[1:4], data=rich[0]).stdout
