"""What `date_transform` refuses on save, and what fails it in a run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.shaping_kit import failure, faults

ADD: dict[str, Any] = {"op": "add", "amount": 1, "unit": "days"}


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "source", "is required"),
    ({"source": "soon"}, "source", "no date"),
    ({"source": "2023-02-29"}, "source", "no date"),
    ({"source": True}, "source", "a boolean"),
    ({"source": []}, "source", "a list"),
    ({"source": "{{ a"}, "source", "never closed"),
    ({"source": 10**15}, "source", "years 1 to 9999"),
    ({"source": "now", "source_format": 5}, "source_format", "str"),
    ({"source": "now", "source_format": "%H:%M"}, "source_format", "a year"),
    ({"source": "now", "source_format": "%Y-%m-%d %I"}, "source_format", "'%p'"),
    ({"source": "now", "source_format": "%F %Z"}, "source_format", "'%Z'"),
    ({"source": "now", "source_format": "%F %d"}, "source_format", "twice"),
    ({"source": "now", "source_format": "%F %"}, "source_format", "'%'"),
    ({"source": "now", "source_format": "%Y" * 65}, "source_format", "128"),
    ({"source": "now", "timezone": "Mars/Phobos"}, "timezone", "Europe/Rome"),
    ({"source": "now", "timezone": "../../etc/passwd"}, "timezone", "Europe/Rome"),
    ({"source": "now", "timezone": "/etc/passwd"}, "timezone", "Europe/Rome"),
    ({"source": "now", "timezone": "America"}, "timezone", "Europe/Rome"),
    ({"source": "now", "timezone": "localtime"}, "timezone", "Europe/Rome"),
    ({"source": "now", "timezone": "+25:00"}, "timezone", "Europe/Rome"),
    ({"source": "now", "timezone": "Ä" * 5000}, "timezone", "Europe/Rome"),
    ({"source": "now", "to_timezone": "{{ a"}, "to_timezone", "never closed"),
    ({"source": "now", "format": "yyyy-mm-dd"}, "format", "iso"),
    ({"source": "now", "format": "%Q"}, "format", "'%Q'"),
    ({"source": "now", "format": "%Y%"}, "format", "'%'"),
    ({"source": "now", "format": "%999Y"}, "format", "'%9'"),
    ({"source": "now", "format": "%Y" * 65}, "format", "128"),
    ({"source": "now", "difference_to": "later"}, "difference_to", "no date"),
    ({"source": "now", "difference_unit": "aeons"}, "difference_unit", "aeons"),
    ({"source": "now", "operations": {}}, "operations", "array"),
    ({"source": "now", "operations": [ADD] * 51}, "operations", "50"),
    ({"source": "now", "operations": [{"op": "zork"}]}, "operations[0].op", "zork"),
    (
        {"source": "now", "operations": [{"op": "add", "unit": "days"}]},
        "operations[0]",
        "amount",
    ),
    ({"source": "now", "operations": [{**ADD, "unit": "day"}]}, "operations[0].unit", "day"),
    (
        {"source": "now", "operations": [{**ADD, "amount": "x"}]},
        "operations[0].amount",
        "number",
    ),
    (
        {"source": "now", "operations": [{**ADD, "amount": 1.5}]},
        "operations[0].amount",
        "whole",
    ),
    ({"source": "now", "operations": [{**ADD, "amount": []}]}, "operations[0].amount", "array"),
    ({"source": "now", "operations": [{**ADD, "amount": 10**13}]}, "operations[0].amount", ""),
    (
        {"source": "now", "operations": [{"op": "start_of", "unit": "days"}]},
        "operations[0].unit",
        "days",
    ),
]


@pytest.mark.parametrize(("data", "path", "part"), REFUSED)
def test_what_can_not_work_is_refused_on_save(data: dict[str, Any], path: str, part: str) -> None:
    """Each refusal names the field."""
    found = faults("date_transform", **data)
    assert list(found) == [path]
    assert part in found[path][0]


@pytest.mark.parametrize(
    ("source", "data", "code", "part"),
    [
        (None, {}, "type_mismatch", "'source' is null"),
        ("", {}, "type_mismatch", "'source'"),
        ({}, {}, "type_mismatch", "an object"),
        ("x" * 100_000, {}, "type_mismatch", "'source'"),
        ("2025-13-01", {}, "type_mismatch", "'source'"),
        ("٢٠٢٥-٠١-٠١", {}, "type_mismatch", "'source'"),
        (5, {"source_format": "%Y-%m-%d"}, "type_mismatch", "a number"),
        (None, {"source_format": "%Y-%m-%d"}, "type_mismatch", "null"),
        ("2025-02-30", {"source_format": "%Y-%m-%d"}, "date_invalid", "does not exist"),
        ("2025-02-03 x", {"source_format": "%Y-%m-%d"}, "date_invalid", "the format"),
        ("13:00 PM 2025-01-01", {"source_format": "%I:%M %p %F"}, "date_invalid", "not exist"),
        ("Mon 2025-10-31", {"source_format": "%a %F"}, "date_invalid", "not exist"),
        ("2023 366", {"source_format": "%Y %j"}, "date_invalid", "not exist"),
        ("2025-01-01 +09:75", {"source_format": "%F %z"}, "date_invalid", "not exist"),
        ("1" * 200, {"source_format": "%Y%m%d"}, "date_invalid", "the format"),
        ("2025" + " " * 200 + "1 1", {"source_format": "%Y %m %d"}, "date_invalid", "the format"),
        ("hello", {"source_format": "rfc2822"}, "date_invalid", "mail"),
        ("", {"source_format": "rfc2822"}, "date_invalid", "mail"),
        (1e18, {"source_format": "unix"}, "date_invalid", "years"),
        ("many", {"source_format": "unix"}, "type_mismatch", "'source'"),
        ("9999-12-31", {"operations": [ADD]}, "date_invalid", "'operations[0]'"),
        (
            "0001-01-01",
            {"operations": [{"op": "subtract", "amount": 1, "unit": "seconds"}]},
            "date_invalid",
            "'operations[0]'",
        ),
        ("2025-01-01", {"operations": [{**ADD, "amount": 10**12}]}, "date_invalid", "years"),
        (
            "2025-01-01",
            {"operations": [{**ADD, "amount": 10**12, "unit": "years"}]},
            "date_invalid",
            "years",
        ),
        (
            "2025-01-01",
            {"operations": [{**ADD, "amount": "{{ nobody }}"}]},
            "type_mismatch",
            "operations[0].amount",
        ),
        (
            "2025-01-01",
            {"operations": [{**ADD, "amount": "{{ half }}"}]},
            "type_mismatch",
            "whole number of days",
        ),
        ("0001-01-01", {"to_timezone": "America/Lima"}, "date_invalid", "'source'"),
        ("9999-12-31T23:00:00Z", {"to_timezone": "+14:00"}, "date_invalid", "'source'"),
        ("2025-01-01", {"timezone": "{{ half }}"}, "timezone_invalid", "'timezone'"),
        ("2025-01-01", {"to_timezone": "{{ far }}"}, "timezone_invalid", "'to_timezone'"),
        ("2025-01-01", {"difference_to": "{{ nobody }}"}, "type_mismatch", "'difference_to'"),
    ],
)
def test_what_does_not_work_in_a_run_fails_the_node(
    source: Any, data: dict[str, Any], code: str, part: str
) -> None:
    """The message names the field and never holds the value."""
    error = failure(
        "date_transform", {"source": "{{ d }}", **data}, d=source, half=1.5, far="../UTC"
    )
    assert error.code == code
    assert part in error.message
    assert len(error.message) < 200
