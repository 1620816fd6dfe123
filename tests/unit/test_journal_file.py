"""Opening the journal's file: who may, and what is refused, each in one clear sentence."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from refold.journal import sqlite_file
from refold.journal.clock import SystemClock
from refold.journal.errors import (
    CorruptStoreError,
    ForeignStoreError,
    JournalError,
    StoreFailedError,
    StoreOwnedError,
    WrongKeyError,
)
from refold.journal.sqlite_file import open_reader
from refold.journal.sqlite_reader import Reader
from refold.journal.sqlite_store import open_journal
from tests.support.journal_kit import commit, opened, raw, started, write

BODY = b"body" * 5000


async def fill(directory: Path) -> None:
    """Make a journal of four events: the first one, two of stream a, one of b."""
    async with opened(directory) as journal:
        await journal.append(commit(write("a", 0, started(BODY)), write("b", 0)))
        await journal.append(commit(write("a", 1)))


async def reopen(directory: Path) -> None:
    """Open the journal as a start does."""
    async with opened(directory):
        pass


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    asyncio.run(fill(tmp_path))
    return tmp_path / "journal.db"


def test_a_pragma_that_does_not_take_refuses_the_start(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite is silent about it: here it is asked for a journal mode that the file won't have."""
    wanted = {"journal_mode": "nosuchmode"}
    monkeypatch.setattr(sqlite_file, "_WRITER_PRAGMAS", wanted)
    with pytest.raises(StoreFailedError, match="PRAGMA journal_mode is wal although nosuchmode"):
        asyncio.run(reopen(file.parent))


OWNER = """
import asyncio, sys
from pathlib import Path
from tests.support.journal_kit import opened
async def main():
    async with opened(Path(sys.argv[1])):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


def test_a_second_process_is_refused_until_the_first_one_is_gone(file: Path) -> None:
    """Two owners would answer from different heads; a killed one leaves no lock behind."""
    for end in (signal.SIGKILL, None):
        with subprocess.Popen(
            [sys.executable, "-c", OWNER, str(file.parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        ) as owner:
            assert owner.stdout is not None
            assert owner.stdout.readline() == b"open\n"
            with pytest.raises(StoreOwnedError, match=rf"another process \(pid {owner.pid}\)"):
                asyncio.run(reopen(file.parent))
            if end is not None:
                owner.send_signal(end)
            owner.communicate(timeout=30)
        asyncio.run(reopen(file.parent))


def test_the_same_process_can_t_own_a_journal_twice(file: Path) -> None:
    """The lock is on the open file, so a second opening in one process is refused as well."""

    async def main() -> None:
        async with opened(file.parent):
            with pytest.raises(StoreOwnedError, match=f"pid {os.getpid()}"):
                await reopen(file.parent)

    asyncio.run(main())


def flip(file: Path, needle: bytes, by: int = 0) -> None:
    """Flip one bit of the last occurrence of some bytes."""
    data = bytearray(file.read_bytes())
    data[data.rindex(needle) + by] ^= 1
    file.write_bytes(data)


def last_entry(file: Path) -> bytes:
    """Read the bytes of the newest entry."""
    with raw(file) as connection:
        row = connection.execute("SELECT entry FROM event ORDER BY position DESC").fetchone()
        return bytes(row[0])


def forged(file: Path, old: bytes, new: bytes) -> None:
    """Put another entry in place of the newest one, leaf and all, as one who knows how would."""
    from hashlib import sha256

    entry = last_entry(file).replace(old, new)
    assert entry != last_entry(file)
    with raw(file) as connection:
        (trigger,) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'event_no_update'"
        ).fetchone()
        connection.execute("DROP TRIGGER event_no_update")
        connection.execute(
            "UPDATE event SET entry = ?, leaf = ? WHERE position = 4",
            (entry, sha256(b"\0" + entry).digest()),
        )
        connection.execute(trigger)


def other_program(file: Path) -> None:
    """Put another program's database in its place."""
    file.unlink()
    with raw(file) as connection:
        connection.execute("CREATE TABLE cookies (x)")


def without_body(file: Path) -> None:
    """Delete a body past its trigger."""
    with raw(file) as connection:
        (trigger,) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'body_delete'"
        ).fetchone()
        connection.execute("DROP TRIGGER body_delete")
        connection.execute("DELETE FROM body")
        connection.execute(trigger)


DAMAGES: dict[str, tuple[Callable[[Path], object], type[JournalError], str]] = {
    "another program's database": (
        other_program,
        ForeignStoreError,
        r"is not a journal: it belongs to another program$",
    ),
    "not a database": (
        lambda file: file.write_bytes(b"just a text\n" * 100),
        ForeignStoreError,
        r"is not a journal \(not an SQLite file\)$",
    ),
    "a few bytes": (
        lambda file: file.write_bytes(b"oh"),
        ForeignStoreError,
        r"is not a journal \(not an SQLite file\)$",
    ),
    "a newer format": (
        lambda file: flip(file, b"REFO", 60 - 68),
        ForeignStoreError,
        r"has format \d+, this version reads formats up to 3$",
    ),
    "a lost page": (
        lambda file: os.truncate(file, file.stat().st_size - 4096),
        CorruptStoreError,
        r"is damaged: database disk image is malformed$",
    ),
    "half a page lost": (
        lambda file: os.truncate(file, file.stat().st_size - 100),
        CorruptStoreError,
        r"is torn: it has \d+ bytes and should have \d+$",
    ),
    "a flipped bit in the newest entry": (
        lambda file: flip(file, last_entry(file), 20),
        CorruptStoreError,
        r"the entry at position 4 was changed$",
    ),
    "an entry that follows nothing": (
        lambda file: forged(file, b'"prev":"', b'"prev":"x'),
        CorruptStoreError,
        r"the entry at position 4 does not follow the one before it$",
    ),
    "an entry of another journal": (
        lambda file: forged(file, b'"journal":"', b'"journal":"x'),
        CorruptStoreError,
        r"the entry at position 4 does not follow the one before it$",
    ),
    "an entry with another version": (
        lambda file: forged(file, b'"version":2', b'"version":3'),
        CorruptStoreError,
        r"the entry at position 4 does not follow the one before it$",
    ),
    "a body that is gone": (without_body, CorruptStoreError, r"the body at position 2 is missing$"),
}


@pytest.mark.parametrize(("damage", "error", "sentence"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_file_that_is_no_whole_journal_is_refused_in_one_sentence(
    file: Path, damage: Callable[[Path], object], error: type[JournalError], sentence: str
) -> None:
    """An operator at three in the morning reads one line and knows what is the matter."""
    damage(file)
    with pytest.raises(error, match=sentence) as caught:
        asyncio.run(reopen(file.parent))
    assert "\n" not in str(caught.value)
    # The lock was let go of: the next attempt gets the same answer.
    with pytest.raises(error):
        asyncio.run(reopen(file.parent))


def test_a_wrong_service_key_is_noticed_and_not_shown(file: Path) -> None:
    """With another key every actor would get a new pseudonym, and no secret could be read."""

    async def main() -> None:
        async with open_journal(file.parent, b"another key" * 3, SystemClock()):
            pass

    with pytest.raises(WrongKeyError, match=r"^the service key .* is not the one") as caught:
        asyncio.run(main())
    assert "another key" not in str(caught.value)


READ_ONLY = """
import asyncio, os, sys
from pathlib import Path
from refold.journal.errors import JournalError
from tests.support.journal_kit import opened
async def main():
    async with opened(Path(sys.argv[1])):
        pass
if os.geteuid() == 0:
    os.setuid(65534)  # permissions do not bind the superuser
try:
    asyncio.run(main())
except JournalError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("what", ["directory", "file"])
def test_what_can_t_be_written_refuses_the_start(what: str) -> None:
    """Not the first append: SQLite opens a file that can't be written without a word."""
    directory = Path(tempfile.mkdtemp())
    try:
        asyncio.run(fill(directory))
        for path in (directory / "journal.db", directory / "journal.lock"):
            path.chmod(0o444 if path.suffix == ".db" else 0o666)
        directory.chmod(0o555 if what == "directory" else 0o777)
        if what == "directory":
            (directory / "journal.lock").unlink()
        answer = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(directory)],
            capture_output=True,
            text=True,
            timeout=30,
            cwd=Path(__file__).parents[2],
            check=True,
        ).stdout
        assert answer.startswith(f"StoreFailedError {directory}")
        assert "can't be used: " in answer
        assert answer.count("\n") == 1
    finally:
        directory.chmod(0o700)
        shutil.rmtree(directory)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The commonest mistake of all gets a sentence as well."""
    with pytest.raises(StoreFailedError, match="nowhere can't be used: No such file or directory"):
        asyncio.run(reopen(tmp_path / "nowhere"))


def test_only_the_owner_may_read_the_files(file: Path) -> None:
    """Bodies are user data; the log beside the file holds them too."""

    async def main() -> None:
        async with opened(file.parent) as journal:
            await journal.append(commit(write("a", 2, started(b"x"))))
            modes = {path.name: path.stat().st_mode & 0o777 for path in file.parent.iterdir()}
            assert set(modes.values()) == {0o600}
            assert {"journal.db", "journal.db-wal", "journal.lock"} <= set(modes)

    asyncio.run(main())


def test_a_crash_in_the_middle_of_a_checkpoint_is_mended_from_the_log(tmp_path: Path) -> None:
    """Pages are copied in their order, so page 1 may say more than the file yet has."""
    image = tmp_path / "image"
    image.mkdir()

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await journal.append(commit(write("a", 0, started(bytes(100_000)))))
            for name in ("journal.db", "journal.db-wal"):
                shutil.copy(tmp_path / name, image / name)
        log = (image / "journal.db-wal").read_bytes()
        frames = range(32, len(log), 24 + 4096)
        first_page = [log[f + 24 : f + 24 + 4096] for f in frames if log[f : f + 4] == b"\0\0\0\1"]
        with (image / "journal.db").open("r+b") as half:
            half.write(first_page[-1])
            half.truncate(int.from_bytes(first_page[-1][28:32], "big") * 4096 - 90_000)
        async with opened(image) as journal:
            assert journal.head == 2
            assert (await journal.read_bodies([2]))[2].data == bytes(100_000)

    asyncio.run(main())


def test_a_log_that_a_reader_keeps_is_written_over_itself_before_it_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed sync and a kill, the kernel may show commits that are on no disk."""
    monkeypatch.setitem(sqlite_file._WRITER_PRAGMAS, "busy_timeout", 50)  # pyright: ignore[reportPrivateUsage]
    image, before, after = tmp_path / "image", list[bytes](), list[bytes]()
    image.mkdir()
    write_again = sqlite_file._write_again  # pyright: ignore[reportPrivateUsage]

    def seen(log: Path) -> None:
        before.append(log.read_bytes())
        write_again(log)
        after.append(log.read_bytes())

    monkeypatch.setattr(sqlite_file, "_write_again", seen)

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await journal.append(commit(write("a", 0, started(os.urandom(2_500_000)))))
            for name in ("journal.db", "journal.db-wal"):
                shutil.copy(tmp_path / name, image / name)
        with raw(image / "journal.db") as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event").fetchone()
            async with opened(image) as journal:
                await journal.append(commit(write("a", 1)))
                assert journal.head == 3

    asyncio.run(main())
    assert before == after
    assert len(before[0]) > 2_500_000


def test_a_reader_sees_a_live_journal_and_can_t_write(file: Path) -> None:
    """The auditor's command reads beside the running service, and can do it no harm."""

    async def main() -> None:
        async with opened(file.parent) as journal:
            connection = open_reader(file)
            try:
                reader = Reader(connection)
                assert (reader.identity(), reader.head()) == (journal.id, 4)
                await journal.append(commit(write("a", 2)))
                assert [event.version for event in reader.stream("a")] == [1, 2, 3]
                assert [event.position for event in reader.page(3)] == [4, 5]
                assert reader.bodies([1, 2])[2].data == BODY
                with pytest.raises(sqlite3.OperationalError, match="readonly"):
                    connection.execute("DELETE FROM hold")
            finally:
                connection.close()
            # To close a reader must not drop the locks of the writer in the same process.
            await journal.append(commit(write("a", 3)))

    asyncio.run(main())


def test_a_reader_refuses_what_is_no_journal(tmp_path: Path) -> None:
    """In the same words as the service does."""
    file = tmp_path / "journal.db"
    with pytest.raises(ForeignStoreError, match="there is no journal at"):
        open_reader(file)
    file.write_bytes(b"")
    with pytest.raises(ForeignStoreError, match="holds no journal"):
        open_reader(file)
    file.write_bytes(b"text" * 1000)
    with pytest.raises(ForeignStoreError, match="not an SQLite file"):
        open_reader(file)
