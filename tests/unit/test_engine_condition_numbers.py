"""The operators on numbers and booleans: one row a case."""

from __future__ import annotations

from typing import Any

import pytest

from refold.engine.component import NodeError
from tests.support.condition_kit import check, decide

BIG = 2**53
HUGE = 10**300


@pytest.mark.parametrize(
    ("left", "right", "order"),
    [
        (0, 0, "="),
        (0, -0.0, "="),
        (1, 1.0, "="),
        ("1", 1, "="),
        ("1.0", 1, "="),
        ("1e2", 100, "="),
        ("1E+2", "100.0", "="),
        ("-0", 0, "="),
        (0.1 + 0.2, 0.3, ">"),
        (1, 2, "<"),
        (-1, 1, "<"),
        (-2, -1, "<"),
        ("9", "10", "<"),
        (9, "10", "<"),
        (0.5, "0.25", ">"),
        (1e-320, 0, ">"),
        (BIG, BIG + 1, "<"),
        (BIG + 1, float(BIG), ">"),
        (str(BIG + 1), BIG, ">"),
        (HUGE, HUGE, "="),
        (HUGE, HUGE + 1, "<"),
        (-HUGE, HUGE, "<"),
        (HUGE, 1e308, "<"),
        (1.7976931348623157e308, "1.7976931348623157e308", "="),
    ],
)
def test_numbers_compare_exactly(left: Any, right: Any, order: str) -> None:
    """All operators agree on one order, whole numbers beyond 2⁵³ included."""
    expected = {
        "equals": order == "=",
        "=": order == "=",
        "not_equals": order != "=",
        "!=": order != "=",
        "less_than": order == "<",
        "<": order == "<",
        "less_or_equal": order != ">",
        "<=": order != ">",
        "greater_than": order == ">",
        ">": order == ">",
        "greater_or_equal": order != "<",
        ">=": order != "<",
    }
    context = {"l": left, "r": right}
    for operator, result in expected.items():
        data = {"left": "{{ l }}", "operator": operator, "right": "{{ r }}"}
        check(decide("number_condition", context, **data), result)


def test_a_sign_is_another_name_of_its_operator() -> None:
    """The output names the operator by its word, so that readers need to know one name only."""
    outcome = decide("number_condition", left=1, operator="<=", right=2)
    assert outcome.output["operator"] == "less_or_equal"


@pytest.mark.parametrize(
    ("left", "low", "high", "result"),
    [
        (1, 1, 1, True),
        (1, 0, 2, True),
        (0, 0, 2, True),
        (2, 0, 2, True),
        (2.0000001, 0, 2, False),
        (-0.1, 0, 2, False),
        (1, 2, 0, False),
        ("1.5", "1", "2", True),
        (BIG + 1, BIG, BIG + 2, True),
        (BIG + 1, 0, float(BIG), False),
        (HUGE, -HUGE, HUGE, True),
    ],
)
def test_between(left: Any, low: Any, high: Any, result: bool) -> None:
    """Both ends belong to it; ends in the wrong order hold nothing."""
    check(decide("number_condition", left=left, operator="between", min=low, max=high), result)


@pytest.mark.parametrize(
    ("left", "operator", "right", "result"),
    [
        (True, "is_true", None, True),
        (False, "is_true", None, False),
        ("true", "is_true", None, True),
        ("false", "is_true", None, False),
        (True, "is_false", None, False),
        (False, "is_false", None, True),
        ("false", "is_false", "", True),
        (True, "equals", True, True),
        (True, "equals", False, False),
        (False, "equals", False, True),
        ("true", "equals", True, True),
        (False, "equals", "false", True),
        ("true", "equals", "false", False),
    ],
)
def test_operators_on_booleans(left: Any, operator: str, right: Any, result: bool) -> None:
    """The words count as well, since a template with tags gives words."""
    check(decide("boolean_condition", left=left, operator=operator, right=right), result)
    rendered = {"left": "{{ l }}", "operator": operator, "right": right}
    check(decide("boolean_condition", {"l": left}, **rendered), result)


@pytest.mark.parametrize("value", [None, 0, 1, "", "True", "yes", "1", [], {}, [True]])
def test_what_is_no_boolean_fails_the_node(value: Any) -> None:
    """There is no truthiness: 0, empty text and null are no false."""
    with pytest.raises(NodeError, match="Operand 'left' is") as caught:
        decide("boolean_condition", {"l": value}, left="{{ l }}", operator="is_true")
    assert caught.value.code == "type_mismatch"


@pytest.mark.parametrize(
    "value", [None, True, "", "five", "1,5", "Infinity", [], [1], {}, "9" * 65]
)
def test_what_is_no_number_fails_the_node(value: Any) -> None:
    """Neither is what some languages would count as one."""
    for field in ("left", "right"):
        data = {"left": 1, "right": 1, "operator": "=", field: "{{ v }}"}
        with pytest.raises(NodeError, match=f"Operand '{field}' is") as caught:
            decide("number_condition", {"v": value}, **data)
        assert caught.value.code == "type_mismatch"
