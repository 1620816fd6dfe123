"""The operators on lists: one row a case."""

from __future__ import annotations

from typing import Any

import pytest

from refold.engine.component import ConfigError, NodeError
from refold.engine.template_values import RenderLimit
from tests.support.condition_kit import check, compiled, decide

MANY = list(range(100_000))


@pytest.mark.parametrize(
    ("left", "right", "result"),
    [
        ([], 1, False),
        ([1], 1, True),
        ([1], 1.0, True),
        ([1], "1", False),
        ([1], True, False),
        ([True], 1, False),
        ([0], False, False),
        ([None], None, True),
        ([], None, False),
        (None, 1, False),
        ([None], "", False),
        (["a"], "A", False),
        (["ß"], "ß", True),
        (["a", "b"], "b", True),
        ([[1]], [1], True),
        ([[1]], 1, False),
        ([1, 2], [1, 2], False),
        ([{"a": 1}], {"a": 1.0}, True),
        ([{"a": 1}], {"a": 1, "b": 2}, False),
        ([{"a": 1, "b": 2}], {"b": 2, "a": 1}, True),
        (MANY, 99_999, True),
        (MANY, 100_000, False),
        ([MANY], MANY, True),
    ],
)
def test_a_list_contains_what_is_equal_to_an_element(left: Any, right: Any, result: bool) -> None:
    """Equality is that of JSON, also deep inside."""
    context = {"l": left, "r": right}
    for operator, expected in (("contains", result), ("not_contains", not result)):
        data = {"left": "{{ l }}", "operator": operator, "right": "{{ r }}"}
        check(decide("array_condition", context, **data), expected)


@pytest.mark.parametrize(
    ("left", "comparison", "right", "result"),
    [
        ([], "equals", 0, True),
        (None, "=", 0, True),
        ([None], "equals", 1, True),
        ([1, 2], "not_equals", 2, False),
        ([1, 2], "!=", 3, True),
        ([1, 2], "less_than", 2, False),
        ([1, 2], "<", 2.5, True),
        ([1, 2], "less_or_equal", "2", True),
        ([1, 2], "greater_than", 1, True),
        ([1, 2], ">", -1, True),
        ([1, 2], "greater_or_equal", 3, False),
        (MANY, ">=", 100_000, True),
        ([[1, 2, 3]], "equals", 1, True),
    ],
)
def test_the_length_of_a_list(left: Any, comparison: str, right: Any, result: bool) -> None:
    """The comparison is one of numbers."""
    data = {"operator": "length", "comparison": comparison, "right": right}
    outcome = decide("array_condition", {"l": left}, left="{{ l }}", **data)
    check(outcome, result)
    assert outcome.output["length"] == len(left or [])


def test_the_length_may_be_between_two() -> None:
    """It takes `min` and `max`, as a number condition does, and tells the length."""
    data = {"operator": "length", "comparison": "between", "min": 1, "max": 2}
    outcome = decide("array_condition", left=["a", "b"], **data)
    assert outcome.output == {
        "result": True,
        "left": ["a", "b"],
        "operator": "length",
        "right": [1, 2],
        "length": 2,
        "comparison": "between",
    }
    check(decide("array_condition", left=[], **data), False)


NESTED: list[Any] = [[]]


@pytest.mark.parametrize(
    ("left", "result"), [([], True), (None, True), ([None], False), (NESTED, False), (MANY, False)]
)
def test_empty_lists(left: Any, result: bool) -> None:
    """A list that is missing is empty; one of nothing but nothing is not."""
    for operator, expected in (("is_empty", result), ("is_not_empty", not result)):
        check(decide("array_condition", {"l": left}, left="{{ l }}", operator=operator), expected)


ANYTHING = {"type": "number", "left": "{{ item }}", "operator": ">=", "right": 0}
OVER_5 = {"type": "number", "left": "{{ item }}", "operator": ">", "right": 5}


@pytest.mark.parametrize(
    ("left", "any_is", "all_are", "by"),
    [
        ([], False, True, (None, None)),
        (None, False, True, (None, None)),
        ([6], True, True, (0, None)),
        ([5], False, False, (None, 0)),
        ([5, 6], True, False, (1, 0)),
        ([6, 5], True, False, (0, 1)),
        ([6, 7, 8], True, True, (0, None)),
        ([1, 2, 3], False, False, (None, 0)),
        (["7", 1], True, False, (0, 1)),
        ([6] * 50_000 + [5], True, False, (0, 50_000)),
    ],
)
def test_a_condition_is_asked_of_the_elements(
    left: Any, any_is: bool, all_are: bool, by: tuple[int | None, int | None]
) -> None:
    """Of no element, `all` and `none` are true; the output names the element that decided."""
    expected = {"any": (any_is, by[0]), "none": (not any_is, by[0]), "all": (all_are, by[1])}
    for operator, (result, decided_by) in expected.items():
        data = {"left": "{{ l }}", "operator": operator, "condition": OVER_5}
        outcome = decide("array_condition", {"l": left}, **data)
        check(outcome, result)
        assert outcome.output["decided_by"] == decided_by
        assert (outcome.output["evaluation"] is None) == (decided_by is None)


ITEMS = [
    {"name": "Ada", "tags": ["x"], "at": "2025-10-31", "paid": True},
    {"name": "Bob", "tags": ["x", "y"], "at": "2025-11-01", "paid": False},
]


@pytest.mark.parametrize(
    ("condition", "decided_by"),
    [
        ({"type": "string", "left": "{{ item.name }}", "operator": "equals", "right": "Bob"}, 1),
        ({"type": "string_condition", "left": "{{ item.name }}", "operator": "matches",
          "right": "^A"}, 0),
        ({"type": "string", "left": "{{ item.name }}", "operator": "equals",
          "right": "{{ wanted }}"}, 1),
        ({"type": "string", "left": "{{ item.name | upcase }}", "operator": "equals",
          "right": "BOB"}, 1),
        ({"type": "boolean", "left": "{{ item.paid }}", "operator": "is_false"}, 1),
        ({"type": "date", "left": "{{ item.at }}", "operator": "after", "right": "2025-10-31"}, 1),
        ({"type": "array", "left": "{{ item.tags }}", "operator": "contains", "right": "y"}, 1),
        ({"type": "number", "left": "{{ index }}", "operator": "=", "right": 1}, 1),
        ({"type": "array", "left": "{{ item.tags }}", "operator": "any", "condition":
          {"type": "string", "left": "{{ item }}", "operator": "equals", "right": "y"}}, 1),
        ({"type": "group", "operator": "and", "conditions": [
            {"type": "boolean", "left": "{{ item.paid }}", "operator": "is_true"},
            {"type": "string", "left": "{{ item.name }}", "operator": "equals", "right": "Bob"},
        ]}, None),
    ],
)  # fmt: skip
def test_each_type_of_condition_can_be_asked_of_an_element(
    condition: dict[str, Any], decided_by: int | None
) -> None:
    """The element is `item`, its index `index`, and what lies around is seen as well."""
    context = {"items": ITEMS, "wanted": "Bob", "item": "outer", "index": "outer"}
    data = {"left": "{{ items }}", "operator": "any", "condition": condition}
    assert decide("array_condition", context, **data).output["decided_by"] == decided_by
    assert (context["item"], context["index"]) == ("outer", "outer")


def test_the_item_of_an_inner_list_hides_the_outer_one_only_while_it_is_asked() -> None:
    """After the inner list, `item` is the outer element again."""
    inner = {"type": "array", "left": "{{ item.tags }}", "operator": "none",
             "condition": {"type": "string", "left": "{{ item }}", "operator": "equals",
                           "right": "z"}}  # fmt: skip
    after = {"type": "string", "left": "{{ item.name }}", "operator": "equals", "right": "Ada"}
    both = {"type": "group", "operator": "and", "conditions": [inner, after]}
    data = {"left": "{{ items }}", "operator": "any", "condition": both}
    check(decide("array_condition", {"items": ITEMS}, **data), True)


def test_an_element_that_does_not_suit_is_named() -> None:
    """Among thousands of elements, the message tells which one it was."""
    data = {"left": "{{ l }}", "operator": "all", "condition": OVER_5}
    with pytest.raises(NodeError, match=r"'condition.left' is null.*\(element 1\)") as caught:
        decide("array_condition", {"l": [6, None]}, **data)
    assert caught.value.code == "type_mismatch"
    check(decide("array_condition", {"l": [5, None]}, **data), False)


def test_too_long_an_evaluation_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list can be longer than there is time for; the service has other runs to see to."""
    node = compiled("array_condition", {"left": "{{ l }}", "operator": "all", "condition": OVER_5})
    monkeypatch.setattr(RenderLimit, "seconds_max", -1.0)
    with pytest.raises(NodeError, match="takes longer than") as caught:
        node.run({"l": [6]})
    assert caught.value.code == "condition_limit"


def test_the_elements_have_the_time_of_their_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each element by itself is quick, and a hundred thousand of them are not."""
    monkeypatch.setattr(RenderLimit, "seconds_max", 0.001)
    with pytest.raises(NodeError, match="takes longer than"):
        decide("array_condition", {"l": MANY}, left="{{ l }}", operator="all", condition=ANYTHING)


def test_a_large_list_is_described_and_not_copied_into_the_output() -> None:
    """The output of a condition on a list must not fail by the size of that list."""
    outcome = decide("array_condition", {"l": MANY}, left="{{ l }}", operator="is_empty")
    assert outcome.output["left"] == "a list of 100000 items"
    text = decide("string_condition", {"l": "x" * 5000}, left="{{ l }}", operator="is_empty")
    assert text.output["left"] == "x" * 4096 + "…"


@pytest.mark.parametrize(
    ("data", "faulty"),
    [
        ({"operator": "is_empty"}, {"left"}),
        ({"left": [], "operator": "sorted"}, {"operator"}),
        ({"left": "x", "operator": "is_empty"}, {"left"}),
        ({"left": {"a": 1}, "operator": "is_empty"}, {"left"}),
        ({"left": [], "operator": "contains"}, {"right"}),
        ({"left": [], "operator": "is_empty", "right": 1}, {"right"}),
        ({"left": [], "operator": "length", "right": 1}, {"comparison"}),
        ({"left": [], "operator": "length", "comparison": "="}, {"right"}),
        ({"left": [], "operator": "length", "comparison": "contains", "right": 1}, {"comparison"}),
        ({"left": [], "operator": "length", "comparison": "=", "right": "x"}, {"right"}),
        ({"left": [], "operator": "length", "comparison": "between", "right": 1},
         {"right", "min", "max"}),
        ({"left": [], "operator": "is_empty", "comparison": "="}, {"comparison"}),
        ({"left": [], "operator": "any"}, {"condition"}),
        ({"left": [], "operator": "any", "condition": "item"}, {"condition"}),
        ({"left": [], "operator": "any", "condition": {}}, {"condition.type"}),
        ({"left": 5, "operator": "any", "condition": {"type": "number", "operator": "="}},
         {"left", "condition.left"}),
        ({"left": [], "operator": "all", "condition": OVER_5, "right": 1}, {"right"}),
        ({"left": [], "operator": "is_empty", "condition": OVER_5}, {"condition"}),
        ({"left": ["{{ x"], "operator": "is_empty"}, {"left[0]"}),
    ],
)  # fmt: skip
def test_a_condition_that_could_only_fail_is_refused(
    data: dict[str, Any], faulty: set[str]
) -> None:
    """Each fault stands at its field."""
    with pytest.raises(ConfigError) as caught:
        decide("array_condition", **data)
    assert set(caught.value.errors) == {f"nodes[0].data.{field}" for field in faulty}


@pytest.mark.parametrize("value", ["x", "", 5, True, {}, {"0": 1}])
def test_what_is_no_list_fails_the_node(value: Any) -> None:
    """An object is none, nor is a text."""
    with pytest.raises(NodeError, match=r"Operand 'left' is .*, a list is needed") as caught:
        decide("array_condition", {"l": value}, left="{{ l }}", operator="is_empty")
    assert caught.value.code == "type_mismatch"
