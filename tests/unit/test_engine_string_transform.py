"""The node `string_transform`: one row a case."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from tests.support.shaping_kit import failure, faults, output, strings

EDITS: list[tuple[Any, dict[str, Any], Any]] = [
    ("  a b\t\n", {"op": "trim"}, "a b"),
    ("\u00a0\u2003a\u3000", {"op": "trim"}, "a"),
    ("\u200ba", {"op": "trim"}, "\u200ba"),
    ("  a ", {"op": "trim", "side": "start"}, "a "),
    ("  a ", {"op": "trim", "side": "end"}, "  a"),
    ("xxaxx", {"op": "trim", "characters": "x"}, "a"),
    ("--a+-", {"op": "trim", "characters": "+-"}, "a"),
    ("", {"op": "trim"}, ""),
    (None, {"op": "trim"}, ""),
    (" \n ", {"op": "trim"}, ""),
    ("straße", {"op": "upper"}, "STRASSE"),
    ("ﬁne", {"op": "upper"}, "FINE"),
    ("ÀÉ", {"op": "lower"}, "àé"),
    ("İ", {"op": "lower"}, "i̇"),
    ("ΟΔΟΣ", {"op": "lower"}, "οδος"),
    (True, {"op": "upper"}, "TRUE"),
    (12, {"op": "append", "text": "!"}, "12!"),
    (1.5, {"op": "append", "text": ""}, "1.5"),
    ("hELLO wORLD", {"op": "capitalize"}, "Hello world"),
    ("ǆ", {"op": "capitalize"}, "ǅ"),
    ("", {"op": "capitalize"}, ""),
    ("don't STOP  me", {"op": "title"}, "Don't Stop  Me"),
    ("élan vital\nnow", {"op": "title"}, "Élan Vital\nNow"),
    ("Grüße, Ångström!", {"op": "slug"}, "grusse-angstrom"),
    ("  --Hello__World--  ", {"op": "slug"}, "hello-world"),
    ("Привет, мир", {"op": "slug"}, "привет-мир"),
    ("日本語 テキスト", {"op": "slug"}, "日本語-テキスト"),
    ("й ё", {"op": "slug"}, "й-ё"),
    ("Łódź & Ærø", {"op": "slug"}, "lodz-aero"),
    ("It's Bob’s", {"op": "slug"}, "its-bobs"),
    ("a b", {"op": "slug", "separator": "_"}, "a_b"),
    ("…!?", {"op": "slug"}, ""),
    ("½ ²", {"op": "slug"}, "1-2-2"),
    ("👍 ok", {"op": "slug"}, "ok"),
    ("a.b.c", {"op": "replace", "find": ".", "replacement": "-"}, "a-b-c"),
    ("a.b.c", {"op": "replace", "find": ".", "replacement": "-", "first_only": True}, "a-b.c"),
    ("aaa", {"op": "replace", "find": "aa", "replacement": "b"}, "ba"),
    ("abc", {"op": "replace", "find": "b"}, "ac"),
    ("abc", {"op": "replace", "find": "x", "replacement": "y"}, "abc"),
    ("$1", {"op": "replace", "find": "$1", "replacement": "\\1"}, "\\1"),
    ("👍👎", {"op": "replace", "find": "👍", "replacement": "👎"}, "👎👎"),
    ("hello", {"op": "substring", "start": 1, "length": 3}, "ell"),
    ("hello", {"op": "substring", "start": -3}, "llo"),
    ("hello", {"op": "substring", "start": -3, "length": 1}, "l"),
    ("hello", {"op": "substring", "start": 9}, ""),
    ("hello", {"op": "substring", "start": -9, "length": 2}, "he"),
    ("hello", {"op": "substring", "length": 0}, ""),
    ("hello", {"op": "substring"}, "hello"),
    ("a👍b", {"op": "substring", "start": 1, "length": 1}, "👍"),
    ("hello world", {"op": "truncate", "length": 6}, "hello…"),
    ("hello", {"op": "truncate", "length": 5}, "hello"),
    ("hello", {"op": "truncate", "length": 3, "ending": ""}, "hel"),
    ("hello", {"op": "truncate", "length": 2, "ending": "..."}, ".."),
    ("hello", {"op": "truncate", "length": 0}, ""),
    ("7", {"op": "pad", "length": 3, "fill": "0"}, "007"),
    ("7", {"op": "pad", "length": 3, "side": "end", "fill": "."}, "7.."),
    ("7", {"op": "pad", "length": 4, "side": "both", "fill": "-"}, "-7--"),
    ("1234", {"op": "pad", "length": 3}, "1234"),
    ("", {"op": "pad", "length": 2, "fill": "é"}, "éé"),
    ("b", {"op": "prepend", "text": "a"}, "ab"),
    ("b", {"op": "append", "text": "{{ who }}"}, "bAda"),
    ("", {"op": "default", "text": "none"}, "none"),
    (None, {"op": "default", "text": "{{ who }}"}, "Ada"),
    (" ", {"op": "default", "text": "none"}, " "),
    ("a,b,,c", {"op": "split", "separator": ","}, ["a", "b", "", "c"]),
    ("", {"op": "split", "separator": ","}, []),
    ("a", {"op": "split", "separator": ","}, ["a"]),
    (",", {"op": "split", "separator": ","}, ["", ""]),
    ("a👍b", {"op": "split", "separator": "👍"}, ["a", "b"]),
    (["a", "b"], {"op": "join", "separator": "-"}, "a-b"),
    ([], {"op": "join", "separator": "-"}, ""),
    (["a", None, 1, False], {"op": "join"}, "a1false"),
    (["a", "b"], {"op": "item", "index": -1}, "b"),
    (["a", "b"], {"op": "item", "index": 0}, "a"),
    (["a", "b"], {"op": "item", "index": 2}, ""),
    ([], {"op": "item", "index": 0}, ""),
    ([" a ", "b "], {"op": "trim"}, ["a", "b"]),
]

CODES: list[tuple[Any, dict[str, Any], Any]] = [
    ("héllo", {"op": "base64_encode"}, "aMOpbGxv"),
    ("", {"op": "base64_encode"}, ""),
    ("a", {"op": "base64_encode"}, "YQ=="),
    ("a", {"op": "base64_encode", "url_safe": True}, "YQ"),
    ("???>>>", {"op": "base64_encode"}, "Pz8/Pj4+"),
    ("???>>>", {"op": "base64_encode", "url_safe": True}, "Pz8_Pj4-"),
    ("aMOpbGxv", {"op": "base64_decode"}, "héllo"),
    ("YQ", {"op": "base64_decode"}, "a"),
    (" YQ==\n", {"op": "base64_decode"}, "a"),
    ("Pz8_Pj4-", {"op": "base64_decode", "url_safe": True}, "???>>>"),
    ("", {"op": "base64_decode"}, ""),
    ("a b&c=é/?+", {"op": "url_encode"}, "a%20b%26c%3D%C3%A9%2F%3F%2B"),
    ("-._~", {"op": "url_encode"}, "-._~"),
    ("a%20b+c%C3%A9", {"op": "url_decode"}, "a b cé"),
    ("100%", {"op": "url_decode"}, "100%"),
    ("%zz", {"op": "url_decode"}, "%zz"),
    ("", {"op": "hash"}, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("abc", {"op": "hash", "algorithm": "md5"}, "900150983cd24fb0d6963f7d28e17f72"),
    ("abc", {"op": "hash", "algorithm": "sha1"}, "a9993e364706816aba3e25717850c26c9cd0d89d"),
    (
        "é",
        {"op": "hash", "algorithm": "sha256"},
        "4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c",
    ),
]

PATTERNS: list[tuple[Any, dict[str, Any], Any]] = [
    ("a1b22", {"op": "regex_replace", "pattern": "[0-9]+", "replacement": "#"}, "a#b#"),
    (
        "Ada Lovelace",
        {"op": "regex_replace", "pattern": r"(\w+) (\w+)", "replacement": "$2, $1"},
        "Lovelace, Ada",
    ),
    (
        "k=v",
        {"op": "regex_replace", "pattern": "(?P<k>.)=(?P<v>.)", "replacement": "${v}=${k}"},
        "v=k",
    ),
    ("5", {"op": "regex_replace", "pattern": "5", "replacement": "$$$0"}, "$5"),
    ("ab", {"op": "regex_replace", "pattern": "(x)?b", "replacement": "[$1]"}, "a[]"),
    ("aéb", {"op": "regex_replace", "pattern": "x*", "replacement": "-"}, "-a-é-b-"),
    ("", {"op": "regex_replace", "pattern": "x*", "replacement": "-"}, "-"),
    ("AbA", {"op": "regex_replace", "pattern": "a", "ignore_case": True}, "b"),
    ("aaa", {"op": "regex_replace", "pattern": "a", "replacement": "b", "first_only": True}, "baa"),
    ("x", {"op": "regex_replace", "pattern": "x", "replacement": "<{{ who }}>"}, "<Ada>"),
    ("x", {"op": "regex_replace", "pattern": "x", "replacement": "{{ price }}"}, "$1"),
    ("a\nb", {"op": "regex_replace", "pattern": "(?m)^", "replacement": "> "}, "> a\n> b"),
    ("id: 42, id: 7", {"op": "extract", "pattern": r"id: (\d+)"}, "42"),
    ("id: 42", {"op": "extract", "pattern": r"\d+"}, "42"),
    ("id: 42", {"op": "extract", "pattern": r"id: (\d+)", "group": 0}, "id: 42"),
    ("id: 42", {"op": "extract", "pattern": r"(?P<n>\d+)", "group": "n"}, "42"),
    ("none", {"op": "extract", "pattern": r"\d+"}, ""),
    ("日本語", {"op": "extract", "pattern": "本."}, "本語"),
    ("a1b22", {"op": "extract_all", "pattern": r"\d+"}, ["1", "22"]),
    ("a=1,b=2", {"op": "extract_all", "pattern": r"(\w)=(\d)", "group": 2}, ["1", "2"]),
    ("none", {"op": "extract_all", "pattern": r"\d"}, []),
]


@pytest.mark.parametrize(
    ("source", "operation", "made"),
    [*EDITS, *CODES, *PATTERNS],
)
def test_an_operation_makes_what_it_says(source: Any, operation: dict[str, Any], made: Any) -> None:
    """Each operation by itself, at its edges."""
    assert strings(source, operation, who="Ada", price="$1") == made


@pytest.mark.parametrize(
    ("source", "operations", "made"),
    [
        ("a b", [], "a b"),
        (
            "Ada; Bob ;",
            [
                {"op": "split", "separator": ";"},
                {"op": "trim"},
                {"op": "lower"},
                {"op": "join", "separator": "|"},
            ],
            "ada|bob|",
        ),
        (
            "x@a.io y@b.io",
            [{"op": "extract_all", "pattern": r"@(\S+)"}, {"op": "item", "index": 1}],
            "b.io",
        ),
        (["b64", "me"], [{"op": "base64_encode"}, {"op": "base64_decode"}], ["b64", "me"]),
    ],
)
def test_operations_come_one_after_the_other(
    source: Any, operations: list[dict[str, Any]], made: Any
) -> None:
    """On a list, what is made for text is done to each item."""
    assert strings(source, *operations) == made


def test_a_list_comes_out_with_its_length() -> None:
    """A later node finds lists where `array_filter` puts them."""
    data = {"source": "a b", "operations": [{"op": "split", "separator": " "}]}
    assert output("string_transform", data) == {"items": ["a", "b"], "count": 2}


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"operations": []}, "source", "is required"),
    ({"source": "x"}, "operations", "is required"),
    ({"source": "x", "operations": "trim"}, "operations", "array"),
    ({"source": "x", "operations": [{}]}, "operations[0]", "'op'"),
    ({"source": "x", "operations": [{"op": "zork"}]}, "operations[0].op", "zork"),
    ({"source": "x", "operations": [{"op": "trim", "sid": 1}]}, "operations[0]", "'sid'"),
    ({"source": "x", "operations": [{"op": "pad"}]}, "operations[0]", "'length'"),
    ({"source": "x", "operations": [{"op": "pad", "length": -1}]}, "operations[0].length", ""),
    (
        {"source": "x", "operations": [{"op": "pad", "length": 10_001}]},
        "operations[0].length",
        "10000",
    ),
    (
        {"source": "x", "operations": [{"op": "pad", "length": 3, "fill": "ab"}]},
        "operations[0].fill",
        "1",
    ),
    ({"source": "x", "operations": [{"op": "trim"}] * 51}, "operations", "50"),
    (
        {"source": "x", "operations": [{"op": "replace", "find": ""}]},
        "operations[0].find",
        "is required",
    ),
    (
        {"source": "x", "operations": [{"op": "append", "text": "{{ a"}]},
        "operations[0].text",
        "never closed",
    ),
    ({"source": "x", "operations": [{"op": "join"}]}, "operations[0]", "needs a list"),
    (
        {"source": ["a"], "operations": [{"op": "split", "separator": ","}]},
        "operations[0]",
        "list of lists",
    ),
    (
        {"source": "x", "operations": [{"op": "extract", "pattern": "(a"}]},
        "operations[0].pattern",
        "missing )",
    ),
    (
        {"source": "x", "operations": [{"op": "extract", "pattern": ""}]},
        "operations[0].pattern",
        "empty",
    ),
    (
        {"source": "x", "operations": [{"op": "extract", "pattern": "(?=a)b"}]},
        "operations[0].pattern",
        "not a valid pattern",
    ),
    (
        {"source": "x", "operations": [{"op": "extract", "pattern": r"(a)\1"}]},
        "operations[0].pattern",
        "not a valid pattern",
    ),
    (
        {"source": "x", "operations": [{"op": "extract", "pattern": "a" * 1001}]},
        "operations[0].pattern",
        "1000",
    ),
    (
        {"source": "x", "operations": [{"op": "extract", "pattern": "((a{1000}){1000}){9}"}]},
        "operations[0].pattern",
        "not a valid pattern",
    ),
    (
        {"source": "x", "operations": [{"op": "extract", "pattern": "()" * 33}]},
        "operations[0].pattern",
        "32 groups",
    ),
    (
        {"source": "x", "operations": [{"op": "extract", "pattern": "(a)", "group": 2}]},
        "operations[0].group",
        "no group '2'",
    ),
    (
        {
            "source": "x",
            "operations": [{"op": "regex_replace", "pattern": "a", "replacement": "$1"}],
        },
        "operations[0].replacement",
        "no group '1'",
    ),
    (
        {
            "source": "x",
            "operations": [
                {"op": "regex_replace", "pattern": "a", "replacement": "{% if a %}{% endif %}"}
            ],
        },
        "operations[0].replacement",
        "no tags",
    ),
    ({"source": {"a": 1}, "operations": []}, "source", "an object"),
    ({"source": "{{ a | zork }}", "operations": []}, "source", "zork"),
]


@pytest.mark.parametrize(("data", "path", "part"), REFUSED)
def test_what_can_not_work_is_refused_on_save(data: dict[str, Any], path: str, part: str) -> None:
    """Each refusal names the field."""
    found = faults("string_transform", **data)
    assert list(found) == [path]
    assert part in found[path][0]


@pytest.mark.parametrize(
    ("source", "operations", "code"),
    [
        ({"a": 1}, [], "type_mismatch"),
        ([["a"]], [], "type_mismatch"),
        ("a", [{"op": "join"}], "transform_failed"),
        (["a"], [{"op": "split", "separator": ","}], "transform_failed"),
        ("a", [{"op": "replace", "find": "{{ nobody }}"}], "transform_failed"),
        ("a", [{"op": "split", "separator": "{{ nobody }}"}], "transform_failed"),
        ("%%%", [{"op": "base64_decode"}], "transform_failed"),
        ("a", [{"op": "base64_decode"}], "transform_failed"),
        ("gICA", [{"op": "base64_decode"}], "transform_failed"),
        ("%ff", [{"op": "url_decode"}], "transform_failed"),
        ("\ud800", [{"op": "hash"}], "transform_failed"),
        ("\ud800", [{"op": "extract", "pattern": "."}], "transform_failed"),
        ("a" * 1_100_000, [], "transform_limit"),
        (["a"] * 50_001, [], "transform_limit"),
        ("a" * 100_000, [{"op": "split", "separator": "a"}], "transform_limit"),
        (
            "a" * 10_000,
            [{"op": "replace", "find": "a", "replacement": "b" * 10_000}],
            "transform_limit",
        ),
        (
            "a" * 10_000,
            [{"op": "regex_replace", "pattern": "a", "replacement": "b" * 10_000}],
            "transform_limit",
        ),
        (["a" * 10_000] * 100, [{"op": "pad", "length": 10_000}] * 2, "output_too_large"),
        (["a"] * 200, [{"op": "pad", "length": 10_000}], "transform_limit"),
        (["a" * 1000] * 1000, [{"op": "join", "separator": "b" * 1000}], "transform_limit"),
        ("a" * 60_000, [{"op": "extract_all", "pattern": "a"}], "transform_limit"),
        ("a" * 900_000, [{"op": "extract", "pattern": r"(\w{1,500}!)"}], "transform_limit"),
        ("a" * 300_000, [], "output_too_large"),
        ("日" * 200_000, [{"op": "url_encode"}], "transform_limit"),
        ("a" * 200_000, [{"op": "append", "text": "a"}] * 50, None),
    ],
)
def test_what_does_not_work_in_a_run_fails_the_node(
    source: Any, operations: list[dict[str, Any]], code: str | None
) -> None:
    """Hostile and huge values end in a failure with a code, and take no long time."""
    data = {"source": "{{ source }}", "operations": operations}
    if code is None:
        assert len(output("string_transform", data, source=source)["text"]) == 200_050
    else:
        error = failure("string_transform", data, source=source)
        assert error.code == code
        assert len(error.message) < 200


@pytest.mark.parametrize(
    ("source", "operation"),
    [
        ("a" * 10_000, {"op": "replace", "find": "a", "replacement": "b" * 10_000}),
        ("a" * 10_000, {"op": "regex_replace", "pattern": "a", "replacement": "b" * 10_000}),
        (["a" * 1000] * 1000, {"op": "join", "separator": "b" * 100_000}),
    ],
)
def test_what_would_be_too_long_is_never_made(source: Any, operation: dict[str, Any]) -> None:
    """A hundred megabytes that are thrown away again are a hundred megabytes."""
    tracemalloc.start()
    try:
        error = failure(
            "string_transform",
            {"source": "{{ source }}", "operations": [operation]},
            source=source,
        )
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert error.code == "transform_limit"


def test_a_pattern_that_reads_far_ahead_each_time_is_stopped_by_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each search reads all the rest, which no count of matches limits."""
    from refold.engine.template_values import RenderLimit

    monkeypatch.setattr(RenderLimit, "seconds_max", 0.05)
    data = {
        "source": "{{ source }}",
        "operations": [{"op": "regex_replace", "pattern": "a(.*)b|a", "replacement": ""}],
    }
    error = failure("string_transform", data, source="a" * 40_000)
    assert error.code == "transform_limit"
    assert "takes longer" in error.message


def test_a_failure_names_the_operation_and_not_the_text() -> None:
    """The text may be confidential."""
    data = {"source": "{{ s }}", "operations": [{"op": "trim"}, {"op": "base64_decode"}]}
    message = failure("string_transform", data, s="hush!").message
    assert "operations[1] ('base64_decode')" in message
    assert "hush" not in message
