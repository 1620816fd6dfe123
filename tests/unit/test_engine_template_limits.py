"""Hostile templates: each fails in about the limit of time, without much memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from refold.engine.component import ConfigError, NodeError
from refold.engine.template_values import RenderLimit
from refold.engine.templates import compile_json_text, compile_text, compile_value

NUMBERS = list(range(30_000))
CONTEXT: dict[str, Any] = {
    "big": NUMBERS,
    "text": "a" * 200_000,
    "objects": [{"k": NUMBERS}] * 50,
    "digits": "9" * 100_000,
    "nested": [NUMBERS] * 300,
}
SECONDS_MAX = 4.0
"""The limit of a render is 1 s; the rest is for a busy machine and for measuring memory."""
BYTES_MAX = 50_000_000

BOMBS = {
    "nested loops": "{% for i in (1..999) %}{% for j in (1..999) %}x{% endfor %}{% endfor %}",
    "blank loops": "{% for i in (1..999) %}{% for j in (1..999) %} {% endfor %}{% endfor %}",
    "loops in a row": "{% for i in (1..9999) %}{% endfor %}" * 100,
    "reversed range": "{% for i in (1..1000000000) reversed %}{% endfor %}",
    "range in a filter": "{{ (1..1000000000) | reverse }}",
    "range in a comparison": "{% if (1..10000000000) contains 5.5 %}{% endif %}",
    "range in a table": "{% tablerow i in (1..1000000000) reversed %}{% endtablerow %}",
    "range of a huge number": "{{ (1..99999999999999999999999) | size }}",
    "doubled text": "{% assign a = text %}" + "{% assign a = a | append: a %}" * 40,
    "doubled capture": "{% assign a = text %}{% capture b %}{{ a }}{{ a }}{% endcapture %}",
    "doubled list": "{% assign a = big %}" + "{% assign a = a | concat: a %}" * 40,
    "many variables": "{% assign a = text %}"
    + "".join(f"{{% assign a{i} = a | append: '{i}' %}}" for i in range(500)),
    "one list many times": "{{ objects | map: 'k' | size }}",
    "one list flattened many times": "{{ nested | reverse | size }}",
    "joined with a long text": "{{ big | join: text }}",
    "replaced by a long text": "{{ text | replace: 'a', text }}",
    "replaced between letters": "{{ text | replace: '', text }}",
    "split into letters": "{{ text | split: '' | size }}",
    "powers": "{% assign a = 99999999999 %}" + "{% assign a = a | times: a %}" * 40,
    "output": "{% for i in (1..1000) %}{{ text }}{% endfor %}",
    "repeated output": "{{ text }}{{ text }}",
    "table of outputs": "{% for i in (1..9999) %}{% cycle text, big %}{% endfor %}",
}


def measure(name: str) -> None:
    """Print the code that a bomb is refused with, its processor time, and the memory it took."""
    compile_text("{{ 'warm' | upcase }}", "x").render({})
    tracemalloc.start()
    began = time.thread_time()
    code = ""
    try:
        compile_text(BOMBS[name], "x").render(CONTEXT)
    except NodeError as error:
        code = error.code
    peak = tracemalloc.get_traced_memory()[1]
    print(json.dumps([code, time.thread_time() - began, peak]))


@pytest.mark.parametrize("name", list(BOMBS))
def test_a_bomb_is_stopped(name: str) -> None:
    """The event loop and the memory are everybody's: one template can't take them."""
    # In a process of its own: what thousands of tests have left behind is not the bomb's.
    script = f"from tests.unit.test_engine_template_limits import measure; measure({name!r})"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    code, seconds, peak = json.loads(done.stdout)
    assert code == "template_limit"
    assert seconds < SECONDS_MAX
    assert peak < BYTES_MAX


@pytest.mark.parametrize("name", ["nested loops", "blank loops", "loops in a row"])
def test_loops_are_counted(name: str) -> None:
    """The count doesn't depend on how fast the machine is, as the clock does."""
    with pytest.raises(NodeError, match="more than 100000 iterations"):
        compile_text(BOMBS[name], "x").render({})


@pytest.mark.parametrize(
    "body",
    ["{% if 1 == 1 %}{% endif %}" * 2000, "{{ big | sort | first }}", "{% assign b = big %}"],
    ids=["statements", "filters", "variables"],
)
def test_a_slow_render_is_stopped_by_the_clock(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no count stops, the clock does, at whichever kind of work the time is spent."""
    monkeypatch.setattr(RenderLimit, "seconds_max", 0.05)
    template = compile_text("{% for i in (1..9999) %}" + body + "{% endfor %}", "x")
    began = time.thread_time()
    with pytest.raises(NodeError, match="takes longer than") as caught:
        template.render(CONTEXT)
    assert caught.value.code == "template_limit"
    assert time.thread_time() - began < SECONDS_MAX


@pytest.mark.parametrize(
    "source",
    [
        "{{ digits | plus: 1 }}",
        "{{ '1e999' | round }}",
        "{{ 'nan' | plus: 1.5 }}",
        "{{ 'inf' | times: 1 }}",
        "{{ 'now' | date: '%999999999Y' }}",
        "{{ 1 | divided_by: 0 }}",
        "{{ '/w==' | base64_decode }}",
        "{% if 'a' < 1 %}{% endif %}",
        "{% for i in big limit: -5 offset: -3 %}{% endfor %}",
    ],
)
def test_what_python_would_raise_is_a_template_error(source: str) -> None:
    """No error of the libraries below gets out of a render."""
    with pytest.raises(NodeError) as caught:
        compile_text(source, "x").render(CONTEXT)
    assert caught.value.code == "template_error"


@pytest.mark.parametrize(
    "source",
    [
        "{% comment %}" + "{{ " * 20_000 + "{% endcomment %}",
        "{% comment %}" + "{% raw %}" * 6000 + "{% endcomment %}",
        "{{" + " " * 60_000 + "}}",
        "{% if" + " " * 60_000 + "%}{% endif %}",
        "{{ a | f: " + "(" * 60_000 + "}}",
        ("{{" + " " * 4000 + "}}") * 15,
    ],
    ids=["outputs in a comment", "raws in a comment", "spaces", "tag", "parentheses", "runs"],
)
def test_compiling_takes_no_quadratic_time(source: str) -> None:
    """Liquid's scanner would take minutes for some of these: they end before it sees them."""
    began = time.thread_time()
    with pytest.raises(ConfigError):
        compile_text(source, "x").render({})
    assert time.thread_time() - began < 1.0


def test_one_value_in_many_places_is_limited() -> None:
    """By reference it is free; written down, it would be gigabytes."""
    template = compile_value({"a": ["{{ big }}"] * 5}, "body")
    with pytest.raises(NodeError, match="longer than 262144 characters"):
        template.render(CONTEXT)
    assert len(template.render({"big": [1]})["a"]) == 5


def test_the_limit_of_size_is_a_parameter() -> None:
    """A request body has another limit than a node's output."""
    for make in (compile_text, compile_value, compile_json_text):
        with pytest.raises(NodeError, match="longer than 10 characters"):
            make('["{{ text }}", "{{ text }}"]', "x", size_max=10).render({"text": "abcdef"})


def test_ordinary_work_is_within_the_limits() -> None:
    """A list of a thousand entries written as text is no bomb."""
    source = (
        "{% assign all = '' %}{% for i in big limit: 1000 %}"
        "{% assign line = i | append: ', ' %}{% assign all = all | append: line %}"
        "{% endfor %}{{ all }}"
    )
    text = compile_text(source, "x").render(CONTEXT)
    assert text.endswith("999, ")
    assert compile_text("{{ big | uniq | size }}", "x").render(CONTEXT) == 30_000
