"""JSON documents with templates in them: no value can change a document's structure."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refold.engine.component import ConfigError, NodeError
from refold.engine.templates import compile_json_text

TEXTS = st.text(max_size=30) | st.sampled_from(
    ['", "admin": true, "x": "', "\\", '\\"', "{{ a }}", "{% if %}", "\n", '"}]', "\ue000v0;"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
PLAIN = compile_json_text(
    '{"s": "<{{ a }}>", "t": "{{ a }}", "v": {{ b }}, "k-{{ a }}": [1, {{ a | append: "" }}]}',
    "body",
)
TAGGED = compile_json_text(
    '{"s": "<{{ a }}>", "t": "{% if true %}{{ a }}{% endif %}", "v": {% echo b %}, "k-{{ a }}":'
    " [1, {% capture c %}{{ a }}{% endcapture %}{{ c }}]}",
    "body",
)
ODD_TAGS = compile_json_text(
    '{"s": "{% cycle a %}", "v": [{% cycle a %}], "i": "{% for i in (1..1) %}{% ifchanged %}'
    '{{ a }}{% endifchanged %}{% endfor %}"}',
    "body",
)


@settings(max_examples=300, deadline=None)
@given(a=TEXTS, b=JSON)
def test_no_value_breaks_out_of_its_place(a: str, b: Any) -> None:
    """Whatever a payload holds, the document has the author's structure and exactly the values."""
    expected = {"s": f"<{a}>", "t": a, "v": b, f"k-{a}": [1, a]}
    for template in (PLAIN, TAGGED):
        assert template.render({"a": a, "b": b}) == expected
    assert ODD_TAGS.render({"a": a}) == {"s": a, "v": [a], "i": a}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        (' [1, "x"] ', [1, "x"]),
        ('{"a": {{ n }}}', {"a": 5}),
        ('{"a": "{{ n }}"}', {"a": "5"}),
        ('{"a": {{ nobody }}, "b": "{{ nobody }}"}', {"a": None, "b": ""}),
        ('{"a": {{ l }}, "b": "{{ l }}"}', {"a": [1, "x"], "b": '[1,"x"]'}),
        ('{"a": "\\u00e9 {{ n }}"}', {"a": "é 5"}),
        ('{"a": "\\"{{ n }}\\""}', {"a": '"5"'}),
        ('[{% for x in l %}{{ x }}{% unless forloop.last %},{% endunless %}{% endfor %}]',
         [1, "x"]),
        ('{% assign m = 2 %}{"a": {{ m }}}', {"a": 2}),
        ("{{ o }}", {"k": 1}),
        ("hello {{ n }}", "hello 5"),
        ("{{ n }} {", "5 {"),
        ("not json", "not json"),
        ("{not json}", "{not json}"),
        ("12", "12"),
    ],
)  # fmt: skip
def test_a_document_becomes_its_json_value(source: str, value: Any) -> None:
    """Objects and lists are parsed, other sources stay text, and bare values keep their types."""
    context = {"n": 5, "l": [1, "x"], "o": {"k": 1}}
    assert compile_json_text(source, "body").render(context) == value


@pytest.mark.parametrize(
    "source",
    [
        '{"a": {{ x }},}',
        '{"a": "{{ x }}}',
        '["\\{{ x }}"]',
        '{"a": {{ x }}{{ x }}}',
        '["\\ue000v0;", {{ x }}]',
        '{"a": {{ x | zork }}}',
    ],
)
def test_a_broken_document_is_refused_when_it_is_compiled(source: str) -> None:
    """Sending it as plain text instead would put values in unescaped."""
    with pytest.raises(ConfigError) as caught:
        compile_json_text(source, "body")
    assert list(caught.value.errors) == ["body"]


@pytest.mark.parametrize(
    "source",
    [
        '{"a": {% if x %}1{% endif %}',
        '["\\{% if true %}{{ x }}{% endif %}"]',
        '["a\\{% if true %}n{% endif %}"]',
    ],
)
def test_a_document_that_a_tag_breaks_fails_the_node(source: str) -> None:
    """What only shows when it is rendered is an error with a code, not a broken request."""
    with pytest.raises(NodeError) as caught:
        compile_json_text(source, "body").render({"x": '", "y": "'})
    assert caught.value.code == "template_error"


@settings(max_examples=100, deadline=None)
@given(value=JSON)
def test_a_static_document_is_its_value(value: Any) -> None:
    """A document without templates gives what its JSON says."""
    source = json.dumps({"v": value})
    if "{{" in source or "{%" in source or "ue000" in source:
        return
    assert compile_json_text(source, "body").render({}) == {"v": value}
