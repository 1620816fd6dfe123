"""The switch node: the first case that is equal decides, and handles are unambiguous."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.engine.component import ConfigError
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
