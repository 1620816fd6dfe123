"""Logical groups: what they decide, what they leave out, and what they tell."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from refold.engine.component import ConfigError, NodeError
from refold.engine.limits import Limits
from tests.support.condition_kit import check, compiled, decide

YES = {"type": "boolean", "left": True, "operator": "is_true"}
NO = {"type": "boolean", "left": True, "operator": "is_false"}
BROKEN = {"type": "number", "left": "{{ nobody }}", "operator": "=", "right": 1}


def group(operator: str, *conditions: Any) -> dict[str, Any]:
    """Make a group as it stands inside another condition."""
    return {"type": "group", "operator": operator, "conditions": list(conditions)}


@pytest.mark.parametrize(
    ("operator", "conditions", "result"),
    [
        ("and", [YES], True),
        ("and", [NO], False),
        ("and", [YES, YES], True),
        ("and", [YES, NO], False),
        ("and", [NO, YES], False),
        ("and", [NO, NO], False),
        ("and", [YES, YES, YES, NO], False),
        ("or", [YES], True),
        ("or", [NO], False),
        ("or", [YES, YES], True),
        ("or", [YES, NO], True),
        ("or", [NO, YES], True),
        ("or", [NO, NO], False),
        ("or", [NO, NO, NO, YES], True),
        ("not", [YES], False),
        ("not", [NO], True),
        ("not", [group("not", YES)], True),
        ("not", [group("and", YES, NO)], True),
        ("not", [group("or", YES, NO)], False),
        ("and", [group("or", NO, YES), group("or", YES, NO)], True),
        ("or", [group("and", NO, YES), group("and", YES, NO)], False),
        ("and", [YES, {**group("not", NO), "type": "logical_group"}], True),
        ("and", [NO, BROKEN], False),
        ("or", [YES, BROKEN], True),
        ("and", [YES, group("or", NO, YES, BROKEN)], True),
    ],
)
def test_groups(operator: str, conditions: list[Any], result: bool) -> None:
    """What comes after the condition that decides is not evaluated, so that it can't fail."""
    check(decide("logical_group", operator=operator, conditions=conditions), result)


def test_the_output_carries_the_evaluation_of_each_condition() -> None:
    """One that was not evaluated has the result null, and keeps its place."""
    over = {"type": "number", "left": "{{ total }}", "operator": ">", "right": 100}
    is_gold = {"type": "string", "left": "{{ plan }}", "operator": "equals", "right": "gold"}
    conditions = [over, group("not", is_gold), YES]
    context = {"total": 120, "plan": "gold"}
    outcome = decide("logical_group", context, operator="and", conditions=conditions)
    assert outcome.handle == "false"
    assert outcome.output == {
        "result": False,
        "operator": "and",
        "conditions": [
            {"result": True, "left": 120, "operator": "greater_than", "right": 100},
            {
                "result": False,
                "operator": "not",
                "conditions": [
                    {"result": True, "left": "gold", "operator": "equals", "right": "gold"}
                ],
            },
            {"result": None},
        ],
    }


@pytest.mark.parametrize(("operator", "first"), [("and", YES), ("or", NO)])
def test_a_condition_that_fails_fails_the_node_with_its_path(operator: str, first: Any) -> None:
    """Whoever reads the message finds the condition."""
    conditions = [first, group("not", BROKEN)]
    with pytest.raises(
        NodeError, match=r"'conditions\[1\]\.conditions\[0\]\.left' is null"
    ) as caught:
        decide("logical_group", operator=operator, conditions=conditions)
    assert caught.value.code == "type_mismatch"


def nest(depth: int) -> dict[str, Any]:
    """Put a condition into so many groups."""
    spec: dict[str, Any] = YES
    for _ in range(depth):
        spec = group("not", spec)
    return spec


def test_conditions_may_be_nested_ten_deep() -> None:
    """The node itself is not counted."""
    check(decide("logical_group", operator="not", conditions=[nest(9)]), True)
    with pytest.raises(ConfigError, match="nested deeper than 10 conditions") as caught:
        decide("logical_group", operator="not", conditions=[nest(10)])
    assert len(caught.value.errors) == 1


@pytest.mark.parametrize("depth", [64, 200])
def test_deep_nesting_is_refused_with_one_fault(depth: int) -> None:
    """The refusal must not itself be as deep."""
    with pytest.raises(ConfigError, match="nested deeper") as caught:
        decide("logical_group", operator="and", conditions=[nest(depth)])
    assert len(caught.value.errors) == 1


def test_a_node_holds_256_conditions_in_all() -> None:
    """They are counted wherever they stand, and one fault tells of all that are too many."""
    groups = [group("and", *[YES] * 31)] * 8
    check(decide("logical_group", operator="and", conditions=groups), True)
    for conditions in ([*groups, YES], [*groups, *groups]):
        with pytest.raises(ConfigError, match="one more than the 256 conditions") as caught:
            decide("logical_group", operator="and", conditions=conditions)
        assert len(caught.value.errors) == 1
    with pytest.raises(ConfigError, match="holds more than 256 conditions"):
        decide("logical_group", operator="and", conditions=[YES] * 100_000)


@pytest.mark.parametrize("letter", ["x", "ä", "\x01", "😀"])
def test_the_output_is_never_too_large(letter: str) -> None:
    """A group that compares large values must not fail by the size of what it tells."""
    same = {"type": "string", "left": "{{ l }}", "operator": "equals", "right": "{{ l }}"}
    node = compiled("logical_group", {"operator": "and", "conditions": [same] * 256})
    output = node.run({"l": letter * 250_000}).output
    assert len(msgspec.json.encode(output)) < Limits().output_bytes_max


@pytest.mark.parametrize(
    ("data", "faults"),
    [
        ({}, {"operator": "is required", "conditions": "is required"}),
        ({"operator": "xor", "conditions": [YES]}, {"operator": "invalid enum value 'xor'"}),
        ({"operator": "and", "conditions": YES}, {"conditions": "expected 'array', got 'object'"}),
        ({"operator": "and", "conditions": []},
         {"conditions": "must hold at least one condition"}),
        ({"operator": "not", "conditions": [YES, YES]},
         {"conditions": "must hold exactly one condition, as 'not' takes one"}),
        ({"operator": "and", "conditions": [None]}, {"conditions[0]": "must be an object"}),
        ({"operator": "and", "conditions": ["{{ a }}"]}, {"conditions[0]": "must be an object"}),
        ({"operator": "and", "conditions": [YES, {}]},
         {"conditions[1].type": "must be one of string, number, boolean, date, array, group"}),
        ({"operator": "and", "conditions": [{"type": 5}]},
         {"conditions[0].type": "must be one of string, number, boolean, date, array, group"}),
        ({"operator": "and", "conditions": [{"type": "switch"}]},
         {"conditions[0].type": "must be one of string, number, boolean, date, array, group"}),
        ({"operator": "or", "conditions": [{"type": "string", "operator": "equals", "right": 5}]},
         {"conditions[0].left": "is required"}),
        ({"operator": "or", "conditions": [
            {"type": "string", "left": 1, "operator": "matches", "right": "("},
            group("and", {"type": "date", "left": "x", "operator": "before"}),
        ]}, {
            "conditions[0].left": "Operand 'conditions[0].left' is a number, a string is needed",
            "conditions[0].right":
                "Operand 'conditions[0].right' is not a valid pattern: missing )",
            "conditions[1].conditions[0].left": "Operand 'conditions[1].conditions[0].left' is a "
                "string that holds no date or time, one is needed",
            "conditions[1].conditions[0].right": "is required by the operator 'before'",
        }),
        ({"operator": "and", "conditions": [{**YES, "left": "{{ x"}]},
         {"conditions[0].left": "'{{' is never closed (line 1)"}),
    ],
)  # fmt: skip
def test_each_faulty_condition_is_told_on_save(
    data: dict[str, Any], faults: dict[str, str]
) -> None:
    """All at once, each at its own path."""
    with pytest.raises(ConfigError) as caught:
        decide("logical_group", **data)
    assert caught.value.errors == {
        f"nodes[0].data.{path}": [fault] for path, fault in faults.items()
    }


def test_a_null_in_a_condition_counts_as_absent() -> None:
    """Editors store it there as they do in a node."""
    spec = {"type": "string", "left": None, "operator": "is_empty", "right": None,
            "ignore_case": None, "label": "mine"}  # fmt: skip
    check(decide("logical_group", operator="and", conditions=[spec]), True)
