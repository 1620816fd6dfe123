"""The node `validate`, and what keeps a schema from harm: one row a case."""

from __future__ import annotations

import time
from typing import Any

import pytest

from refold.engine.component import ConfigError, NodeError
from refold.engine.json_schemas import JsonSchema
from tests.support.shaping_kit import failure, faults, outcome

ORDER = {
    "type": "object",
    "required": ["id", "lines"],
    "properties": {
        "id": {"type": "string", "pattern": "^[A-Z]{2}[0-9]+$"},
        "mail": {"type": "string", "format": "email"},
        "lines": {
            "type": "array",
            "minItems": 1,
            "items": {"$ref": "#/$defs/line"},
        },
    },
    "$defs": {
        "line": {
            "type": "object",
            "required": ["sku"],
            "properties": {"amount": {"type": "integer", "minimum": 1}},
            "additionalProperties": {"type": "string"},
        }
    },
}


def paths(schema: Any, value: Any) -> list[str]:
    """Give the paths of the faults of a value."""
    return [fault.path for fault in JsonSchema(schema, "schema").check(value)]


@pytest.mark.parametrize(
    ("schema", "value", "where"),
    [
        (ORDER, {"id": "AB1", "lines": [{"sku": "x", "amount": 2}]}, []),
        (ORDER, {"id": "AB1", "lines": []}, ["lines"]),
        (ORDER, {"lines": [{"sku": "x"}]}, ["id"]),
        (ORDER, {"id": "ab", "lines": [{"sku": "x"}]}, ["id"]),
        (ORDER, {"id": "AB1", "lines": [{}, {"sku": 5}]}, ["lines[0].sku", "lines[1].sku"]),
        (ORDER, {"id": "AB1", "lines": [{"sku": "x", "amount": 0}]}, ["lines[0].amount"]),
        (ORDER, {"id": "AB1", "lines": [{"sku": "x"}], "mail": "nope"}, ["mail"]),
        (ORDER, None, [""]),
        (ORDER, [], [""]),
        (True, {"any": "thing"}, []),
        (False, None, [""]),
        ({}, 5, []),
        ({"type": "integer"}, 1.0, []),
        ({"type": "integer"}, True, [""]),
        ({"const": "é"}, "é", []),
        ({"maxLength": 1}, "👍", []),
        ({"multipleOf": 0.01}, 19.99, []),
        ({"pattern": "^(a+)+$"}, "a" * 100_000 + "b", [""]),
        ({"enum": [1, "a", None]}, None, []),
        ({"prefixItems": [{"type": "string"}], "items": False}, ["a", 1], ["[1]"]),
        (
            {"items": [{"type": "string"}], "$schema": "http://json-schema.org/draft-07/schema#"},
            [1],
            ["[0]"],
        ),
        ({"propertyNames": {"maxLength": 2}}, {"abc": 1}, [""]),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, ["b"]),
        (
            {"properties": {"$id": {"type": "string"}, "$ref": {"type": "string"}}},
            {"$ref": 1},
            ["$ref"],
        ),
        (
            {"properties": {"c": {"items": {"$ref": "#"}}}, "type": "object"},
            {"c": [{"c": [5]}]},
            ["c[0].c[0]"],
        ),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "null"}}}, 1, [""]),
        (
            {"if": {"type": "string"}, "then": {"minLength": 1}, "else": {"type": "number"}},
            "",
            [""],
        ),
        ({"not": {"type": "null"}}, None, [""]),
        ({"format": "date-time"}, "2025-10-31T12:00:00Z", []),
        ({"format": "date-time"}, "31.10.2025", [""]),
    ],
)
def test_a_value_is_checked(schema: Any, value: Any, where: list[str]) -> None:
    """Each fault has the place of the value that is wrong, or of the field that is missing."""
    assert paths(schema, value) == where


def test_the_outcome_leaves_by_its_handle() -> None:
    """Both branches find the value in the output."""
    data = {"source": "trigger.order", "schema": {"type": "object", "required": ["id"]}}
    good = outcome("validate", data, trigger={"order": {"id": 1}})
    assert good.handle == "success"
    assert good.output == {"valid": True, "errors": [], "value": {"id": 1}}
    bad = outcome("validate", data, trigger={"order": {}})
    assert bad.handle == "failure"
    assert bad.output["errors"] == [{"path": "id", "message": "is required"}]
    missing = outcome("validate", data)
    assert missing.handle == "failure"
    assert missing.output["value"] is None


def test_messages_hold_no_value_and_are_bounded() -> None:
    """Errors end up in logs and mails."""
    schema = {"items": {"type": "integer", "enum": [1]}}
    faults_found = JsonSchema(schema, "schema").check(["hush" * 1000] * 100)
    assert len(faults_found) == 50
    assert all("hush" not in fault.message for fault in faults_found)
    assert all(len(fault.message) <= 300 for fault in faults_found)
    long = JsonSchema({"properties": {"k" * 400: {"type": "null"}}}, "s").check({"k" * 400: 1})
    assert len(long[0].path) <= 300


def test_one_fault_is_told_once() -> None:
    """However many ways lead to it."""
    part = {"type": "string"}
    assert len(JsonSchema({"allOf": [part, part, part]}, "schema").check(1)) == 1


REFUSED: list[tuple[Any, str, str]] = [
    (5, "schema", "an object"),
    ("x", "schema", "an object"),
    ([], "schema", "an object"),
    (None, "schema", "an object"),
    ({"type": "zork"}, "schema.type", ""),
    ({"properties": 5}, "schema.properties", "schemas"),
    ({"properties": {"a": 5}}, "schema.properties.a", "an object"),
    ({"allOf": {}}, "schema.allOf", "list"),
    ({"minLength": -1}, "schema.minLength", ""),
    ({"pattern": "("}, "schema.pattern", "regex"),
    ({"pattern": "(?=a)b"}, "schema.pattern", "regex"),
    ({"pattern": r"(a)\1"}, "schema.pattern", "regex"),
    ({"pattern": "((a{1000}){1000}){9}"}, "schema.pattern", "regex"),
    ({"$ref": "http://127.0.0.1/x"}, "schema.$ref", "in this schema"),
    ({"$ref": "file:///etc/passwd"}, "schema.$ref", "in this schema"),
    ({"$ref": "other.json"}, "schema.$ref", "in this schema"),
    ({"$ref": "#/$defs/nobody"}, "schema.$ref", "in this schema"),
    ({"$ref": "#/x", "x": 5}, "schema.$ref", "an object"),
    ({"$ref": "#name"}, "schema.$ref", "in this schema"),
    ({"$ref": 5}, "schema.$ref", "in this schema"),
    ({"items": {"$dynamicRef": "#"}}, "schema.items.$dynamicRef", "'$ref'"),
    ({"items": {"$id": "x"}}, "schema.items.$id", "root"),
    ({"$schema": "http://127.0.0.1/x"}, "schema", "meta-schema"),
    (
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": "http://x"},
        "schema.$ref",
        "in this",
    ),
    ({"$ref": "#"}, "schema", "back to itself"),
    (
        {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}},
        "schema",
        "itself",
    ),
    ({"enum": ["x" * 70_000]}, "schema", "65536"),
    ({"allOf": [dict[str, Any]() for _ in range(6000)]}, "schema.allOf[4999]", "5000"),
    ({"anyOf": [True] * 6000}, "schema.anyOf[4999]", "5000"),
]


@pytest.mark.parametrize(("schema", "path", "part"), REFUSED)
def test_a_schema_that_can_not_be_used_is_refused_on_save(
    schema: Any, path: str, part: str
) -> None:
    """Nothing is fetched, and each refusal names the place in the schema."""
    found = faults("validate", source="trigger", schema=schema)
    if schema is None:
        assert list(found) == ["schema"]
    else:
        assert list(found) == [path]
        assert part in found[path][0]


def doubled(levels: int, *, deeper: bool) -> dict[str, Any]:
    """Make a schema each of whose parts is referred to twice by the next."""
    parts: dict[str, Any] = {"d0": {"type": "string"}}
    for level in range(1, levels):
        twice = [{"$ref": f"#/$defs/d{level - 1}"}] * 2
        parts[f"d{level}"] = {"allOf": [{"items": part} for part in twice] if deeper else twice}
    return {"$defs": parts, "$ref": f"#/$defs/d{levels - 1}"}


def nested(depth: int) -> Any:
    """Make a list in a list in a list."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


ITSELF = {
    "$defs": {"n": {"allOf": [{"items": {"$ref": "#/$defs/n"}}, {"items": {"$ref": "#/$defs/n"}}]}},
    "$ref": "#/$defs/n",
}
MANY = {"items": {"allOf": [{"pattern": f"a{i}"} for i in range(1000)]}}
NAMES = {"propertyNames": {"allOf": [{"pattern": f"a{i}"} for i in range(1000)]}}


@pytest.mark.parametrize(
    ("schema", "value", "refused"),
    [
        (doubled(400, deeper=False), 1, "save"),
        (doubled(60, deeper=False), 1, "save"),
        (doubled(60, deeper=True), nested(60), "run"),
        (ITSELF, nested(60), "run"),
        (ITSELF, nested(30), "run"),
        (MANY, ["b"] * 50_000, "run"),
        (MANY, ["aaa"] * 300, None),
        (NAMES, {f"k{i}": 1 for i in range(20_000)}, "run"),
        ({"allOf": [{"pattern": f"a*b{i}"} for i in range(900)]}, "a" * 1_000_000, "run"),
        ({"items": {"enum": [[i] for i in range(5000)]}}, [[-1]] * 20_000, "run"),
        ({"items": {"type": "string"}}, list(range(50_000)), None),
        ({"uniqueItems": True}, [{"a": i} for i in range(20_000)], None),
        ({"items": {"allOf": [{"minLength": i} for i in range(100)]}}, [1] * 20_000, "run"),
        (ITSELF, nested(10), None),
        (doubled(21, deeper=False), 1, None),
        (doubled(12, deeper=False), 1, None),
    ],
)
def test_a_schema_that_would_take_for_ever_is_stopped_before(
    schema: Any, value: Any, refused: str | None
) -> None:
    """Parts that refer to each other twice double the work at each level."""
    began = time.process_time()
    if refused == "save":
        with pytest.raises(ConfigError, match="too often"):
            JsonSchema(schema, "schema")
    elif refused == "run":
        with pytest.raises(NodeError) as caught:
            JsonSchema(schema, "schema").check(value)
        assert caught.value.code == "schema_limit"
    else:
        JsonSchema(schema, "schema").check(value)
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"schema": {}}, "source"),
        ({"source": "x"}, "schema"),
        ({"source": "a b", "schema": {}}, "source"),
        ({"source": "{{ a", "schema": {}}, "source"),
        ({"source": {"a": "{{ a"}, "schema": {}}, "source.a"),
    ],
)
def test_each_refusal_names_the_field(data: dict[str, Any], path: str) -> None:
    """What is missing, and what is no path."""
    assert list(faults("validate", **data)) == [path]


def test_a_value_that_is_too_large_fails_the_node() -> None:
    """It would stand in the output."""
    error = failure("validate", {"source": "big", "schema": {}}, big=["x" * 1000] * 300)
    assert error.code == "output_too_large"
