"""The laws of conditions: what must hold between operators, whatever the values are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from refold.engine.nodes.operands import is_equal
from tests.support.condition_kit import decide

Spec = dict[str, Any]

texts = st.text(max_size=6) | st.text("aAßİıSsſ", max_size=4)
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, "", "1", "a"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=6,
)
zones = st.sampled_from(["UTC", "Europe/Rome", "America/Sao_Paulo", "Asia/Kolkata", "Pacific/Apia"])


@st.composite
def moments(draw: st.DrawFn) -> str | int:
    """Draw a date, a date-time with or without an offset, or seconds."""
    moment = draw(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)))
    offset = draw(st.none() | st.integers(-14 * 60, 14 * 60))
    kind = draw(st.sampled_from(["date", "written", "seconds"]))
    if kind == "date":
        return moment.date().isoformat()
    if kind == "seconds":
        return int(moment.replace(tzinfo=UTC).timestamp())
    if offset is None:
        return moment.isoformat()
    return moment.replace(tzinfo=timezone(timedelta(minutes=offset))).isoformat()


@st.composite
def leaves(draw: st.DrawFn) -> Spec:
    """Draw a condition that can't fail."""
    kind = draw(st.sampled_from(["number", "string", "boolean"]))
    if kind == "boolean":
        operator = draw(st.sampled_from(["is_true", "is_false"]))
        return {"type": kind, "left": draw(st.booleans()), "operator": operator}
    if kind == "number":
        sides, operators = st.integers(0, 3), ["=", "!=", "<", "<=", ">", ">="]
        left: Any = draw(sides)
        right: Any = draw(sides)
    else:
        letters = st.text("ab", max_size=2)
        operators = ["equals", "not_equals", "contains", "starts_with", "ends_with"]
        left, right = draw(letters), draw(letters)
    operator = draw(st.sampled_from(operators))
    return {"type": kind, "left": left, "operator": operator, "right": right}


@st.composite
def groups(draw: st.DrawFn, inner: st.SearchStrategy[Spec]) -> Spec:
    """Draw a group of conditions."""
    operator = draw(st.sampled_from(["and", "or", "not"]))
    inside = draw(st.lists(inner, min_size=1, max_size=1 if operator == "not" else 3))
    return group(operator, *inside)


def group(operator: str, *conditions: Spec) -> Spec:
    """Make a group."""
    return {"type": "group", "operator": operator, "conditions": list(conditions)}


def depth(spec: Spec) -> int:
    """Count the levels of a condition."""
    return 1 + max(map(depth, spec.get("conditions", [])), default=0)


specs: st.SearchStrategy[Spec] = st.recursive(leaves(), groups, max_leaves=6).filter(
    lambda spec: depth(spec) < 7
)


def holds(spec: Spec, context: dict[str, Any] | None = None) -> bool:
    """Say whether a condition holds."""
    outcome = decide("logical_group", context, operator="and", conditions=[spec])
    return bool(outcome.output["result"])


def on(component: str, operator: str, left: Any, /, **more: Any) -> bool:
    """Say what an operator decides, for values that are never read as templates."""
    context = {"l": left, **{f"v{name}": value for name, value in more.items()}}
    data = {name: f"{{{{ v{name} }}}}" for name in more}
    outcome = decide(component, context, left="{{ l }}", operator=operator, **data)
    return bool(outcome.output["result"])


@given(specs)
def test_not_undoes_itself(spec: Spec) -> None:
    """The opposite of the opposite is the condition."""
    assert holds(group("not", group("not", spec))) is holds(spec)
    assert holds(group("not", spec)) is not holds(spec)


@given(st.lists(specs, min_size=1, max_size=3))
def test_not_turns_and_into_or(inside: list[Spec]) -> None:
    """De Morgan's laws, both of them."""
    opposites = [group("not", spec) for spec in inside]
    assert holds(group("not", group("and", *inside))) is holds(group("or", *opposites))
    assert holds(group("not", group("or", *inside))) is holds(group("and", *opposites))


@given(st.lists(specs, min_size=1, max_size=4), st.randoms())
def test_the_order_of_conditions_changes_what_is_evaluated_and_not_what_is_decided(
    inside: list[Spec], random: Any
) -> None:
    """Where none fails, to stop early only saves work."""
    shuffled = random.sample(inside, len(inside))
    for operator in ("and", "or"):
        assert holds(group(operator, *inside)) is holds(group(operator, *shuffled))
    assert holds(group("and", *inside)) is all(map(holds, inside))
    assert holds(group("or", *inside)) is any(map(holds, inside))


@given(numbers, numbers, numbers)
def test_between_is_not_less_than_one_and_not_more_than_the_other(
    left: float, low: float, high: float
) -> None:
    """It is the same as to ask both."""
    both = on("number_condition", "greater_or_equal", left, right=low) and on(
        "number_condition", "less_or_equal", left, right=high
    )
    assert on("number_condition", "between", left, min=low, max=high) is both


@given(numbers, numbers)
def test_exactly_one_order_holds_between_two_numbers(left: float, right: float) -> None:
    """And it is turned around when the sides are."""
    held = [
        name
        for name in ("less_than", "equals", "greater_than")
        if on("number_condition", name, left, right=right)
    ]
    assert len(held) == 1
    assert on("number_condition", "less_than", left, right=right) is on(
        "number_condition", "greater_than", right, right=left
    )


@given(moments(), moments(), zones)
def test_before_and_after_are_opposites(left: Any, right: Any, zone: str) -> None:
    """Never both, never both ways, and neither only for the same moment."""
    before = on("date_condition", "before", left, right=right, timezone=zone)
    after = on("date_condition", "after", left, right=right, timezone=zone)
    same = on("date_condition", "between", left, min=right, max=right, timezone=zone)
    assert before + after + same == 1
    assert before is on("date_condition", "after", right, right=left, timezone=zone)


@given(moments(), moments(), moments(), zones)
def test_before_goes_on(first: Any, second: Any, third: Any, zone: str) -> None:
    """What is before something is before all that comes after it."""
    if on("date_condition", "before", first, right=second, timezone=zone) and on(
        "date_condition", "before", second, right=third, timezone=zone
    ):
        assert on("date_condition", "before", first, right=third, timezone=zone)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC)), zones)
def test_a_moment_is_the_same_however_it_is_written(moment: datetime, zone: str) -> None:
    """In UTC, or in a time zone with its offset."""
    there = moment.astimezone(ZoneInfo(zone))
    data = {"min": moment.isoformat(), "max": moment.isoformat()}
    assert on("date_condition", "between", there.isoformat(), **data)


@given(texts, st.lists(texts, max_size=4), st.lists(texts, max_size=2), st.booleans())
def test_what_is_in_a_list_is_in_every_longer_one(
    text: str, items: list[str], others: list[str], fold: bool
) -> None:
    """`in_list` only ever gains, and is `equals` with one of the items."""
    found = _in_list(text, items, fold)
    assert not found or _in_list(text, [*others, *items, *others], fold)
    assert found is any(_on_texts("equals", text, item, fold) for item in items)


@given(texts, texts, st.booleans())
def test_equality_of_texts_has_no_direction(left: str, right: str, fold: bool) -> None:
    """Each equals itself, both equal each other or not, and the opposite is the opposite."""
    assert _on_texts("equals", left, left, fold)
    assert _on_texts("equals", left, right, fold) is _on_texts("equals", right, left, fold)
    for name, opposite in (("equals", "not_equals"), ("contains", "not_contains")):
        assert _on_texts(name, left, right, fold) is not _on_texts(opposite, left, right, fold)


@given(texts, texts, texts, st.booleans())
def test_a_text_contains_its_parts(first: str, second: str, third: str, fold: bool) -> None:
    """It starts with the first, ends with the last, and contains what is between."""
    whole = first + second + third
    assert _on_texts("starts_with", whole, first, False)
    assert _on_texts("ends_with", whole, third, False)
    assert _on_texts("contains", whole, second, fold)
    for operator in ("starts_with", "ends_with"):
        if _on_texts(operator, first, second, fold):
            assert _on_texts("contains", first, second, fold)


@given(st.lists(values, max_size=4), values)
def test_a_list_contains_what_any_of_its_elements_equals(items: list[Any], value: Any) -> None:
    """And its length is that of the list."""
    found = on("array_condition", "contains", items, right=value)
    assert found is any(is_equal(item, value) for item in items)
    assert found is not on("array_condition", "not_contains", items, right=value)
    assert on("array_condition", "is_empty", items) is (not items)


@given(st.lists(st.integers(0, 4), max_size=5), st.integers(0, 4))
def test_all_any_and_none_are_one_question(items: list[int], limit: int) -> None:
    """`none` is not `any`, and `all` is none of the opposite."""
    over = {"type": "number", "left": "{{ item }}", "operator": ">", "right": limit}

    def asked(operator: str, condition: Spec) -> bool:
        data = {"left": items, "operator": operator, "condition": condition}
        return bool(decide("array_condition", **data).output["result"])

    assert asked("any", over) is any(item > limit for item in items)
    assert asked("none", over) is not asked("any", over)
    assert asked("all", over) is asked("none", group("not", over))


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=6), st.integers(0, 3))
def test_a_switch_leaves_by_its_first_case_that_applies(
    cases: list[tuple[int, bool]], value: int
) -> None:
    """Whether the cases are values or conditions, and whatever comes after."""
    when = {"type": "number", "left": "{{ v }}", "operator": "="}
    made = [
        {"handle": f"h{index}", "when": {**when, "right": wanted}}
        if by_condition
        else {"handle": f"h{index}", "equals": wanted}
        for index, (wanted, by_condition) in enumerate(cases)
    ]
    first = next((f"h{i}" for i, (wanted, _) in enumerate(cases) if wanted == value), "default")
    assert decide("switch", {"v": value}, value="{{ v }}", cases=made).handle == first


def _on_texts(operator: str, left: str, right: str, fold: bool) -> bool:
    data = {"left": "{{ l }}", "operator": operator, "right": "{{ r }}", "ignore_case": fold}
    return bool(decide("string_condition", {"l": left, "r": right}, **data).output["result"])


def _in_list(text: str, items: list[str], fold: bool) -> bool:
    data = {"left": "{{ l }}", "operator": "in_list", "right": "{{ r }}", "ignore_case": fold}
    return bool(decide("string_condition", {"l": text, "r": items}, **data).output["result"])
