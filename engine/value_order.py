"""When two JSON values are the same, and which of two comes first.

1. 1 is 1.0, true is not 1, no text is a number, and the order of an object's keys means nothing.
2. Numbers come before text, text before booleans, then lists, objects and null. Text is ordered
   by code points, lists by their items, objects by their sorted fields.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeAlias

from .component import Json, is_list, is_object

Order: TypeAlias = tuple[int, object]
"""What values of all types can be sorted by."""


def identity_of(value: Json) -> Hashable:
    """Give what is equal for two values exactly when rule 1 says that they are the same."""
    if is_object(value):
        return frozenset((key, identity_of(item)) for key, item in value.items())
    if is_list(value):
        return ("list", *map(identity_of, value))
    return (type(value) is bool, value)


def order_of(value: Json) -> Order:
    """Give what values are to be sorted by, so that they stand as rule 2 says."""
    if isinstance(value, bool):
        return 2, value
    if isinstance(value, (int, float)):
        return 0, value
    if isinstance(value, str):
        return 1, value
    if is_list(value):
        return 3, [order_of(item) for item in value]
    if is_object(value):
        return 4, sorted((key, order_of(item)) for key, item in value.items())
    return 5, 0
