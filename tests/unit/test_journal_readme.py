"""The auditors' page against the code: what it says of the format is what the vectors hold."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from refold.journal import events as e

ROOT = Path(__file__).parents[2]
README = (ROOT / "journal" / "README.md").read_text("utf-8")
ENTRIES: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("vectors.json").read_text("utf-8")
)["entries"]


def entry_pattern() -> re.Pattern[str]:
    """Build the page's pattern as its reader would: the names put in their places."""
    block = re.search(r"```regex\n(.*?)```", README, re.DOTALL)
    assert block is not None
    whole, *named = block[1].strip().splitlines()
    parts = dict(line.split(" = ", 1) for line in named)
    parts["V"] = re.sub("[SN]", lambda name: parts[name[0]], parts["V"])
    return re.compile(re.sub("[SNV]", lambda name: parts[name[0]], whole))


@pytest.mark.parametrize("vector", ENTRIES, ids=lambda vector: vector["type"])
def test_the_page_s_pattern_matches_every_vector(vector: dict[str, Any]) -> None:
    """A verifier in another language may be built on that one line."""
    assert entry_pattern().fullmatch(bytes.fromhex(vector["entry"]).decode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (',"at":', ', "at":'),
        ('"cause":"', '"cause":"\\u000a'),
        ('"cause":"', '"cause":"\\u001F'),
        ('"cause":"', '"cause":"\\/'),
        ('"cause":"', '"cause":"\n'),
        ('"v":1', '"v":01'),
        ('"v":1', '"v":-1'),
        ('"v":1', '"v":true'),
        ('"v":1', '"v":1.0'),
        ('"v":1,', ""),
        ('"facts":{', '"facts":{"a":{},'),
    ],
)
def test_the_page_s_pattern_refuses_what_is_no_entry(old: str, new: str) -> None:
    """It is a check only if it can fail."""
    entry = bytes.fromhex(ENTRIES[3]["entry"]).decode()
    assert old in entry
    assert not entry_pattern().fullmatch(entry.replace(old, new, 1))


def test_the_worked_hashes_are_those_of_the_vectors() -> None:
    """Somebody will check them by hand, and should not lose an evening."""
    for number in (3, 4):
        entry = bytes.fromhex(ENTRIES[number - 1]["entry"])
        assert entry.decode() in README
        assert f"{len(entry)} bytes" in README
        assert ENTRIES[number - 1]["leaf"] in README
    assert ENTRIES[2]["payload"] in README
    assert ENTRIES[7]["src"] in README


@pytest.mark.parametrize("facts", e.CATALOGUE, ids=lambda facts: facts.type)
def test_every_event_is_on_the_page_with_its_facts(facts: type[e.Facts]) -> None:
    """An event that auditors can't look up is one that they can't judge."""
    names = " ".join(
        f"`{field.name}`" + ("#" if field.type is int else "")
        for field in msgspec.structs.fields(facts)
    )
    assert re.search(
        rf"^\| `{re.escape(facts.type)}` \| .+ \| {re.escape(names or 'none')} \| .+ \|$",
        README,
        re.MULTILINE,
    )


def test_every_decision_is_listed_and_has_its_four_headings() -> None:
    """A record that nobody finds, or that leaves out what follows, was written for nobody."""
    records = sorted((ROOT / "journal" / "decisions").glob("*.md"))
    assert records
    for record in records:
        text = record.read_text("utf-8")
        assert f"(decisions/{record.name})" in README
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings == ["Status", "Context", "Decision", "Consequences"]
        assert len(text.splitlines()) <= 40
