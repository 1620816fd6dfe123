"""The switch node: the first case that is equal decides, and handles are unambiguous."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.engine.component import ConfigError, NodeError
from refold.engine.nodes.operands import is_equal
from refold.engine.nodes.switch import Case, Switch, SwitchConfig


def switch(value: Any, *cases: tuple[str, Any]) -> Switch:
    """Compile a switch."""
    made = tuple(Case(handle, equals) for handle, equals in cases)
    return Switch(SwitchConfig(value=value, cases=made))


@pytest.mark.parametrize(
    ("value", "handle"),
    [
        (1, "one"),
        (1.0, "one"),
        (True, "yes"),
        ("1", "text"),
        (None, "nothing"),
        ([1, {"a": True}], "list"),
        ([1, {"a": 1}], "default"),
        ("gold", "templated"),
        (0, "default"),
        (False, "default"),
        ("", "default"),
    ],
)
def test_the_equal_case_is_chosen(value: Any, handle: str) -> None:
    """Equality is that of JSON: 1 is 1.0, but neither true nor a string."""
    node = switch(
        "{{ t.v }}",
        ("yes", True),
        ("one", 1),
        ("text", "1"),
        ("nothing", None),
        ("list", [1.0, {"a": True}]),
        ("templated", "{{ t.wanted }}"),
    )
    outcome = node.run({"t": {"v": value, "wanted": "gold"}})
    assert outcome.handle == handle
    assert outcome.output["matched"] == handle
    assert outcome.output["value"] == value
    index = outcome.output["case"]
    assert (node.handles[index] if index is not None else "default") == handle


def test_the_first_of_two_equal_cases_wins() -> None:
    """Cases are ordered."""
    assert switch(1, ("a", 2), ("b", 1), ("c", 1)).run({}).handle == "b"


def test_the_handles_are_those_of_the_cases_and_the_default() -> None:
    """The graph is checked against them when a workflow is saved."""
    assert switch(1, ("a", 1), ("b", 2)).handles == ("a", "b", "default")
    assert switch(1).handles == ("default",)


@pytest.mark.parametrize("handle", ["a", "", "  ", "default", "error", "x" * 65])
def test_a_handle_that_would_be_ambiguous_is_refused(handle: str) -> None:
    """The fault stands at the case that is to be changed."""
    with pytest.raises(ConfigError) as caught:
        switch(1, ("a", 1), (handle, 2))
    assert list(caught.value.errors) == ["cases[1].handle"]


def test_every_fault_is_told_at_once() -> None:
    """Templates and handles are checked together."""
    with pytest.raises(ConfigError) as caught:
        switch("{{ a", ("error", {"x": ["{{ b"]}))
    assert set(caught.value.errors) == {"value", "cases[0].handle", "cases[0].equals.x[0]"}


def test_the_number_of_cases_is_limited() -> None:
    """A hundred is allowed, one more is not."""
    switch(1, *((f"h{index}", index) for index in range(100)))
    with pytest.raises(ConfigError, match="more than 100"):
        switch(1, *((f"h{index}", index) for index in range(101)))


def amount(operator: str, right: float) -> dict[str, Any]:
    """Make a condition on an amount."""
    return {"type": "number", "left": "{{ amount }}", "operator": operator, "right": right}


def cases_of(*cases: tuple[str, dict[str, Any]]) -> Switch:
    """Compile a switch by conditions."""
    made = tuple(Case(handle, when=when) for handle, when in cases)
    return Switch(SwitchConfig(cases=made))


@pytest.mark.parametrize(
    ("value", "handle"), [(5000, "large"), (1000, "large"), (999, "middling"), (10, "default")]
)
def test_the_first_case_whose_condition_holds_is_chosen(value: int, handle: str) -> None:
    """The evaluation that decided stands in the output."""
    node = cases_of(("large", amount(">=", 1000)), ("middling", amount(">", 10)))
    outcome = node.run({"amount": value})
    assert (outcome.handle, outcome.output["matched"]) == (handle, handle)
    assert outcome.output["value"] is None
    if handle == "default":
        assert "evaluation" not in outcome.output
    else:
        assert outcome.output["evaluation"]["result"] is True
        assert outcome.output["evaluation"]["left"] == value


def test_cases_by_value_and_by_condition_may_stand_side_by_side() -> None:
    """They are tried in one order, and those after the one that applies are not evaluated."""
    node = Switch(
        SwitchConfig(
            value="{{ amount }}",
            cases=(Case("one", 1), Case("many", when=amount(">", 1)), Case("none", "{{ zero }}")),
        )
    )
    assert node.run({"amount": 1}).output == {"value": 1, "matched": "one", "case": 0}
    assert node.run({"amount": 2}).handle == "many"
    assert node.run({"amount": 0, "zero": 0}).handle == "none"
    with pytest.raises(NodeError, match=r"'cases\[1\]\.when\.left' is a string"):
        node.run({"amount": "many"})


@pytest.mark.parametrize(
    ("config", "faulty"),
    [
        (SwitchConfig(cases=(Case("a", 1),)), {"value"}),
        (SwitchConfig(value=1, cases=(Case("a"),)), {"cases[0]"}),
        (SwitchConfig(value=1, cases=(Case("a", 1, amount("<", 1)),)), {"cases[0].equals"}),
        (SwitchConfig(cases=(Case("a", when=5),)), {"cases[0].when"}),
        (SwitchConfig(cases=(Case("a", when={"type": "x"}),)), {"cases[0].when.type"}),
        (SwitchConfig(cases=(Case("a", when=amount("=", "x")),)), {"cases[0].when.right"}),  # type: ignore[arg-type]
    ],
)
def test_a_case_needs_either_a_value_or_a_condition(config: SwitchConfig, faulty: set[str]) -> None:
    """What it means otherwise would be a guess."""
    with pytest.raises(ConfigError) as caught:
        Switch(config)
    assert set(caught.value.errors) == faulty


def test_a_null_in_a_case_counts_as_a_value_unless_it_has_a_condition() -> None:
    """Editors keep both fields and store null in the one that isn't used."""
    assert Switch(SwitchConfig(value="{{ x }}", cases=(Case("a", None),))).run({}).handle == "a"
    both = SwitchConfig(cases=(Case("a", None, amount("<", 1)),))
    assert Switch(both).run({"amount": 0}).handle == "a"
    with pytest.raises(ConfigError):
        Switch(SwitchConfig(cases=(Case("a", None),)))


def test_the_conditions_of_all_cases_are_counted_together() -> None:
    """A hundred cases may not hold a hundred groups of a hundred."""
    many = {"type": "group", "operator": "and", "conditions": [amount("<", 1)] * 100}
    with pytest.raises(ConfigError, match="256 conditions") as caught:
        cases_of(*((f"h{index}", many) for index in range(100)))
    assert len(caught.value.errors) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from([0.0, 1.0, 0.5, "", "1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=5,
)


@given(JSON, JSON)
def test_equality_is_an_equivalence(left: Any, right: Any) -> None:
    """Every value equals itself, the order of the sides doesn't count, and types are kept apart."""
    assert is_equal(left, left)
    assert is_equal(left, right) == is_equal(right, left)
    if is_equal(left, right):
        assert left == right
        assert isinstance(left, bool) == isinstance(right, bool)
