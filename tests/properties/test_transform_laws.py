"""Laws of the nodes that shape data: inverses, and what changes nothing a second time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from refold.engine.date_arithmetic import (
    PERIODS,
    DateRangeError,
    Period,
    Unit,
    difference,
    end_of,
    in_zone,
    shift,
    start_of,
    zone_of,
)
from refold.engine.date_formats import ReadFormat, write, write_iso
from refold.engine.nodes.moments import need_moment
from refold.engine.value_order import identity_of, order_of
from tests.support.shaping_kit import output, strings

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXTS
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    SCALARS | NUMBERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
ZONES = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "Australia/Lord_Howe",
        "America/Sao_Paulo",
        "Africa/Monrovia",
        "+05:30",
    ]
).map(zone_of)
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC))
FIXED: list[Unit] = ["seconds", "minutes", "hours"]
CALENDAR: list[Unit] = ["days", "weeks", "months", "quarters", "years"]


@given(TEXTS)
@pytest.mark.parametrize("code", ["base64", "url"])
@pytest.mark.parametrize("options", [{}, {"url_safe": True}])
def test_decoding_undoes_encoding(code: str, options: dict[str, Any], text: str) -> None:
    """For every text that there is."""
    given_options = options if code == "base64" else {}
    encode = {"op": f"{code}_encode", **given_options}
    decode = {"op": f"{code}_decode", **given_options}
    assert strings(text, encode, decode) == text


@given(TEXTS)
@pytest.mark.parametrize("name", ["trim", "lower", "slug"])
def test_doing_it_again_changes_nothing(name: str, text: str) -> None:
    """Trimmed, small and slug-like text stays as it is."""
    once = strings(text, {"op": name})
    # A few letters have a small form that has a smaller one again.
    assume(name != "lower" or once.lower() == once)
    assert strings(once, {"op": name}) == once


@given(TEXTS, st.text(min_size=1, max_size=3))
def test_joining_undoes_splitting(text: str, separator: str) -> None:
    """And the parts hold no separator."""
    assume("{{" not in separator)
    assume("{%" not in separator)
    split = {"op": "split", "separator": separator}
    assume(not any("\ud800" <= letter <= "\udfff" for letter in separator))
    assert strings(text, split, {"op": "join", "separator": separator}) == text
    assert all(separator not in part for part in strings(text, split))


@given(TEXTS, st.integers(0, 70), st.integers(0, 5))
def test_lengths_are_kept(text: str, length: int, ending: int) -> None:
    """What is truncated is short enough, what is padded long enough, and begins the same."""
    cut = strings(text, {"op": "truncate", "length": length, "ending": "." * ending})
    assert len(cut) == min(len(text), length)
    padded = strings(text, {"op": "pad", "length": length, "side": "end"})
    assert len(padded) == max(len(text), length)
    assert padded.startswith(text)


@given(TEXTS, TEXTS.filter(bool))
def test_a_pattern_without_meaning_replaces_as_text_does(text: str, word: str) -> None:
    """Two ways to the same place."""
    assume(not any(mark in word for mark in ("{{", "{%", "vlt_", "\x00")))
    quoted = "".join(f"\\x{{{ord(letter):x}}}" for letter in word)
    by_pattern = strings(
        text + word, {"op": "regex_replace", "pattern": quoted, "replacement": "-"}
    )
    assert by_pattern == strings(text + word, {"op": "replace", "find": word, "replacement": "-"})


@given(JSON)
def test_reading_undoes_writing_json(value: Any) -> None:
    """By whichever writer."""
    for text in (msgspec.json.encode(value).decode(), json.dumps(value)):
        made = output("json_parser", {"source": "{{ text }}"}, text=text)
        assert made == (value if isinstance(value, dict) else {"value": value})


@given(st.lists(JSON, max_size=12))
def test_sorting_orders_once_and_for_all(items: list[Any]) -> None:
    """The order is total, and nothing is lost."""
    data: dict[str, Any] = {"items": "list", "sort": [{}]}
    once = output("array_filter", data, list=items)["items"]
    assert output("array_filter", data, list=once)["items"] == once
    assert sorted(map(identity_text, once)) == sorted(map(identity_text, items))
    present = [order_of(item) for item in once if item is not None]
    assert all(left <= right for left, right in pairwise(present))


@given(st.lists(JSON, max_size=12))
def test_what_is_unique_stays_so(items: list[Any]) -> None:
    """Each value is left once, the first time that it stands there."""
    data = {"items": "list", "unique": True}
    once = output("array_filter", data, list=items + items)["items"]
    assert output("array_filter", data, list=once)["items"] == once
    assert len({identity_of(item) for item in once}) == len(once)
    assert {identity_of(item) for item in once} == {identity_of(item) for item in items}


@given(st.lists(st.integers(-50, 50), max_size=20), st.integers(-50, 50))
def test_filtering_again_leaves_all(items: list[int], bound: int) -> None:
    """And what is left is what a list comprehension would leave."""
    condition = {
        "type": "number",
        "left": "{{ item }}",
        "operator": "greater_than",
        "right": "{{ bound }}",
    }
    data = {"items": "list", "where": condition}
    once = output("array_filter", data, list=items, bound=bound)["items"]
    assert once == [item for item in items if item > bound]
    assert output("array_filter", data, list=once, bound=bound)["items"] == once


@given(st.dictionaries(st.sampled_from("abcd"), JSON, min_size=1))
def test_mapping_each_field_to_itself_changes_nothing(value: dict[str, Any]) -> None:
    """The mapper is the identity when it is told to be."""
    mappings = [{"target": name, "source": f"trigger.{name}"} for name in value]
    assert output("data_mapper", {"mappings": mappings}, trigger=value) == value
    assert output("data_mapper", {"mappings": [], "base": "trigger"}, trigger=value) == value


@given(MOMENTS, ZONES, st.integers(-(10**6), 10**6))
@pytest.mark.parametrize("unit", FIXED)
def test_going_back_undoes_going_forward(
    unit: Unit, moment: datetime, zone: Any, amount: int
) -> None:
    """Where units have a fixed length, in every zone; and the difference is what was gone."""
    try:
        there = shift(moment, amount, unit, zone)
    except DateRangeError:
        assume(False)
        return
    assert shift(there, -amount, unit, zone) == moment
    assert difference(moment, there, unit, zone) == amount


@given(MOMENTS, st.integers(-3000, 3000))
@pytest.mark.parametrize("unit", CALENDAR)
def test_steps_on_the_calendar_are_counted_as_they_were_made(
    unit: Unit, moment: datetime, amount: int
) -> None:
    """A day that is no day of the month there is the last; days and weeks can be undone."""
    utc = zone_of("UTC")
    try:
        there = shift(moment, amount, unit, utc)
        back = shift(there, -amount, unit, utc)
    except DateRangeError:
        assume(False)
        return
    assert there.timetz() == moment.timetz()
    assert 0 <= (moment - back).days <= 3
    assert back == moment or there.day < moment.day
    if there.day == moment.day:
        assert difference(moment, there, unit, utc) == amount


@given(MOMENTS, ZONES)
@pytest.mark.parametrize("period", PERIODS)
def test_a_moment_is_between_the_ends_of_its_period(
    period: Period, moment: datetime, zone: Any
) -> None:
    """The ends belong to the same period, and the next one begins right after."""
    first, last = start_of(moment, period, zone), end_of(moment, period, zone)
    assert first <= moment <= last
    assert start_of(first, period, zone) == first
    assert end_of(last, period, zone) == last


@given(MOMENTS, ZONES)
def test_reading_undoes_writing_a_date(moment: datetime, zone: Any) -> None:
    """In ISO in every zone, and by a format that says everything."""
    shown = in_zone(moment, zone)
    assert need_moment(write_iso(shown), "source") == moment
    everything = "%A %d. %B %Y, %I:%M:%S.%f %p %z"
    assert ReadFormat(everything).read(write(moment, everything)) == moment


@given(MOMENTS)
@pytest.mark.parametrize(
    "pattern", ["%Y-%m-%d %H:%M:%S.%f", "%j/%Y %k.%M.%S.%f", "%b %e %Y %l:%M:%S.%f%P"]
)
def test_reading_undoes_writing_by_a_format_without_offset(pattern: str, moment: datetime) -> None:
    """What is read then has no offset."""
    assert ReadFormat(pattern).read(write(moment, pattern)) == moment.replace(tzinfo=None)


@given(MOMENTS)
@pytest.mark.parametrize("code", list("YmdeHIMSfpPzAaBbjUWVGuwyCFTDRkl"))
def test_directives_are_those_of_the_c_library(code: str, moment: datetime) -> None:
    """Where the platform has them, and from the year 1000 on, before which it pads as it likes."""
    assume(moment.year >= 1000)
    assert write(moment, f"%{code}") == moment.strftime(f"%{code}")


def identity_text(value: Any) -> str:
    """Give a text that is equal for equal values of one type."""
    return json.dumps(value, sort_keys=True)
