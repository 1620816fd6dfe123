"""`refold verify` as real processes on real files: what it finds, says, and ends with."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from refold.journal import verifier
from refold.journal.checkpoint_keys import KEY_FILE, load_keys, public_key, sign_note
from refold.scripts.verify_command import SHOWN_MAX, verify_settled
from tests.support.evidence_kit import RUN, Evidence, erasing, make_evidence, root_of
from tests.support.forgeries import LONE, Forge, forge, sql, without_run
from tests.support.journal_kit import commit, opened, raw, started, write
from tests.support.service import chain, node, running

KEY = Ed25519PrivateKey.from_private_bytes(b"7" * 32)
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Make it once; every test only reads it."""
    return make_evidence(tmp_path_factory.mktemp("evidence") / "data")


@pytest.fixture
def data(evidence: Evidence, tmp_path: Path) -> Path:
    """A data directory that may be changed."""
    shutil.copytree(evidence.directory, tmp_path / "data")
    return tmp_path / "data"


def verify(*arguments: str | Path) -> Done:
    """Run the command as a user would, with its output piped."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")}
    command = [str(Path(sys.executable).with_name("refold")), "verify", *map(str, arguments)]
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def found(done: Done) -> tuple[int, str]:
    """Return code and first line; whatever is wrong is said on one line and without a traceback."""
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == (2 if done.returncode == verifier.ERASED else 1)
    return done.returncode, lines[0]


def signed(data: Path, *keys: Ed25519PrivateKey) -> bytes:
    """Return a checkpoint of a journal as it is, under its log's name."""
    origin = (data / verifier.PUBLIC).read_text(encoding="utf-8").split("+")[0]
    with raw(data / "journal.db") as connection:
        rows = connection.execute("SELECT leaf FROM event ORDER BY position").fetchall()
    return sign_note(origin, len(rows), root_of([row[0] for row in rows]), keys)


def test_a_journal_is_verified_by_what_is_given(evidence: Evidence, tmp_path: Path) -> None:
    """Each thing that the auditor adds lifts the level, and the sentence says which it is."""
    kept = tmp_path / "kept.note"
    kept.write_bytes(evidence.early)
    erased = "with 1 erased of its bodies."
    alone = verify(evidence.directory)
    assert found(alone) == (10, f"Valid, by its bytes alone, {erased}")
    assert alone.stdout.splitlines()[1] == "Erased: the bodies at 5."
    key = ("--key", evidence.public_key)
    signed = verify("--data", evidence.directory, *key)
    assert found(signed) == (10, f"Valid, by a signed checkpoint, {erased}")
    consistent = verify(*key, "--checkpoint", kept, evidence.directory)
    assert found(consistent) == (10, f"Valid, by a kept checkpoint, {erased}")
    bundle = tmp_path / "run.zip"
    bundle.write_bytes(evidence.bundle)
    assert found(verify(bundle, *key)) == (10, f"Valid, by a signed checkpoint, {erased}")


def test_json_has_the_verdict_the_level_and_every_erased_position(tmp_path: Path) -> None:
    """The list for people ends somewhere; the one for programs does not."""

    async def fill() -> None:
        async with opened(tmp_path) as journal:
            events = [started(b"%d" % number) for number in range(30)]
            made = await journal.append(commit(write(RUN, 0, *events)))
            await journal.append(erasing([event.position for event in made.events[:25]], RUN))

    asyncio.run(fill())
    done = verify(tmp_path)
    assert found(done) == (10, "Valid, by its bytes alone, with 25 erased of its bodies.")
    positions = list(range(2, 27))
    shown = ", ".join(map(str, positions[:SHOWN_MAX]))
    assert done.stdout.splitlines()[1] == (
        f"Erased: the bodies at {shown} and 5 more (--json lists them all)."
    )
    told = verify(tmp_path, "--json")
    assert (told.returncode, told.stderr) == (10, "")
    assert json.loads(told.stdout) == {
        "code": 10,
        "verdict": "valid_with_erased_bodies",
        "level": "bytes",
        "sentence": "Valid, by its bytes alone, with 25 erased of its bodies.",
        "erased": positions,
    }


IN_HAND: dict[str, tuple[Forge, int]] = {
    "one old body": (LONE["one old body"], 40),
    "one old entry": (LONE["one old entry"], 40),
    "one old entry, with its leaf": (LONE["one old entry with its leaf"], 40),
    "the column stream": (LONE["the column stream"], 40),
    "the column at": (LONE["the column at"], 40),
    "the column leaf": (LONE["one leaf"], 40),
    "a whole run": (LONE["a run removed"], 40),
    "a whole run, and the ranks closed": (without_run, 30),
    "the tail": (sql("DELETE FROM event WHERE position > 16"), 30),
}


@pytest.mark.parametrize("name", IN_HAND)
def test_what_a_person_with_the_file_in_hand_does_is_found(
    name: str, data: Path, evidence: Evidence
) -> None:
    """The triggers are put back, and what can be mended is; the signature can't be."""
    change, code = IN_HAND[name]
    forge(data / "journal.db", change)
    assert found(verify("--data", data, "--key", evidence.public_key))[0] == code
    told = verify("--data", data, "--key", evidence.public_key, "--json")
    assert told.returncode == code
    answer = json.loads(told.stdout)
    assert (answer["code"], answer["level"], answer["erased"]) == (code, "", [])


def test_who_kept_a_checkpoint_finds_that_the_tail_is_gone(
    data: Path, evidence: Evidence, tmp_path: Path
) -> None:
    """The directory agrees with itself again, with the last note gone too."""
    for table in ("event", "body", "erasure"):
        forge(data / "journal.db", sql(f"DELETE FROM {table} WHERE position > 4"))
    (data / verifier.NOTE).unlink()
    kept = tmp_path / "kept.note"
    kept.write_bytes(evidence.note)
    key = ("--key", evidence.public_key)
    assert found(verify(data)) == (0, "Valid, by its bytes alone.")
    assert found(verify(data, *key))[0] == 20
    told = found(verify(data, *key, "--checkpoint", kept))
    assert told == (30, "This is not the signed tree of 17.")
    # As a restored backup has it: an older note, which the log did sign.
    (data / verifier.NOTE).write_bytes(signed(data, *load_keys(data / KEY_FILE)))
    assert found(verify(data, *key)) == (0, "Valid, by a signed checkpoint.")
    assert found(verify(data, *key, "--checkpoint", kept))[0] == 30


def test_a_history_that_somebody_else_has_signed_is_not_the_log_s(
    data: Path, evidence: Evidence, tmp_path: Path
) -> None:
    """Rewritten from end to end, with a key of their own, under the log's name."""
    forge(data / "journal.db", without_run)
    origin, right = evidence.public_key.split("+")[0], load_keys(data / KEY_FILE)
    (data / verifier.NOTE).write_bytes(signed(data, KEY))
    (data / verifier.PUBLIC).write_text(public_key(origin, KEY) + "\n", encoding="utf-8")
    kept = tmp_path / "kept.note"
    kept.write_bytes(evidence.note)
    assert found(verify(data))[1].startswith("Valid, by its bytes alone")
    assert found(verify(data, "--key", evidence.public_key)) == (
        40,
        "A checkpoint is signed by no key of its log that is known here.",
    )
    assert found(verify(data, "--checkpoint", kept))[0] == 40
    # With the log's own key it is the log's, for whoever has kept nothing.
    (data / verifier.NOTE).write_bytes(signed(data, *right))
    key = ("--key", evidence.public_key)
    assert found(verify(data, *key))[1].startswith("Valid, by a signed checkpoint")
    assert found(verify(data, *key, "--checkpoint", kept))[0] == 30


BAD: dict[str, tuple[int, Callable[[Path], object]]] = {
    "nothing there": (20, lambda path: None),
    "an empty folder": (20, Path.mkdir),
    "an empty file": (40, Path.touch),
    "half a database": (
        40,
        lambda path: path.write_bytes((path.parent / "data" / "journal.db").read_bytes()[:9000]),
    ),
    "a database of zeros": (40, lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(8000))),
    "noise": (40, lambda path: path.write_bytes(bytes(range(256)) * 9)),
    "a zip of somebody else": (40, lambda path: path.write_bytes(b"PK\x05\x06" + bytes(18))),
    "a link to itself": (20, lambda path: path.symlink_to(path)),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("called", ["evidence", "new\nline \x1b[31m"])
def test_bad_input_is_told_in_one_sentence(
    name: str, called: str, data: Path, tmp_path: Path
) -> None:
    """Never a traceback, never "valid", and no text of others that steers a terminal."""
    assert data.is_dir()
    code, make = BAD[name]
    make(tmp_path / called)
    told = found(verify(tmp_path / called))
    assert told[0] == code, told
    assert told[1].endswith(".")
    assert "alid, by" not in told[1]
    assert "\x1b" not in told[1]


def test_what_was_asked_wrongly_is_no_verdict(evidence: Evidence, tmp_path: Path) -> None:
    """Exit code 2 says that nothing was looked at."""
    witness = public_key("witness.example/w", KEY, 4)
    for flag, value, words in (
        ("--key", "x", "NAME+ID+BASE64"),
        ("--key", evidence.public_key[:-1], "NAME+ID+BASE64"),
        ("--key", witness, "the key of a log"),
        ("--witness", evidence.public_key, "the key of a witness"),
        ("--checkpoint", str(tmp_path / "nowhere"), "can't be read"),
        ("--checkpoint", str(tmp_path), "can't be read"),
    ):
        done = verify(evidence.directory, flag, value)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("refold: ")
        assert done.stderr.count("\n") == 1
        assert words in done.stderr


def test_a_running_service_is_verified_while_it_commits(tmp_path: Path) -> None:
    """An auditor needs no cooperation of the service, which notices nothing."""
    with running(tmp_path / "data") as service:
        client = service.client()
        text = chain(
            node("t", "manual_trigger"),
            node("a", "text_transform", template="{{ trigger.n }}"),
            node("b", "text_transform", template="{{ a }} again"),
        )
        workflow = client.post("/workflows", text).json["id"]
        enough = threading.Event()
        statuses = list[str]()

        def load() -> None:
            mine = service.client()
            while not enough.is_set():
                path = f"/workflows/{workflow}/execute"
                done = mine.post(path, {"context": {"n": len(statuses)}}, Prefer="wait=20")
                statuses.append(done.json["status"])
            mine.close()

        loads = [threading.Thread(target=load) for _ in range(4)]
        for thread in loads:
            thread.start()
        counts, codes = [0], list[int]()
        for _ in range(4):
            codes.append(found(verify("--data", service.data))[0])
            counts.append(len(statuses))
        enough.set()
        for thread in loads:
            thread.join()
        client.close()
        assert codes == [0] * 4
        assert counts == sorted(set(counts))
        assert set(statuses) == {"completed"}
        assert service.stop() == 0
    assert found(verify(tmp_path / "data"))[0] == 0


def test_a_service_that_starts_meanwhile_does_not_make_it_look_forged(tmp_path: Path) -> None:
    """Without a log nothing is locked; what changed under the verifier is read once more."""
    told = list[int]()

    async def fill() -> None:
        async with opened(tmp_path) as journal:
            # More than the verifier's connection keeps in memory.
            events = [started(b"%d" % number * 1000) for number in range(2500)]
            await journal.append(commit(write(RUN, 0, *events)))

    async def erase() -> None:
        async with opened(tmp_path) as journal:
            await journal.append(erasing([2, 2400], RUN))

    asyncio.run(fill())
    with raw(tmp_path / "journal.db") as reader:

        def report(done: int, total: int) -> None:
            del total
            if not told:
                asyncio.run(erase())
                reader.execute("SELECT count(*) FROM event").fetchone()
            told.append(done)

        result = verify_settled(tmp_path, [], [], [], report)
    assert (result[0], result[3]) == (verifier.ERASED, [2, 2400])
    assert told == [2000, 2000, 2502]
