"""The document describes each component's configuration, so that editors need know no other."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from refold.engine.nodes.catalogue import CATALOGUE
from refold.http import openapi
from tests.support.service import node

DOCUMENT = openapi.build("http://refold.test", "0")
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


def fits(schema: str, value: Any) -> bool:
    """Say whether a value fits a schema of the document."""
    whole = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole).is_valid(value)


def test_every_component_has_its_schema_and_is_told_by_its_id() -> None:
    """By `componentId`, as the discriminator says; nothing is described that isn't there."""
    described = {name.removeprefix("Node.") for name in SCHEMAS if name.startswith("Node.")}
    data = SCHEMAS["Node"]["properties"]["data"]
    mapping = data["discriminator"]["mapping"]
    assert described == set(mapping) == set(CATALOGUE)
    assert data["discriminator"]["propertyName"] == "componentId"
    assert [one["$ref"] for one in data["oneOf"]] == list(mapping.values())
    for name, ref in mapping.items():
        schema = SCHEMAS[ref.rsplit("/", 1)[1]]
        assert schema["properties"]["componentId"] == {"const": name}
        assert "componentId" in schema["required"]


@pytest.mark.parametrize(
    ("component", "data", "good"),
    [
        ("webhook", {"url": "https://x"}, True),
        ("webhook", {"url": "https://x", "retry": {"max_attempts": 2}}, True),
        ("webhook", {"url": "https://x", "label": "kept"}, True),
        ("webhook", {}, False),
        ("webhook", {"url": "https://x", "method": "BREW"}, False),
        ("webhook", {"url": "https://x", "retry": {"max_attempts": 0}}, False),
        ("event_trigger", {"event_type": "a.*"}, True),
        ("event_trigger", {}, False),
        ("webhook_trigger", {"signature": {"secrets": ["{{ vault.abc }}"]}}, True),
        ("webhook_trigger", {"signature": {"secrets": []}}, False),
        ("webhook_trigger", {"signature": {"secrets": ["x"], "tolerance": 5}}, False),
        ("nobody", {}, False),
    ],
)
def test_a_node_fits_the_schema_of_its_own_component(
    component: str, data: dict[str, Any], good: bool
) -> None:
    """And of no other."""
    assert fits("Node", node("n", component, **data)) is good


def test_types_of_one_name_are_told_apart() -> None:
    """A component must not be described by another's configuration."""
    for name, kind in CATALOGUE.items():
        [own, _] = SCHEMAS[f"Node.{name}"]["allOf"]
        described = SCHEMAS[own["$ref"].rsplit("/", 1)[1]]["properties"]
        assert set(described) == set(kind.config_type.__struct_encode_fields__), name
