"""The golden files: what was ever written is read as it was meant, by every fold.

When a test of this file is red, a form was changed that journals out there hold. The way to a
new form is a new schema number with an upcaster (journal/README.md).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from refold.journal.envelope import Recorded
from refold.journal.events import CATALOGUE, DECODERS, Facts
from refold.journal.upcasters import Decoders
from tests.support import golden

DIRECTORIES = golden.directories()
EACH = pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
NEWEST = DIRECTORIES[-1]
Fields = list[tuple[Any, ...]]
"""Names and types, and a default where there is one."""


def renamed(fields: Fields, at: int) -> Fields:
    """Give a field another name that sorts in the same place."""
    return [(f"{n}_" if i == at else n, t) for i, (n, t) in enumerate(fields)]


def removed(fields: Fields, at: int) -> Fields:
    """Take a field away."""
    return fields[:at] + fields[at + 1 :]


def retyped(fields: Fields, at: int) -> Fields:
    """Let a string be an integer, or an integer a string."""
    return [(n, (int if t is str else str) if i == at else t) for i, (n, t) in enumerate(fields)]


def moved(fields: Fields, at: int) -> Fields:
    """Let a field stand last, or the last one first: the order is hashed too."""
    rest = removed(fields, at)
    return [fields[at], *rest] if at == len(fields) - 1 and rest else [*rest, fields[at]]


CHANGES: dict[str, Callable[[Fields, int], Fields]] = {
    "renamed": renamed,
    "removed": removed,
    "retyped": retyped,
    "moved": moved,
}
# What no fold reads: idempotency keys are the store's own index, and the rest is only shown, or
# said again by another event of the same commit. A change of their meaning is for people to see.
_REQUEST = "idempotency_digest idempotency_key idempotency_scope"
NOT_FOLDED = {
    "authorization.defined": _REQUEST,
    "authorization.refused": "code",
    "child.ended": "child iteration node status",
    "child.requested": "workflow workflow_version",
    "interaction.submitted": "action",
    "iteration.ended": "code ended_at failed_node",
    "iteration.started": "started_at",
    "node.interrupted": "code",
    "node.retry_scheduled": "attempt",
    "run.completed": "node",
    "schedule.fired": "due_at missed run skipped",
    "subscription.defined": _REQUEST,
    "timer.fired": "iteration node",
    "vault.defined": _REQUEST,
    "workflow.defined": _REQUEST,
}


def planted(facts: type[Facts], fields: Fields) -> Decoders:
    """Make decoders of a catalogue in which one released struct was changed in place."""
    changed = msgspec.defstruct(
        facts.__name__,
        fields,
        bases=(Facts,),
        namespace={"type": facts.type, "schema": facts.schema},
        frozen=True,
        forbid_unknown_fields=True,
        kw_only=True,
    )
    return instead(facts, cast("type[Facts]", changed))


def instead(facts: type[Facts], changed: type[Facts]) -> Decoders:
    """Make decoders of a catalogue with another struct in the place of one."""
    return Decoders([changed if one is facts else one for one in CATALOGUE])


def fields_of(facts: type[Facts]) -> Fields:
    """Return a struct's fields with their types."""
    return [(field.name, field.type) for field in msgspec.structs.fields(facts)]


@EACH
def test_every_golden_entry_is_read_and_would_be_written_the_same(directory: Path) -> None:
    """Old schemas end as a struct of today, today's give their own bytes again."""
    assert golden.misread(golden.read(directory)) == []


@EACH
def test_every_fold_makes_of_the_golden_journal_what_it_did(directory: Path) -> None:
    """Runs, workflows, grants, vault items, the rows of each projection, and the bodies."""
    made = json.loads(json.dumps(golden.everything(directory)))
    kept = json.loads((directory / golden.FOLDED).read_text("utf-8"))
    assert made == kept, f"if a fold was changed on purpose: {golden.MAKE} --folded, and look"


def test_the_golden_files_are_the_bytes_that_were_released() -> None:
    """Whoever edits one has to edit its sum too, and reads here that this is never right."""
    found: dict[str, str] = {}
    for directory in DIRECTORIES:
        found |= golden.frozen(directory)
    assert found == golden.sums()


def test_every_released_schema_has_golden_bytes() -> None:
    """All that the catalogue's record names, and all that the decoders read."""
    released = json.loads(Path(__file__).with_name("catalogue.json").read_text("utf-8"))
    covered = {f"{type_}/{schema}" for type_, schema in golden.covered()}
    assert covered == set(released)
    assert golden.covered() == DECODERS.forms


def test_each_kind_of_event_that_has_a_body_has_a_golden_one() -> None:
    """The catalogue's docstrings say which do; an erased body keeps its commitment alone."""
    bodied = {
        row.parsed.type for path in DIRECTORIES for row in golden.read(path) if row.body is not None
    }
    said = {facts.type for facts in CATALOGUE if "Body: none" not in (facts.__doc__ or "")}
    assert bodied == said


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("facts", CATALOGUE, ids=lambda facts: facts.type)
def test_a_planted_change_of_any_released_field_is_seen(facts: type[Facts], change: str) -> None:
    """Each field of each event, changed in place as somebody in a hurry would."""
    rows = golden.read(NEWEST)
    fields = fields_of(facts)
    for at in range(len(fields)):
        if change == "moved" and len(fields) == 1:
            continue
        faults = golden.misread(rows, planted(facts, CHANGES[change](fields, at)))
        assert faults, f"{facts.type}: {fields[at][0]} {change}"
        assert all(fault.startswith(f"{facts.type}/") for fault in faults)


@pytest.mark.parametrize("facts", CATALOGUE, ids=lambda facts: facts.type)
def test_a_planted_new_field_or_number_is_seen(facts: type[Facts]) -> None:
    """Also with a default, which old entries would silently take on."""
    rows = golden.read(NEWEST)
    for extra in (("zz", str), ("zz", str, ""), ("zz", int, 0)):
        assert golden.misread(rows, planted(facts, [*fields_of(facts), extra]))
    number = {"schema": facts.schema + 1}
    counted = msgspec.defstruct("Next", [], bases=(facts,), namespace=number, frozen=True)
    faults = golden.misread(rows, instead(facts, cast("type[Facts]", counted)))
    assert faults
    said = f"'{facts.type}' of schema {facts.schema} is known"
    assert all(said in fault for fault in faults)


def test_a_planted_change_of_meaning_is_seen_by_a_fold() -> None:
    """Each fact, read as another value: the facts that no fold would miss are written down."""
    events = golden.decoded(golden.read(NEWEST))
    expected = golden.folded(events)
    unseen: dict[str, str] = {}
    for facts in CATALOGUE:
        fields = fields_of(facts)
        names = [n for n, type_ in fields if not _is_seen(events, facts, n, type_, expected)]
        if names:
            unseen[facts.type] = " ".join(names)
    assert unseen == NOT_FOLDED


def _is_seen(
    events: list[Recorded], facts: type[Facts], name: str, type_: type, expected: dict[str, Any]
) -> bool:
    def other(event: Recorded) -> Recorded:
        if type(event.facts) is not facts:
            return event
        old = getattr(event.facts, name)
        new = msgspec.structs.replace(
            event.facts, **{name: (0 if old else 7) if type_ is int else f"{old}0"}
        )
        return msgspec.structs.replace(event, facts=new)

    try:
        return golden.folded([other(event) for event in events]) != expected
    except (AssertionError, KeyError, ValueError):
        # A fold that stops is as red as one that gives something else.
        return True


def test_golden_files_are_never_made_again() -> None:
    """The script refuses a name that is taken, and touches nothing."""
    before = golden.frozen(NEWEST), golden.sums()
    asked = [sys.executable, "-m", "tests.support.make_golden", NEWEST.name]
    root = golden.GOLDEN.parents[1]
    done = subprocess.run(asked, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "never made again" in done.stderr
    assert (golden.frozen(NEWEST), golden.sums()) == before


def test_an_edited_golden_file_is_seen_even_with_a_new_sum(tmp_path: Path) -> None:
    """Its chain and its commitments are those of the day on which it was made."""
    for name, old, new in (
        (golden.ENTRIES, b'"limit_us":3600000000', b'"limit_us":3600000001'),
        (golden.BODIES, b'\\"name\\":\\"Ann\\"', b'\\"name\\":\\"Eve\\"'),
    ):
        copy = tmp_path / name
        copy.mkdir()
        for part in (golden.ENTRIES, golden.BODIES):
            (copy / part).write_bytes((DIRECTORIES[0] / part).read_bytes())
        data = (copy / name).read_bytes()
        assert old in data
        (copy / name).write_bytes(data.replace(old, new, 1))
        with pytest.raises(AssertionError):
            golden.read(copy)
