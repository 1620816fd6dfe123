"""The operators on text: one row a case."""

from __future__ import annotations

from typing import Any

import pytest

from refold.engine.component import ConfigError, NodeError
from refold.engine.nodes.patterns import PATTERN_LENGTH_MAX, Pattern, PatternFault
from tests.support.condition_kit import check, compiled, decide

LONG = "ä" * 100_000
E_ACUTE, E_AND_ACUTE = "\u00e9", "e\u0301"


@pytest.mark.parametrize(
    ("left", "operator", "right", "result"),
    [
        ("", "equals", "", True),
        ("a", "equals", "a", True),
        ("a", "equals", "b", False),
        ("a", "equals", "A", False),
        ("a", "equals", "a ", False),
        ("a\x00b", "equals", "a\x00b", True),
        ("a\x00b", "equals", "a\x00c", False),
        ("日本語", "equals", "日本語", True),
        ("😀", "equals", "😀", True),
        ("👨‍👩‍👧", "equals", "👨", False),
        (E_ACUTE, "equals", E_AND_ACUTE, False),
        ("1", "equals", "1.0", False),
        ("null", "equals", None, False),
        (None, "equals", None, True),
        (None, "equals", "", True),
        (LONG, "equals", LONG, True),
        (LONG, "equals", LONG + "x", False),
        ("a", "not_equals", "b", True),
        ("a", "not_equals", "a", False),
        ("a", "not_equals", "A", True),
        (None, "not_equals", "", False),
        ("", "not_equals", None, False),
        (E_ACUTE, "not_equals", E_AND_ACUTE, True),
        ("abc", "contains", "b", True),
        ("abc", "contains", "abc", True),
        ("abc", "contains", "ac", False),
        ("abc", "contains", "", True),
        ("", "contains", "", True),
        ("", "contains", "a", False),
        (None, "contains", "a", False),
        ("Straße", "contains", "ß", True),
        ("日本語", "contains", "本", True),
        ("a\nb", "contains", "\n", True),
        ("a.c", "contains", ".", True),
        ("abc", "contains", ".", False),
        (LONG + "x", "contains", "x", True),
        (LONG, "contains", "x", False),
        ("abc", "not_contains", "d", True),
        ("abc", "not_contains", "b", False),
        ("abc", "not_contains", "", False),
        (None, "not_contains", "a", True),
        ("ABC", "not_contains", "b", True),
        ("abc", "starts_with", "ab", True),
        ("abc", "starts_with", "abc", True),
        ("abc", "starts_with", "abcd", False),
        ("abc", "starts_with", "b", False),
        ("abc", "starts_with", "", True),
        (None, "starts_with", "a", False),
        ("éa", "starts_with", "é", True),
        (E_AND_ACUTE, "starts_with", "e", True),
        (E_ACUTE, "starts_with", "e", False),
        ("😀x", "starts_with", "😀", True),
        ("abc", "ends_with", "bc", True),
        ("abc", "ends_with", "abc", True),
        ("abc", "ends_with", "ab", False),
        ("abc", "ends_with", "", True),
        ("abc\n", "ends_with", "c", False),
        (None, "ends_with", None, True),
        (LONG + "!", "ends_with", "!", True),
        ("x😀", "ends_with", "😀", True),
    ],
)
def test_operators_on_text(left: Any, operator: str, right: Any, result: bool) -> None:
    """Text compares letter by letter as it was written; null is empty text."""
    context = {"l": left, "r": right}
    data = {"left": "{{ l }}", "operator": operator, "right": "{{ r }}"}
    check(decide("string_condition", context, **data), result)


@pytest.mark.parametrize(
    ("left", "operator", "right", "result"),
    [
        ("a", "equals", "A", True),
        ("Ä", "equals", "ä", True),
        ("straße", "equals", "STRASSE", True),
        ("STRASSE", "equals", "straße", True),
        ("ẞ", "equals", "ß", True),
        ("ẞ", "equals", "ss", True),
        ("ﬀ", "equals", "FF", True),
        ("İ", "equals", "i\u0307", True),
        ("İ", "equals", "i", False),
        ("ı", "equals", "i", False),
        ("ı", "equals", "I", False),
        ("Σ", "equals", "ς", True),
        ("ΟΔΟΣ", "equals", "οδος", True),
        ("Å", "equals", "\u00e5", True),
        ("\u212b", "equals", "å", True),
        ("K", "equals", "\u212a", True),
        ("Ж", "equals", "ж", True),
        ("日本", "equals", "日本", True),
        (E_ACUTE, "equals", E_AND_ACUTE, False),
        ("a", "not_equals", "A", False),
        ("ß", "not_equals", "SS", False),
        ("ı", "not_equals", "i", True),
        ("Die Straße", "contains", "STRASSE", True),
        ("STRASSE", "contains", "ß", True),
        ("abc", "contains", "BC", True),
        ("İstanbul", "contains", "STANBUL", True),
        ("abc", "not_contains", "BC", False),
        ("abc", "not_contains", "BD", True),
        ("ßa", "starts_with", "SS", True),
        ("ßa", "starts_with", "S", True),
        ("abc", "starts_with", "AB", True),
        ("İzmir", "starts_with", "i\u0307Z", True),
        ("groß", "ends_with", "OSS", True),
        ("abc", "ends_with", "BC", True),
        ("ΟΔΟΣ", "ends_with", "ς", True),
        (LONG, "equals", LONG.upper(), True),
    ],
)
def test_case_is_folded_for_all_of_unicode(
    left: str, operator: str, right: str, result: bool
) -> None:
    """`ignore_case` folds, which is more than to write small: ß is SS, and a dotless ı no i."""
    data = {"left": left, "operator": operator, "right": right, "ignore_case": True}
    check(decide("string_condition", **data), result)


@pytest.mark.parametrize(
    ("left", "result"),
    [
        ("", True),
        (None, True),
        (" ", False),
        ("\n", False),
        ("\x00", False),
        ("\u200b", False),
        ("0", False),
        ("null", False),
        (LONG, False),
    ],
)
def test_only_a_text_without_any_letter_is_empty(left: Any, result: bool) -> None:
    """White space is text, and null is none."""
    for operator, expected in (("is_empty", result), ("is_not_empty", not result)):
        data = {"left": "{{ l }}", "operator": operator}
        check(decide("string_condition", {"l": left}, **data), expected)


@pytest.mark.parametrize(
    ("left", "right", "ignore_case", "result"),
    [
        ("a", ["a"], False, True),
        ("a", ["b", "a"], False, True),
        ("a", ["A"], False, False),
        ("a", ["A"], True, True),
        ("ß", ["x", "SS"], True, True),
        ("İ", ["i"], True, False),
        ("İ", ["i\u0307"], True, True),
        ("a", [], False, False),
        ("", [""], False, True),
        (None, [""], False, True),
        (None, [None], False, False),
        ("1", [1], False, False),
        ("true", [True], False, False),
        ("a", [["a"]], False, False),
        ("a", [{"a": "a"}], False, False),
        ("x", [None, 5, "x"], False, True),
        ("99999", [str(number) for number in range(100_000)], False, True),
        ("-1", [str(number) for number in range(100_000)], True, False),
    ],
)
def test_a_text_is_in_a_list_of_texts(
    left: Any, right: list[Any], ignore_case: bool, result: bool
) -> None:
    """What is no text in the list is equal to none."""
    data = {"left": "{{ l }}", "operator": "in_list", "right": "{{ r }}"}
    context = {"l": left, "r": right}
    check(decide("string_condition", context, ignore_case=ignore_case, **data), result)


@pytest.mark.parametrize(
    ("left", "pattern", "ignore_case", "result"),
    [
        ("abc", "b", False, True),
        ("abc", "^b", False, False),
        ("abc", "^abc$", False, True),
        ("abc\n", "^abc$", False, False),
        ("a\nabc", "^abc$", False, False),
        ("a\nabc", "(?m)^abc$", False, True),
        ("a\nb", "a.b", False, False),
        ("a\nb", "(?s)a.b", False, True),
        ("ABC", "abc", False, False),
        ("ABC", "abc", True, True),
        ("ABC", "(?i)abc", False, True),
        ("ÄRGER", "^ärger$", True, True),
        ("STRASSE", "straße", True, False),
        ("ẞ", "ß", True, True),
        ("K", "\u212a", True, True),
        ("日本語", "^\\p{Han}{3}$", False, True),
        ("日本語", "^.{3}$", False, True),
        ("😀", "^.$", False, True),
        ("5", "^\\d$", False, True),
        ("٥", "^\\d$", False, False),
        ("٥", "^\\p{Nd}$", False, True),
        ("a b", "a\\sb", False, True),
        ("", "^$", False, True),
        (None, "^$", False, True),
        (None, "a", False, False),
        ("a\x00b", "a\\x00b", False, True),
        ("ada@example.com", "^[^@\\s]+@[^@\\s]+\\.[a-z]{2,}$", False, True),
        ("not an address", "^[^@\\s]+@[^@\\s]+\\.[a-z]{2,}$", False, False),
        ("2025-10-31", "^\\d{4}-\\d{2}-\\d{2}$", False, True),
        ("\ud800", "^.$", False, True),
    ],
)
def test_patterns(left: Any, pattern: str, ignore_case: bool, result: bool) -> None:
    """A pattern may match anywhere; `^` and `$` are the ends of the text, `(?…)` its flags."""
    data = {"left": "{{ l }}", "operator": "matches", "ignore_case": ignore_case}
    check(decide("string_condition", {"l": left}, right=pattern, **data), result)
    rendered = decide("string_condition", {"l": left, "p": pattern}, right="{{ p }}", **data)
    check(rendered, result)
    assert rendered.output["right"] == pattern


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "(a|aa)+$", "^(a|a?)+$", "(.*a){20}$", "^(([a-z])+.)+[A-Z]([a-z])+$", "(?:a*)*b"],
)
def test_a_pattern_that_hangs_others_ends_here(pattern: str) -> None:
    """Each of these takes others longer than anyone waits, on a text of a hundred thousand."""
    context = {"l": "a" * 100_000 + "!"}
    data = {"left": "{{ l }}", "operator": "matches", "right": pattern}
    check(decide("string_condition", context, **data), False)


def test_a_text_too_long_for_its_pattern_fails_the_node() -> None:
    """The work is measured before it begins, and small texts still go through."""
    data = {"left": "{{ l }}", "operator": "matches", "right": "(?:(?:x?y?z?){30}){30}$"}
    node = compiled("string_condition", data)
    check(node.run({"l": "xyz"}), True)
    with pytest.raises(NodeError, match="too long for so large a pattern") as caught:
        node.run({"l": "ab" * 131_072})
    assert caught.value.code == "condition_limit"


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "missing )"),
        ("a)", "unexpected )"),
        ("[", "missing ]"),
        ("*", "no argument for repetition operator"),
        ("a**", "bad repetition operator"),
        ("(?=a)", "invalid perl operator"),
        ("(?<!a)b", "invalid perl operator"),
        ("(a)\\1", "invalid escape sequence"),
        ("a{1001}", "invalid repetition size"),
        ("((a{100}){100}){100}", "invalid repetition size"),
        ("[\\p{L}]{1000}", "pattern too large - compile failed"),
        ("\\p{Nobody}", "invalid character class range"),
        ("x" * (PATTERN_LENGTH_MAX + 1), "more than 1000 characters"),
        ("", "empty"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused(pattern: str, reason: str) -> None:
    """The reason is told without the pattern, which may hold data."""
    with pytest.raises(PatternFault) as caught:
        Pattern(pattern)
    fault = str(caught.value)
    assert reason in fault
    assert len(pattern) < 3 or pattern not in fault
    with pytest.raises(NodeError) as failed:
        decide("string_condition", {"p": pattern}, left="x", operator="matches", right="{{ p }}")
    assert failed.value.code == "pattern_invalid"
    assert failed.value.message == f"Operand 'right' {fault}"
    with pytest.raises(ConfigError) as refused:
        decide("string_condition", left="x", operator="matches", right=pattern)
    assert refused.value.errors == {"nodes[0].data.right": [failed.value.message]}


def test_a_pattern_at_the_limit_is_taken() -> None:
    """A thousand characters are allowed, deep parentheses too."""
    assert Pattern("x" * PATTERN_LENGTH_MAX).is_in("x" * PATTERN_LENGTH_MAX)
    assert Pattern("(" * 500 + ")" * 500).is_in("")


def test_a_pattern_can_be_asked_of_the_whole_text() -> None:
    """Forms ask so, as a browser does."""
    assert Pattern("a|ab").is_all_of("ab")
    assert not Pattern("a").is_all_of("ab")
