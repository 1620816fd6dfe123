"""The operators on dates and times: one row a case."""

from __future__ import annotations

from typing import Any

import pytest

from refold.engine.component import ConfigError, NodeError
from tests.support.condition_kit import NOON, at, check, compiled, decide

LEAP_DAY = 1_709_164_800
"""2024-02-29 at midnight, in seconds since 1970."""


@pytest.mark.parametrize(
    ("left", "timezone", "moment"),
    [
        ("2025-10-31", "UTC", "2025-10-31T00:00:00.000000Z"),
        ("2025-10-31", "", "2025-10-31T00:00:00.000000Z"),
        ("2025-10-31", "Europe/Rome", "2025-10-30T23:00:00.000000Z"),
        ("2025-07-01", "Europe/Rome", "2025-06-30T22:00:00.000000Z"),
        ("2025-10-31", "America/New_York", "2025-10-31T04:00:00.000000Z"),
        ("2025-10-31", "Asia/Kolkata", "2025-10-30T18:30:00.000000Z"),
        ("2025-10-31", "Pacific/Kiritimati", "2025-10-30T10:00:00.000000Z"),
        ("2025-10-31T12:00", "UTC", "2025-10-31T12:00:00.000000Z"),
        ("2025-10-31T12:00:30", "UTC", "2025-10-31T12:00:30.000000Z"),
        ("2025-10-31 12:00:30", "UTC", "2025-10-31T12:00:30.000000Z"),
        ("2025-10-31t12:00:30z", "Asia/Tokyo", "2025-10-31T12:00:30.000000Z"),
        ("2025-10-31T12:00:30.5Z", "UTC", "2025-10-31T12:00:30.500000Z"),
        ("2025-10-31T12:00:30,5Z", "UTC", "2025-10-31T12:00:30.500000Z"),
        ("2025-10-31T12:00:30.1234567Z", "UTC", "2025-10-31T12:00:30.123456Z"),
        ("2025-10-31T12:00:30.000001Z", "UTC", "2025-10-31T12:00:30.000001Z"),
        ("2025-10-31T12:00:00+02:00", "UTC", "2025-10-31T10:00:00.000000Z"),
        ("2025-10-31T12:00:00-02:30", "UTC", "2025-10-31T14:30:00.000000Z"),
        ("2025-10-31 12:00:00 +0200", "UTC", "2025-10-31T10:00:00.000000Z"),
        ("2025-10-31 12:00:00+02", "UTC", "2025-10-31T10:00:00.000000Z"),
        ("2025-10-31T12:00:00+02:00", "Asia/Tokyo", "2025-10-31T10:00:00.000000Z"),
        ("2016-12-31T23:59:60Z", "UTC", "2017-01-01T00:00:00.000000Z"),
        ("2024-02-29", "UTC", "2024-02-29T00:00:00.000000Z"),
        ("0001-01-01", "UTC", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59Z", "UTC", "9999-12-31T23:59:59.000000Z"),
        (0, "UTC", "1970-01-01T00:00:00.000000Z"),
        (-1, "UTC", "1969-12-31T23:59:59.000000Z"),
        (LEAP_DAY, "Asia/Tokyo", "2024-02-29T00:00:00.000000Z"),
        (LEAP_DAY + 0.25, "UTC", "2024-02-29T00:00:00.250000Z"),
        (str(LEAP_DAY), "UTC", "2024-02-29T00:00:00.000000Z"),
        (f"{LEAP_DAY}.5", "UTC", "2024-02-29T00:00:00.500000Z"),
        (253_402_300_799, "UTC", "9999-12-31T23:59:59.000000Z"),
        # Rome puts its clocks on at 02:00 on 30 March and back at 03:00 on 26 October.
        ("2025-03-30T01:59:59", "Europe/Rome", "2025-03-30T00:59:59.000000Z"),
        ("2025-03-30T02:30:00", "Europe/Rome", "2025-03-30T01:30:00.000000Z"),
        ("2025-03-30T03:00:00", "Europe/Rome", "2025-03-30T01:00:00.000000Z"),
        ("2025-10-26T02:30:00", "Europe/Rome", "2025-10-26T00:30:00.000000Z"),
        ("2025-10-26T03:00:00", "Europe/Rome", "2025-10-26T02:00:00.000000Z"),
        ("2025-10-26T02:30:00+01:00", "Europe/Rome", "2025-10-26T01:30:00.000000Z"),
        # São Paulo's day began at one o'clock: midnight was skipped.
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00:00.000000Z"),
        # Samoa had no 30 December 2011.
        ("2011-12-31", "Pacific/Apia", "2011-12-30T10:00:00.000000Z"),
    ],
)
def test_what_counts_as_a_moment(left: Any, timezone: str, moment: str) -> None:
    """The output shows it as all times of the service are shown."""
    data = {"left": "{{ l }}", "operator": "after", "right": 0, "timezone": timezone}
    assert decide("date_condition", {"l": left}, **data).output["left"] == moment


@pytest.mark.parametrize(
    "left",
    [
        *(None, "", " ", True, [], {}, ["2025-10-31"], "now", "today", "soon", "31.10.2025"),
        *("10/31/2025", "2025-10-31 ", " 2025-10-31", "2025-1-1", "2025-13-01", "2025-02-29"),
        *("2025-00-01", "2025-10-00", "2025-10-32", "0000-01-01", "20251031", "2025-W44-5"),
        *("2025-304", "2025-10", "2025", "2025-10-31T", "2025-10-31T12", "2025-10-31T24:00"),
        *("2025-10-31T12:60", "2025-10-31T12:00:61", "2025-10-31T12:00+24:00", "٢٠٢٥-١٠-٣١"),
        *("2025-10-31T12:00+01:60", "2025-10-31T12:00Zulu", "2025-10-31T12:00:00.Z"),
        *("12:00", "2025-10-31Z", "2025-10-31T12:00 Europe/Rome", "2025-10-31\x00", "x" * 100_000),
        *("2025-10-31T12:00:00.1234567890123Z", "1e9", "12345678", "0001-01-01T00:00+14:00"),
        *("9999-12-31T23:59:60Z", 1_761_912_000_000, -1e300, 1e300, 10**300, "999999999999"),
    ],
)  # fmt: skip
def test_what_is_no_moment_fails_the_node(left: Any) -> None:
    """The message names the operand and never the value."""
    with pytest.raises(NodeError) as caught:
        decide("date_condition", {"l": left}, left="{{ l }}", operator="after", right=0)
    assert caught.value.code == "type_mismatch"
    assert caught.value.message.startswith("Operand 'left' is ")
    assert len(caught.value.message) < 100


@pytest.mark.parametrize(
    ("left", "operator", "right", "result"),
    [
        ("2025-10-31", "before", "2025-11-01", True),
        ("2025-11-01", "before", "2025-10-31", False),
        ("2025-10-31", "before", "2025-10-31", False),
        ("2025-10-31", "after", "2025-10-30", True),
        ("2025-10-31", "after", "2025-10-31", False),
        ("2025-10-31", "after", "2025-11-01", False),
        ("2025-10-31", "before", "2025-10-31T00:00:00.000001Z", True),
        ("2025-10-31T00:00:00Z", "before", "2025-10-31T00:30:00+01:00", False),
        ("2025-10-31T00:00:00Z", "after", "2025-10-31T00:30:00+01:00", True),
        ("2025-10-31T12:00:00+02:00", "before", "2025-10-31T12:00:00+01:00", True),
        ("2025-10-31T12:00:00+02:00", "after", "2025-10-31T10:00:00Z", False),
        ("2025-10-31T12:00:00+02:00", "before", "2025-10-31T10:00:00Z", False),
        (0, "before", "1970-01-01T00:00:01Z", True),
        (0, "after", "1969-12-31T23:59:59Z", True),
        (LEAP_DAY, "before", LEAP_DAY + 0.000001, True),
        (LEAP_DAY, "after", "2024-02-29", False),
        ("0001-01-01", "before", "9999-12-31", True),
    ],
)
def test_before_and_after(left: Any, operator: str, right: Any, result: bool) -> None:
    """Moments compare to the microsecond, whatever offset they are written with."""
    check(decide("date_condition", left=left, operator=operator, right=right), result)
    data = {"left": "{{ l }}", "operator": operator, "right": "{{ r }}"}
    check(decide("date_condition", {"l": left, "r": right}, **data), result)


@pytest.mark.parametrize(
    ("left", "low", "high", "result"),
    [
        ("2025-10-31", "2025-10-01", "2025-10-31", True),
        ("2025-10-01", "2025-10-01", "2025-10-31", True),
        ("2025-10-31T00:00:01", "2025-10-01", "2025-10-31", False),
        ("2025-09-30T23:59:59", "2025-10-01", "2025-10-31", False),
        ("2025-10-15", "2025-10-31", "2025-10-01", False),
        (5, 5, 5, True),
        ("2025-10-31T00:00+01:00", "2025-10-31", "2025-11-01", False),
    ],
)
def test_between_includes_both_ends(left: Any, low: Any, high: Any, result: bool) -> None:
    """The day that a span ends with is its midnight, as everywhere."""
    check(decide("date_condition", left=left, operator="between", min=low, max=high), result)


@pytest.mark.parametrize(
    ("left", "operator", "amount", "unit", "result"),
    [
        ("2025-10-31T12:00:00Z", "within_last", 1, "minutes", True),
        ("2025-10-31T11:59:00Z", "within_last", 1, "minutes", True),
        ("2025-10-31T11:58:59.999999Z", "within_last", 1, "minutes", False),
        ("2025-10-31T12:00:00.000001Z", "within_last", 1, "minutes", False),
        ("2025-10-31T11:00:00Z", "within_last", 1, "hours", True),
        ("2025-10-31T10:59:59Z", "within_last", 1, "hours", False),
        ("2025-10-31T10:30:00Z", "within_last", 1.5, "hours", True),
        ("2025-10-31T10:29:59Z", "within_last", "1.5", "hours", False),
        ("2025-10-30T12:00:00Z", "within_last", 1, "days", True),
        ("2025-10-30T11:59:59Z", "within_last", 1, "days", False),
        ("2025-10-24T12:00:00Z", "within_last", 1, "weeks", True),
        ("2025-10-24T11:59:59Z", "within_last", 1, "weeks", False),
        ("2025-11-01", "within_last", 1, "weeks", False),
        ("2025-10-31T12:00:00Z", "within_last", 0, "days", True),
        ("2025-10-31T12:00:00Z", "within_next", 0, "days", True),
        ("2025-10-31T12:01:00Z", "within_next", 1, "minutes", True),
        ("2025-10-31T12:01:00.000001Z", "within_next", 1, "minutes", False),
        ("2025-10-31T11:59:59Z", "within_next", 1, "minutes", False),
        ("2025-10-31T13:00:00Z", "within_next", 1, "hours", True),
        ("2025-11-01T12:00:00Z", "within_next", 1, "days", True),
        ("2025-11-01", "within_next", 1, "days", True),
        ("2025-11-02", "within_next", 1, "days", False),
        ("2025-11-07T12:00:00Z", "within_next", 1, "weeks", True),
        ("2025-11-07T12:00:01Z", "within_next", 1, "weeks", False),
        (1_761_912_000, "within_last", 1, "minutes", True),
        ("1025-11-01", "within_last", 365_000, "days", False),
        ("9999-12-31", "within_next", 365_000, "days", False),
    ],
)
def test_spans_that_begin_or_end_now(
    left: Any, operator: str, amount: Any, unit: str, result: bool
) -> None:
    """Both ends belong to the span, and the output tells when now was."""
    with at(NOON):
        data = {"left": left, "operator": operator, "amount": amount, "unit": unit}
        outcome = decide("date_condition", **data)
    check(outcome, result)
    assert outcome.output["now"] == NOON
    assert NOON in outcome.output["right"]


@pytest.mark.parametrize(
    ("now", "left", "amount", "unit", "result"),
    [
        ("2025-03-30T12:00:00+02:00", "2025-03-29T12:00:00", 1, "days", True),
        ("2025-03-30T12:00:00+02:00", "2025-03-29T12:00:00", 23, "hours", True),
        ("2025-03-30T12:00:00+02:00", "2025-03-29T12:00:00", 22, "hours", False),
        ("2025-10-26T12:00:00+01:00", "2025-10-25T12:00:00", 1, "days", False),
        ("2025-10-26T12:00:00+01:00", "2025-10-25T12:00:00", 25, "hours", True),
        ("2025-10-26T12:00:00+01:00", "2025-10-25T13:00:00", 1, "days", True),
    ],
)
def test_a_day_is_24_hours_also_where_clocks_change(
    now: str, left: str, amount: int, unit: str, result: bool
) -> None:
    """From noon to noon it was 23 hours in Rome in March, and 25 in October."""
    data = {"left": left, "operator": "within_last", "amount": amount, "unit": unit}
    with at(now):
        check(decide("date_condition", timezone="Europe/Rome", **data), result)


@pytest.mark.parametrize(
    ("now", "left", "timezone", "result"),
    [
        (NOON, "2025-10-31", "UTC", True),
        (NOON, "2025-10-31T23:59:59.999999", "UTC", True),
        (NOON, "2025-11-01", "UTC", False),
        (NOON, "2025-10-30T23:59:59.999999", "UTC", False),
        (NOON, "2025-10-30T23:00:00Z", "Europe/Rome", True),
        (NOON, "2025-10-30T22:59:59Z", "Europe/Rome", False),
        (NOON, "2025-10-31T23:00:00Z", "Europe/Rome", False),
        (NOON, "2025-11-01T02:00:00Z", "America/New_York", True),
        (NOON, "2025-11-01", "Pacific/Kiritimati", True),
        (NOON, "2025-10-31", "Pacific/Kiritimati", False),
        (NOON, "2025-10-31T11:00:00Z", "Pacific/Kiritimati", True),
        (NOON, 1_761_912_000, "UTC", True),
        ("2025-10-31T23:30:00Z", "2025-11-01", "Europe/Rome", True),
        ("2025-10-31T22:30:00Z", "2025-11-01", "Europe/Rome", False),
        ("2025-03-30T00:30:00Z", "2025-03-30T23:30", "Europe/Rome", True),
        ("2025-10-26T22:30:00Z", "2025-10-26", "Europe/Rome", True),
        ("2018-11-04T12:00:00Z", "2018-11-04", "America/Sao_Paulo", True),
        ("2024-02-29T12:00:00Z", "2024-02-29", "UTC", True),
        ("9999-12-31T12:00:00Z", "9999-12-31T23:00:00Z", "Asia/Tokyo", False),
    ],
)
def test_today_is_a_day_of_the_calendar_in_the_time_zone(
    now: str, left: Any, timezone: str, result: bool
) -> None:
    """What day it is depends on where one asks."""
    with at(now):
        data = {"left": left, "operator": "is_today", "timezone": timezone}
        outcome = decide("date_condition", **data)
    check(outcome, result)
    assert outcome.output["timezone"] == timezone


def test_the_output_tells_all_that_decided() -> None:
    """A reader of the log sees what today was, and where."""
    with at("2025-10-31T23:30:00Z"):
        data = {"left": "2025-11-01", "operator": "is_today", "timezone": "{{ zone }}"}
        outcome = decide("date_condition", {"zone": "Europe/Rome"}, **data)
    assert outcome.output == {
        "result": True,
        "left": "2025-10-31T23:00:00.000000Z",
        "operator": "is_today",
        "right": "2025-11-01",
        "now": "2025-10-31T23:30:00.000000Z",
        "timezone": "Europe/Rome",
    }
    between = decide("date_condition", left=5, operator="between", min=0, max=9)
    assert between.output["right"] == [
        "1970-01-01T00:00:00.000000Z",
        "1970-01-01T00:00:09.000000Z",
    ]
    assert "now" not in between.output


@pytest.mark.parametrize(
    ("left", "timezone"),
    [("0001-01-01", "Asia/Tokyo"), ("9999-12-31T23:00", "America/New_York")],
)
def test_a_moment_that_is_outside_the_calendar_in_utc_fails_the_node(
    left: str, timezone: str
) -> None:
    """No time of the service could show it."""
    with pytest.raises(NodeError, match="'left' is not within the years") as caught:
        decide("date_condition", left=left, operator="after", right=0, timezone=timezone)
    assert caught.value.code == "type_mismatch"


@pytest.mark.parametrize(
    ("amount", "fault"),
    [
        (-1, "is negative"),
        (-1e-9, "is negative"),
        (1e300, "is longer than 1000 years"),
        (60_000, "is longer than 1000 years"),
        ("many", "holds no number"),
        (None, "is null, a number is needed"),
        ([], "is a list, a number is needed"),
        (True, "is a boolean, a number is needed"),
    ],
)
def test_a_span_that_is_none_fails_the_node(amount: Any, fault: str) -> None:
    """Where it is written out, the workflow is refused on save."""
    data = {"left": 0, "operator": "within_last", "unit": "weeks"}
    with pytest.raises(NodeError, match=f"Operand 'amount' {fault}|'amount' .*{fault}") as caught:
        decide("date_condition", {"a": amount}, amount="{{ a }}", **data)
    assert caught.value.code == "type_mismatch"
    with pytest.raises(ConfigError) as refused:
        decide("date_condition", amount=amount, **data)
    assert list(refused.value.errors) == ["nodes[0].data.amount"]


@pytest.mark.parametrize(
    ("data", "faulty"),
    [
        ({"operator": "is_today"}, {"left"}),
        ({"left": 0}, {"operator"}),
        ({"left": 0, "operator": "equals"}, {"operator"}),
        ({"left": "soon", "operator": "is_today"}, {"left"}),
        ({"left": None, "operator": "is_today"}, {"left"}),
        ({"left": 0, "operator": "before"}, {"right"}),
        ({"left": 0, "operator": "before", "right": "soon"}, {"right"}),
        ({"left": 0, "operator": "before", "right": {}}, {"right"}),
        ({"left": 0, "operator": "between", "right": 0}, {"right", "min", "max"}),
        ({"left": 0, "operator": "between", "min": 0, "max": "x" * 100_000}, {"max"}),
        ({"left": 0, "operator": "is_today", "right": 0}, {"right"}),
        ({"left": 0, "operator": "is_today", "amount": 1}, {"amount"}),
        ({"left": 0, "operator": "within_next"}, {"amount"}),
        ({"left": 0, "operator": "within_next", "amount": 1, "right": 1}, {"right"}),
        ({"left": 0, "operator": "within_next", "amount": 1, "unit": "months"}, {"unit"}),
        ({"left": 0, "operator": "is_today", "timezone": "Mars/X"}, {"timezone"}),
        ({"left": 0, "operator": "is_today", "timezone": 5}, {"timezone"}),
        ({"left": "{{ x", "operator": "is_today", "timezone": "{{ x"}, {"left", "timezone"}),
        ({"left": "x", "operator": "after", "right": "y", "timezone": "z"},
         {"left", "right", "timezone"}),
    ],
)  # fmt: skip
def test_a_condition_that_could_only_fail_is_refused(
    data: dict[str, Any], faulty: set[str]
) -> None:
    """Each fault stands at its field."""
    with pytest.raises(ConfigError) as caught:
        decide("date_condition", **data)
    assert set(caught.value.errors) == {f"nodes[0].data.{field}" for field in faulty}


@pytest.mark.parametrize(
    "timezone",
    [
        *(5, True, [], {}, ["UTC"]),
        *("Mars/Olympus", "europe/rome", "CEST", "+02:00", "localtime", "Factory", "posixrules"),
        *("../../etc/passwd", "/etc/localtime", "Europe/", "Europe", "Europe/../UTC", "UTC\x00"),
        *("zone.tab", "tzdata.zi", "x" * 10_000, "\ud800", "Europe/Rome\n", "Zürich", " UTC"),
    ],
)  # fmt: skip
def test_a_time_zone_that_nobody_knows_is_refused(timezone: Any) -> None:
    """No name leads to a file that is no zone, or out of where the zones are."""
    data = {"left": 0, "operator": "is_today", "timezone": "{{ zone }}"}
    node = compiled("date_condition", data)
    with pytest.raises(NodeError, match="'timezone' is not the name") as caught:
        node.run({"zone": timezone})
    assert caught.value.code == "timezone_invalid"


def test_all_conditions_of_a_node_see_the_same_time() -> None:
    """A group that asks twice must not be torn by the tick in between."""
    moments = [{"type": "date", "left": 0, "operator": "is_today"}] * 3
    outcome = decide("logical_group", operator="or", conditions=moments)
    assert len({told["now"] for told in outcome.output["conditions"]}) == 1
