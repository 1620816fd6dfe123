"""Checkpoints: what they look like, when they are signed, and when they are refused."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from refold.journal import verifier
from refold.journal.checkpoint_keys import (
    KEY_FILE,
    load_keys,
    public_key,
    retire_keys,
    rotate_key,
    sign_note,
)
from refold.journal.checkpoints import (
    NOTE_FILE,
    PUBLIC_FILE,
    Checkpoints,
    SigningRefusedError,
    open_checkpoints,
)
from refold.journal.errors import StoreClosedError, StoreFailedError
from refold.journal.events import JournalRestored
from refold.journal.sqlite_store import SqliteJournal
from refold.journal.tree_store import open_tree
from tests.support.evidence_kit import HOST, cosigned
from tests.support.journal_kit import NEW_IDS, commit, opened, started, write

KEY = Ed25519PrivateKey.from_private_bytes(b"1" * 32)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"2" * 32)
ORIGIN = f"{HOST}/0190d0c4-7a3e-4c1a-9d55-2f6f0f3b8a11"
ROOT = bytes(range(32))


@asynccontextmanager
async def signing(
    directory: Path, **options: Any
) -> AsyncGenerator[tuple[SqliteJournal, Checkpoints]]:
    """Open a journal, its tree and its checkpoints."""
    options = {**dict[str, Any](host=HOST, interval_s=0), **options}
    async with (
        opened(directory) as journal,
        open_tree(directory, journal) as tree,
        open_checkpoints(directory, journal, tree, NEW_IDS, **options) as checkpoints,
    ):
        yield journal, checkpoints


def lived(directory: Path, runs: int, first: int = 0, **options: Any) -> verifier.Checkpoint:
    """Let a service live for some runs and stop; return what its last note says."""

    async def live() -> None:
        async with signing(directory, **options) as (journal, checkpoints):
            for number in range(first, first + runs):
                await journal.append(commit(write(f"fl_run_{number}", 0, started())))
            await checkpoints.covering(journal.head)

    asyncio.run(live())
    return last_note(directory)


def last_note(directory: Path) -> verifier.Checkpoint:
    """Read the note that is kept in a data directory, by the keys beside it."""
    keys = verifier.parse_keys((directory / PUBLIC_FILE).read_text().split())
    return verifier.open_note((directory / NOTE_FILE).read_bytes(), keys)


def refusal(directory: Path, **options: Any) -> str:
    """Start a service and return why it signs nothing."""

    async def start() -> str:
        async with signing(directory, **options) as (journal, checkpoints):
            with pytest.raises(SigningRefusedError) as caught:
                await checkpoints.covering(journal.head)
            assert checkpoints.state == "refused"
            with pytest.raises(SigningRefusedError):
                await checkpoints.covering(journal.head)
            return str(caught.value)

    before = (directory / NOTE_FILE).read_bytes()
    reason = asyncio.run(start())
    assert (directory / NOTE_FILE).read_bytes() == before
    return reason


def test_a_note_is_the_one_that_other_programs_know() -> None:
    """The example of the note format's first implementation, with its public key."""
    key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    name, id_ = next(iter(verifier.parse_keys([key])))
    assert (name, id_.hex()) == ("PeterNeumann", "c74f20a3")
    text = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
    )
    coded = (
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZ"
        "SNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    )
    _, public = verifier.parse_keys([key])[name, id_]
    signature = base64.b64decode(coded)
    assert signature[:4] == id_
    Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], text.encode())


def test_a_signed_note_opens_with_its_key_and_says_what_was_signed() -> None:
    """The form is fixed to the byte."""
    note = sign_note(ORIGIN, 17, ROOT, [KEY])
    lines = note.decode().split("\n")
    assert lines[:4] == [ORIGIN, "17", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", ""]
    assert lines[4].startswith(f"\u2014 {ORIGIN} ")
    assert lines[5:] == [""]
    keys = verifier.parse_keys([public_key(ORIGIN, KEY)])
    assert verifier.open_note(note, keys) == (ORIGIN, 17, ROOT, [])


NOTE = sign_note(ORIGIN, 17, ROOT, [KEY])
DASH = "\u2014 ".encode()
BAD_NOTES: dict[str, bytes] = {
    "empty": b"",
    "no signature": NOTE[: NOTE.index(DASH)],
    "no empty line": NOTE.replace(b"\n\n", b"\n"),
    "trailing bytes": NOTE + b"x",
    "a trailing line": NOTE + b"\n",
    "no last newline": NOTE[:-1],
    "carriage returns": NOTE.replace(b"\n", b"\r\n"),
    "one carriage return": NOTE.replace(b"17\n", b"17\r\n"),
    "a leading zero": NOTE.replace(b"\n17\n", b"\n017\n"),
    "a sign": NOTE.replace(b"\n17\n", b"\n+17\n"),
    "a size past 2^53": NOTE.replace(b"\n17\n", b"\n9007199254740992\n"),
    "an endless size": NOTE.replace(b"\n17\n", b"\n" + b"9" * 5000 + b"\n"),
    "another size": NOTE.replace(b"\n17\n", b"\n18\n"),
    "another root": NOTE.replace(b"AAEC", b"AAED"),
    "another spelling of the root": NOTE.replace(b"Hh8=", b"Hh9="),
    "a root of another length": NOTE.replace(b"Hh8=\n", b"Hh8=AAAA\n"),
    "an extension line": NOTE.replace(b"\n\n", b"\nmore\n\n"),
    "another origin": NOTE.replace(HOST.encode(), b"evil.example"),
    "a name with a space": NOTE.replace(HOST.encode(), b"refold example"),
    "not UTF-8": NOTE.replace(DASH, b"\xff\x94 "),
    "a hyphen for the dash": NOTE.replace(DASH, b"- "),
    "an oversized line": NOTE + DASH + b"x " + b"A" * 9000 + b"\n",
    "too many lines": NOTE + (DASH + b"x AAAAAAAAAAAA\n") * 65,
    "too large": NOTE + (DASH + b"x " + b"A" * 7000 + b"\n") * 10,
    "signed by another key": sign_note(ORIGIN, 17, ROOT, [OTHER_KEY]),
    "signed for another name": sign_note("evil.example/x", 17, ROOT, [KEY]),
    "a wrong signature beside the right one": NOTE
    + sign_note(ORIGIN, 18, ROOT, [KEY])[NOTE.index(DASH) :],
}


@pytest.mark.parametrize("name", BAD_NOTES)
def test_what_is_not_a_good_note_is_refused(name: str) -> None:
    """One spelling, one key, one text."""
    keys = verifier.parse_keys([public_key(ORIGIN, KEY)])
    assert BAD_NOTES[name] != NOTE
    with pytest.raises(Exception):  # noqa: B017, PT011 - the parser may fail in any way but success
        verifier.open_note(BAD_NOTES[name], keys)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "name",
        "name+abc",
        public_key(ORIGIN, KEY)[:-1],
        public_key(ORIGIN, KEY) + "A",
        public_key(ORIGIN, KEY).replace(HOST, "evil.example"),
        public_key(ORIGIN, KEY, 2),
        f"{ORIGIN}+00000000+AAAA",
    ],
)
def test_what_is_not_a_public_key_is_refused(key: str) -> None:
    """Its id binds name, kind and key."""
    with pytest.raises(Exception):  # noqa: B017, PT011
        verifier.parse_keys([key])


def test_unknown_signatures_are_passed_over_and_witnesses_are_named() -> None:
    """Cosignatures count only for the witnesses that somebody knows."""
    witness, log = public_key("witness.example/w", OTHER_KEY, 4), public_key(ORIGIN, KEY)
    note = cosigned(NOTE, "witness.example/w", OTHER_KEY, 1_761_912_000)
    assert verifier.open_note(note, verifier.parse_keys([log]))[3] == []
    assert verifier.open_note(note, verifier.parse_keys([log, witness]))[3] == ["witness.example/w"]
    forged = cosigned(sign_note(ORIGIN, 18, ROOT, [KEY]), "witness.example/w", OTHER_KEY, 5)
    moved = NOTE + forged[forged.index(DASH + b"witness") :]
    with pytest.raises(Exception):  # noqa: B017, PT011
        verifier.open_note(moved, verifier.parse_keys([log, witness]))
    with pytest.raises(verifier.Fault):
        verifier.open_note(note, verifier.parse_keys([witness]))


def test_the_last_note_covers_everything_and_is_kept_private_key_unread(tmp_path: Path) -> None:
    """After a stop nothing is left unsigned; the key is the owner's alone."""
    origin, size, root, _ = lived(tmp_path, 5)
    assert size == 6
    assert origin.startswith(f"{HOST}/")
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert verifier.verify(tmp_path)[:2] == (0, "Valid, by its bytes alone.")
    later = lived(tmp_path, 5, 5)
    assert (later[0], later[1]) == (origin, 11)
    assert later[2] != root


def test_notes_are_signed_at_most_once_in_the_interval(tmp_path: Path) -> None:
    """Many commits, one note at the start and one at the end."""
    notes = set[bytes]()

    async def live() -> None:
        async with signing(tmp_path, interval_s=3600) as (journal, checkpoints):
            await checkpoints.covering(1)
            for number in range(10):
                await journal.append(commit(write(f"fl_run_{number}", 0, started())))
                notes.add((tmp_path / NOTE_FILE).read_bytes())
                assert checkpoints.size == 1

    asyncio.run(live())
    assert len(notes) == 1
    assert last_note(tmp_path)[1] == 11


def test_whoever_waits_for_a_note_at_a_stop_is_answered(tmp_path: Path) -> None:
    """A request must not hang."""

    async def live() -> None:
        async with signing(tmp_path) as (journal, checkpoints):
            late = asyncio.ensure_future(checkpoints.covering(journal.head + 1000))
            await checkpoints.covering(journal.head)
        with pytest.raises(StoreClosedError):
            await late

    asyncio.run(live())


def test_a_restored_backup_signs_nothing_until_it_is_accepted(tmp_path: Path) -> None:
    """It would contradict what was signed; the sentence says what to do."""
    lived(tmp_path, 3)
    shutil.copy(tmp_path / "journal.db", tmp_path / "backup.db")
    kept = lived(tmp_path, 3, 3)
    (tmp_path / "backup.db").replace(tmp_path / "journal.db")
    reason = refusal(tmp_path)
    assert "4 events" in reason
    assert "covers 7" in reason
    assert "REFOLD_JOURNAL_GENERATION=2" in reason
    assert refusal(tmp_path, accept_generation=3) == reason
    restored = lived(tmp_path, 1, 3, accept_generation=2)
    assert restored[0] == f"{kept[0]}/g2"
    assert restored[1] == 6
    later = lived(tmp_path, 1, 4)
    assert (later[0], later[1]) == (restored[0], 7)

    async def facts() -> list[Any]:
        async with opened(tmp_path) as journal:
            return [event.facts for event in await journal.read_stream("sys")]

    found = asyncio.run(facts())[-1]
    assert isinstance(found, JournalRestored)
    assert (found.generation, found.from_size) == (2, 4)


def test_a_backup_that_went_on_is_still_refused(tmp_path: Path) -> None:
    """Longer than the note and yet another history."""
    lived(tmp_path, 3)
    shutil.copy(tmp_path / "journal.db", tmp_path / "backup.db")
    lived(tmp_path, 3, 3)
    (tmp_path / "backup.db").replace(tmp_path / "journal.db")

    async def go_on() -> None:
        async with opened(tmp_path) as journal:
            for number in range(9):
                await journal.append(commit(write(f"fl_run_x{number}", 0, started())))

    asyncio.run(go_on())
    reason = refusal(tmp_path)
    assert "first 7 events are not those" in reason
    assert "REFOLD_JOURNAL_GENERATION=2" in reason


def test_an_old_leaf_edited_while_the_service_was_down_is_refused(tmp_path: Path) -> None:
    """The tree is built from the journal at each start, so the edit shows at once."""
    lived(tmp_path, 3)

    async def start() -> str:
        async with opened(tmp_path) as journal:
            leaves = [event.leaf for event in await journal.read_all()]
            leaves[1] = bytes(32)
            edited = open_tree(
                tmp_path, journal, read_leaves=lambda after, limit: leaves[after : after + limit]
            )
            async with (
                edited as tree,
                open_checkpoints(
                    tmp_path, journal, tree, NEW_IDS, host=HOST, interval_s=0
                ) as checkpoints,
            ):
                with pytest.raises(SigningRefusedError):
                    await checkpoints.covering(1)
                return checkpoints.reason

    assert "not those of the last signed checkpoint" in asyncio.run(start())


def test_a_note_of_another_key_or_journal_is_refused(tmp_path: Path) -> None:
    """It says that something was signed here, and not by whom this service is."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        lived(tmp_path / name, 2)
    shutil.copy(tmp_path / "b" / NOTE_FILE, tmp_path / "a" / NOTE_FILE)
    assert "no note that a key" in refusal(tmp_path / "a")
    shutil.copy(tmp_path / "b" / KEY_FILE, tmp_path / "a" / KEY_FILE)
    assert "another journal" in refusal(tmp_path / "a")


def test_after_a_rotation_old_and_new_key_sign_until_the_old_one_is_retired(tmp_path: Path) -> None:
    """Whoever trusts the old key can learn the new one from a note."""
    lived(tmp_path, 1)
    old = (tmp_path / PUBLIC_FILE).read_text().split()
    rotate_key(tmp_path / KEY_FILE)
    lived(tmp_path, 1, 1)
    both = (tmp_path / PUBLIC_FILE).read_text().split()
    assert both[1:] == old
    note = (tmp_path / NOTE_FILE).read_bytes()
    for key in both:
        assert verifier.open_note(note, verifier.parse_keys([key]))[1] == 3
    retire_keys(tmp_path / KEY_FILE)
    lived(tmp_path, 1, 2)
    assert (tmp_path / PUBLIC_FILE).read_text().split() == both[:1]
    assert verifier.verify(tmp_path, old)[0] == verifier.INVALID
    assert verifier.verify(tmp_path, both[:1])[0] == verifier.VALID


@pytest.mark.parametrize("damage", ["empty", "text", "another kind", "open to others"])
def test_a_key_file_that_is_no_key_file_is_refused_without_saying_what_it_holds(
    tmp_path: Path, damage: str
) -> None:
    """A key must not end up in a log."""
    path = tmp_path / KEY_FILE
    load_keys(path)
    if damage == "open to others":
        path.chmod(0o644)
    else:
        changes = {
            "empty": b"",
            "text": b"secret canary-----END PRIVATE KEY-----\n",
            "another kind": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        }
        path.write_bytes(changes[damage])
    with pytest.raises(StoreFailedError) as caught:
        load_keys(path)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("host", ["", "a b", "a/b", "a+b", "a\nb", "x" * 201])
def test_a_host_that_could_not_stand_in_a_note_is_refused(tmp_path: Path, host: str) -> None:
    """It is the front of the first line."""

    async def start() -> None:
        async with signing(tmp_path, host=host):
            pass

    with pytest.raises(StoreFailedError, match="host"):
        asyncio.run(start())


def test_a_disk_that_refuses_the_note_is_tried_again(tmp_path: Path) -> None:
    """Nothing is handed out that is not durable."""
    elsewhere = tmp_path / "notes"

    async def live() -> None:
        async with signing(tmp_path, note_path=elsewhere / NOTE_FILE) as (journal, checkpoints):
            waiting = asyncio.ensure_future(checkpoints.covering(journal.head))
            with pytest.raises(FileNotFoundError):
                await checkpoints.sign()
            assert checkpoints.note is None
            elsewhere.mkdir()
            assert await waiting == (elsewhere / NOTE_FILE).read_bytes()
            assert (checkpoints.state, checkpoints.reason) == ("signing", "")

    asyncio.run(live())
    assert not (tmp_path / NOTE_FILE).exists()
