"""The node `json_parser`, and the strict reading of JSON: one row a case."""

from __future__ import annotations

import time
from typing import Any

import pytest

from refold.engine.strict_json import InvalidJsonError, decode
from tests.support.shaping_kit import failure, faults, output


def parsed(text: Any, **data: Any) -> Any:
    """Give the output for a text that comes from the context."""
    return output("json_parser", {"source": "{{ text }}", **data}, text=text, name='"},"x":{"')


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("{}", {}),
        ('{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
        ("[1]", {"value": [1]}),
        ("5", {"value": 5}),
        ("-0.0", {"value": -0.0}),
        ('"x"', {"value": "x"}),
        ("null", {"value": None}),
        (" \n\t{} ", {}),
        ('"\\u00e9\\ud83d\\udc4d"', {"value": "é👍"}),
        ('{"é": "👍"}', {"é": "👍"}),
        ('{"": 1}', {"": 1}),
        ('{"__class__": 1}', {"__class__": 1}),
        (str(2**64 - 1), {"value": 2**64 - 1}),
        (str(-(2**63)), {"value": -(2**63)}),
        ("1e300", {"value": 1e300}),
        ("[" * 64 + "]" * 64, None),
        ({"already": "parsed"}, {"already": "parsed"}),
        ([1], {"value": [1]}),
        (5, {"value": 5}),
        (False, {"value": False}),
        ('{{ "a" }}', None),
    ],
)
def test_a_text_is_read(text: Any, made: Any) -> None:
    """An object comes out as it is, any other value under `value`."""
    if made is None and isinstance(text, str) and text.startswith("["):
        made = {"value": decode(text)}
    if made is None:
        assert failure("json_parser", {"source": "{{ t }}"}, t=text).code == "json_invalid"
    else:
        assert parsed(text) == made


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("a", {"b": [10, {"c d": "x"}]}),
        ("a.b", {"value": [10, {"c d": "x"}]}),
        ("a.b[0]", {"value": 10}),
        ("a.b[-1]", {"c d": "x"}),
        ('a.b[1]["c d"]', {"value": "x"}),
        ('["a"].b.size', {"value": 2}),
        ("a.b[9]", {"value": "none"}),
        ("a.nobody.x", {"value": "none"}),
        ("a.__class__", {"value": "none"}),
    ],
)
def test_a_path_picks_a_part(path: str, made: Any) -> None:
    """Where it leads nowhere, the default stands."""
    text = '{"a": {"b": [10, {"c d": "x"}]}}'
    assert parsed(text, path=path, default="none") == made


def test_a_document_that_is_written_out_keeps_its_structure() -> None:
    """A value is a value, whatever quotes and braces it holds."""
    data = {"source": '{"name": "{{ name }}", "raw": {{ list }}}'}
    made = output("json_parser", data, name='x","admin":"yes', list=[1])
    assert made == {"name": 'x","admin":"yes', "raw": [1]}


BAD = [
    "",
    " ",
    "{",
    "{'a': 1}",
    '{"a": 1,}',
    "[1 2]",
    "NaN",
    "[Infinity]",
    "-Infinity",
    "01",
    "+1",
    "0x10",
    ".5",
    "1e999",
    "nul",
    "True",
    "// x\n1",
    "1 2",
    '{"a": 1, "a": 2}',
    '{"a": {"b": 1, "b": 1}}',
    '{"a": 1, "\\u0061": 2}',
    str(2**64),
    str(-(2**63) - 1),
    "9" * 5000,
    '"\\ud800"',
    '{"\\udc00": 1}',
    "\ud800",
    '"\ud800"',
    '"a\nb"',
    '"\x00"',
    '"\\x41"',
    "[" * 65 + "]" * 65,
    '{"a":' * 65 + "1" + "}" * 65,
    "[" * 100_000,
    '{"a":' * 100_000,
    "[" * 500_000 + "]" * 500_000,
    "\ufeff{}",
    "１",
]


@pytest.mark.parametrize("text", BAD, ids=lambda text: ascii(text)[:30])
def test_what_two_readers_could_understand_differently_is_refused(text: str) -> None:
    """In a moment, and without the text in the message."""
    began = time.process_time()
    error = failure("json_parser", {"source": "{{ t }}"}, t=text)
    assert time.process_time() - began < 2
    assert error.code == "json_invalid"
    assert "'source'" in error.message
    assert len(error.message) < 200


def test_many_brackets_side_by_side_are_no_nesting() -> None:
    """The limit is of depth."""
    assert parsed("[" + "[]," * 1000 + "[]]")["value"] == [[]] * 1001


@pytest.mark.parametrize(
    ("data", "path", "part"),
    [
        ({}, "source", "is required"),
        ({"source": ""}, "source", "is required"),
        ({"source": " \n"}, "source", "is required"),
        ({"source": 5}, "source", "str"),
        ({"source": {"a": 1}}, "source", "str"),
        ({"source": "{{ a"}, "source", "closed"),
        ({"source": "nope"}, "source", "not valid JSON"),
        ({"source": '{"a": 1, "a": 2}'}, "source", "twice"),
        ({"source": '{"a": {{ x }}'}, "source", "not valid JSON"),
        ({"source": "{{ a }}", "path": 5}, "path", "str"),
        ({"source": "{{ a }}", "path": "a b"}, "path", "a path"),
        ({"source": "{{ a }}", "path": "a..b"}, "path", "a path"),
        ({"source": "{{ a }}", "path": "a()"}, "path", "a path"),
        ({"source": "{{ a }}", "path": "{{ b }}"}, "path", "a path"),
        ({"source": "{{ a }}", "path": "a" * 257}, "path", "256"),
        ({"source": "{{ a }}", "default": "{{ b"}, "default", "closed"),
    ],
)
def test_what_can_not_work_is_refused_on_save(data: dict[str, Any], path: str, part: str) -> None:
    """Each refusal names the field."""
    found = faults("json_parser", **data)
    assert list(found) == [path]
    assert part in found[path][0]


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("{{ nobody }}", "json_invalid"),
        ("{{ nobody }}{{ nobody }}", "json_invalid"),
        ("{{ long }}", "json_invalid"),
        ("{{ large }}", "output_too_large"),
        (
            "{% for i in (1..9999) %}{% for j in (1..9999) %}{% endfor %}{% endfor %}",
            "template_limit",
        ),
    ],
)
def test_what_does_not_work_in_a_run_fails_the_node(source: str, code: str) -> None:
    """Nothing, too much, and too long."""
    context = {"long": " " * 1_100_000 + "1", "large": '"' + "x" * 300_000 + '"'}
    assert failure("json_parser", {"source": source}, **context).code == code


def test_a_part_of_a_large_text_may_be_picked() -> None:
    """Only what comes out has the size of an output."""
    text = '{"junk": "' + "x" * 300_000 + '", "id": 7}'
    assert parsed(text, path="id") == {"value": 7}


def test_bytes_are_read_as_texts_are() -> None:
    """Request bodies and nodes share one reader."""
    assert decode(b'{"a": "\xc3\xa9"}') == {"a": "é"}
    with pytest.raises(InvalidJsonError, match="not valid UTF-8"):
        decode(b'"\xff"')
    with pytest.raises(InvalidJsonError, match="The body has a lone surrogate"):
        decode(b'"\\ud800"')
