"""The engine's README tells what is so: each component has an example, and each example works."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from refold.engine.component import PureNode
from refold.engine.nodes.catalogue import CATALOGUE, compile_node

ENGINE = Path(__file__).parents[2] / "engine"
README = (ENGINE / "README.md").read_text("utf-8")
SECTIONS = re.findall(r"^### `(\w+)`\n(.*?)(?=^##)", README, re.DOTALL | re.MULTILINE)
TRIGGER: dict[str, Any] = json.loads(re.search(r"Their trigger's output is `(.*)`", README)[1])  # type: ignore[index]


def test_each_component_has_its_section_in_the_order_of_the_catalogue() -> None:
    """A reader finds what is there, and nothing that isn't."""
    assert sorted(name for name, _ in SECTIONS) == sorted(CATALOGUE)


@pytest.mark.parametrize(("name", "text"), SECTIONS)
def test_the_example_of_a_component_works_as_shown(name: str, text: str) -> None:
    """It can be saved, and a pure node gives the output that stands below it."""
    config, *shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.S)]
    made = compile_node({"id": "n", "data": {"componentId": name, **config}}, "nodes[0]")
    if isinstance(made, PureNode):
        assert [made.run({"trigger": TRIGGER}).output] == shown
    for handle in made.handles:
        assert handle == "best" or f"`{handle}`" in README


def test_each_decision_is_listed_and_each_link_leads_somewhere() -> None:
    """A record that nobody finds was not written."""
    linked = re.findall(r"\]\(([^)]+)\)", README)
    assert sorted(linked) == sorted(f"decisions/{p.name}" for p in (ENGINE / "decisions").iterdir())
    for path in (ENGINE / "decisions").iterdir():
        text = path.read_text("utf-8")
        assert len(text.splitlines()) <= 40
        assert re.findall(r"^## (.*)", text, re.MULTILINE) == [
            "Status",
            "Context",
            "Decision",
            "Consequences",
        ]
