"""The engine's README tells what is so: each component has an example, and each example works."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import pytest

from refold.engine.component import ChildNode, FormNode, IteratorNode, PureNode
from refold.engine.nodes.catalogue import CATALOGUE, AnyNode, compile_node
from tests.support.simulated import TRIGGER as START
from tests.support.simulated import Simulated
from tests.support.virtual_time import run_virtually

ENGINE = Path(__file__).parents[2] / "engine"
README = (ENGINE / "README.md").read_text("utf-8")
FAMILIES = sorted((ENGINE / "nodes").glob("*.md"))
PAGES = [README, *(page.read_text("utf-8") for page in FAMILIES)]
SECTION = re.compile(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", re.DOTALL | re.MULTILINE)
SECTIONS = [found for page in PAGES for found in SECTION.findall(page)]
TRIGGER: dict[str, Any] = json.loads(re.search(r"Their trigger's output is `(.*)`", README)[1])  # type: ignore[index]


def test_each_component_has_its_section_in_the_order_of_the_catalogue() -> None:
    """A reader finds what is there, and nothing that isn't."""
    assert sorted(name for name, _ in SECTIONS) == sorted(CATALOGUE)


@pytest.mark.parametrize(("name", "text"), SECTIONS)
def test_the_example_of_a_component_works_as_shown(name: str, text: str) -> None:
    """It can be saved, and what stands below it is what comes of it."""
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.S)]
    assert blocks, "a section without an example"
    made = compiled(name, blocks[0])
    if isinstance(made, PureNode):
        for config, output in zip(blocks[::2], blocks[1::2], strict=True):
            example = compiled(name, config)
            assert isinstance(example, PureNode)
            assert example.run({"trigger": TRIGGER}).output == output
    if isinstance(made, FormNode):
        _, asked, answer, output = blocks
        assert made.ask({"trigger": TRIGGER}) == asked
        assert made.answer(asked, answer["action"], answer["values"], "ada").output == output
    if isinstance(made, IteratorNode):
        for config, output in zip(blocks[::2], blocks[1::2], strict=True):
            assert came_to(whole(name, config)) == output
    if isinstance(made, ChildNode):
        config, child, output = blocks
        found = came_to(whole(name, config), child)
        # Ids are made anew for each run.
        assert set(found) == set(output)
        assert {**found, "run_id": output["run_id"]} == output
    for handle in made.handles:
        # The handles of these are chosen by whoever writes the workflow.
        assert name in ("switch", "form") or any(f"`{handle}`" in page for page in PAGES)


def compiled(name: str, config: dict[str, Any]) -> AnyNode:
    """Compile an example."""
    return compile_node(whole(name, config), "nodes[0]")


def whole(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Make a node of an example, which is one already where its id matters."""
    return config if "data" in config else {"id": "n", "data": {"componentId": name, **config}}


def came_to(node: dict[str, Any], child: dict[str, Any] | None = None) -> Any:
    """Run a node in a workflow of its own, and the other workflow that it starts."""
    edges = [{"id": "e", "source": START["id"], "target": node["id"]}]
    outputs: list[Any] = []

    async def scenario() -> None:
        sim = Simulated()
        if child is not None:
            node["data"]["workflow_id"] = await sim.define(child["nodes"], child["edges"])
        run_id = await sim.execute(await sim.define([START, node], edges), TRIGGER)
        state = await sim.ended(run_id)
        assert state.status == "completed", await sim.message(state)
        outputs.append((await sim.bodies(state))[node["id"]])
        await sim.close()

    run_virtually(scenario())
    return outputs[0]


def test_the_readme_names_each_component_and_each_file_of_the_room() -> None:
    """Whoever looks for something begins there."""
    named = set(re.findall(r"`([\w*./]+)`", README))
    assert set(CATALOGUE) <= named
    patterns = [name for name in named if name.endswith(".py")]
    files = [path.name for path in ENGINE.glob("*.py")]
    assert files
    assert [x for x in files if not any(fnmatch.fnmatch(x, p) for p in patterns)] == []
    assert [p for p in patterns if "/" not in p and not fnmatch.filter(files, p)] == []


def test_each_decision_is_listed_and_each_link_leads_somewhere() -> None:
    """A record that nobody finds was not written."""
    linked = re.findall(r"\]\(([^)]+)\)", README)
    decisions = [f"decisions/{path.name}" for path in (ENGINE / "decisions").iterdir()]
    others = [page.name for page in ENGINE.glob("*.md") if page.name != "README.md"]
    pages = [*others, *(f"nodes/{page.name}" for page in FAMILIES), "examples/README.md"]
    own = [page for page in linked if not page.startswith("../")]
    assert sorted(own) == sorted(decisions + pages)
    assert all((ENGINE / page.partition("#")[0]).is_file() for page in linked)
    for path in (ENGINE / "decisions").iterdir():
        text = path.read_text("utf-8")
        assert len(text.splitlines()) <= 40
        assert re.findall(r"^## (.*)", text, re.MULTILINE) == [
            "Status",
            "Context",
            "Decision",
            "Consequences",
        ]
