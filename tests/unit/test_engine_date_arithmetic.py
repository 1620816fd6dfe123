"""Dates: the edges of the arithmetic that no node reaches."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from refold.engine.date_arithmetic import (
    DateRangeError,
    Unit,
    shift,
    unit_of,
    zone_of,
)
from refold.engine.date_formats import ReadFormat, read_unix, unknown_directives, write_iso
from refold.engine.zones import UnknownZoneError

MOMENT = datetime(2024, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize("amount", [math.inf, -math.inf, math.nan, 1e300, 10**300, -(10**300)])
@pytest.mark.parametrize("unit", ["seconds", "days", "months", "years"])
def test_no_amount_leads_out_of_the_calendar(amount: float, unit: Unit) -> None:
    """There is one error for all that is too far."""
    with pytest.raises(DateRangeError):
        shift(MOMENT, amount, unit, UTC)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../UTC",
        "/etc/localtime",
        "Europe",
        "Europe/",
        "localtime",
        "a\0b",
        "é",
        "UTC ",
        "+24:00",
        "x" * 10_000,
        "zone.tab",
        "tzdata.zi",
        "\ud800",
    ],
)
def test_what_is_no_zone_is_refused(name: str) -> None:
    """Whatever files there are beside the zones."""
    with pytest.raises(UnknownZoneError):
        zone_of(name)


def test_units_have_two_names() -> None:
    """Singular and plural, and no others."""
    assert unit_of("day") == unit_of("days") == "days"
    assert unit_of("dayss") is None
    assert unit_of("") is None


def test_a_large_number_of_seconds_keeps_its_fraction() -> None:
    """As far as a float has one."""
    assert write_iso(read_unix(1_700_000_000.5, 1)) == "2023-11-14T22:13:20.500000Z"
    assert write_iso(read_unix(-0.25, 1)) == "1969-12-31T23:59:59.750000Z"


def test_directives_that_nobody_knows_are_named() -> None:
    """Such as those of other languages."""
    assert unknown_directives("%Y-%Q %:Y %%q %-d") == ["%Q", "%:Y"]


def test_a_percent_sign_is_no_directive() -> None:
    """Neither when it is read nor when it is written."""
    assert ReadFormat("%%F %F").read("%F 2024-01-31") == MOMENT.replace(tzinfo=None)
