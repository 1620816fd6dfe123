"""`refold export` as a command: what it says, and what it refuses."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from refold.journal.journal import Commit, StreamWrite
from refold.projections.errors import ExportRefusedError
from refold.projections.exports.export import export
from refold.projections.exports.formats import FORMATS
from refold.scripts import export_command
from tests.support import export_kit as kit
from tests.support.export_files import ALL, command
from tests.support.journal_kit import META, opened, started


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, kit.Lives]:
    """A directory with the journal of everything, which no test changes."""
    directory = tmp_path_factory.mktemp("rich")
    return directory, asyncio.run(kit.write_rich(directory))


def test_the_command_works_beside_a_running_service_and_says_what_it_made(tmp_path: Path) -> None:
    """Standard output is the result alone; the digest is there to be compared."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await kit.fill(journal)
            file = tmp_path / "copy.ndjson"
            done = await asyncio.to_thread(command, "ndjson", "--to", str(file), data=tmp_path)
            assert (done.returncode, done.stderr) == (0, "")
            content = file.read_bytes()
            assert done.stdout.splitlines() == [
                f"{journal.head} events up to position {journal.head}, 2 with erased bodies",
                f"{len(content)} bytes in {file}",
                f"sha256 {hashlib.sha256(content).hexdigest()}",
            ]
            await journal.append(Commit([StreamWrite("other", 0, [started()], META)]))

    asyncio.run(main())


def test_the_progress_bar_is_drawn_on_a_terminal_and_nowhere_else(
    rich: tuple[Path, kit.Lives], tmp_path: Path
) -> None:
    """A person watches it; a log file must not hold it."""
    master, slave = pty.openpty()
    refold = str(Path(sys.executable).with_name("refold"))
    arguments = ["export", "xes", "--to", str(tmp_path / "x"), "--data", str(rich[0])]
    environ = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [refold, *arguments], stdout=subprocess.PIPE, stderr=slave, check=True, env=environ
    )
    os.close(slave)
    with os.fdopen(master, "rb", buffering=0) as terminal:
        drawn = terminal.read(65_536)
    assert b"events/s" in drawn
    assert b"events/s" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("nope",), 2, "ndjson"),
        ((), 2, "format"),
        (("ndjson", "--from", "0"), 2, "--from: positions begin at 1, not at 0"),
        (("ndjson", "--up-to", "-3"), 2, "--up-to: positions begin at 1"),
        (("ndjson", "--up-to", "many"), 2, "--up-to"),
        (("ndjson", "--up-to", "1000"), 1, "position 1000 is beyond the journal's newest one, 75"),
        (("ndjson", "--from", "76"), 1, "nothing from position 76 on; the last one is 75"),
        (("ndjson", "--from", "9", "--up-to", "8"), 1, "nothing from position 9"),
        (("ndjson", "--run", "fl_run_\x1b[31m"), 1, r"there is no run 'fl_run_\x1b[31m'"),
        (("otlp", "--run", kit.WORKFLOW), 1, "there is no run"),
        (("xes", "--workflow", f"fl_{'y' * 26}"), 1, "there is no workflow"),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_line(
    arguments: tuple[str, ...],
    code: int,
    word: str,
    rich: tuple[Path, kit.Lives],
    tmp_path: Path,
) -> None:
    """Asked wrongly is 2, not possible is 1, and neither leaves a file behind."""
    done = command(*arguments, "--to", str(tmp_path / "file"), data=rich[0])
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("refold: ")
    assert done.stderr.count("\n") == 1
    assert word in done.stderr
    assert "\x1b" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_where_there_is_no_journal_nothing_is_made(tmp_path: Path) -> None:
    """A reader must not make what it looks for."""
    done = command("ndjson", "--to", str(tmp_path / "file"), data=tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no journal at" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_if_that_is_asked_for(
    rich: tuple[Path, kit.Lives], tmp_path: Path
) -> None:
    """Somebody's evidence may be in it. A directory is never replaced."""
    file = tmp_path / "file"
    file.write_text("evidence", encoding="utf-8")
    done = command("xes", "--to", str(file), data=rich[0])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"refold: {file} exists; --force replaces it\n"
    assert file.read_text(encoding="utf-8") == "evidence"
    assert command("xes", "--to", str(file), "--force", data=rich[0]).returncode == 0
    assert file.read_bytes().startswith(b"<?xml")
    refused = command("xes", "--to", str(tmp_path), "--force", data=rich[0])
    assert refused.stderr == f"refold: {tmp_path} is a directory\n"
    missing = command("xes", "--to", str(tmp_path / "no" / "file"), data=rich[0])
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "can't be written: No such file or directory" in missing.stderr


def test_the_command_offers_the_formats_that_there_are() -> None:
    """The command names them without importing what writes them."""
    assert list(FORMATS) == list(get_args(export_command.FormatName))


def test_parquet_without_its_extra_is_told_in_one_line(
    rich: tuple[Path, kit.Lives], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ExportRefusedError, match=r"pip install 'refold\[parquet\]'"):
        export(rich[0], "parquet", tmp_path / "file", ALL)
    assert list(tmp_path.iterdir()) == []
