"""The node `date_transform`: one row a case."""

from __future__ import annotations

from typing import Any

import pytest

from refold.engine.wall_clock import WallClock
from tests.support.shaping_kit import output


def value(source: Any, **data: Any) -> Any:
    """Give the written date of a source that comes from the context."""
    return output("date_transform", {"source": "{{ d }}", **data}, d=source)["value"]


def add(amount: Any, unit: str) -> dict[str, Any]:
    """Write an `add`."""
    return {"op": "add", "amount": amount, "unit": unit}


def subtract(amount: Any, unit: str) -> dict[str, Any]:
    """Write a `subtract`."""
    return {"op": "subtract", "amount": amount, "unit": unit}


def start(period: str) -> dict[str, Any]:
    """Write a `start_of`."""
    return {"op": "start_of", "unit": period}


def end(period: str) -> dict[str, Any]:
    """Write an `end_of`."""
    return {"op": "end_of", "unit": period}


@pytest.mark.parametrize(
    ("source", "data", "written"),
    [
        ("2025-10-31", {}, "2025-10-31T00:00:00Z"),
        ("2025-10-31T12:00:00Z", {}, "2025-10-31T12:00:00Z"),
        ("2025-10-31 12:00", {}, "2025-10-31T12:00:00Z"),
        ("2025-10-31T12:00:00.5+02:00", {}, "2025-10-31T10:00:00.500000Z"),
        ("2016-12-31T23:59:60Z", {}, "2017-01-01T00:00:00Z"),
        (0, {}, "1970-01-01T00:00:00Z"),
        (-1, {}, "1969-12-31T23:59:59Z"),
        (1.25, {}, "1970-01-01T00:00:01.250000Z"),
        (253_402_300_799, {}, "9999-12-31T23:59:59Z"),
        ("0001-01-01", {}, "0001-01-01T00:00:00Z"),
        ("2024-02-29", {}, "2024-02-29T00:00:00Z"),
        ("2000-02-29", {}, "2000-02-29T00:00:00Z"),
        (1_700_000_000, {"source_format": "unix"}, "2023-11-14T22:13:20Z"),
        ("1700000000", {"source_format": "unix"}, "2023-11-14T22:13:20Z"),
        (1_700_000_000_123, {"source_format": "unix_ms"}, "2023-11-14T22:13:20.123000Z"),
        (-1, {"source_format": "unix_ms"}, "1969-12-31T23:59:59.999000Z"),
        (
            "Sun, 06 Nov 1994 08:49:37 GMT",
            {"source_format": "rfc2822"},
            "1994-11-06T08:49:37Z",
        ),
        ("6 Nov 1994 08:49:37 +0100", {"source_format": "rfc2822"}, "1994-11-06T07:49:37Z"),
        ("31.10.2025", {"source_format": "%d.%m.%Y"}, "2025-10-31T00:00:00Z"),
        ("1.2.2025 3:04", {"source_format": "%-d.%-m.%Y %H:%M"}, "2025-02-01T03:04:00Z"),
        ("12:00 AM, Oct 31 25", {"source_format": "%I:%M %p, %b %d %y"}, "2025-10-31T00:00:00Z"),
        ("12:30 pm 2025-10-31", {"source_format": "%I:%M %p %F"}, "2025-10-31T12:30:00Z"),
        ("31 december 1999", {"source_format": "%d %B %Y"}, "1999-12-31T00:00:00Z"),
        ("Fri 31 Oct 2025", {"source_format": "%a %e %b %Y"}, "2025-10-31T00:00:00Z"),
        ("2024 366", {"source_format": "%Y %j"}, "2024-12-31T00:00:00Z"),
        ("69/1/1", {"source_format": "%y/%m/%d"}, "1969-01-01T00:00:00Z"),
        ("68/1/1", {"source_format": "%y/%m/%d"}, "2068-01-01T00:00:00Z"),
        (
            "20250102T030405.5+0200",
            {"source_format": "%Y%m%dT%H%M%S.%f%z"},
            "2025-01-02T01:04:05.500000Z",
        ),
        ("1700000000", {"source_format": "%s"}, "2023-11-14T22:13:20Z"),
        ("100% 2025-01-01", {"source_format": "100%% %F"}, "2025-01-01T00:00:00Z"),
    ],
)
def test_a_date_is_read(source: Any, data: dict[str, Any], written: str) -> None:
    """Each way to write one, and the edges of the calendar."""
    assert value(source, **data) == written


@pytest.mark.parametrize(
    ("source", "zone", "written"),
    [
        ("2025-10-31T12:00:00", "Europe/Berlin", "2025-10-31T12:00:00+01:00"),
        ("2025-07-01T12:00:00", "Europe/Berlin", "2025-07-01T12:00:00+02:00"),
        ("2025-03-30T02:30:00", "Europe/Berlin", "2025-03-30T03:30:00+02:00"),
        ("2025-10-26T02:30:00", "Europe/Berlin", "2025-10-26T02:30:00+02:00"),
        ("2025-10-26T01:30:00Z", "Europe/Berlin", "2025-10-26T02:30:00+01:00"),
        ("2025-03-09T02:30:00", "America/New_York", "2025-03-09T03:30:00-04:00"),
        ("2025-11-02T01:30:00", "America/New_York", "2025-11-02T01:30:00-04:00"),
        ("2025-01-01", "Asia/Kathmandu", "2025-01-01T00:00:00+05:45"),
        ("2025-01-01", "+02:00", "2025-01-01T00:00:00+02:00"),
        ("2025-01-01", "-0330", "2025-01-01T00:00:00-03:30"),
        ("2025-01-01", "", "2025-01-01T00:00:00Z"),
        ("2011-12-30T12:00:00", "Pacific/Apia", "2011-12-31T12:00:00+14:00"),
        ("1850-01-01", "Europe/Berlin", "1849-12-31T23:06:32Z"),
    ],
)
def test_a_date_without_an_offset_is_read_in_its_zone(source: str, zone: str, written: str) -> None:
    """A time that is skipped is as much later; of one that is repeated, the first counts."""
    assert value(source, timezone=zone) == written


@pytest.mark.parametrize(
    ("source", "zone", "operation", "written"),
    [
        ("2025-03-29T12:00:00", "Europe/Berlin", add(1, "days"), "2025-03-30T12:00:00+02:00"),
        ("2025-03-29T12:00:00", "Europe/Berlin", add(24, "hours"), "2025-03-30T13:00:00+02:00"),
        ("2025-03-29T02:30:00", "Europe/Berlin", add(1, "days"), "2025-03-30T03:30:00+02:00"),
        ("2025-03-30T01:59:59", "Europe/Berlin", add(1, "seconds"), "2025-03-30T03:00:00+02:00"),
        ("2025-10-26T02:30:00", "Europe/Berlin", add(1, "hours"), "2025-10-26T02:30:00+01:00"),
        ("2025-10-26T01:30:00Z", "Europe/Berlin", add(0, "days"), "2025-10-26T02:30:00+01:00"),
        ("2025-10-25T02:30:00", "Europe/Berlin", add(1, "days"), "2025-10-26T02:30:00+02:00"),
        ("2024-01-31", "UTC", add(1, "months"), "2024-02-29T00:00:00Z"),
        ("2023-01-31", "UTC", add(1, "months"), "2023-02-28T00:00:00Z"),
        ("2024-02-29", "UTC", add(1, "years"), "2025-02-28T00:00:00Z"),
        ("2024-02-29", "UTC", add(4, "years"), "2028-02-29T00:00:00Z"),
        ("2024-03-31", "UTC", add(-1, "months"), "2024-02-29T00:00:00Z"),
        ("2024-12-31", "UTC", add(1, "quarters"), "2025-03-31T00:00:00Z"),
        ("2024-11-30", "UTC", add(1, "quarters"), "2025-02-28T00:00:00Z"),
        ("2024-12-31", "UTC", add(2, "weeks"), "2025-01-14T00:00:00Z"),
        ("2024-12-31T23:59:59", "UTC", add(1, "seconds"), "2025-01-01T00:00:00Z"),
        ("2024-01-01", "UTC", add(1.5, "hours"), "2024-01-01T01:30:00Z"),
        ("2024-01-01", "UTC", add("{{ n }}", "days"), "2024-01-04T00:00:00Z"),
        ("2024-01-01", "UTC", add("2", "days"), "2024-01-03T00:00:00Z"),
        ("2024-01-01", "UTC", add(2.0, "days"), "2024-01-03T00:00:00Z"),
        ("2024-01-01", "UTC", subtract(1, "days"), "2023-12-31T00:00:00Z"),
        ("2024-03-30", "UTC", subtract(1, "months"), "2024-02-29T00:00:00Z"),
        ("9999-12-30", "UTC", add(1, "days"), "9999-12-31T00:00:00Z"),
        ("0001-12-31", "UTC", add(-11, "months"), "0001-01-31T00:00:00Z"),
        ("2024-05-15T10:20:30.5", "UTC", start("second"), "2024-05-15T10:20:30Z"),
        ("2024-05-15T10:20:30.5", "UTC", start("minute"), "2024-05-15T10:20:00Z"),
        ("2024-05-15T10:20:30.5", "UTC", start("hour"), "2024-05-15T10:00:00Z"),
        ("2024-05-15T10:20:30.5", "UTC", start("day"), "2024-05-15T00:00:00Z"),
        ("2024-05-15T10:20:30.5", "UTC", start("week"), "2024-05-13T00:00:00Z"),
        ("2024-05-12", "UTC", start("week"), "2024-05-06T00:00:00Z"),
        ("2024-05-15", "UTC", start("month"), "2024-05-01T00:00:00Z"),
        ("2024-05-15", "UTC", start("quarter"), "2024-04-01T00:00:00Z"),
        ("2024-05-15", "UTC", start("year"), "2024-01-01T00:00:00Z"),
        ("2024-05-15", "UTC", end("minute"), "2024-05-15T00:00:59.999999Z"),
        ("2024-05-15", "UTC", end("day"), "2024-05-15T23:59:59.999999Z"),
        ("2024-05-15", "UTC", end("week"), "2024-05-19T23:59:59.999999Z"),
        ("2024-02-15", "UTC", end("month"), "2024-02-29T23:59:59.999999Z"),
        ("2023-02-15", "UTC", end("month"), "2023-02-28T23:59:59.999999Z"),
        ("2024-05-15", "UTC", end("quarter"), "2024-06-30T23:59:59.999999Z"),
        ("2024-05-15", "UTC", end("year"), "2024-12-31T23:59:59.999999Z"),
        ("9999-05-15", "UTC", end("year"), "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31", "UTC", end("day"), "9999-12-31T23:59:59.999999Z"),
        ("2025-03-30T12:00:00", "Europe/Berlin", start("day"), "2025-03-30T00:00:00+01:00"),
        ("2025-03-30T12:00:00", "Europe/Berlin", end("day"), "2025-03-30T23:59:59.999999+02:00"),
        ("2025-10-26T01:45:00Z", "Europe/Berlin", start("hour"), "2025-10-26T02:00:00+01:00"),
        ("2025-10-26T00:45:00Z", "Europe/Berlin", end("hour"), "2025-10-26T02:59:59.999999+02:00"),
        ("2018-11-04T12:00:00", "America/Sao_Paulo", start("day"), "2018-11-04T01:00:00-02:00"),
        (
            "2018-11-03T12:00:00",
            "America/Sao_Paulo",
            end("day"),
            "2018-11-03T23:59:59.999999-03:00",
        ),
    ],
)
def test_an_operation_moves_a_date(
    source: str, zone: str, operation: dict[str, Any], written: str
) -> None:
    """Hours pass, days are on the calendar; months end where they end."""
    data = {"source": "{{ d }}", "timezone": zone, "operations": [operation]}
    assert output("date_transform", data, d=source, n=3)["value"] == written


MOMENT = "2009-02-03T04:05:06.789012Z"


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("iso", "2009-02-03T04:05:06.789012Z"),
        ("", "2009-02-03T04:05:06.789012Z"),
        ("date", "2009-02-03"),
        ("time", "04:05:06"),
        ("unix", 1_233_633_906),
        ("unix_ms", 1_233_633_906_789),
        ("rfc2822", "Tue, 03 Feb 2009 04:05:06 +0000"),
        ("%Y|%y|%C", "2009|09|20"),
        ("%m|%-m|%B|%b|%h", "02|2|February|Feb|Feb"),
        ("%d|%-d|%e|%_d|%0e|%j|%-j", "03|3| 3| 3|03|034|34"),
        ("%H|%k|%-H|%I|%l|%-I", "04| 4|4|04| 4|4"),
        ("%M|%S|%L|%f|%-M", "05|06|789|789012|5"),
        ("%p|%P|%z|%:z|%Z", "AM|am|+0000|+00:00|UTC"),
        ("%A|%a|%u|%w|%^a|%^B", "Tuesday|Tue|2|2|TUE|FEBRUARY"),
        ("%V|%G|%g|%U|%W", "06|2009|09|05|05"),
        ("%s", "1233633906"),
        ("%F %T", "2009-02-03 04:05:06"),
        ("%D %R", "02/03/09 04:05"),
        ("%c", "Tue Feb  3 04:05:06 2009"),
        ("%x %X %r", "02/03/09 04:05:06 04:05:06 AM"),
        ("%%Y%n%t%%", "%Y\n\t%"),
        ("Tag %d, 日本", "Tag 03, 日本"),
    ],
)
def test_a_date_is_written(form: str, written: Any) -> None:
    """Each directive, in English whatever the machine speaks."""
    assert value(MOMENT, format=form) == written


@pytest.mark.parametrize(
    ("day", "form", "written"),
    [
        ("2021-01-03", "%G-W%V-%u", "2020-W53-7"),
        ("2024-12-30", "%G-W%V-%u", "2025-W01-1"),
        ("2023-01-01", "%U %W %w", "01 00 0"),
        ("2023-12-31", "%U %W %j", "53 52 365"),
        ("2024-12-31", "%j", "366"),
        ("0987-06-05", "%Y %y %F", "0987 87 0987-06-05"),
        ("2025-01-01T00:30", "%I:%M %p", "12:30 AM"),
        ("2025-01-01T12:30", "%-I:%M %P", "12:30 pm"),
        ("2025-01-01T23:30", "%l", "11"),
    ],
)
def test_weeks_and_hours_are_numbered_as_the_standards_say(
    day: str, form: str, written: str
) -> None:
    """The edges of years and half days."""
    assert value(day, format=form) == written


@pytest.mark.parametrize(
    ("first", "last", "unit", "zone", "units"),
    [
        ("2025-01-01", "2025-01-02", "seconds", "UTC", 86_400),
        ("2025-01-02", "2025-01-01", "hours", "UTC", -24),
        ("2025-01-01", "2025-01-01T00:00:00.5", "seconds", "UTC", 0.5),
        ("2025-01-01", "2025-01-02T12:00", "days", "UTC", 1.5),
        ("2025-01-01", "2025-01-15", "weeks", "UTC", 2),
        ("2025-03-30", "2025-03-31", "hours", "Europe/Berlin", 23),
        ("2025-03-30", "2025-03-31", "days", "Europe/Berlin", 1),
        ("2025-10-26", "2025-10-27", "hours", "Europe/Berlin", 25),
        ("2024-01-31", "2024-02-29", "months", "UTC", 1),
        ("2024-01-31", "2024-02-28", "months", "UTC", 0),
        ("2024-02-28", "2024-01-31", "months", "UTC", 0),
        ("2024-01-01", "2025-12-31", "quarters", "UTC", 7),
        ("2024-02-29", "2025-02-28", "years", "UTC", 1),
        ("2024-02-29", "2023-02-28", "years", "UTC", -1),
        ("0001-01-01", "9999-12-31", "years", "UTC", 9998),
        ("2025-01-01", "2025-01-01", "minutes", "UTC", 0),
    ],
)
def test_a_difference_is_counted_in_a_unit(
    first: str, last: str, unit: str, zone: str, units: float
) -> None:
    """Days are those of the calendar, months and more are whole ones."""
    data = {"source": first, "timezone": zone, "difference_to": last, "difference_unit": unit}
    made = output("date_transform", data)["difference"]
    assert made == units
    assert type(made) is type(units)


class _NewYear:
    """A clock that stands still half an hour before a year of UTC ends."""

    def now_us(self) -> int:
        """Give the time."""
        return 1_735_687_800_000_000


def test_now_and_today_come_from_the_clock_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates and nodes can't disagree about what time it is."""
    monkeypatch.setattr(WallClock, "source", _NewYear())
    assert value("now") == "2024-12-31T23:30:00Z"
    assert value("now", to_timezone="Europe/Rome") == "2025-01-01T00:30:00+01:00"
    assert value("today") == "2024-12-31T00:00:00Z"
    assert value("today", timezone="Europe/Rome") == "2025-01-01T00:00:00+01:00"
    assert value("2025-01-01") == "2025-01-01T00:00:00Z"


def test_the_output_has_the_forms_that_other_systems_ask_for() -> None:
    """Whatever the format is, the moment stays usable."""
    data = {
        "source": "2025-07-01T10:00:00Z",
        "to_timezone": "{{ zone }}",
        "format": "%H:%M",
        "difference_to": "2025-07-01T12:00:00",
    }
    assert output("date_transform", data, zone="Europe/Rome") == {
        "value": "12:00",
        "iso": "2025-07-01T12:00:00+02:00",
        "unix": 1_751_364_000,
        "timezone": "Europe/Rome",
        "difference": 7200,
    }
    assert output("date_transform", data)["timezone"] == "UTC"
