"""Patches between recorded documents: that they are small where they can be, and bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from refold.projections.json_patches import Patcher, members_apart


def between(left: Any, right: Any, **bounds: int) -> Any:
    """Return the patch between two values."""
    made = Patcher(**bounds).between(json.dumps(left).encode(), json.dumps(right).encode())
    return None if made is None else json.loads(made)


@pytest.mark.parametrize(
    ("left", "right", "patch"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
        ({"a": 1}, {"a": 2}, [{"op": "replace", "path": "/a", "value": 2}]),
        ({"a": 1}, {"a": True}, [{"op": "replace", "path": "/a", "value": True}]),
        ({"a": 1}, {}, [{"op": "remove", "path": "/a"}]),
        ({}, {"a/b~c": None}, [{"op": "add", "path": "/a~1b~0c", "value": None}]),
        ({"x": [1, 2, 3]}, {"x": [1, 3]}, [{"op": "remove", "path": "/x/1"}]),
        ({"a": 1}, [1], [{"op": "replace", "path": "", "value": [1]}]),
    ],
)
def test_a_patch_says_what_changed(left: Any, right: Any, patch: Any) -> None:
    """Member by member, also where Python holds two values for equal."""
    assert between(left, right) == patch


def test_what_would_take_long_replaces_the_whole_document() -> None:
    """Of many members, of many bytes, and once the work of a comparison is used up."""
    left, right = {"a": list(range(50))}, {"a": [n + 1 for n in range(50, 100)]}
    whole = [{"op": "replace", "path": "", "value": right}]
    assert between(left, right) != whole
    assert between(left, right, members_max=49) == whole
    assert between(left, right, compared_bytes_max=100) == whole
    patcher = Patcher(members_max=75)
    documents = json.dumps(left).encode(), json.dumps(right).encode()
    first, second = patcher.between(*documents), patcher.between(*documents)
    assert first is not None
    assert second is not None
    assert json.loads(first) != whole
    assert json.loads(second) == whole


def test_a_fine_patch_that_is_larger_than_a_large_document_is_not_made() -> None:
    """A thousand replaced numbers are said best by the list."""
    left, right = list(range(900)), list(range(1000, 1900))
    assert between(left, right) == [{"op": "replace", "path": "", "value": right}]


def test_where_there_is_no_room_there_is_no_patch() -> None:
    """An answer stays small, however large the runs are; small patches may still fit."""
    patcher = Patcher(patches_bytes_max=300)
    text = json.dumps("x" * 280).encode()
    assert patcher.between(b"1", text) is None
    assert patcher.between(b"1", b"2") == b'[{"op":"replace","path":"","value":2}]'
    assert patcher.between(text, text) == b"[]"


def test_what_can_not_be_read_is_replaced() -> None:
    """A body of another version may be beyond this one's reader."""
    deep = b"[" * 5000 + b"]" * 5000
    assert Patcher().between(b"{}", deep) == b'[{"op":"replace","path":"","value":' + deep + b"}]"


@pytest.mark.parametrize(
    ("left", "right", "count"),
    [
        (1, 1, 0),
        (1, 2, 1),
        (1, True, 1),
        ({"a": 1, "b": 1}, {"b": 2, "c": 1}, 3),
        ([1, 2, 3], [1, 9, 3], 1),
        ([1, 2, 3, 4], [1, 3, 4], 1),
        ([1, 2, 3, 4], [9, 2, 3, 4, 5], 5),
        ([{"a": 1, "b": 2}], [{"a": 2, "b": 3}], 2),
        ({"a": [1]}, {"a": {}}, 1),
    ],
)
def test_members_that_differ_are_counted(left: Any, right: Any, count: int) -> None:
    """The work of making a patch grows with them."""
    assert members_apart(left, right, 100) == count


def test_counting_ends_soon_after_enough() -> None:
    """Else counting would be the work that it is to spare."""
    assert members_apart(list(range(1000)), list(range(1, 1001)), 10) == 11
    assert members_apart({str(n): 1 for n in range(99)}, {}, 10) == 11
