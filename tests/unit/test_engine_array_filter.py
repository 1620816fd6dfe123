"""The node `array_filter`: one row a case."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.shaping_kit import compiled, failure, faults, output

PEOPLE: list[dict[str, Any]] = [
    {"name": "Bo", "age": 40, "tags": ["x"], "at": {"city": "Oslo"}},
    {"name": "ada", "age": 36, "tags": [], "at": {"city": "Rome"}},
    {"name": "Cy", "age": None, "tags": ["x", "y"]},
    {"name": "Éva", "age": 36.0, "tags": ["y"], "at": {"city": "oslo"}},
]


def filtered(items: Any = PEOPLE, **data: Any) -> Any:
    """Give the items that are left of a list in the context."""
    return output("array_filter", {"items": "trigger.items", **data}, trigger={"items": items})[
        "items"
    ]


def names(**data: Any) -> list[str]:
    """Give the names of the people that are left."""
    return list(filtered(map="name", **data))


def where(operator: str, **operands: Any) -> dict[str, Any]:
    """Write a condition on numbers."""
    return {"type": "number", "operator": operator, **operands}


OLD = where("greater_than", left="{{ item.age | default: 0 }}", right="{{ bar | default: 38 }}")
RUNS = {
    "type": "array",
    "left": "{{ item.tags }}",
    "operator": "contains",
    "right": "y",
}


@pytest.mark.parametrize(
    ("data", "left"),
    [
        ({}, ["Bo", "ada", "Cy", "Éva"]),
        ({"where": OLD}, ["Bo"]),
        ({"where": [OLD]}, ["Bo"]),
        ({"where": []}, ["Bo", "ada", "Cy", "Éva"]),
        ({"where": [OLD, RUNS]}, []),
        ({"where": [OLD, RUNS], "match": "any"}, ["Bo", "Cy", "Éva"]),
        (
            {
                "where": {
                    "type": "number",
                    "left": "{{ index }}",
                    "operator": "less_than",
                    "right": 2,
                }
            },
            ["Bo", "ada"],
        ),
        (
            {"where": {"type": "group", "operator": "not", "conditions": [RUNS]}},
            ["Bo", "ada"],
        ),
        (
            {
                "where": {
                    "type": "string",
                    "left": "{{ item.at.city }}",
                    "operator": "equals",
                    "right": "OSLO",
                    "ignore_case": True,
                }
            },
            ["Bo", "Éva"],
        ),
        ({"sort": [{"by": "name"}]}, ["Bo", "Cy", "ada", "Éva"]),
        ({"sort": [{"by": "name", "ignore_case": True}]}, ["ada", "Bo", "Cy", "Éva"]),
        ({"sort": [{"by": "name", "direction": "desc"}]}, ["Éva", "ada", "Cy", "Bo"]),
        ({"sort": [{"by": "age"}]}, ["ada", "Éva", "Bo", "Cy"]),
        ({"sort": [{"by": "age", "direction": "desc"}]}, ["Bo", "ada", "Éva", "Cy"]),
        (
            {"sort": [{"by": "age"}, {"by": "name", "direction": "desc"}]},
            ["Éva", "ada", "Bo", "Cy"],
        ),
        ({"sort": [{"by": "tags.size", "direction": "desc"}]}, ["Cy", "Bo", "Éva", "ada"]),
        ({"sort": [{"by": "at.city", "ignore_case": True}]}, ["Bo", "Éva", "ada", "Cy"]),
        ({"sort": [{"by": "nobody"}]}, ["Bo", "ada", "Cy", "Éva"]),
        ({"unique": "age"}, ["Bo", "ada", "Cy"]),
        ({"unique": "nobody"}, ["Bo"]),
        ({"offset": 1}, ["ada", "Cy", "Éva"]),
        ({"limit": 2}, ["Bo", "ada"]),
        ({"offset": 1, "limit": 1}, ["ada"]),
        ({"limit": 0}, []),
        ({"offset": 99, "limit": 5}, []),
        ({"limit": 10**9}, ["Bo", "ada", "Cy", "Éva"]),
        ({"sort": [{"by": "name"}], "offset": 1, "limit": 2, "where": RUNS}, ["Éva"]),
    ],
)
def test_a_list_of_objects_is_filtered(data: dict[str, Any], left: list[str]) -> None:
    """Conditions first, then unique, sort, offset and limit."""
    assert names(**data) == left


VALUES: list[tuple[Any, dict[str, Any], list[Any]]] = [
    ([3, 1, 2], {"sort": [{}]}, [1, 2, 3]),
    ([3, 1, 2], {"sort": [{"direction": "desc"}]}, [3, 2, 1]),
    (
        ["b", 2, None, True, "a", 1.5, [2], {"k": 1}, [1], False],
        {"sort": [{}]},
        [1.5, 2, "a", "b", False, True, [1], [2], {"k": 1}, None],
    ),
    ([None, 1, None, 2], {"sort": [{"direction": "desc"}]}, [2, 1, None, None]),
    ([10**30, 1e30, -1], {"sort": [{}]}, [-1, 10**30, 1e30]),
    ([[1, "a"], [1, 2], [0, "z"]], {"sort": [{}]}, [[0, "z"], [1, 2], [1, "a"]]),
    ([{"b": 1}, {"a": 9}, {"a": 1}], {"sort": [{}]}, [{"a": 1}, {"a": 9}, {"b": 1}]),
    ([1, 1.0, True, "1", 1], {"unique": True}, [1, True, "1"]),
    ([0, False, None, ""], {"unique": True}, [0, False, None, ""]),
    ([{"a": 1, "b": 2}, {"b": 2.0, "a": 1}], {"unique": True}, [{"a": 1, "b": 2}]),
    ([[1], [1.0], [True]], {"unique": True}, [[1], [True]]),
    (["é", "e\u0301"], {"unique": True}, ["é", "e\u0301"]),
    ([[1, 2], [3]], {"map": "[0]"}, [1, 3]),
    ([{"a b": 1}], {"map": '["a b"]'}, [1]),
    ([{"a": 1}, 5, None], {"map": "a"}, [1, None, None]),
    ([{"__class__": 1}, "x"], {"map": "__class__"}, [1, None]),
    ([1, 2], {"map": "{{ item | times: 2 }}"}, [2, 4]),
    (["a"], {"map": {"n": "{{ index }}", "v": "<{{ item }}>"}}, [{"n": 0, "v": "<a>"}]),
    ([1], {"map": 5}, [5]),
    ([], {"where": OLD, "sort": [{}], "unique": True, "map": "a"}, []),
    (None, {"where": OLD}, []),
    (["👍", "a"], {"sort": [{}]}, ["a", "👍"]),
]


@pytest.mark.parametrize(("items", "data", "left"), VALUES)
def test_values_of_every_type_are_ordered_and_compared(
    items: Any, data: dict[str, Any], left: list[Any]
) -> None:
    """The order is total, so that no list fails to be sorted."""
    made = filtered(items, **data)
    assert made == left
    assert [type(item) for item in made] == [type(item) for item in left]


def test_the_output_says_how_many_there_are_and_were() -> None:
    """The count of a page alone would tell nothing of the whole."""
    data = {"items": [3, 1, 2], "limit": 2}
    assert output("array_filter", data) == {"items": [3, 1], "count": 2, "total": 3}


def test_nothing_is_left_of_one_item_in_the_next_and_the_context_stays() -> None:
    """`item` and `index` are gone afterwards, and hide what bears their name only inside."""
    context = {"item": "outer", "list": [1]}
    for data in ({"map": "{{ item }}"}, {"where": where("equals", left="{{ item }}", right=1)}):
        node = compiled("array_filter", items="list", **data)
        assert node.run(context).output["items"] == [1]
    assert context == {"item": "outer", "list": [1]}


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "items", "is required"),
    ({"items": 5}, "items", "a list is needed"),
    ({"items": {"a": 1}}, "items", "a list is needed"),
    ({"items": "not a path"}, "items", "a path"),
    ({"items": "{{ a"}, "items", "closed"),
    ({"items": "a", "where": 5}, "where", "an object"),
    ({"items": "a", "where": {}}, "where.type", "one of"),
    ({"items": "a", "where": [{"type": "zork"}]}, "where[0].type", "one of"),
    (
        {"items": "a", "where": {"type": "number", "operator": "equals"}},
        "where.left",
        "required",
    ),
    (
        {
            "items": "a",
            "where": [OLD, {"type": "number", "left": "{{ i", "operator": "equals"}],
        },
        "where[1].left",
        "closed",
    ),
    ({"items": "a", "where": [OLD] * 257}, "where[256]", "256"),
    ({"items": "a", "match": "most"}, "match", "most"),
    ({"items": "a", "unique": "a b"}, "unique", "a path"),
    ({"items": "a", "unique": 5}, "unique", ""),
    ({"items": "a", "sort": {}}, "sort", "array"),
    ({"items": "a", "sort": [{"by": "a("}]}, "sort[0].by", "a path"),
    ({"items": "a", "sort": [{"direction": "up"}]}, "sort[0].direction", "up"),
    ({"items": "a", "sort": [{"field": "a"}]}, "sort[0]", "'field'"),
    ({"items": "a", "sort": [{}] * 9}, "sort", "8 keys"),
    ({"items": "a", "offset": -1}, "offset", ">= 0"),
    ({"items": "a", "limit": -1}, "limit", ">= 0"),
    ({"items": "a", "limit": 1.5}, "limit", "int"),
    ({"items": "a", "limit": "5"}, "limit", "int"),
    ({"items": "a", "map": "a b"}, "map", "a path"),
    ({"items": "a", "map": {"x": "{{ item"}}, "map.x", "closed"),
]


@pytest.mark.parametrize(("data", "path", "part"), REFUSED)
def test_what_can_not_work_is_refused_on_save(data: dict[str, Any], path: str, part: str) -> None:
    """Each refusal names the field."""
    found = faults("array_filter", **data)
    assert part in found[path][0]


BOMB = "{% for i in (1..9999) %}{% for j in (1..9999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("data", "code", "part"),
    [
        ({"items": "text"}, "type_mismatch", "'items' is a string"),
        ({"items": "{{ text }}{{ text }}"}, "type_mismatch", "'items'"),
        (
            {"items": "mixed", "where": where("equals", left="{{ item }}", right=1)},
            "type_mismatch",
            "(item 1)",
        ),
        ({"items": "many", "map": "{{ text }}"}, "output_too_large", "262144"),
        ({"items": "many", "map": BOMB}, "template_limit", "map"),
        ({"items": "big"}, "output_too_large", "262144"),
    ],
)
def test_what_does_not_work_in_a_run_fails_the_node(
    data: dict[str, Any], code: str, part: str
) -> None:
    """The message names the field, and the item where there is one."""
    context: dict[str, Any] = {
        "text": "x" * 1000,
        "mixed": [1, "one"],
        "many": [1] * 1000,
        "big": [1] * 300_000,
    }
    error = failure("array_filter", data, **context)
    assert error.code == code
    assert part in error.message


def test_all_items_together_have_one_limit_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand renders of nearly a second each would take the event loop for a quarter hour."""
    from refold.engine.template_values import RenderLimit

    monkeypatch.setattr(RenderLimit, "seconds_max", 0.05)
    slow = "{% for i in (1..2000) %}{% endfor %}"
    for data in ({"map": slow}, {"where": where("equals", left=slow + "1", right=1)}):
        error = failure("array_filter", {"items": "many", **data}, many=[1] * 10_000)
        assert error.code in ("transform_limit", "condition_limit")
