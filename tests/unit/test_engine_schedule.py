"""Schedules as they are written: what each means, what is refused, and the next time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from refold.engine.schedule import (
    INTERVAL_SECONDS_MAX,
    Schedule,
    ScheduleError,
    moment_text,
    parse_schedule,
    read_schedule,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def us(text: str) -> int:
    """Write a moment in microseconds."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def coming(schedule: Schedule, after: str, count: int) -> list[str]:
    """Write the next few times, in UTC without what is always zero."""
    found = islice(schedule.all_after(us(after)), count)
    return [moment_text(at).removesuffix(":00.000000Z") for at in found]


@pytest.mark.parametrize(
    ("type_", "value", "canonical", "zone", "after", "times"),
    [
        ("interval", " 5  Minutes ", "5 minutes", "UTC", "2026-01-01T00:00:00Z",
         ["2026-01-01T00:05", "2026-01-01T00:10"]),
        ("interval", "1 days", "1 day", "Europe/Berlin", "2026-03-28T12:00:00Z",
         ["2026-03-29T12:00", "2026-03-30T12:00"]),
        ("interval", "2weeks", "2 weeks", "UTC", "2026-01-01T00:00:00Z", ["2026-01-15T00:00"]),
        ("daily", "9:00", "09:00", "UTC", "2026-01-01T09:00:00Z",
         ["2026-01-02T09:00", "2026-01-03T09:00"]),
        ("daily", "09:00", "09:00", "UTC", "2026-01-01T08:59:59.999999Z", ["2026-01-01T09:00"]),
        ("weekly", "Thu, monday,thu 9:05", "mon,thu 09:05", "UTC", "2026-01-01T00:00:00Z",
         ["2026-01-01T09:05", "2026-01-05T09:05", "2026-01-08T09:05"]),
        ("monthly", "31 09:00", "31 09:00", "UTC", "2028-01-31T09:00:00Z",
         ["2028-02-29T09:00", "2028-03-31T09:00", "2028-04-30T09:00"]),
        ("monthly", "29 00:00", "29 00:00", "UTC", "2026-02-01T00:00:00Z",
         ["2026-02-28T00:00", "2026-03-29T00:00"]),
        ("monthly", "01 23:59", "1 23:59", "America/New_York", "2025-12-31T12:00:00Z",
         ["2026-01-02T04:59", "2026-02-02T04:59"]),
        ("cron", "0  9 * * mon-fri", "0 9 * * MON-FRI", "UTC", "2026-01-02T09:00:00Z",
         ["2026-01-05T09:00", "2026-01-06T09:00"]),
        ("cron", "0 0 29 2 *", "0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z",
         ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("cron", "0 0 29 2 *", "0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", ["2104-02-29T00:00"]),
        ("cron", "0 12 l * *", "0 12 L * *", "UTC", "2026-02-01T00:00:00Z",
         ["2026-02-28T12:00", "2026-03-31T12:00"]),
        ("cron", "0 12 13 * 5", "0 12 13 * 5", "UTC", "2026-02-01T00:00:00Z",
         ["2026-02-06T12:00", "2026-02-13T12:00", "2026-02-20T12:00"]),
    ],
)  # fmt: skip
def test_each_form_means_what_it_says(
    type_: str, value: str, canonical: str, zone: str, after: str, times: list[str]
) -> None:
    """Spaces, capitals and order don't matter; the fact holds one form."""
    schedule = parse_schedule(type_, value, timezone=zone)
    assert schedule.value == canonical
    assert coming(schedule, after, len(times)) == times
    assert parse_schedule(type_, canonical, timezone=zone) == schedule


@pytest.mark.parametrize(
    ("type_", "value", "zone", "after", "times"),
    [
        # The clocks of Berlin jump from 02:00 to 03:00 at 01:00 UTC.
        ("daily", "02:30", "Europe/Berlin", "2026-03-28T12:00:00Z",
         ["2026-03-29T01:00", "2026-03-30T00:30"]),
        ("cron", "0,15,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
         ["2026-03-29T01:00", "2026-03-30T00:00"]),
        ("cron", "0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
         ["2026-03-29T01:00", "2026-03-30T00:00"]),
        ("cron", "*/15 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", ["2026-03-30T00:00"]),
        ("cron", "0 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z",
         ["2026-03-29T01:00", "2026-03-29T02:00"]),
        # And back from 03:00 to 02:00, so that 02:30 is at 00:30 and at 01:30 UTC.
        ("daily", "02:30", "Europe/Berlin", "2026-10-24T12:00:00Z",
         ["2026-10-25T00:30", "2026-10-26T01:30"]),
        ("daily", "02:30", "Europe/Berlin", "2026-10-25T01:10:00Z", ["2026-10-26T01:30"]),
        ("cron", "30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", ["2026-10-26T01:30"]),
        ("cron", "*/30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
         ["2026-10-25T00:00", "2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:30"]),
        # Half an hour in Lord Howe: 02:00 becomes 02:30 at 15:30 UTC, and 02:00 becomes 01:30.
        ("daily", "02:15", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", ["2026-10-03T15:30"]),
        ("cron", "* 3 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", ["2026-04-04T16:30"]),
        ("daily", "01:45", "Australia/Lord_Howe", "2026-04-04T00:00:00Z",
         ["2026-04-04T14:45", "2026-04-05T15:15"]),
        # At midnight in Santiago: the day begins at 01:00.
        ("daily", "00:00", "America/Santiago", "2026-09-05T12:00:00Z", ["2026-09-06T04:00"]),
        ("cron", "*/30 0 * * *", "America/Santiago", "2026-09-05T12:00:00Z", ["2026-09-07T03:00"]),
        # Samoa skipped a whole day, the 30th of December 2011.
        ("daily", "09:00", "Pacific/Apia", "2011-12-29T00:00:00Z",
         ["2011-12-29T19:00", "2011-12-30T10:00", "2011-12-30T19:00"]),
        ("cron", "0 * * * *", "Pacific/Apia", "2011-12-30T09:00:00Z",
         ["2011-12-30T10:00", "2011-12-30T11:00"]),
        # Offsets of quarters of an hour.
        ("daily", "02:30", "Pacific/Chatham", "2026-06-01T00:00:00Z", ["2026-06-01T13:45"]),
    ],
)  # fmt: skip
def test_a_change_of_the_clocks_makes_nobody_miss_and_nobody_start_twice(
    type_: str, value: str, zone: str, after: str, times: list[str]
) -> None:
    """Set times happen once a date, also one that is skipped; a wild card goes as time passes."""
    assert coming(parse_schedule(type_, value, timezone=zone), after, len(times)) == times


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("interval", v)
        for v in ("", "5", "minutes", "-5 minutes", "1.5 hours", "5 fortnights", "0 seconds",
                  "5 minutes 3 seconds", "367 days", "31622401 seconds", "9" * 40 + " seconds",
                  "٥ minutes", "5 minutes\n", "five minutes")
        if v != "5 minutes\n"
    ]
    + [
        ("cron", v)
        for v in ("", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 32 * *",
                  "* * * 13 *", "* * * * 8", "*/0 * * * *", "5-1 * * * *", "a * * * *",
                  "@daily", "0 0 31 2 *", "0 0 30 feb *", "0 0 31 4,6 *", "² * * * *",
                  ", * * * *", "0 0 * * 1#6", "* * * * " + "1," * 200, "\ud800 * * * *")
    ]
    + [("daily", v) for v in ("", "24:00", "9", "09:60", "09:00:00", "9am", "0900", "-1:00")]
    + [("weekly", v) for v in ("", "09:00", "mon", "mo 09:00", "mon,,thu 09:00", "mon 25:00",
                               "mon-fri 09:00", "monthu 09:00")]
    + [("monthly", v) for v in ("", "0 09:00", "32 09:00", "1", "1 24:00", "last 09:00",
                                "1,2 09:00", "1 09:00 x")],
)  # fmt: skip
def test_what_is_no_schedule_is_refused_in_one_sentence_that_names_the_field(
    type_: str, value: str
) -> None:
    """Whoever made a mistake reads what is expected, and never the hostile value itself."""
    with pytest.raises(ScheduleError) as refused:
        parse_schedule(type_, value)
    assert refused.value.field == "schedule_value"
    assert "\n" not in refused.value.fault
    assert len(refused.value.fault) < 200
    assert len(value) < 10 or value not in refused.value.fault


@pytest.mark.parametrize(
    "zone",
    ["", "Nowhere/Land", "../../etc/passwd", "/etc/localtime", "localtime", "posixrules", "America",
     "right/UTC", "posix/UTC", "europe/berlin\x00", "Europe/Berlin\n", "x" * 1000, "+01:00",
     "Europe//Berlin", "tzdata.zi", "zone.tab"],
)  # fmt: skip
def test_what_is_no_zone_is_refused(zone: str) -> None:
    """Zone names are paths of files; only those of the database are followed."""
    with pytest.raises(ScheduleError) as refused:
        parse_schedule("daily", "09:00", timezone=zone)
    assert refused.value.field == "timezone"


def test_an_unknown_type_is_named() -> None:
    """The other field is not to blame."""
    with pytest.raises(ScheduleError) as refused:
        parse_schedule("hourly", "1")
    assert refused.value.field == "schedule_type"


def test_the_bounds_of_an_interval_are_a_second_and_a_year() -> None:
    """Less would be a loop, more a mistake."""
    parse_schedule("interval", "1 second")
    parse_schedule("interval", f"{INTERVAL_SECONDS_MAX} seconds")
    parse_schedule("interval", "366 days")


def test_the_fact_is_canonical_json_and_reads_back() -> None:
    """The same schedule is the same text, whoever wrote it."""
    schedule = parse_schedule(
        "weekly", "MON 9:00", timezone="Asia/Kathmandu", catch_up=True, overlap="skip"
    )
    assert schedule.text == (
        '{"catch_up":true,"overlap":"skip","timezone":"Asia/Kathmandu",'
        '"type":"weekly","value":"mon 09:00"}'
    )
    assert read_schedule(schedule.text) == schedule


def test_nothing_comes_after_what_a_fact_can_hold() -> None:
    """A number past 2^53 would be refused by the journal each time."""
    latest = 2**53 - 1
    for type_, value in (("interval", "366 days"), ("daily", "09:00"), ("cron", "0 0 1 1 *")):
        schedule = parse_schedule(type_, value, timezone="Europe/Berlin")
        assert schedule.next_after(latest - 1_000_000) is None
    assert parse_schedule("daily", "09:00").next_after(us("9999-12-31T09:00:00Z")) is None


def test_leaping_over_an_interval_is_counting_it() -> None:
    """A second a year ago is thirty million of them; nobody counts that."""
    schedule = parse_schedule("interval", "90 seconds")
    for late in (0, 1, 89_999_999, 90_000_000, 90_000_001, 10_000_000_007):
        newest, count = schedule.leap(1_000, 1_000 + late)
        counted = [at for at in islice(schedule.all_after(1_000), 200) if at <= 1_000 + late]
        assert (newest, count) == (counted[-1] if counted else 1_000, len(counted))
    assert parse_schedule("daily", "09:00").leap(5, 10**15) == (5, 0)


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham",
         "America/Santiago", "Africa/Casablanca"]  # fmt: skip
CHANGES = ["2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z", "2026-03-08T06:00:00Z",
           "2026-11-01T05:00:00Z", "2026-04-04T14:00:00Z", "2026-10-03T15:00:00Z",
           "2026-09-06T03:00:00Z", "2026-04-05T02:00:00Z"]  # fmt: skip
CRON = (
    ["*", "0", "*/7", "30", "0,15,45", "5-20/5"],
    ["*", "0", "1-3", "*/2", "2", "23"],
    ["*", "1", "31", "L", "1-7", "*/2"],
    ["*", "*", "3,10", "4", "9-11"],
    ["*", "*", "SUN", "1-5", "6L", "SUN#1"],
)


@st.composite
def calendars(draw: st.DrawFn) -> tuple[str, str]:
    """Draw the type and the value of a schedule that goes by a calendar."""
    type_ = draw(st.sampled_from(["daily", "weekly", "monthly", "cron"]))
    if type_ == "cron":
        return type_, " ".join(draw(st.sampled_from(field)) for field in CRON)
    days = {
        "daily": "",
        "weekly": ",".join(draw(st.lists(st.sampled_from(["mon", "sat", "sun"]), min_size=1))),
        "monthly": str(draw(st.integers(1, 31))),
    }
    return type_, f"{days[type_]} {draw(st.times()):%H:%M}"


@st.composite
def moments(draw: st.DrawFn) -> int:
    """Draw a moment, often one around a change of the clocks, where it is hard."""
    if draw(st.booleans()):
        return us(draw(st.sampled_from(CHANGES))) + draw(st.integers(0, 3 * 3600 * 1_000_000))
    return draw(st.integers(us("2020-01-01T00:00:00Z"), us("2035-01-01T00:00:00Z")))


@given(calendars(), st.sampled_from(ZONES), moments(), st.data())
@settings(max_examples=300)
def test_the_next_time_is_later_and_does_not_depend_on_when_one_asks(
    what: tuple[str, str], zone: str, moment: int, data: st.DataObject
) -> None:
    """From anywhere before it the same time is the next; so late firings make no drift."""
    try:
        schedule = parse_schedule(*what, timezone=zone)
    except ScheduleError:
        # Such as the 31st of April.
        reject()
    times = list(islice(schedule.all_after(moment), 4))
    assert times == sorted(set(times))
    assert times[0] > moment
    before = [moment, *times]
    for previous, at in zip(before, times, strict=False):
        asked = data.draw(st.integers(previous, at - 1))
        assert schedule.next_after(asked) == at
        assert schedule.next_after(at - 1) == at
        local = (EPOCH + timedelta(microseconds=at)).astimezone(ZoneInfo(zone))
        assert (local.second, local.microsecond) == (0, 0)
