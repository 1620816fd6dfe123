"""The laws of the event catalogue: what was released is never renamed, dropped or retyped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from refold.journal import events as e
from refold.journal.errors import InvalidCommitError, UnknownEventError

GOLDEN: dict[str, dict[str, str]] = json.loads(
    Path(__file__).with_name("catalogue.json").read_text("utf-8")
)
CATALOGUE = pytest.mark.parametrize("facts", e.CATALOGUE, ids=lambda facts: facts.type)


def form(facts: type[e.Facts]) -> dict[str, str]:
    """Return an event's fields and their types, by name."""
    return {field.name: field.type.__name__ for field in msgspec.structs.fields(facts)}


def test_every_released_event_is_still_in_the_catalogue_as_it_was_released() -> None:
    """A new form is a new schema number; to change this file by hand is to change history."""
    known = [*e.CATALOGUE, *(upcaster.old for upcaster in e.UPCASTERS)]
    now = {f"{facts.type}/{facts.schema}": form(facts) for facts in known}
    assert now == GOLDEN


def test_no_two_events_have_the_same_type_and_schema() -> None:
    """The decoder is found by them, so the second of a pair would never be read."""
    keys = [(facts.type, facts.schema) for facts in e.CATALOGUE]
    assert len(set(keys)) == len(keys)


def test_every_event_class_of_the_file_is_in_the_catalogue() -> None:
    """An event that is not could be appended and never read."""
    classes = {
        value
        for value in vars(e).values()
        if isinstance(value, type) and issubclass(value, e.Facts) and value is not e.Facts
    }
    assert classes - {upcaster.old for upcaster in e.UPCASTERS} == set(e.CATALOGUE)


@CATALOGUE
def test_a_type_is_dotted_lower_case_and_in_the_past_tense(facts: type[e.Facts]) -> None:
    """An event says what has happened, never what should."""
    assert re.fullmatch(r"[a-z]+(\.[a-z]+(_[a-z]+)?)", facts.type)
    assert facts.type.endswith(("ed", "set")), facts.type


@CATALOGUE
def test_facts_are_alphabetical_strings_and_integers_without_defaults(facts: type[e.Facts]) -> None:
    """They are hashed in the order of their definition, all of them, each time."""
    fields = msgspec.structs.fields(facts)
    names = [field.name for field in fields]
    assert names == sorted(names)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in names)
    assert {field.type for field in fields} <= {str, int}
    assert all(field.required and field.name == field.encode_name for field in fields)


@CATALOGUE
def test_facts_read_back_and_unknown_ones_are_refused(facts: type[e.Facts]) -> None:
    """A fact that this version doesn't know must not be dropped in silence."""
    values: dict[str, Any] = {
        name: 1 if type_ == "int" else "x" for name, type_ in form(facts).items()
    }
    made = facts(**values)
    e.check_facts(made)
    assert e.decode_facts(facts.type, facts.schema, msgspec.json.encode(made)) == made
    with pytest.raises(msgspec.ValidationError):
        e.decode_facts(facts.type, facts.schema, msgspec.json.encode({**values, "zz": 1}))


def test_an_unknown_schema_is_refused_by_name_and_number() -> None:
    """Type and schema together name a form; a known type alone is not enough."""
    with pytest.raises(UnknownEventError, match=r"no event 'run.started' of schema 99"):
        e.decode_facts("run.started", 99, b"{}")


def test_facts_from_outside_the_catalogue_are_refused() -> None:
    """What can't be read again must not be written."""

    class RunPaused(e.Facts, frozen=True):
        type = "run.paused"

    with pytest.raises(InvalidCommitError, match="RunPaused is not in the event catalogue"):
        e.check_facts(RunPaused())


def test_the_events_that_end_a_run_are_of_the_catalogue() -> None:
    """They end the run's holds, so a misspelt one would keep a workflow in use for ever."""
    assert {"run.completed", "run.failed", "run.cancelled"} == e.RUN_ENDED
    assert {facts.type for facts in e.CATALOGUE} >= e.RUN_ENDED
