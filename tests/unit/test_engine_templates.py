"""Templates: types, text, faults, and what a template can't reach."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refold.engine.component import ConfigError, NodeError
from refold.engine.liquid_sandbox import LiquidExpression
from refold.engine.template_parts import Lookup, is_lookup
from refold.engine.templates import compile_text, compile_value, split_markup

CONTEXT: dict[str, Any] = {
    "trigger": {
        "id": 5,
        "price": 1.5,
        "name": 'Bo "x"',
        "on": True,
        "off": False,
        "nothing": None,
        "tags": ["a", 1, {"k": None}],
        "limit": 3,
        "user": {"id": 7},
    },
    "n2": {"body": {"items": [{"name": "first"}, {"name": "second"}]}},
}


def render(source: str, context: dict[str, Any] | None = None) -> Any:
    """Compile and render one string."""
    return compile_text(source, "field").render(CONTEXT if context is None else context)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("", ""),
        ("plain } text", "plain } text"),
        ("{{ trigger.id }}", 5),
        ("  {{trigger.price}}\n", 1.5),
        ("{{ trigger.on }}", True),
        ("{{ trigger.nothing }}", None),
        ("{{ trigger.tags }}", ["a", 1, {"k": None}]),
        ("{{ trigger.user }}", {"id": 7}),
        ("{{ nobody.knows }}", None),
        ("{{ trigger['name'] }}", 'Bo "x"'),
        ("{{ n2.body.items[1].name }}", "second"),
        ("{{ n2.body.items[-1].name }}", "second"),
        ("{{ n2.body.items[2].name }}", None),
        ("{{ n2.body.items.size }}", 2),
        ("{{ n2.body.items.first.name }}", "first"),
        ("{{ trigger.limit }}", 3),
        ("{{ trigger.limit | plus: 1 }}", 4),
        ("{{ trigger.id | times: 1.5 }}", 7.5),
        ("{{ 7 | divided_by: 2 }}", 3),
        ("{{ (1..3) }}", [1, 2, 3]),
        ("{{ trigger.nobody | upcase }}", ""),
        ("{{ trigger.user | json }}", '{"id":7}'),
        ("{{ 'true' }}", "true"),
        ("{{ true }}", True),
    ],
)
def test_one_expression_keeps_the_type_of_its_value(source: str, value: Any) -> None:
    """A field that is exactly one expression passes numbers, lists and objects on as they are."""
    result = render(source)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("id {{ trigger.id }}", "id 5"),
        ("{{ trigger.on }}{{ trigger.off }}", "truefalse"),
        ("<{{ trigger.nothing }}{{ nobody }}>", "<>"),
        ("{{ trigger.tags }}!", '["a",1,{"k":null}]!'),
        ("a {{- trigger.id -}} b", "a5b"),
        ("{% if trigger.on %}yes{% else %}no{% endif %}", "yes"),
        ("{% for t in trigger.tags %}[{{ t }}]{% endfor %}", '[a][1][{"k":null}]'),
        ("{% for p in trigger.user %}{{ p[0] }}={{ p[1] }}{% endfor %}", "id=7"),
        ("{% raw %}{{ trigger.limit }}{% endraw %}", "{{ trigger.limit }}"),
        ("{% comment %}{{ trigger.limit }}{% endcomment %}x", "x"),
        ("{% assign a = trigger.tags %}{{ a }}", '["a",1,{"k":null}]'),
        ("{% capture c %}{{ trigger.id }}{% endcapture %}{{ c }}{{ c }}", "55"),
        ("{{ trigger.tags | join: '-' }};", 'a-1-{"k":null};'),
        ("{{ trigger.on | append: trigger.tags }};", 'true["a",1,{"k":null}];'),
        ("{{ trigger.name | replace: 'o', trigger.id }}", 'B5 "x"'),
        ("{{ '<b>x</b><!-- y --> z' | strip_html }}.", "x z."),
        ("{{ '2025-10-31' | date: '%d.%m.%Y' }}.", "31.10.2025."),
        ("{{ 0 | date: '%Y-%m-%d %H:%M' }}.", "1970-01-01 00:00."),
        ("{{ 'soon' | date: '%Y' }}.", "soon."),
        ("{{ n2.body.items | map: 'nope' | compact | size }}.", "0."),
    ],
)
def test_everything_else_is_text(source: str, text: str) -> None:
    """Inside text, values have their JSON form, and what is missing leaves nothing."""
    assert render(source) == text


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("{{ a", "never closed (line 1)"),
        ("x\n\n{% if a ", "never closed (line 3)"),
        ("{% raw %} {{ a }}", "'raw' is never ended"),
        ("{{ a | zork }}", "unknown filter 'zork'"),
        ("{% if a %}", "endif"),
        ("{% zork %}", "zork"),
        ("{% include 'a' %}", "include"),
        ("{% render 'a' %}", "render"),
        ("{% liquid echo a %}", "liquid"),
        ("{{ }}", "expected"),
        ("{{ a b }}", "'{{ a b }}'"),
        ("{% if a %}" * 40 + "{% endif %}" * 40, "nesting"),
        ("{{ a" + "[a" * 1300 + "]" * 1300 + " }}", "nested too deeply"),
        ("x" * 70_000 + "{{ a }}", "longer than 65536"),
        ("{{ a" + " " * 5000 + "}}", "longer than 4096"),
    ],
)
def test_a_faulty_template_is_refused_when_it_is_compiled(source: str, part: str) -> None:
    """The message is short and names the fault, under the path of the field."""
    with pytest.raises(ConfigError) as caught:
        compile_text(source, "body.text")
    [message] = caught.value.errors["body.text"]
    assert part in message
    assert len(message) < 300


@pytest.mark.parametrize(
    "expression",
    [
        "trigger.__class__",
        "trigger['__class__']",
        "trigger.items",
        "trigger.keys",
        "trigger.name.upper",
        "trigger.tags.append",
        "trigger.__init__.__globals__",
        "trigger.user.get",
        "forloop.it",
        "partial",
        "template",
        "self",
    ],
)
def test_python_is_out_of_reach(expression: str) -> None:
    """A path names items of JSON values only, on both ways of looking it up."""
    assert render("{{ " + expression + " }}") is None
    assert LiquidExpression("{{ " + expression + " }}", "field")(CONTEXT) is None


def test_a_template_with_tags_sees_the_context_only() -> None:
    """Liquid's own variables would hide a node of the same name."""
    assert render("{% if true %}<{{ partial }}>{% endif %}") == "<>"
    assert render("{% if true %}{{ partial }}{% endif %}", {"partial": "mine"}) == "mine"


def test_the_clock_is_in_utc() -> None:
    """Two servers in different time zones render the same."""
    assert render("{{ now }}").endswith("+00:00")
    assert render("{{ 'now' | date: '%z' }}") == "+0000"
    assert render("{{ now | date: '%Y-%m-%d' }}") >= render("{{ today }}")
    assert render("{{ now }}", {"now": "a node's output"}) == "a node's output"


def test_a_failing_filter_tells_no_data() -> None:
    """An error message may reach logs, so that it names the filter and never the value."""
    secret = "hunter2-" * 3
    with pytest.raises(NodeError) as caught:
        render("{{ s | base64_decode }}", {"s": secret + "\x00é"})
    assert caught.value.code == "template_error"
    assert "base64_decode" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_faults_of_a_value_have_paths_of_their_own() -> None:
    """An author of a large body needs to know which of its strings is wrong."""
    value = {"items": [1, {"name": "{{ a"}], "{{ key": "{{ b | zork }}"}
    with pytest.raises(ConfigError) as caught:
        compile_value(value, "body")
    assert set(caught.value.errors) == {"body.items[1].name", "body.{{ key"}


def test_a_value_is_rendered_leaf_by_leaf() -> None:
    """Keys are not templates, static parts stay, and single expressions keep their types."""
    value = {"a": ["{{ trigger.id }}", "id {{ trigger.id }}", 3, None], "{{ x }}": True}
    template = compile_value(value, "body")
    assert not template.is_static
    assert template.render(CONTEXT) == {"a": [5, "id 5", 3, None], "{{ x }}": True}


@pytest.mark.parametrize("value", [None, 3, "text", {"a": ["b"]}, [], {}])
def test_a_value_without_templates_is_static(value: Any) -> None:
    """Nodes compute static results once, when they are compiled."""
    template = compile_value(value, "body")
    assert template.is_static
    assert template.render({}) == value


def test_text_of_any_value() -> None:
    """A URL or a header needs text, whatever its expression gives."""
    cases = {"{{ trigger.id }}": "5", "{{ trigger.user }}": '{"id":7}', "{{ nobody }}": ""}
    for source, text in cases.items():
        assert compile_text(source, "url").render_text(CONTEXT) == text


def test_a_value_that_holds_markup_is_not_a_template() -> None:
    """What was rendered is never rendered again, or a payload could read the whole context."""
    context = {"a": "{{ b }}", "b": "secret"}
    assert render("{{ a }}", context) == "{{ b }}"
    assert render("x{{ a | append: '' }}", context) == "x{{ b }}"


def test_plain_look_ups_do_not_load_liquid() -> None:
    """Liquid takes 7 to 15 MB, which an instance with simple workflows never pays."""
    code = (
        "import sys; from refold.engine.templates import compile_value\n"
        "t = compile_value({'a': '{{ t.b[0] }} and {{ t.c }}'}, 'x'); t.render({})\n"
        "assert 'liquid' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


NAMES = st.sampled_from(["a", "b-c", "size", "first", "last", "limit", "d_1", "items"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
STEPS = st.one_of(
    NAMES.map(lambda name: f".{name}"),
    NAMES.map(lambda name: f'["{name}"]'),
    st.integers(-3, 3).map(lambda index: f"[{index}]"),
)


@settings(max_examples=300, deadline=None)
@given(
    context=st.dictionaries(NAMES, VALUES, max_size=4),
    root=st.sampled_from(["a", "b-c", "size", "items"]),
    steps=st.lists(STEPS, max_size=4),
)
def test_a_look_up_agrees_with_liquid(context: dict[str, Any], root: str, steps: list[str]) -> None:
    """The short way gives what Liquid gives, in value and in type."""
    path = root + "".join(steps)
    assert is_lookup(path)
    direct = Lookup(path)(context)
    by_liquid = LiquidExpression("{{ " + path + " }}", "field")(context)
    assert direct == by_liquid
    assert type(direct) is type(by_liquid)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="{}%- ab\nraw", max_size=60))
def test_the_pieces_of_a_source_are_the_source(source: str) -> None:
    """Cutting loses nothing, and a source is either cut or refused as a template."""
    try:
        template = compile_text(source, "x")
    except ConfigError:
        return
    assert "".join(piece for _, piece in split_markup(source)) == source
    template.render({})
