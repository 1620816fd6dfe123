"""Signing over a service's life: restarts, new keys, restored backups, and two at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from refold.journal import merkle, verifier
from tests.support.http_kit import create, quick, refused, run
from tests.support.proof_kit import Note, checkpoint, head, opened_note, unhex, verify
from tests.support.service import Client, Service, running


def _lives(data: Path, runs: int, **environ: str) -> Note:
    """Let a service make some runs and stop; return its last checkpoint."""
    with running(data, **environ) as service, closing(service.client()) as client:
        workflow = create(client, quick())
        for _ in range(runs):
            run(client, workflow)
        note = checkpoint(service, client, head(client))
        assert client.get("/readyz").json["signing"] == "signing"
        assert service.stop() == 0
    return note


def _keys(data: Path, action: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "refold.scripts.cli", "keys", action, "--data", str(data)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def _is_front(client: Client, early: Note, later: Note) -> bool:
    proof = client.get(f"/journal/consistency?from={early.size}&to={later.size}").json
    hashes = unhex(proof["hashes"])
    return merkle.is_consistent(early.size, early.root, later.size, later.root, hashes)


def test_the_last_checkpoint_is_there_after_a_stop_and_leads_on_after_a_start(
    tmp_path: Path,
) -> None:
    """One origin for the journal's whole life, and one history under it."""
    data = tmp_path / "data"
    first = _lives(data, 2, CHECKPOINT_HOST="refold.example:8443")
    assert first.origin.startswith("refold.example:8443/")
    with (
        running(data, CHECKPOINT_HOST="refold.example:8443") as service,
        closing(service.client()) as client,
    ):
        run(client, create(client, quick()))
        later = checkpoint(service, client, head(client))
        assert (later.origin, later.size > first.size) == (first.origin, True)
        assert _is_front(client, first, later)
        service.kill()
    kept = tmp_path / "kept.note"
    kept.write_bytes(first.text)
    code, said = verify(data, "--checkpoint", str(kept))
    assert (code, said[:28]) == (0, "Valid, by a kept checkpoint,"), said
    assert f"to entry {first.size} of" in said


def test_checkpoints_are_signed_while_the_service_is_killed_again_and_again(
    tmp_path: Path,
) -> None:
    """Each that anybody got stays true, whatever the kill left behind."""
    data = tmp_path / "data"
    kept: list[Note] = []
    for _ in range(4):
        with running(data) as service, closing(service.client()) as client:
            run(client, create(client, quick()))
            kept.append(checkpoint(service, client, head(client)))
            run(client, create(client, quick()))
            service.kill()
    with running(data) as service, closing(service.client()) as client:
        newest = checkpoint(service, client, head(client))
        assert all(_is_front(client, note, newest) for note in kept)
        assert service.stop() == 0


def test_a_new_key_signs_beside_the_old_one_until_that_is_retired(tmp_path: Path) -> None:
    """Whoever trusts the old key learns the new one from a checkpoint that both have signed."""
    data = tmp_path / "data"
    assert "There is no checkpoint.key" in _keys(data, "show", 2)
    _lives(data, 1)
    (old,) = _keys(data, "show").splitlines()
    assert "2 keys" in _keys(data, "rotate-checkpoint")
    both = _lives(data, 1)
    new, still = _keys(data, "show").splitlines()
    assert (still, new != old) == (old, True)
    for key in (old, new):
        assert verifier.open_note(both.text, verifier.parse_keys([key]))[1] == both.size
    assert "1 key in" in _keys(data, "retire-checkpoint")
    alone = _lives(data, 1)
    assert len(alone.text.splitlines()) == len(both.text.splitlines()) - 1
    assert _keys(data, "show").splitlines() == [new]
    assert verify(data, "--key", new) == (0, "Valid, by a signed checkpoint.")
    assert verify(data, "--key", old)[0] == 40


def _restored(tmp_path: Path) -> tuple[Path, Note]:
    """Restore a backup: an earlier journal beside the note of a later one."""
    data, backup = tmp_path / "data", tmp_path / "backup.db"
    _lives(data, 1)
    shutil.copy(data / "journal.db", backup)
    last = _lives(data, 2)
    shutil.copy(backup, data / "journal.db")
    for left in data.glob("journal.db-*"):
        left.unlink()
    return data, last


def test_a_restored_backup_serves_and_signs_nothing_until_it_is_accepted(tmp_path: Path) -> None:
    """What was signed stays the only truth; the sentence says how to go on."""
    data, last = _restored(tmp_path)
    with running(data) as service, closing(service.client()) as client:
        made = run(client, create(client, quick()))["id"]
        assert client.get("/readyz").status == 200
        errors: list[str] = []
        for path in ("/journal/checkpoint", "/journal/events/1/proof",
                     "/journal/consistency?from=1", f"/workflows/runs/{made}/bundle"):  # fmt: skip
            reply = client.get(path)
            refused(reply, 503, "signing_refused")
            errors.append(reply.json["message"])
        assert len(set(errors)) == 1
        assert "REFOLD_JOURNAL_GENERATION=2" in errors[0]
        assert client.get("/readyz").json["signing"] == "refused"
        assert client.get("/journal/events/1/proof?size=2").status == 200
        assert client.get("/journal/entries").status == 200
        assert any("no checkpoints are signed" in line for line in service.log)
        assert service.stop() == 0
    assert (data / "checkpoint.note").read_bytes() == last.text
    assert verify(data)[0] == 30
    accepted = _lives(data, 1, JOURNAL_GENERATION="2")
    assert accepted.origin == f"{last.origin}/g2"
    assert verify(data)[0] == 0
    kept = tmp_path / "kept.note"
    kept.write_bytes(last.text)
    assert verify(data, "--checkpoint", str(kept))[0] == 40, "its key is of another origin"
    # The setting is for one start: left in place it accepts no second restored backup.
    again = _lives(data, 1, JOURNAL_GENERATION="2")
    assert again.origin == accepted.origin


def test_two_services_never_sign_one_after_the_other_s_back(tmp_path: Path) -> None:
    """A copy of the journal finds the directory of checkpoints taken, then its note another's."""
    notes = tmp_path / "notes"
    _lives(tmp_path / "a", 1, CHECKPOINT_DIRECTORY=str(notes))
    assert sorted(path.name for path in notes.glob("checkpoint.*")) == [
        "checkpoint.key",
        "checkpoint.note",
        "checkpoint.pub",
    ]
    assert not list((tmp_path / "a").glob("checkpoint.*"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shared = {"REFOLD_CHECKPOINT_DIRECTORY": str(notes)}
    with (
        running(tmp_path / "a", CHECKPOINT_DIRECTORY=str(notes)) as service,
        closing(service.client()) as client,
    ):
        run(client, create(client, quick()))
        kept = checkpoint(service, client, head(client))
        second = Service(tmp_path / "b", dict(shared))
        assert second.launch().wait(30)
        assert second.process is not None
        assert second.process.wait(30) == 1
        second.kill()
        assert any("owned by another process" in line for line in second.log)
        assert service.stop() == 0
    with (
        running(tmp_path / "b", CHECKPOINT_DIRECTORY=str(notes)) as service,
        closing(service.client()) as client,
    ):
        run(client, create(client, quick()))
        run(client, create(client, quick()))
        refused(client.get("/journal/checkpoint"), 503, "signing_refused")
        assert service.stop() == 0
    last = opened_note(service, (notes / "checkpoint.note").read_bytes())
    assert (last.origin, last.size >= kept.size) == (kept.origin, True)
