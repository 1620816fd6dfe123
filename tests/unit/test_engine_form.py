"""Forms: how they are asked, left and refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from refold.engine.component import AnswerError, NodeError
from tests.support.form_kit import answer, faults, form, refusal


def test_an_asked_form_holds_all_that_is_shown() -> None:
    """Everything is rendered, and what a field doesn't set is not there."""
    node = form(
        {"name": "reason", "label": "Why, {{ t.who }}?", "type": "textarea", "required": True},
        {"name": "amount", "type": "number", "default": "{{ t.amount }}", "min": 0, "max": 9.5},
        {"name": "plan", "type": "select", "options": ["a", {"value": 5, "label": "Five"}]},
        {"name": "code", "min_length": 1, "max_length": 9, "pattern": "[a-z]+",
         "visible_when": {"type": "string", "left": {"field": "plan"}, "operator": "equals",
                          "right": "{{ t.who }}", "ignore_case": None}},
        title="Order {{ t.amount }}",
        description="For {{ t.who }}",
        actions=[
            {"id": "approve", "label": "Approve {{ t.amount }}", "style": "primary"},
            {"id": "cancel", "validate": False},
        ],
        timeout=90,
    )  # fmt: skip
    asked = node.ask({"t": {"who": "Ada", "amount": 5}})
    assert asked == {
        "title": "Order 5",
        "description": "For Ada",
        "fields": [
            {"name": "reason", "label": "Why, Ada?", "type": "textarea", "required": True,
             "default": None},
            {"name": "amount", "label": "amount", "type": "number", "required": False,
             "default": 5, "min": 0, "max": 9.5},
            {"name": "plan", "label": "plan", "type": "select", "required": False,
             "default": None,
             "options": [{"value": "a", "label": "a"}, {"value": 5, "label": "Five"}]},
            {"name": "code", "label": "code", "type": "text", "required": False, "default": None,
             "min_length": 1, "max_length": 9, "pattern": "[a-z]+",
             "visible_when": {"type": "string", "left": {"field": "plan"}, "operator": "equals",
                              "right": "Ada"}},
        ],
        "actions": [
            {"id": "approve", "label": "Approve 5", "style": "primary", "validate": True},
            {"id": "cancel", "label": "cancel", "validate": False},
        ],
        "timeout_seconds": 90,
    }  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(asked)) == asked


def test_a_form_of_nothing_has_one_button() -> None:
    """The least that can be asked is to go on."""
    node = form()
    assert node.handles == ("submit",)
    assert node.timeout_us() == 0
    asked = node.ask({})
    assert asked["timeout_seconds"] is None
    outcome = node.answer(asked, "submit", {}, "ada")
    assert outcome.handle == "submit"
    assert outcome.output == {"action": "submit", "values": {}, "answered_by": "ada"}


def test_a_form_is_left_by_the_button_or_when_its_time_is_over() -> None:
    """The handle of the time-out exists only where there is one."""
    node = form(actions=[{"id": "approve"}, {"id": "reject"}], timeout=0.5)
    assert node.handles == ("approve", "reject", "timeout")
    assert node.timeout_us() == 500_000
    asked = node.ask({})
    assert node.answer(asked, "reject", {}, "ada").handle == "reject"
    expired = node.expire(asked)
    assert expired.handle == "timeout"
    assert expired.output == {"action": None, "values": {}, "timed_out": True}


@pytest.mark.parametrize(
    ("timeout", "us"), [(0.001, 1000), (1, 1_000_000), (365 * 86_400, 365 * 86_400_000_000)]
)
def test_a_form_may_stay_open_for_a_year(timeout: float, us: int) -> None:
    """The time is kept to the microsecond."""
    assert form(timeout=timeout).timeout_us() == us


@pytest.mark.parametrize("timeout", [0, -1, 0.0001, 365 * 86_400 + 1, "5", True, [5], 1e308])
def test_a_time_out_beyond_its_limits_is_refused(timeout: Any) -> None:
    """So is one that is no number."""
    assert list(faults(timeout=timeout)) == ["timeout"]


def test_what_is_asked_decides_and_not_the_definition() -> None:
    """Days after the question another definition may be current: the person saw the old one."""
    asked = form({"name": "a", "required": True}, actions=[{"id": "old"}]).ask({})
    another = form({"name": "b", "required": True}, actions=[{"id": "new"}])
    asked = msgspec.json.decode(msgspec.json.encode(asked))
    assert another.answer(asked, "old", {"a": "x"}, "ada").output["values"] == {"a": "x"}
    with pytest.raises(AnswerError) as caught:
        another.answer(asked, "new", {"b": "x"}, "ada")
    assert set(caught.value.errors) == {"action", "values.a", "values.b"}


def test_what_was_rendered_is_not_read_as_a_template_again() -> None:
    """A value from outside that looks like a template is text, now and when it is answered."""
    hostile = "{{ vault.key }}{% break %}"
    node = form(
        {"name": "a", "default": "{{ h }}", "label": "{{ h }}"},
        {"name": "b", "type": "select", "options": "{{ list }}"},
        {"name": "c", "visible_when": {"type": "string", "left": {"field": "a"},
                                       "operator": "equals", "right": "{{ h }}"}},
        title="{{ h }}",
    )  # fmt: skip
    asked = node.ask({"h": hostile, "list": [hostile]})
    assert asked["title"] == asked["fields"][0]["label"] == asked["fields"][0]["default"] == hostile
    outcome = node.answer(asked, "submit", {"b": hostile, "c": "seen"}, "ada")
    assert outcome.output["values"] == {"a": hostile, "b": hostile, "c": "seen"}


@pytest.mark.parametrize("action", ["", "Approve", "timeout", "default", "error", "x" * 10_000])
def test_a_button_that_is_not_there_is_refused(action: str) -> None:
    """The message names those that are."""
    node = form(actions=[{"id": "approve"}, {"id": "reject"}], timeout=5)
    assert refusal(node, {}, action) == {"action": ["must be one of 'approve', 'reject'"]}


def test_a_button_that_asks_for_nothing_takes_what_is_there() -> None:
    """Whoever cancels is not made to complete a form; what doesn't fit is left out."""
    node = form(
        {"name": "reason", "required": True},
        {"name": "amount", "type": "number", "max": 5},
        {"name": "note"},
        actions=[{"id": "submit"}, {"id": "cancel", "validate": False}],
    )
    assert set(refusal(node, {"amount": 9})) == {"values.reason", "values.amount"}
    assert answer(node, {"amount": 9, "note": "x"}, "cancel") == {
        "reason": None,
        "amount": None,
        "note": "x",
    }
    assert refusal(node, {"other": 1}, "cancel") == {
        "values.other": ["is not a field of this form"]
    }


def test_all_faults_of_an_answer_are_told_at_once() -> None:
    """Each by the path of its value, and none with the value."""
    node = form({"name": "a", "type": "number"}, {"name": "b", "required": True})
    told = refusal(node, {"a": "secret", "c": 1, "d": 2}, "nobody")
    assert set(told) == {"action", "values.a", "values.b", "values.c", "values.d"}
    assert "secret" not in str(told)


def test_hundreds_of_values_that_nobody_asked_for_are_told_a_hundred_times() -> None:
    """The refusal is no larger than it need be."""
    told = refusal(form(), {f"x{index}" * 100: index for index in range(10_000)})
    assert len(told) == 100
    assert all(len(path) <= 71 for path in told)


def test_an_answer_is_never_too_large_for_the_run() -> None:
    """A person who writes too much is told so, instead of failing the run."""
    node = form(*({"name": f"f{index}"} for index in range(20)))
    values = {f"f{index}": "x" * 10_000 for index in range(20)}
    assert refusal(node, values) == {"values": ["are larger than 131072 bytes in all"]}


UNFIT: list[tuple[tuple[dict[str, Any], ...], dict[str, Any], set[str]]] = [
    ((), {"title": "{{ x"}, {"title"}),
    ((), {"title": 5}, {"title"}),
    ((), {"title": "x" * 1001}, {"title"}),
    ((), {"description": "{% nobody %}"}, {"description"}),
    ((), {"description": "x" * 10_001}, {"description"}),
    ((), {"actions": []}, {"actions"}),
    ((), {"actions": {}}, {"actions"}),
    ((), {"actions": "submit"}, {"actions"}),
    ((), {"actions": ["submit", 5]}, {"actions[0]", "actions[1]"}),
    ((), {"actions": [{}]}, {"actions[0].id"}),
    ((), {"actions": [{"id": 5}]}, {"actions[0].id"}),
    ((), {"actions": [{"id": ""}, {"id": " "}]}, {"actions[0].id", "actions[1].id"}),
    ((), {"actions": [{"id": "timeout"}]}, {"actions[0].id"}),
    ((), {"actions": [{"id": "error"}]}, {"actions[0].id"}),
    ((), {"actions": [{"id": "default"}]}, {"actions[0].id"}),
    ((), {"actions": [{"id": "a"}, {"id": "a"}]}, {"actions[1].id"}),
    ((), {"actions": [{"id": "x" * 65}]}, {"actions[0].id"}),
    ((), {"actions": [{"id": "a", "validate": "no"}]}, {"actions[0].validate"}),
    ((), {"actions": [{"id": "a", "style": "Red; x"}]}, {"actions[0].style"}),
    ((), {"actions": [{"id": "a", "label": "{{"}]}, {"actions[0].label"}),
    ((), {"actions": [{"id": "a", "label": "x" * 201}]}, {"actions[0].label"}),
    ((), {"actions": [{"id": f"a{i}"} for i in range(21)]}, {"actions"}),
    ((), {"fields": {}}, {"fields"}),
    ((), {"fields": [None, "a"]}, {"fields[0]", "fields[1]"}),
    ((), {"fields": [{"name": f"f{i}"} for i in range(101)]}, {"fields"}),
    (({},), {}, {"fields[0].name"}),
    (({"name": ""},), {}, {"fields[0].name"}),
    (({"name": "a b"},), {}, {"fields[0].name"}),
    (({"name": "a\n"},), {}, {"fields[0].name"}),
    (({"name": "1a"},), {}, {"fields[0].name"}),
    (({"name": "a" * 65},), {}, {"fields[0].name"}),
    (({"name": "ä"},), {}, {"fields[0].name"}),
    (({"name": "a"}, {"name": "b"}, {"name": "a"}), {}, {"fields[2].name"}),
    (({"name": "a", "type": "file"},), {}, {"fields[0].type"}),
    (({"name": "a", "required": "yes"},), {}, {"fields[0].required"}),
    (({"name": "a", "label": "{{ x"},), {}, {"fields[0].label"}),
    (({"name": "a", "label": "x" * 201},), {}, {"fields[0].label"}),
    (({"name": "a", "min_length": -1},), {}, {"fields[0].min_length"}),
    (({"name": "a", "max_length": 10_001},), {}, {"fields[0].max_length"}),
    (({"name": "a", "min_length": 2, "max_length": 1},), {}, {"fields[0].min_length"}),
    (({"name": "a", "pattern": "("},), {}, {"fields[0].pattern"}),
    (({"name": "a", "pattern": "x" * 1001},), {}, {"fields[0].pattern"}),
    (({"name": "a", "min": 1},), {}, {"fields[0].min"}),
    (({"name": "a", "type": "number", "pattern": "1"},), {}, {"fields[0].pattern"}),
    (({"name": "a", "type": "number", "min": "1"},), {}, {"fields[0].min"}),
    (({"name": "a", "type": "number", "min": 2, "max": 1},), {}, {"fields[0].min"}),
    (({"name": "a", "type": "date", "min": 2},), {}, {"fields[0].min"}),
    (({"name": "a", "type": "date", "max": "2025-02-30"},), {}, {"fields[0].max"}),
    (({"name": "a", "type": "date", "min": "2025-02-02", "max": "2025-02-01"},), {},
     {"fields[0].min"}),
    (({"name": "a", "type": "multiselect", "options": ["x"], "min": 0.5},), {},
     {"fields[0].min"}),
    (({"name": "a", "type": "boolean", "min_length": 1},), {}, {"fields[0].min_length"}),
    (({"name": "a", "options": ["x"]},), {}, {"fields[0].options"}),
    (({"name": "a", "type": "select"},), {}, {"fields[0].options"}),
    (({"name": "a", "type": "select", "options": []},), {}, {"fields[0].options"}),
    (({"name": "a", "type": "select", "options": "x"},), {}, {"fields[0].options"}),
    (({"name": "a", "type": "select", "options": ["x", "x"]},), {}, {"fields[0].options"}),
    (({"name": "a", "type": "select", "options": [1, 1.0]},), {}, {"fields[0].options"}),
    (({"name": "a", "type": "select", "options": [True]},), {}, {"fields[0].options"}),
    (({"name": "a", "type": "select", "options": [""]},), {}, {"fields[0].options"}),
    (({"name": "a", "type": "select", "options": [{"label": "x"}]},), {},
     {"fields[0].options"}),
    (({"name": "a", "type": "select", "options": [[1]]},), {}, {"fields[0].options"}),
    (({"name": "a", "type": "select", "options": ["{{ x"]},), {}, {"fields[0].options[0]"}),
    (({"name": "a", "type": "select", "options": list(range(1001))},), {},
     {"fields[0].options"}),
    (({"name": "a", "type": "select", "options": ["x"], "default": "y"},), {},
     {"fields[0].default"}),
    (({"name": "a", "type": "number", "default": "x"},), {}, {"fields[0].default"}),
    (({"name": "a", "type": "boolean", "default": 1},), {}, {"fields[0].default"}),
    (({"name": "a", "type": "date", "default": "tomorrow"},), {}, {"fields[0].default"}),
    (({"name": "a", "default": "{{ x"},), {}, {"fields[0].default"}),
    (({"name": "a", "min": 1, "default": "{{ x"}, {"name": "a"}), {},
     {"fields[0].min", "fields[0].default", "fields[1].name"}),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "data", "paths"), UNFIT)
def test_a_form_that_could_not_be_asked_is_refused_on_save(
    fields: tuple[dict[str, Any], ...], data: dict[str, Any], paths: set[str]
) -> None:
    """With a fault at each field that is to be changed."""
    assert set(faults(*fields, **data)) == paths


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ({"type": "number", "default": "{{ v }}"}, "five", "'fields[0].default' must be a number"),
        ({"type": "boolean", "default": "{{ v }}"}, 1, "'fields[0].default' must be true or false"),
        ({"type": "date", "default": "{{ v }}"}, "now", "'fields[0].default' must be a date"),
        ({"type": "select", "options": "{{ v }}"}, [], "'fields[0].options' must be a list"),
        ({"type": "select", "options": "{{ v }}"}, None, "'fields[0].options' must be a list"),
        ({"type": "select", "options": "{{ v }}"}, [None], "'fields[0].options' must hold options"),
        ({"type": "select", "options": "{{ v }}"}, list(range(100_000)), "more than 1000 options"),
        ({"type": "select", "options": ["a"], "default": "{{ v }}"}, "b", "must be one of the opt"),
        ({"label": "{{ v }}"}, "x" * 201, "'fields[0].label' is longer than 200"),
        ({"type": "select", "options": "{{ v }}"}, ["x" * 10_001], "more than 10000 characters"),
        ({"type": "select", "options": "{{ v }}"}, [f"{i}" + "x" * 1000 for i in range(200)],
         "larger than 131072 bytes"),
    ],
)  # fmt: skip
def test_a_form_that_renders_to_none_fails_the_node(
    field: dict[str, Any], value: Any, message: str
) -> None:
    """It must not be opened, since nobody could answer it."""
    node = form({"name": "a", **field})
    with pytest.raises(NodeError) as caught:
        node.ask({"v": value})
    assert caught.value.code == "form_invalid"
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("type_", "value", "default"),
    [
        ("text", 5, "5"),
        ("text", None, None),
        ("text", "", None),
        ("textarea", {"a": 1}, '{"a":1}'),
        ("number", "5", 5),
        ("number", "", None),
        ("boolean", "true", True),
        ("boolean", False, False),
        ("boolean", None, None),
        ("date", "2025-10-31", "2025-10-31"),
        ("email", None, None),
    ],
)
def test_a_default_gets_the_type_of_its_field(type_: str, value: Any, default: Any) -> None:
    """What renders to nothing is no default."""
    node = form({"name": "a", "type": type_, "default": "{{ v }}"})
    assert node.ask({"v": value})["fields"][0]["default"] == default
