"""Fields that are there only when others say so."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.engine.component import NodeError
from tests.support.form_kit import answer, faults, form, refusal

KINDS = {"name": "kind", "type": "select", "options": ["person", "company"]}
IS_COMPANY = {"type": "string", "left": {"field": "kind"}, "operator": "equals", "right": "company"}


def asks(name: str, operator: str = "equals", right: Any = "yes") -> dict[str, Any]:
    """Make a condition on the text of a field."""
    return {"type": "string", "left": {"field": name}, "operator": operator, "right": right}


def test_a_hidden_field_is_neither_required_nor_kept() -> None:
    """What was sent for it counts as not sent, whatever it was."""
    node = form(KINDS, {"name": "vat", "required": True, "visible_when": IS_COMPANY})
    assert answer(node, {"kind": "person"}) == {"kind": "person"}
    assert answer(node, {"kind": "person", "vat": "x" * 100_000}) == {"kind": "person"}
    assert answer(node, {"kind": "company", "vat": "x"}) == {"kind": "company", "vat": "x"}
    assert refusal(node, {"kind": "company"}) == {"values.vat": ["is required"]}
    assert answer(node, {}) == {"kind": None}


def test_hidden_fields_hide_those_that_ask_them() -> None:
    """A chain is followed from its beginning, in whatever order the fields stand."""
    chain: list[dict[str, Any]] = [
        {"name": "d", "visible_when": asks("c")},
        {"name": "c", "visible_when": asks("b")},
        {"name": "a"},
        {"name": "b", "visible_when": asks("a")},
    ]
    node = form(*chain)
    all_yes = dict.fromkeys("abcd", "yes")
    assert answer(node, all_yes) == {"d": "yes", "c": "yes", "a": "yes", "b": "yes"}
    assert answer(node, {**all_yes, "b": "no"}) == {"a": "yes", "b": "no"}
    assert answer(node, {**all_yes, "a": "no"}) == {"a": "no"}
    assert answer(node, {}) == {"a": None}


def test_a_chain_of_all_fields_is_followed() -> None:
    """A hundred fields may each ask the one before."""
    fields = [
        {"name": f"f{i}", **({"visible_when": asks(f"f{i - 1}")} if i else {})} for i in range(100)
    ]
    node = form(*reversed(fields))
    values = {f"f{i}": "yes" for i in range(100)}
    assert answer(node, values) == values
    assert len(answer(node, {**values, "f50": "no"})) == 51


@pytest.mark.parametrize(
    ("field", "condition", "shown", "hidden"),
    [
        ({}, asks("x", "contains", "b"), "abc", "ac"),
        ({}, asks("x", "matches", "^a+$"), "aa", "ab"),
        ({}, asks("x", "in_list", ["a", "b"]), "b", "c"),
        ({}, asks("x", "is_empty", None), None, "c"),
        ({}, asks("x", "not_equals", "a"), None, "a"),
        ({}, {**asks("x", "equals", "SS"), "ignore_case": True}, "ß", "s"),
        ({"type": "email"}, asks("x", "ends_with", ".org"), "a@b.org", "a@b.com"),
        ({"type": "date"}, asks("x", "starts_with", "2025-"), "2025-10-31", "2024-10-31"),
        ({"type": "number"}, {"type": "number", "operator": ">", "right": 5}, 6, 5),
        ({"type": "number"}, {"type": "number", "operator": ">", "right": 5}, "6", None),
        ({"type": "number"}, {"type": "number", "operator": "between", "min": 1, "max": 2}, 1, 3),
        ({"type": "boolean"}, {"type": "boolean", "operator": "is_true"}, True, False),
        ({"type": "boolean"}, {"type": "boolean", "operator": "is_false"}, False, None),
        ({"type": "date"}, {"type": "date", "operator": "after", "right": "2025-10-31"},
         "2025-11-01", "2025-10-31"),
        ({"type": "select", "options": [1, 2]}, {"type": "number", "operator": "=", "right": 2},
         2, 1),
        ({"type": "multiselect", "options": ["a", "b"]},
         {"type": "array", "operator": "contains", "right": "b"}, ["a", "b"], ["a"]),
        ({"type": "multiselect", "options": ["a", "b"]},
         {"type": "array", "operator": "length", "comparison": ">", "right": 1}, ["a", "b"], None),
        ({"type": "number"}, {"type": "group", "operator": "not", "conditions": [
            {"type": "number", "left": {"field": "x"}, "operator": ">", "right": 5}]}, None, 6),
        ({"type": "number"}, {"type": "group", "operator": "or", "conditions": [
            {"type": "number", "left": {"field": "x"}, "operator": ">", "right": 5},
            {"type": "number", "left": {"field": "x"}, "operator": "<", "right": -5}]}, -6, 0),
    ],
)  # fmt: skip
def test_the_conditions_are_those_of_the_nodes(
    field: dict[str, Any], condition: dict[str, Any], shown: Any, hidden: Any
) -> None:
    """A comparison with a field that is empty is false, unless emptiness is what it asks."""
    if condition["type"] != "group":
        condition = {"left": {"field": "x"}, **condition}
    node = form({"name": "x", **field}, {"name": "y", "visible_when": condition})
    assert "y" in answer(node, {"x": shown})
    assert "y" not in answer(node, {"x": hidden})


def test_a_field_may_be_compared_with_another() -> None:
    """Either side may name a field."""
    differ = {"type": "number", "left": {"field": "a"}, "operator": "!=", "right": {"field": "b"}}
    node = form(
        {"name": "a", "type": "number"},
        {"name": "b", "type": "number"},
        {"name": "why", "required": True, "visible_when": differ},
    )
    assert answer(node, {"a": 1, "b": 1}) == {"a": 1, "b": 1}
    assert refusal(node, {"a": 1, "b": 2}) == {"values.why": ["is required"]}


def test_the_other_side_may_come_from_the_run() -> None:
    """Templates are rendered when the form is opened; what they gave keeps its type."""
    over = {"type": "number", "left": {"field": "a"}, "operator": ">", "right": "{{ t.limit }}"}
    node = form({"name": "a", "type": "number"}, {"name": "why", "visible_when": over})
    assert node.ask({"t": {"limit": 5}})["fields"][1]["visible_when"]["right"] == 5
    assert "why" in answer(node, {"a": 6}, t={"limit": 5})
    assert "why" not in answer(node, {"a": 6}, t={"limit": 7})
    with pytest.raises(NodeError, match=r"visible_when.right' is null, a number") as caught:
        node.ask({})
    assert caught.value.code == "form_invalid"


def test_a_text_that_renders_to_nothing_is_empty_text() -> None:
    """As it is for a node."""
    same = asks("a", "equals", "{{ nobody }}")
    node = form({"name": "a"}, {"name": "b", "visible_when": same})
    assert "b" in answer(node, {"a": ""})
    assert "b" not in answer(node, {"a": "x"})


def test_a_default_shows_what_asks_for_it() -> None:
    """The form looks so when it is opened, before anybody has touched it."""
    node = form({"name": "a", "default": "yes"}, {"name": "b", "visible_when": asks("a")})
    assert "b" in answer(node, {})
    assert "b" not in answer(node, {"a": None})


def test_a_value_that_does_not_fit_shows_nothing() -> None:
    """Its fault is told, and not that something else is required on its account."""
    node = form(
        {"name": "a", "type": "number", "max": 5},
        {"name": "b", "required": True,
         "visible_when": {"type": "number", "left": {"field": "a"}, "operator": ">", "right": 0}},
    )  # fmt: skip
    assert set(refusal(node, {"a": 9})) == {"values.a"}


def test_a_condition_that_would_be_too_much_work_hides_the_field() -> None:
    """The pattern is no match for a text of this length, and the answer must not fail by it."""
    large = asks("a", "matches", "(?:[\\p{L}]{1,60})z$")
    node = form({"name": "a"}, {"name": "b", "required": True, "visible_when": large})
    assert answer(node, {"a": "é" * 10_000}) == {"a": "é" * 10_000}


@pytest.mark.parametrize(
    ("conditions", "faulty"),
    [
        ({"a": asks("a")}, {"a"}),
        ({"a": asks("b"), "b": asks("a")}, {"a", "b"}),
        ({"a": asks("b"), "b": asks("c"), "c": asks("a")}, {"a", "b", "c"}),
        ({"a": asks("b"), "b": asks("c"), "c": asks("b")}, {"a", "b", "c"}),
        ({"a": {"type": "group", "operator": "not", "conditions": [asks("a")]}}, {"a"}),
        ({"a": asks("b", "equals", {"field": "a"})}, {"a"}),
    ],
)
def test_a_field_must_not_depend_on_itself(conditions: dict[str, Any], faulty: set[str]) -> None:
    """Nor by way of others, for then nobody could say whether it is there."""
    names = ["a", "b", "c"]
    told = faults(*({"name": n, "visible_when": conditions.get(n)} for n in names))
    assert set(told) == {f"fields[{names.index(name)}].visible_when" for name in faulty}


@pytest.mark.parametrize(
    ("condition", "path", "fault"),
    [
        ("yes", "", "must be an object"),
        ([], "", "must be an object"),
        ({}, ".type", "must be one of"),
        (asks("nobody"), ".left", "there is no field 'nobody'"),
        (asks("n" * 1000), ".left", "there is no field 'nnn"),
        ({**asks("x"), "operator": "resembles"}, ".operator", "invalid enum value"),
        ({**asks("x"), "right": 5}, ".right", "is a number, a string is needed"),
        (asks("x", "matches", "("), ".right", "is not a valid pattern"),
        (asks("number"), ".left", "field 'number' is of type 'number', which doesn't suit"),
        (asks("flag"), ".left", "field 'flag' is of type 'boolean'"),
        ({"type": "number", "left": {"field": "x"}, "operator": ">", "right": 5}, ".left",
         "field 'x' is of type 'text'"),
        ({"type": "date", "left": {"field": "x"}, "operator": "after", "right": 5}, ".left",
         "field 'x' is of type 'text'"),
        ({"type": "number", "left": {"field": "chosen"}, "operator": ">", "right": 5}, ".left",
         "field 'chosen' is of type 'select'"),
        ({"type": "array", "left": {"field": "x"}, "operator": "is_empty"}, ".left",
         "field 'x' is of type 'text'"),
        ({"type": "date", "left": {"field": "day"}, "operator": "is_today"}, ".operator",
         "'is_today' depends on the clock"),
        ({"type": "date", "left": {"field": "day"}, "operator": "within_last", "amount": 5},
         ".operator", "'within_last' depends on the clock"),
        ({"type": "array", "left": {"field": "many"}, "operator": "any", "condition": asks("x")},
         ".operator", "'any' can't be asked here"),
        (asks("x", "equals", "{{ values.y }}"), "", 'must name a field as {"field": "name"}'),
        (asks("x", "equals", "{{"), ".right", "never closed"),
    ],
)  # fmt: skip
def test_a_condition_that_makes_no_sense_is_refused_on_save(
    condition: Any, path: str, fault: str
) -> None:
    """It stands at the path of the condition."""
    told = faults(
        {"name": "x"},
        {"name": "number", "type": "number"},
        {"name": "flag", "type": "boolean"},
        {"name": "day", "type": "date"},
        {"name": "chosen", "type": "select", "options": ["a"]},
        {"name": "many", "type": "multiselect", "options": ["a"]},
        {"name": "y", "visible_when": condition},
    )
    where = f"fields[6].visible_when{path}"
    assert where in told
    assert fault in told[where][0]


def test_conditions_of_fields_are_bounded_as_elsewhere() -> None:
    """Sixty-four levels are refused, and so are thousands of conditions."""
    deep: dict[str, Any] = asks("x")
    for _ in range(30):
        deep = {"type": "group", "operator": "not", "conditions": [deep]}
    told = faults({"name": "x"}, {"name": "y", "visible_when": deep})
    assert [what[0] for what in told.values()] == ["is nested deeper than 10 conditions"]
    wide = {"type": "group", "operator": "or", "conditions": [asks("x")] * 1000}
    told = faults({"name": "x"}, {"name": "y", "visible_when": wide})
    assert told == {
        "fields[1].visible_when.conditions": ["holds more than 256 conditions"],
    }


@given(st.dictionaries(st.sampled_from("abcde"), st.sampled_from(["yes", "no", ""])), st.data())
def test_a_field_is_kept_exactly_when_what_it_asks_is_kept_and_says_yes(
    values: dict[str, str], data: st.DataObject
) -> None:
    """For every forest of fields, in every order."""
    parents = {
        name: data.draw(st.sampled_from([None, *"abcde"[:index]]))
        for index, name in enumerate("abcde")
    }
    order = data.draw(st.permutations("abcde"))
    fields: list[dict[str, Any]] = []
    for name in order:
        parent = parents[name]
        fields.append({"name": name, "visible_when": None if parent is None else asks(parent)})
    node = form(*fields)
    kept = answer(node, values)
    for name, parent in parents.items():
        expected = parent is None or kept.get(parent) == "yes"
        assert (name in kept) is expected
        assert not expected or kept[name] == (values.get(name) or None)
