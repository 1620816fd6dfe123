"""The legal copy carries the checkpoint that it was made up to, and is the same bytes each time."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from refold.journal import verifier
from refold.journal.merkle import Frontier
from refold.projections.errors import ExportRefusedError
from refold.projections.exports.export import export
from refold.projections.exports.plan import Selection
from tests.support.evidence_kit import make_evidence
from tests.support.http_kit import create, quick, run
from tests.support.proof_kit import checkpoint, head
from tests.support.service import running


def test_two_copies_up_to_one_checkpoint_are_the_same_bytes(tmp_path: Path) -> None:
    """While the service runs and signs others; the copy alone leads to the signature."""
    note = tmp_path / "kept.note"
    with running(tmp_path / "data") as service, closing(service.client()) as client:
        workflow = create(client, quick())
        run(client, workflow)
        kept = checkpoint(service, client, head(client))
        note.write_bytes(kept.text)
        one = export(service.data, "ndjson", tmp_path / "1", Selection(), checkpoint=note)
        run(client, workflow)
        checkpoint(service, client, head(client))
        two = export(service.data, "ndjson", tmp_path / "2", Selection(), checkpoint=note)
        assert (one.digest, one.up_to) == (two.digest, kept.size)
        plain = export(service.data, "ndjson", tmp_path / "3", Selection(), kept.size)
        assert plain.digest != one.digest
    title, *lines = map(json.loads, (tmp_path / "1").read_text("utf-8").splitlines())
    keys = verifier.parse_keys((service.data / verifier.PUBLIC).read_text().split())
    _, size, root, _ = verifier.open_note(title["checkpoint"].encode(), keys)
    frontier = Frontier()
    frontier.append(bytes.fromhex("".join(line["leaf"] for line in lines)))
    assert (frontier.size, frontier.root()) == (size, root)
    assert "checkpoint" not in json.loads((tmp_path / "3").read_text("utf-8").splitlines()[0])


@pytest.mark.parametrize("fault", ["cut", "other journal", "other root", "no file", "ahead"])
def test_a_checkpoint_of_anything_else_is_refused(tmp_path: Path, fault: str) -> None:
    """A title must not claim what does not cover the lines below it."""
    made = make_evidence(tmp_path / "a")
    note = tmp_path / "kept.note"
    data = made.directory
    if fault == "cut":
        note.write_bytes(made.note[:-1])
    elif fault == "other journal":
        note = make_evidence(tmp_path / "b").directory / verifier.NOTE
    elif fault != "no file":
        note.write_bytes(made.note)
        data = _changed(made.directory, fault)
    with pytest.raises(ExportRefusedError) as caught:
        export(data, "ndjson", tmp_path / "copy", Selection(), checkpoint=note)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "copy").exists()


def _changed(directory: Path, fault: str) -> Path:
    """Change a leaf by hand, or cut the journal's end off."""
    with closing(sqlite3.connect(directory / "journal.db")) as db, db:
        triggers = db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            db.execute(f"DROP TRIGGER {name}")
        if fault == "ahead":
            db.execute("DELETE FROM event WHERE position > 5")
        else:
            db.execute("UPDATE event SET leaf = zeroblob(32) WHERE position = 2")
    return directory
