"""The verifier: every finding has its exit code and one sentence, and it needs nothing of ours."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from refold.journal import merkle, verifier
from refold.journal.bundle import Checkpointed, NoBundleError, make_bundle, pack
from refold.journal.checkpoint_keys import public_key, sign_note
from refold.journal.sqlite_file import open_reader
from tests.support.evidence_kit import HOST, OTHER, RERUN, RUN, Evidence, cosigned, make_evidence
from tests.support.forgeries import LONE, SIGNED, forge

SOURCE = Path(verifier.__file__)
KEY = Ed25519PrivateKey.from_private_bytes(b"3" * 32)
WITNESS = "witness.example/w"
LACKS = "Entries, a checkpoint or a cosignature is missing."
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Make it once; every test only reads it."""
    return make_evidence(tmp_path_factory.mktemp("evidence") / "data")


@pytest.fixture
def mutant(evidence: Evidence, tmp_path: Path) -> Path:
    """A data directory that may be changed."""
    shutil.copytree(evidence.directory, tmp_path / "data")
    return tmp_path / "data"


def judged(bundle: bytes, directory: Path, *given: list[str]) -> verifier.Result:
    """Verify a bundle."""
    file = directory / "run.zip"
    file.write_bytes(bundle)
    return verifier.verify(file, *given)


def test_it_fits_on_a_few_pages_and_imports_nothing_of_the_service() -> None:
    """An auditor has to read it before trusting it."""
    text = SOURCE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    found = set[str]()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add((node.module or "").split(".")[0])
    assert found - set(sys.stdlib_module_names) == {"cryptography"}


def test_it_runs_alone_as_one_file(evidence: Evidence, tmp_path: Path) -> None:
    """The copy in the bundle, in a folder of its own, under an interpreter that sees no project."""
    files = verifier.unpack(evidence.bundle)
    program, bundle, kept = (tmp_path / name for name in ("verifier.py", "run.zip", "kept"))
    program.write_bytes(files["verifier.py"])
    bundle.write_bytes(evidence.bundle)
    kept.write_bytes(evidence.early)
    command = [sys.executable, "-I", str(program)]
    options = ["--key", evidence.public_key, "--checkpoint", str(kept)]
    found = subprocess.run(
        [*command, str(bundle), *options], check=False, capture_output=True, text=True
    )
    assert (found.returncode, found.stderr) == (10, "")
    assert found.stdout == "Valid, by a kept checkpoint, with 1 erased of its bodies. 5\n"
    bundle.write_bytes(evidence.bundle[:-1])
    found = subprocess.run([*command, str(bundle)], check=False, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (40, "")
    assert len(found.stdout.splitlines()) == 1


def test_each_level_needs_its_proof(evidence: Evidence, tmp_path: Path) -> None:
    """What lies beside the evidence never counts as trust."""
    kept = tmp_path / "kept"
    kept.write_bytes(evidence.early)
    key = [evidence.public_key]
    for path in (evidence.directory, evidence.file):
        has_note = path.is_dir()
        assert verifier.verify(path)[2] == 0
        # Who gives a key wants a signature: to take it away must not lower the demand.
        found = verifier.verify(path, key)
        assert found[2] == 1 if has_note else found[:2] == (verifier.INCOMPLETE, LACKS)
        assert verifier.verify(path, key, [str(kept)])[2] == 2
    assert judged(evidence.bundle, tmp_path)[2] == 0
    assert judged(evidence.bundle, tmp_path, key)[2] == 1
    assert judged(evidence.bundle, tmp_path, key, [str(kept)])[2] == 2
    assert judged(evidence.bundle, tmp_path, [], [str(kept)])[2] == 2


def test_a_witness_counts_if_it_is_known_and_signed(evidence: Evidence, tmp_path: Path) -> None:
    """A key of a witness that comes with the bundle is nobody's witness."""
    witness = public_key(WITNESS, KEY, 4)
    files = verifier.unpack(evidence.bundle)
    files[verifier.NOTE] = cosigned(evidence.note, WITNESS, KEY, 1_761_912_000)
    files[verifier.PUBLIC] += f"{witness}\n".encode()
    seen = pack(files)
    key = [evidence.public_key]
    assert judged(seen, tmp_path, key, [], [witness])[2] == 3
    assert judged(seen, tmp_path, key)[2] == 1
    assert judged(seen, tmp_path)[2] == 0
    asked_for = judged(evidence.bundle, tmp_path, key, [], [witness])
    assert asked_for[:2] == (verifier.INCOMPLETE, LACKS)
    text = evidence.note.replace(b"\n17\n", b"\n16\n")
    moved = cosigned(text, WITNESS, KEY, 5)
    files[verifier.NOTE] = evidence.note + moved[len(text) :]
    assert judged(pack(files), tmp_path, key, [], [witness])[0] == verifier.INVALID


@pytest.mark.parametrize("name", LONE)
def test_a_forgery_shows_in_the_file_alone(name: str, mutant: Path) -> None:
    """Without any checkpoint, by what the entries say of one another."""
    forge(mutant / "journal.db", LONE[name])
    code, sentence, _, _ = verifier.verify(mutant / "journal.db")
    assert code == verifier.INVALID, sentence


@pytest.mark.parametrize("name", SIGNED)
def test_a_forgery_that_fits_together_shows_against_a_checkpoint(name: str, mutant: Path) -> None:
    """The file alone is a journal, unless it is empty; it is not the one that was signed."""
    forge(mutant / "journal.db", SIGNED[name])
    by_itself = verifier.INCOMPLETE if name == "everything removed" else verifier.ERASED
    assert verifier.verify(mutant / "journal.db")[0] == by_itself
    assert verifier.verify(mutant)[0] == verifier.DIVERGED


BUNDLES: dict[str, tuple[int, Callable[[Files], Files]]] = {
    "no evidence": (40, lambda f: f | {"evidence.txt": b""}),
    "evidence cut": (40, lambda f: f | {"evidence.txt": f["evidence.txt"][:-1]}),
    "a frame twice": (40, lambda f: f | {"evidence.txt": f["evidence.txt"] * 2}),
    "an oversized number": (
        40,
        lambda f: f | {"evidence.txt": b"9" * 5000 + f["evidence.txt"]},
    ),
    "a body of endless length": (
        40,
        lambda f: (
            f | {"evidence.txt": f["evidence.txt"].replace(b" 16\n", b" 9007199254740991\n", 1)}
        ),
    ),
    "no proof": (40, lambda f: f | {"proof.txt": b""}),
    "another format": (
        40,
        lambda f: f | {"proof.txt": f["proof.txt"].replace(b"bundle 1", b"bundle 2")},
    ),
    "a hash too many": (40, lambda f: f | {"proof.txt": f["proof.txt"] + b"0" * 64 + b"\n"}),
    "a hash too few": (40, lambda f: f | {"proof.txt": f["proof.txt"][:-65]}),
    "hashes in capitals": (
        40,
        lambda f: f | {"proof.txt": f["proof.txt"][:-65] + f["proof.txt"][-65:].upper()},
    ),
    "a forged earlier root": (
        40,
        lambda f: f | {"proof.txt": f["proof.txt"].replace(b"\n9 ", b"\n8 ")},
    ),
    "no checkpoint": (40, lambda f: f | {verifier.NOTE: b""}),
    "another run": (
        20,
        lambda f: f | {"proof.txt": f["proof.txt"].replace(RERUN.encode(), RERUN.encode() + b"x")},
    ),
    "no keys": (40, lambda f: f | {verifier.PUBLIC: b""}),
    "a file too few": (40, lambda f: {k: v for k, v in f.items() if k != "README.txt"}),
    "a file too many": (40, lambda f: f | {"z": b""}),
    "a path out of the folder": (
        40,
        lambda f: {k.replace("README.txt", "../../x.txt"): v for k, v in f.items()},
    ),
}


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_that_is_not_whole_or_not_sound_has_its_code(
    name: str, evidence: Evidence, tmp_path: Path
) -> None:
    """Packed anew, so that only the contents are wrong."""
    code, change = BUNDLES[name]
    files = verifier.unpack(evidence.bundle)
    changed = change(files)
    assert changed != files
    found = judged(pack(changed), tmp_path)
    assert found[0] == code, found[1]
    assert len(found[1].splitlines()) == 1


@pytest.mark.parametrize(
    "lacks", ['"workflow.defined"', '"payload.erased"', '"run.completed"', RUN, '"version":3}']
)
def test_a_bundle_that_was_made_without_something_is_incomplete(
    lacks: str, evidence: Evidence, tmp_path: Path
) -> None:
    """The proof is made for what is there, so all that is missing is the entry."""
    files = verifier.unpack(evidence.bundle)
    entries = read_frames(files["evidence.txt"])
    kept = {p: f for p, f in entries.items() if lacks.encode() not in f.split(b"\n")[1]}
    assert len(kept) < len(entries)
    files["evidence.txt"] = b"".join(kept.values())
    files["proof.txt"] = proof_for(evidence, sorted(kept))
    assert judged(pack(files), tmp_path, [evidence.public_key])[0] == verifier.INCOMPLETE


def read_frames(data: bytes) -> dict[int, bytes]:
    """Part evidence into frames by position; the kit's bodies have one line at most."""
    found, lines = dict[int, bytes](), data.split(b"\n")[:-1]
    while lines:
        head = lines[0].split(b" ")
        count = 3 if len(head) == 4 and head[2] != b"erased" else 2
        found[int(head[0])] = b"\n".join(lines[:count]) + b"\n"
        lines = lines[count:]
    return found


def proof_for(evidence: Evidence, places: list[int]) -> bytes:
    """Make the proof for some of the entries."""
    connection = open_reader(evidence.file)
    leaves = b"".join(
        row[0] for row in connection.execute("SELECT leaf FROM event ORDER BY position")
    )
    connection.close()

    def read(level: int, first: int, last: int) -> bytes:
        assert level == 0
        return leaves[32 * first : 32 * last]

    hashes = merkle.joint_proof(read, [place - 1 for place in places], len(leaves) // 32)
    lines = ["refold bundle 1", RERUN, f"0 {merkle.EMPTY_ROOT.hex()}", *(h.hex() for h in hashes)]
    return ("\n".join(lines) + "\n").encode()


def test_a_kept_checkpoint_that_the_bundle_does_not_reach_leaves_it_incomplete(
    evidence: Evidence, tmp_path: Path
) -> None:
    """And one that it contradicts makes it diverged, whoever signed it."""
    origin = evidence.public_key.split("+")[0]
    kept, size = tmp_path / "kept", int(evidence.early.split(b"\n")[1])
    key = [evidence.public_key, public_key(origin, KEY)]
    for claimed, root, code in (
        (size - 1, bytes(32), verifier.INCOMPLETE),
        (size, bytes(32), verifier.DIVERGED),
        (17, bytes(32), verifier.DIVERGED),
        (99, bytes(32), verifier.INCOMPLETE),
    ):
        kept.write_bytes(sign_note(origin, claimed, root, [KEY]))
        assert judged(evidence.bundle, tmp_path, key, [str(kept)])[0] == code
    assert judged(evidence.bundle, tmp_path, key[:1], [str(kept)])[0] == verifier.INVALID
    kept.write_bytes(sign_note(origin, 99, bytes(32), [KEY]))
    assert verifier.verify(evidence.directory, key, [str(kept)])[0] == verifier.DIVERGED


def test_a_checkpoint_of_another_journal_is_refused(evidence: Evidence, tmp_path: Path) -> None:
    """Even where the root is right."""
    origin = f"{HOST}/0190d0c4-7a3e-4c1a-9d55-2f6f0f3b8a11"
    known = verifier.parse_keys([evidence.public_key])
    _, size, root, _ = verifier.open_note(evidence.note, known)
    kept = tmp_path / "kept"
    kept.write_bytes(sign_note(origin, size, root, [KEY]))
    keys = [evidence.public_key, public_key(origin, KEY)]
    found = verifier.verify(evidence.directory, keys, [str(kept)])
    assert found[:2] == (verifier.INVALID, "A checkpoint is of another journal.")


@pytest.mark.parametrize(
    "data",
    [b"", b"SQLite format 3\0", b"PK\x03\x04", b"x" * 100, b"SQLite format 3\0" + b"\xff" * 9000],
)
def test_what_is_neither_a_journal_nor_a_bundle_is_invalid(data: bytes, tmp_path: Path) -> None:
    """In one sentence, without a traceback."""
    found = judged(data, tmp_path)
    assert found[0] == verifier.INVALID
    assert len(found[1].splitlines()) == 1


def test_nothing_at_the_path_is_incomplete(tmp_path: Path) -> None:
    """A missing file is no forgery."""
    assert verifier.verify(tmp_path)[0] == verifier.INCOMPLETE
    assert verifier.verify(tmp_path / "nothing")[0] == verifier.INCOMPLETE


def test_verifying_leaves_the_directory_as_it_was(mutant: Path) -> None:
    """Evidence is only read."""
    before = {file: file.stat().st_mtime_ns for file in mutant.iterdir()}
    assert verifier.verify(mutant)[0] == verifier.ERASED
    assert {file: file.stat().st_mtime_ns for file in mutant.iterdir()} == before


def test_progress_is_told_in_events(evidence: Evidence) -> None:
    """The bar's numbers end at the whole."""
    told = list[tuple[int, int]]()

    def tell(done: int, total: int) -> None:
        told.append((done, total))

    verifier.verify(evidence.directory, tell=tell)
    assert told[-1] == (17, 17)


def test_no_bundle_is_made_of_what_is_not_there_or_not_covered(evidence: Evidence) -> None:
    """Each refusal says why."""
    connection = open_reader(evidence.file)
    try:
        for run, note, what in (
            ("fl_run_none", evidence.note, "no run"),
            ("sys", evidence.note, "not a run"),
            (OTHER, evidence.early, f"does not cover all of {OTHER}"),
            (RUN, evidence.early, "does not cover the erasure"),
        ):
            with pytest.raises(NoBundleError, match=what):
                make_bundle(connection, run, Checkpointed(note, [], lambda i, s, c: []))
    finally:
        connection.close()
