"""The node `data_mapper`: one row a case."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.shaping_kit import failure, faults, output

CONTEXT: dict[str, Any] = {
    "trigger": {
        "name": "Ada",
        "empty": "",
        "zero": 0,
        "no": False,
        "nothing": None,
        "list": [1, {"k": "v"}],
        "user": {"id": 7, "a b": 1, "__class__": "mine", "size": "XL"},
        "text": "aé👍",
    },
    "n-1": {"value": 3},
}


def mapped(*mappings: dict[str, Any], **data: Any) -> Any:
    """Give the object that these mappings make."""
    return output("data_mapper", {"mappings": list(mappings), **data}, **CONTEXT)


@pytest.mark.parametrize(
    ("mapping", "made"),
    [
        ({"target": "a", "source": "trigger.name"}, {"a": "Ada"}),
        ({"target": "a", "source": "{{ trigger.name }}"}, {"a": "Ada"}),
        ({"target": "a", "source": "Hi {{ trigger.name | upcase }}"}, {"a": "Hi ADA"}),
        ({"target": "a.b.c", "source": "trigger.zero"}, {"a": {"b": {"c": 0}}}),
        ({"target": "a[0].b", "source": "trigger.no"}, {"a": [{"b": False}]}),
        ({"target": "a[2]", "source": "trigger.name"}, {"a": [None, None, "Ada"]}),
        ({"target": "a[1][1]", "value": 1}, {"a": [None, [None, 1]]}),
        ({"target": '["a.b"]', "value": 1}, {"a.b": 1}),
        ({"target": "['a b'].c", "value": 1}, {"a b": {"c": 1}}),
        ({"target": "größe.日本", "value": 1}, {"größe": {"日本": 1}}),
        ({"target": "__class__.__init__", "value": 1}, {"__class__": {"__init__": 1}}),
        ({"target": "$ref", "value": 1}, {"$ref": 1}),
        ({"target": "a-b_c@d", "value": 1}, {"a-b_c@d": 1}),
        ({"target": '[""]', "value": 1}, {"": 1}),
        ({"target": "a", "source": "n-1.value"}, {"a": 3}),
        ({"target": "a", "source": "trigger.list[1].k"}, {"a": "v"}),
        ({"target": "a", "source": "trigger.list[-1]"}, {"a": {"k": "v"}}),
        ({"target": "a", "source": "trigger.list.size"}, {"a": 2}),
        ({"target": "a", "source": "trigger.user.size"}, {"a": "XL"}),
        ({"target": "a", "source": "trigger.user['a b']"}, {"a": 1}),
        ({"target": "a", "source": "trigger.user.__class__"}, {"a": "mine"}),
        ({"target": "a", "source": "trigger.name.__class__"}, {"a": None}),
        ({"target": "a", "source": "trigger.__dict__"}, {"a": None}),
        ({"target": "a", "source": "trigger.text"}, {"a": "aé👍"}),
        ({"target": "a", "source": "nobody.at.all"}, {"a": None}),
        ({"target": "a", "source": "trigger.nothing"}, {"a": None}),
        ({"target": "a", "source": "nobody", "default": 5}, {"a": 5}),
        ({"target": "a", "source": "nobody", "default": "{{ trigger.name }}"}, {"a": "Ada"}),
        ({"target": "a", "source": "nobody", "default": {"b": "{{ nobody }}"}}, {"a": {"b": None}}),
        ({"target": "a", "source": "trigger.zero", "default": 5}, {"a": 0}),
        ({"target": "a", "source": "trigger.no", "default": 5}, {"a": False}),
        ({"target": "a", "source": "trigger.empty", "default": 5}, {"a": ""}),
        ({"target": "a", "source": "trigger.empty", "required": True}, {"a": ""}),
        ({"target": "a", "source": "nobody", "default": 1, "required": True}, {"a": 1}),
        ({"target": "a", "value": None}, {"a": None}),
        ({"target": "a", "value": [1, "{{ trigger.name }}"]}, {"a": [1, "Ada"]}),
        ({"target": "a", "value": {"x": "{{ trigger.list }}"}}, {"a": {"x": [1, {"k": "v"}]}}),
        ({"target": "a", "value": "trigger.name"}, {"a": "trigger.name"}),
        ({"target": "a", "source": "trigger.name", "value": None}, {"a": "Ada"}),
    ],
)
def test_a_mapping_puts_a_value_in_its_place(mapping: dict[str, Any], made: Any) -> None:
    """Paths name fields of JSON, and nothing of Python."""
    assert mapped(mapping) == made


def test_several_mappings_fill_one_object() -> None:
    """Whatever their order, lists are filled and objects shared."""
    made = mapped(
        {"target": "items[1].id", "value": 2},
        {"target": "items[0].id", "value": 1},
        {"target": "items[0].tags[1]", "value": "x"},
        {"target": "user.name", "source": "trigger.name"},
        {"target": "user.id", "source": "trigger.user.id"},
    )
    assert made == {
        "items": [{"id": 1, "tags": [None, "x"]}, {"id": 2}],
        "user": {"name": "Ada", "id": 7},
    }


def test_an_object_to_start_from_is_copied_and_never_changed() -> None:
    """Other nodes still see it as it was recorded."""
    made = mapped(
        {"target": "user.id", "value": 8},
        {"target": "list[1].k", "value": "new"},
        {"target": "list[3]", "value": "far"},
        {"target": "more.x", "value": 1},
        base="trigger",
    )
    assert made["user"]["id"] == 8
    assert made["user"]["a b"] == 1
    assert made["list"] == [1, {"k": "new"}, None, "far"]
    assert made["more"] == {"x": 1}
    assert CONTEXT["trigger"]["user"]["id"] == 7
    assert CONTEXT["trigger"]["list"] == [1, {"k": "v"}]


def test_nothing_to_start_from_is_an_empty_object() -> None:
    """A missing base fails no run, and a base alone is copied."""
    assert mapped({"target": "a", "value": 1}, base="nobody") == {"a": 1}
    assert mapped(base="trigger.user") == CONTEXT["trigger"]["user"]


DEEP = ".".join("a" * 1 for _ in range(33))


@pytest.mark.parametrize(
    ("data", "path", "part"),
    [
        ({}, "mappings", "is required"),
        ({"mappings": []}, "mappings", "at least one"),
        ({"mappings": {}}, "mappings", "array"),
        ({"mappings": [5]}, "mappings[0]", "object"),
        ({"mappings": [{"source": "a"}]}, "mappings[0]", "'target'"),
        ({"mappings": [{"target": "a"}]}, "mappings[0].source", "is required"),
        ({"mappings": [{"target": "a", "source": ""}]}, "mappings[0].source", "is required"),
        ({"mappings": [{"target": "a", "source": 5}]}, "mappings[0].source", "str"),
        (
            {"mappings": [{"target": "a", "source": "b", "value": 1}]},
            "mappings[0].source",
            "exclude",
        ),
        ({"mappings": [{"target": "a", "source": "b", "tarket": 1}]}, "mappings[0]", "tarket"),
        ({"mappings": [{"target": "a", "source": "a b"}]}, "mappings[0].source", "a path"),
        ({"mappings": [{"target": "a", "source": "a" * 300}]}, "mappings[0].source", "256"),
        ({"mappings": [{"target": "a", "source": "{{ a"}]}, "mappings[0].source", "closed"),
        ({"mappings": [{"target": "a", "value": {"x": "{{ a"}}]}, "mappings[0].value.x", "closed"),
        (
            {"mappings": [{"target": "a", "source": "b", "default": "{{ a"}]},
            "mappings[0].default",
            "closed",
        ),
        ({"mappings": [{"target": "a", "source": "b", "required": 1}]}, "mappings[0].required", ""),
        *(
            ({"mappings": [{"target": target, "value": 1}]}, "mappings[0].target", "a path")
            for target in ("", ".", "a.", ".a", "a..b", "[0]", "a[", "a[x]", "a[-1]", "a b", "a]")
        ),
        ({"mappings": [{"target": "{{ x }}", "value": 1}]}, "mappings[0].target", "a path"),
        ({"mappings": [{"target": "a[1000]", "value": 1}]}, "mappings[0].target", "999"),
        ({"mappings": [{"target": "a" * 257, "value": 1}]}, "mappings[0].target", "256"),
        ({"mappings": [{"target": DEEP, "value": 1}]}, "mappings[0].target", "32 steps"),
        (
            {"mappings": [{"target": "a" + "[999]" * 11, "value": 1}]},
            "mappings[0].target",
            "10000 places",
        ),
        ({"mappings": [{"target": "a", "value": 1}] * 2}, "mappings[1].target", "another mapping"),
        (
            {"mappings": [{"target": "a", "value": 1}, {"target": "a.b", "value": 1}]},
            "mappings[1].target",
            "is a value",
        ),
        (
            {"mappings": [{"target": "a.b", "value": 1}, {"target": "a", "value": 1}]},
            "mappings[1].target",
            "fills as well",
        ),
        (
            {"mappings": [{"target": "a.b", "value": 1}, {"target": "a[0]", "value": 1}]},
            "mappings[1].target",
            "an object",
        ),
        (
            {"mappings": [{"target": "a[0]", "value": 1}, {"target": "a.b", "value": 1}]},
            "mappings[1].target",
            "a list",
        ),
        ({"mappings": [{"target": "a", "value": 1}] * 501}, "mappings", "500"),
        ({"mappings": [], "base": "a b"}, "base", "a path"),
    ],
)
def test_what_can_not_work_is_refused_on_save(data: dict[str, Any], path: str, part: str) -> None:
    """Each refusal names the field."""
    found = faults("data_mapper", **data)
    assert list(found) == [path]
    assert part in found[path][0]


@pytest.mark.parametrize(
    ("data", "code", "part"),
    [
        (
            {"mappings": [{"target": "user.name", "source": "nobody", "required": True}]},
            "value_missing",
            "'user.name' is required, but 'mappings[0].source'",
        ),
        (
            {"mappings": [{"target": "a", "value": "{{ nobody }}", "required": True}]},
            "value_missing",
            "'mappings[0].value'",
        ),
        ({"mappings": [], "base": "trigger.list"}, "type_mismatch", "'base' is a list"),
        (
            {"mappings": [{"target": "name.first", "value": 1}], "base": "trigger"},
            "type_mismatch",
            "'name' is a string",
        ),
        (
            {"mappings": [{"target": "user[0]", "value": 1}], "base": "trigger"},
            "type_mismatch",
            "'user' is an object",
        ),
        (
            {"mappings": [{"target": f"a{i}", "source": "big"} for i in range(3)]},
            "output_too_large",
            "262144",
        ),
        (
            {
                "mappings": [
                    {"target": "a", "source": "{% for i in (1..999) %}{{ big }}{% endfor %}"}
                ]
            },
            "template_limit",
            "mappings[0].source",
        ),
        (
            {
                "mappings": [
                    {
                        "target": "a",
                        "value": "{% for i in (1..9999) %}{% for j in (1..9999) %}{% endfor %}"
                        "{% endfor %}",
                    }
                ]
            },
            "template_limit",
            "mappings[0].value",
        ),
    ],
)
def test_what_does_not_work_in_a_run_fails_the_node(
    data: dict[str, Any], code: str, part: str
) -> None:
    """The message names the field."""
    error = failure("data_mapper", data, **CONTEXT, big="x" * 100_000)
    assert error.code == code
    assert part in error.message
