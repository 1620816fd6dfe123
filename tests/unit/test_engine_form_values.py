"""The fields of a form: which values each type takes, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.form_kit import answer, form, refusal

OPTIONS = ["a", "b", 5, 0, 1, {"value": "c", "label": "See"}]


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ({}, "x", "x"),
        ({}, " x ", " x "),
        ({}, "", None),
        ({}, None, None),
        ({}, " ", " "),
        ({}, "x" * 10_000, "x" * 10_000),
        ({}, "日本語\x00😀", "日本語\x00😀"),
        ({"type": "textarea"}, "a\nb", "a\nb"),
        ({"min_length": 2, "max_length": 2}, "😀😀", "😀😀"),
        ({"min_length": 2}, "", None),
        ({"pattern": "[A-Z]{2}[0-9]+"}, "AB12", "AB12"),
        ({"pattern": "a|ab"}, "ab", "ab"),
        ({"type": "number"}, 5, 5),
        ({"type": "number"}, 0, 0),
        ({"type": "number"}, -2.5, -2.5),
        ({"type": "number"}, "5", 5),
        ({"type": "number"}, "-2.5e1", -25.0),
        ({"type": "number"}, 2**70, 2**70),
        ({"type": "number", "min": 1, "max": 3}, 1, 1),
        ({"type": "number", "min": 1, "max": 3}, 3.0, 3.0),
        ({"type": "boolean"}, True, True),
        ({"type": "boolean"}, False, False),
        ({"type": "boolean"}, "false", False),
        ({"type": "boolean", "required": True}, False, False),
        ({"type": "select"}, "a", "a"),
        ({"type": "select"}, "c", "c"),
        ({"type": "select"}, 5, 5),
        ({"type": "select"}, 5.0, 5),
        ({"type": "select"}, "", None),
        ({"type": "multiselect"}, ["b", "a"], ["b", "a"]),
        ({"type": "multiselect"}, [], None),
        ({"type": "multiselect", "min": 1, "max": 2}, ["a", 5], ["a", 5]),
        ({"type": "date"}, "2024-02-29", "2024-02-29"),
        ({"type": "date", "min": "2025-01-01", "max": "2025-12-31"}, "2025-12-31", "2025-12-31"),
        ({"type": "email"}, "ada@example.com", "ada@example.com"),
        ({"type": "email"}, "a.b+c@sub.example.co", "a.b+c@sub.example.co"),
        ({"type": "email"}, "jörg@münchen.example", "jörg@münchen.example"),
        ({"type": "url"}, "https://example.com/a?b=c#d", "https://example.com/a?b=c#d"),
        ({"type": "url"}, "http://[::1]:8080/", "http://[::1]:8080/"),
        ({"type": "url"}, "http://localhost", "http://localhost"),
    ],
)
def test_a_value_that_fits_is_kept(field: dict[str, Any], value: Any, kept: Any) -> None:
    """Numbers and booleans may come as text, as a browser sends them; nothing is null."""
    if field.get("type") in ("select", "multiselect"):
        field = {**field, "options": OPTIONS}
    got = answer(form({"name": "a", **field}), {"a": value})
    assert got == {"a": kept}
    assert type(got["a"]) is type(kept)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ({}, 5, "must be a text"),
        ({}, ["x"], "must be a text"),
        ({}, {}, "must be a text"),
        ({}, True, "must be a text"),
        ({}, "\ud800", "must be a text"),
        ({}, "x" * 10_001, "must have at most 10000 characters"),
        ({"max_length": 3}, "x" * 100_000, "must have at most 3 characters"),
        ({"min_length": 3}, "xx", "must have at least 3 characters"),
        ({"pattern": "[A-Z]+"}, "AB1", "must match the pattern of this field"),
        ({"pattern": "A"}, "AA", "must match the pattern of this field"),
        ({"pattern": "(a+)+"}, "a" * 9_999 + "!", "must match the pattern of this field"),
        ({"pattern": "\\p{L}{1,60}"}, "é" * 10_000, "is too long for the pattern of this field"),
        ({"required": True}, None, "is required"),
        ({"required": True}, "", "is required"),
        ({"required": True}, " \n", "is required"),
        ({"type": "number"}, "five", "must be a number"),
        ({"type": "number"}, True, "must be a number"),
        ({"type": "number"}, [5], "must be a number"),
        ({"type": "number"}, "1e999", "must be a number"),
        ({"type": "number"}, float("inf"), "must be a number"),
        ({"type": "number"}, 10**400, "must be a number of at most 300 digits"),
        ({"type": "number", "required": True}, "", "is required"),
        ({"type": "number", "min": 1}, 0.99, "must be 1 or more"),
        ({"type": "number", "max": 1.5}, 2, "must be 1.5 or less"),
        ({"type": "boolean"}, 1, "must be true or false"),
        ({"type": "boolean"}, "yes", "must be true or false"),
        ({"type": "boolean", "required": True}, None, "is required"),
        ({"type": "select"}, False, "must be one of the options of this field"),
        ({"type": "select"}, "d", "must be one of the options of this field"),
        ({"type": "select"}, "5", "must be one of the options of this field"),
        ({"type": "select"}, "See", "must be one of the options of this field"),
        ({"type": "select"}, True, "must be one of the options of this field"),
        ({"type": "select"}, ["a"], "must be one of the options of this field"),
        ({"type": "select"}, {"value": "a"}, "must be one of the options of this field"),
        ({"type": "multiselect"}, "a", "must be a list of options"),
        ({"type": "multiselect"}, ["a", "d"], "must be one of the options of this field"),
        ({"type": "multiselect"}, ["a", "a"], "must not name an option twice"),
        ({"type": "multiselect"}, [["a"]], "must be one of the options of this field"),
        ({"type": "multiselect"}, ["a"] * 100_000, "must not name an option twice"),
        ({"type": "multiselect", "min": 2}, ["a"], "needs 2 options or more"),
        ({"type": "multiselect", "max": 1}, ["a", "b"], "takes 1 options at most"),
        ({"type": "multiselect", "required": True}, [], "is required"),
        ({"type": "date"}, "2025-02-29", "must be a date such as '2025-10-31'"),
        ({"type": "date"}, "2025-10-31T00:00:00Z", "must be a date such as '2025-10-31'"),
        ({"type": "date"}, "20251031", "must be a date such as '2025-10-31'"),
        ({"type": "date"}, 1_761_912_000, "must be a date such as '2025-10-31'"),
        ({"type": "date", "min": "2025-01-02"}, "2025-01-01", "must be 2025-01-02 or later"),
        ({"type": "date", "max": "2025-01-02"}, "2025-01-03", "must be 2025-01-02 or earlier"),
        ({"type": "email"}, "ada", "must be an email address"),
        ({"type": "email"}, "ada@localhost", "must be an email address"),
        ({"type": "email"}, "ada@example.com\nBcc: x@y.z", "must be an email address"),
        ({"type": "email"}, "a@b.c, d@e.f", "must be an email address"),
        ({"type": "email"}, "Ada <ada@example.com>", "must be an email address"),
        ({"type": "email"}, "a@" + "b." * 4_000 + "c", "must be an email address"),
        ({"type": "email"}, "a@b..c", "must be an email address"),
        ({"type": "url"}, "example.com", "must be an http or https address"),
        ({"type": "url"}, "javascript:alert(1)", "must be an http or https address"),
        ({"type": "url"}, "file:///etc/passwd", "must be an http or https address"),
        ({"type": "url"}, "ftp://example.com/a", "must be an http or https address"),
        ({"type": "url"}, "javascript://example.com/%0aalert(1)", "must be an http or https"),
        ({"type": "url"}, "https://", "must be an http or https address"),
        ({"type": "url"}, "https://a b", "must be an http or https address"),
        ({"type": "url"}, "https://a\n.example", "must be an http or https address"),
        ({"type": "url"}, "https://[::1", "must be an http or https address"),
        ({"type": "url"}, "https://a:99999", "must be an http or https address"),
        ({"type": "url"}, "https://a/" + "x" * 2048, "must be an http or https address"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(
    field: dict[str, Any], value: Any, message: str
) -> None:
    """By the path of the value, and without the value."""
    if field.get("type") in ("select", "multiselect"):
        field = {**field, "options": OPTIONS}
    told = refusal(form({"name": "a", **field}), {"a": value})
    assert list(told) == ["values.a"]
    assert len(told["values.a"]) == 1
    assert message in told["values.a"][0]


def test_several_rules_may_be_broken_at_once() -> None:
    """Whoever mends one should not be told of the next only afterwards."""
    node = form({"name": "a", "type": "email", "min_length": 5, "pattern": ".*x"})
    assert refusal(node, {"a": "ada"})["values.a"] == [
        "must have at least 5 characters",
        "must be an email address",
        "must match the pattern of this field",
    ]


def test_a_default_stands_in_for_a_value_that_is_not_sent() -> None:
    """It is what the form shows; null or an empty text says that it was taken away."""
    node = form({"name": "a", "default": "{{ d }}"}, {"name": "b", "required": True, "default": 5})
    assert answer(node, {}, d="x") == {"a": "x", "b": "5"}
    assert answer(node, {"a": None}, d="x") == {"a": None, "b": "5"}
    assert answer(node, {"a": ""}, d="x") == {"a": None, "b": "5"}
    assert answer(node, {"a": "y", "b": "z"}, d="x") == {"a": "y", "b": "z"}
    assert refusal(node, {"b": ""}) == {"values.b": ["is required"]}


def test_a_default_is_held_to_the_rules_of_its_field() -> None:
    """It may come from outside; the person who presses the button answers for it."""
    node = form({"name": "a", "type": "number", "max": 5, "default": 9})
    assert refusal(node, {}) == {"values.a": ["must be 5 or less"]}


def test_the_values_stand_in_the_order_of_the_fields() -> None:
    """However they were sent, and whichever is asked first by a condition."""
    shown = {"type": "string", "left": {"field": "c"}, "operator": "is_not_empty"}
    node = form({"name": "a", "visible_when": shown}, {"name": "b"}, {"name": "c"})
    assert list(answer(node, {"c": "1", "b": "2", "a": "3"})) == ["a", "b", "c"]
