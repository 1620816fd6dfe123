"""The condition nodes: what each operator decides, and which operands are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.engine.component import ConfigError, NodeError, Outcome, PureNode
from refold.engine.nodes.catalogue import compile_node

CONTEXT: dict[str, Any] = {
    "t": {"n": 5, "s": "Straße", "e": "", "b": True, "l": ["x", "STRASSE"], "o": {}}
}


def decide(component: str, **data: Any) -> Outcome:
    """Compile a condition and run it."""
    node = compile_node({"data": {"componentId": component, **data}}, "nodes[0]")
    assert isinstance(node, PureNode)
    return node.run(CONTEXT)


@pytest.mark.parametrize(
    ("left", "operator", "right", "ignore_case", "result"),
    [
        ("a", "equals", "a", False, True),
        ("a", "equals", "A", False, False),
        ("a", "equals", "A", True, True),
        ("{{ t.s }}", "equals", "STRASSE", True, True),
        ("a", "not_equals", "A", False, True),
        ("a", "not_equals", "A", True, False),
        ("{{ t.s }}", "contains", "raß", False, True),
        ("abc", "contains", "B", True, True),
        ("abc", "not_contains", "b", False, False),
        ("abc", "starts_with", "ab", False, True),
        ("abc", "starts_with", "BC", True, False),
        ("abc", "ends_with", "BC", True, True),
        ("{{ t.s }}", "in_list", ["Straße"], False, True),
        ("{{ t.s }}", "in_list", "{{ t.l }}", False, False),
        ("{{ t.s }}", "in_list", "{{ t.l }}", True, True),
        ("1", "in_list", [1, None], False, False),
        ("{{ t.nobody }}", "equals", "x", False, False),
        ("{{ t.nobody }}", "equals", "{{ t.e }}", False, True),
    ],
)
def test_operators_on_text(
    left: str, operator: str, right: Any, ignore_case: bool, result: bool
) -> None:
    """Case is folded for all of Unicode, and a missing value counts as empty text."""
    outcome = decide(
        "string_condition", left=left, operator=operator, right=right, ignore_case=ignore_case
    )
    assert outcome.output["result"] is result
    assert outcome.handle == ("true" if result else "false")


@pytest.mark.parametrize("left", ["{{ t.e }}", "{{ t.nobody }}", ""])
def test_empty_text(left: str) -> None:
    """Empty, null and missing are the same to someone who asks whether there is a text."""
    assert decide("string_condition", left=left, operator="is_empty").handle == "true"
    assert decide("string_condition", left=left, operator="is_not_empty").handle == "false"
    assert decide("string_condition", left="x", operator="is_not_empty").handle == "true"


@pytest.mark.parametrize(
    ("left", "operator", "right", "result"),
    [
        (5, "equals", 5.0, True),
        ("{{ t.n }}", "equals", "5", True),
        ("3.5e0", "equals", 3.5, True),
        (5, "not_equals", 5, False),
        (4, "less_than", "{{ t.n }}", True),
        (5, "less_than", 5, False),
        (5, "less_or_equal", 5, True),
        (5, "greater_than", 5, False),
        (5, "greater_or_equal", 5, True),
        (9007199254740993, "greater_than", 9007199254740992.0, True),
    ],
)
def test_operators_on_numbers(left: Any, operator: str, right: Any, result: bool) -> None:
    """Numbers compare exactly, whether they come as numbers or as JSON numbers in strings."""
    outcome = decide("number_condition", left=left, operator=operator, right=right)
    assert outcome.handle == ("true" if result else "false")


@pytest.mark.parametrize(("left", "result"), [(1, True), (3, True), (0, False), ("3.01", False)])
def test_between_includes_both_ends(left: Any, result: bool) -> None:
    """The output shows both ends as a list."""
    outcome = decide("number_condition", left=left, operator="between", min=1, max="3")
    assert outcome.output["result"] is result
    assert outcome.output["right"] == [1, 3]


@pytest.mark.parametrize(
    ("left", "operator", "right", "result"),
    [
        (True, "is_true", None, True),
        ("{{ t.b }}", "is_false", None, False),
        ("{% if t.b %}false{% endif %}", "is_false", None, True),
        (False, "equals", "{{ t.b }}", False),
        (False, "equals", False, True),
    ],
)
def test_operators_on_booleans(left: Any, operator: str, right: Any, result: bool) -> None:
    """A template with tags gives text, so that the words true and false are accepted."""
    outcome = decide("boolean_condition", left=left, operator=operator, right=right)
    assert outcome.output["result"] is result


def test_the_output_tells_what_was_compared() -> None:
    """Whoever reads the log of a branch sees both evaluated sides."""
    outcome = decide("number_condition", left="{{ t.n }}", operator="less_than", right="7")
    assert outcome.output == {"result": True, "left": 5, "operator": "less_than", "right": 7}
    outcome = decide("string_condition", left="{{ t.s }}", operator="is_empty")
    assert outcome.output["right"] is None


@pytest.mark.parametrize(
    ("component", "left", "operator", "right", "field", "kind"),
    [
        ("string_condition", "{{ t.n }}", "equals", "5", "left", "a number"),
        ("string_condition", "x", "equals", "{{ t.l }}", "right", "a list"),
        ("string_condition", "x", "in_list", "{{ t.o }}", "right", "an object"),
        ("number_condition", "{{ t.b }}", "equals", 1, "left", "a boolean"),
        ("number_condition", "{{ t.nobody }}", "equals", 1, "left", "null"),
        ("number_condition", "{{ t.s }}", "equals", 1, "left", "a string"),
        ("boolean_condition", "{{ t.n }}", "is_true", None, "left", "a number"),
        ("boolean_condition", "{{ t.s }}", "is_true", None, "left", "a string"),
    ],
)
def test_a_value_of_the_wrong_type_fails_the_node(
    component: str, left: Any, operator: str, right: Any, field: str, kind: str
) -> None:
    """The message names the operand and its type, never its value."""
    with pytest.raises(NodeError) as caught:
        decide(component, left=left, operator=operator, right=right)
    assert caught.value.code == "type_mismatch"
    assert f"Operand '{field}' is {kind}" in caught.value.message
    assert "Straße" not in caught.value.message


@pytest.mark.parametrize("text", ["", " 5", "5 ", "0x5", "05", "1_0", "NaN", "1e999", "٥", "+1"])
def test_only_json_numbers_count_as_numbers(text: str) -> None:
    """Python reads more as a number than JSON does."""
    data = {"left": "{{ x }}", "operator": "equals", "right": 1}
    node = compile_node({"type": "number_condition", "data": data}, "nodes[0]")
    assert isinstance(node, PureNode)
    with pytest.raises(NodeError, match="no number"):
        node.run({"x": text})


@pytest.mark.parametrize(
    ("component", "data", "faulty"),
    [
        ("string_condition", {"operator": "equals", "right": "x"}, {"left"}),
        ("string_condition", {"left": "x", "operator": "equals"}, {"right"}),
        ("string_condition", {"left": "x", "operator": "in_list", "right": "x"}, {"right"}),
        ("string_condition", {"left": "x", "operator": "is_empty", "right": "x"}, {"right"}),
        ("string_condition", {"left": 5, "operator": "equals"}, {"left", "right"}),
        ("string_condition", {"left": "x", "operator": "resembles"}, {"operator"}),
        ("string_condition", {"left": "{{ x", "operator": "is_empty"}, {"left"}),
        ("number_condition", {"left": 1, "operator": "between", "min": 1}, {"max"}),
        (
            "number_condition",
            {"left": "a", "operator": "between", "right": 1},
            {"left", "right", "min", "max"},
        ),
        ("number_condition", {"left": 1, "operator": "equals", "right": 1, "min": 2}, {"min"}),
        ("boolean_condition", {"left": True, "operator": "equals"}, {"right"}),
        ("boolean_condition", {"left": 1, "operator": "is_true"}, {"left"}),
    ],
)
def test_operands_that_do_not_suit_the_operator_are_refused(
    component: str, data: dict[str, Any], faulty: set[str]
) -> None:
    """A condition that could only fail is refused on save, with a fault for each field."""
    with pytest.raises(ConfigError) as caught:
        decide(component, **data)
    assert set(caught.value.errors) == {f"nodes[0].data.{field}" for field in faulty}


def test_an_empty_field_beside_an_operator_that_ignores_it_is_no_fault() -> None:
    """Editors keep the field of the operator that was chosen before."""
    for right in ("", None):
        outcome = decide("string_condition", left="x", operator="is_empty", right=right)
        assert outcome.handle == "false"


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False), st.integers())
def test_comparisons_are_consistent(left: float, right: int) -> None:
    """Exactly one of less, equal and greater holds."""
    held = [
        operator
        for operator in ("less_than", "equals", "greater_than")
        if decide("number_condition", left=left, operator=operator, right=right).handle == "true"
    ]
    assert len(held) == 1
