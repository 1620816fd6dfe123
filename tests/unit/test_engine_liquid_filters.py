"""The filters that templates have beside Liquid's own, and the list of all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from refold.engine.component import NodeError
from refold.engine.liquid_filters import FILTERS
from refold.engine.templates import compile_text
from refold.engine.wall_clock import WallClock

PAGE = (Path(__file__).parents[2] / "engine" / "nodes" / "transforms.md").read_text("utf-8")
EXAMPLES = re.findall(r"^\| `(\{\{.*\}\})` \| `(.*)` \|$", PAGE, re.MULTILINE)
TRIGGER = {"name": "Ada", "amount": 120, "paid": True, "plan": "gold"}
CONTEXT: dict[str, Any] = {
    "trigger": TRIGGER,
    "winter": "2025-01-15T12:00:00Z",
    "berlin": "2025-03-29T02:30:00+01:00",
    "big": ["x" * 1000] * 1200,
    "deep": "[" * 65 + "]" * 65,
    "half": "\ud800",
    "long": "%F" + "-" * 400_000,
}


def render(source: str) -> Any:
    """Give the value of a template."""
    return compile_text(source, "x").render(CONTEXT)


@pytest.mark.parametrize(("source", "gives"), EXAMPLES)
def test_the_examples_of_the_page_work_as_shown(source: str, gives: str) -> None:
    """What a reader copies has to work."""
    assert render(source.replace("\\|", "|")) == json.loads(gives)


def test_the_page_lists_every_filter_that_there_is() -> None:
    """A filter that nobody finds was not written."""
    from refold.engine import liquid_sandbox

    environment: Any = vars(liquid_sandbox)["_ENVIRONMENT"]
    section = PAGE.partition("## Filters of templates")[2]
    listed = set(re.findall(r"`([a-z0-9_]+)`", section.partition("| example")[0]))
    shown = {name for source, _ in EXAMPLES for name in re.findall(r"\| (\w+)", source)}
    # These two are of use in web pages only.
    assert listed | shown == set(environment.filters) - {"safe", "escapejs"}
    assert {"concat", "join", "replace", "split", "strip_html", "uniq"} == set(FILTERS) - shown - {
        "map"
    }


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{{ trigger | json }}", '{"name":"Ada","amount":120,"paid":true,"plan":"gold"}'),
        ("{{ nobody | json }}", "null"),
        ("{{ 'a\"b' | json }}", '"a\\"b"'),
        ("{{ 'é👍' | json }}", '"é👍"'),
        ("{{ '[1, 2.5, null, true]' | parse_json }}", [1, 2.5, None, True]),
        ("{{ trigger | json | parse_json }}", TRIGGER),
        ("{{ trigger | parse_json }}", TRIGGER),
        ("{{ nobody | parse_json }}", None),
        ("{{ 5 | parse_json }}", 5),
        ("{{ '{\"a\":[7]}' | parse_json | map: 'a' | first }}", [7]),
        ("{{ nobody | keys }}", []),
        ("{{ 'text' | keys }}", []),
        ("{{ nobody | values }}", []),
        ("{{ '' | sha256 | slice: 0, 8 }}", "e3b0c442"),
        ("{{ nobody | md5 }}", "d41d8cd98f00b204e9800998ecf8427e"),
        ("{{ trigger.amount | sha1 }}", "775bc5c30e27f0e562115d136e7f7edbd3cead89"),
        ("{{ 'é' | sha256 | slice: 0, 8 }}", "4a99557e"),
        ("{{ winter | date: '%H:%M %Z' }}", "12:00 UTC"),
        ("{{ winter | date: '%H:%M %Z', 'America/New_York' }}", "07:00 EST"),
        ("{{ winter | date: '', '+05:30' }}", "2025-01-15T17:30:00+05:30"),
        ("{{ winter | date: '%-d/%-m/%y' }}", "15/1/25"),
        ("{{ winter | date: '%Q' }}", "%Q"),
        ("{{ 'soon' | date: '%Y', 'Europe/Rome' }}", "soon"),
        ("{{ nobody | date: '%Y' }}", ""),
        ("{{ 1700000000 | date: '%F' }}", "2023-11-14"),
        ("{{ winter | timezone: 'Pacific/Apia' }}", "2025-01-16T01:00:00+13:00"),
        ("{{ nobody | timezone: 'UTC' }}", None),
        ("{{ berlin | add_time: 1, 'days' }}", "2025-03-30T02:30:00+01:00"),
        ("{{ berlin | add_time: 1, 'days', 'Europe/Berlin' }}", "2025-03-30T03:30:00+02:00"),
        ("{{ berlin | add_time: 24, 'hours', 'Europe/Berlin' }}", "2025-03-30T03:30:00+02:00"),
        ("{{ '2024-01-31' | add_time: 1, 'month' }}", "2024-02-29T00:00:00Z"),
        ("{{ '2024-02-29' | subtract_time: 1, 'years' }}", "2023-02-28T00:00:00Z"),
        ("{{ winter | add_time: 1.5, 'hours' }}", "2025-01-15T13:30:00Z"),
        ("{{ winter | add_time: '2', 'weeks' }}", "2025-01-29T12:00:00Z"),
        ("{{ winter | add_time: -1, 'quarter' }}", "2024-10-15T12:00:00Z"),
        ("{{ nobody | add_time: 1, 'day' }}", None),
        ("{{ '' | add_time: 1, 'day' }}", None),
        ("{{ winter | start_of: 'day', 'Asia/Tokyo' }}", "2025-01-15T00:00:00+09:00"),
        ("{{ winter | start_of: 'week' }}", "2025-01-13T00:00:00Z"),
        ("{{ winter | end_of: 'years' }}", "2025-12-31T23:59:59.999999Z"),
        ("{{ winter | time_until: '2025-01-15T13:00:00Z' }}", 3600),
        ("{{ winter | time_until: '2025-01-14T12:00:00Z', 'day' }}", -1),
        ("{{ winter | time_until: '2025-01-16', 'days' }}", 0.5),
        ("{{ winter | time_until: nobody }}", None),
        (
            "{{ '1.2.2025 10:00' | parse_date: '%d.%m.%Y %H:%M', 'Europe/Rome' }}",
            "2025-02-01T10:00:00+01:00",
        ),
        ("{{ nobody | parse_date: '%F' }}", None),
        ("{{ winter | unix }}", 1_736_942_400),
        ("{{ 1736942400 | unix_ms }}", 1_736_942_400_000),
        ("{{ '1736942400' | unix }}", 1_736_942_400),
        ("{{ nobody | unix }}", None),
        ("{{ winter | unix | plus: 60 | timezone: 'UTC' }}", "2025-01-15T12:01:00Z"),
    ],
)
def test_a_filter_gives_what_it_says(source: str, value: Any) -> None:
    """What is not there stays nothing; a zone as the last argument shows the result there."""
    made = render(source)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    "source",
    [
        "{{ '{' | parse_json }}",
        '{{ \'{"a":1,"a":2}\' | parse_json }}',
        "{{ 'NaN' | parse_json }}",
        "{{ '' | parse_json }}",
        "{{ deep | parse_json }}",
        "{{ half | sha256 }}",
        "{{ trigger | json: 99 }}",
        "{{ trigger | json: 'x' }}",
        "{{ trigger | json: -1 }}",
        "{{ 'body' | hmac_sha256: nobody }}",
        "{{ 'body' | hmac_sha256: '' }}",
        "{{ 'body' | hmac_sha1 }}",
        "{{ winter | timezone: 'Mars/Phobos' }}",
        "{{ winter | timezone: '../../etc/passwd' }}",
        "{{ winter | timezone: nobody | timezone }}",
        "{{ winter | date: '%F', 'nowhere' }}",
        "{{ winter | add_time: 1 }}",
        "{{ winter | add_time: 1, 'aeons' }}",
        "{{ winter | add_time: 1, nobody }}",
        "{{ winter | add_time: 1.5, 'days' }}",
        "{{ winter | add_time: 'many', 'days' }}",
        "{{ winter | add_time: true, 'days' }}",
        "{{ winter | add_time: 99999999999, 'years' }}",
        "{{ winter | add_time: 'inf', 'days' }}",
        "{{ winter | add_time: 'nan', 'days' }}",
        "{{ winter | parse_date: long }}",
        "{{ 'soon' | add_time: 1, 'day' }}",
        "{{ trigger | unix }}",
        "{{ 'soon' | unix }}",
        "{{ winter | start_of: 'eon' }}",
        "{{ winter | end_of }}",
        "{{ winter | time_until: 'soon' }}",
        "{{ winter | parse_date: '%F' }}",
        "{{ '31.02.2025' | parse_date: '%d.%m.%Y' }}",
        "{{ 'x' | parse_date: '%H' }}",
        "{{ 'x' | parse_date: nobody }}",
    ],
)
def test_a_filter_that_can_not_be_used_so_fails_the_render(source: str) -> None:
    """Always as a template error, whose text holds no value."""
    with pytest.raises(NodeError) as caught:
        render(source)
    assert caught.value.code == "template_error"
    assert "2025" not in caught.value.message
    assert "soon" not in caught.value.message


@pytest.mark.parametrize(
    "name", ["json", "parse_json", "keys", "values", "md5", "sha256", "unix", "timezone: 'UTC'"]
)
def test_a_filter_takes_no_more_than_its_limit(name: str) -> None:
    """A megabyte of list goes into no filter."""
    with pytest.raises(NodeError) as caught:
        render(f"{{{{ big | {name} }}}}")
    assert caught.value.code == "template_limit"


def test_now_is_what_the_clock_of_the_service_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node for dates reads the same one."""

    class NewYear:
        def now_us(self) -> int:
            return 1_735_687_800_000_000

    monkeypatch.setattr(WallClock, "source", NewYear())
    assert render("{{ 'now' | unix }}") == 1_735_687_800
    assert render("{{ 'now' | date: '%F', 'Europe/Rome' }}") == "2025-01-01"
    assert render("{{ 'today' | start_of: 'day' }}") == "2024-12-31T00:00:00Z"
