"""Counts what checking a value by a JSON Schema would cost, before it is done.

The unit is about one keyword applied to one value. The count is never less than the work: where
the schema says "this or that", both are counted, and a schema that is applied to the same value
by several ways is counted once for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from .component import Json, NodeError, is_list, is_object

WORK_MAX: Final = 20_000_000
"""What one check may cost; it comes to well under a second."""
STEPS_MAX: Final = 500_000
"""How many pairs of a part of the schema and a part of the value may be counted."""
PARTS_MAX: Final = 5_000
"""How many schemas there may be in a schema."""
SPREAD_MAX: Final = 200_000
"""How many parts the schemas in a schema may apply to one value, all taken together."""
_LETTERS_PER_WORK: Final = 64

_LISTED: Final = {"allOf": "here", "anyOf": "here", "oneOf": "here"}
"""Keywords with a list of schemas, and what of a part they belong to."""
_SINGLE: Final = {
    "not": "here",
    "if": "here",
    "then": "here",
    "else": "here",
    "additionalProperties": "each_field",
    "unevaluatedProperties": "each_field",
    "propertyNames": "keys",
    "items": "each_item",
    "additionalItems": "each_item",
    "unevaluatedItems": "each_item",
    "contains": "each_item",
}
"""The same for keywords with one schema."""
_NAMED: Final = {
    "dependentSchemas": "here",
    "dependencies": "here",
    "patternProperties": "patterns",
    "$defs": "stored",
    "definitions": "stored",
}
"""The same for keywords with an object of schemas."""
_OTHER_REFERENCES: Final = ("$dynamicRef", "$recursiveRef")

_Parts: TypeAlias = dict[int, int]
"""The number of a part to how often it is applied."""


class SchemaFault(Exception):
    """A schema can't be used; `where` is the path inside it."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(message)
        self.where = where
        self.message = message


class _Part:
    """One schema inside the schema: its own cost, and what it applies where."""

    __slots__ = (
        "cost",
        "each_field",
        "each_item",
        "fields",
        "here",
        "keys",
        "patterns",
        "places",
        "stored",
    )

    def __init__(self) -> None:
        self.cost = 1
        self.here: list[int] = []
        self.fields: dict[str, int] = {}
        self.each_field: list[int] = []
        """For every field that `fields` doesn't name."""
        self.patterns: list[int] = []
        """For every field whose name matches, which is taken to be all."""
        self.stored: list[int] = []
        """For nothing: what only references lead to."""
        self.keys: list[int] = []
        self.places: list[int] = []
        self.each_item: list[int] = []


class SchemaWork:
    """A schema, read for what it costs."""

    def __init__(self, schema: dict[str, Json] | bool) -> None:
        """Read it; raise `SchemaFault` for what can't be counted, so can't be allowed."""
        self._root = schema
        self._parts: list[_Part] = []
        self._numbers: dict[int, int] = {}
        self._waiting: list[tuple[int, dict[str, Json], str]] = []
        start = self._number(schema, "")
        while self._waiting:
            self._read(*self._waiting.pop())
        self._spread: list[_Parts | None] = [None] * len(self._parts)
        self._spread_total = 0
        for number in range(len(self._parts)):
            self._spread_of(number)
        self._start = self._spread[start] or {}

    def of(self, value: Json) -> int:
        """Count the work; raise `NodeError` with code `schema_limit` when it is too much."""
        work, steps = 0, 0
        pending: list[tuple[Json, _Parts]] = [(value, self._start)]
        while pending:
            item, applied = pending.pop()
            steps += len(applied)
            cost = sum(self._parts[number].cost * times for number, times in applied.items())
            work += cost * (1 + len(item) // _LETTERS_PER_WORK if isinstance(item, str) else 1)
            if is_object(item):
                work += self._of_keys(item, applied)
            if work > WORK_MAX or steps > STEPS_MAX:
                message = "The schema would have to be applied too often to so large a value"
                raise NodeError("schema_limit", message)
            if is_object(item):
                pending.extend(self._fields_of(item, applied))
            elif is_list(item):
                pending.extend(self._items_of(item, applied))
        return work

    def _of_keys(self, item: dict[str, Json], applied: _Parts) -> int:
        wanted = self._together(
            (number, times) for part, times in applied.items() for number in self._parts[part].keys
        )
        cost = sum(self._parts[number].cost * times for number, times in wanted.items())
        return cost * sum(1 + len(key) // _LETTERS_PER_WORK for key in item) if cost else 0

    def _fields_of(self, item: dict[str, Json], applied: _Parts) -> Iterator[tuple[Json, _Parts]]:
        for key, field in item.items():
            inner = self._together(
                (number, times)
                for part, times in applied.items()
                for number in self._field(self._parts[part], key)
            )
            if inner:
                yield field, inner

    def _field(self, part: _Part, key: str) -> list[int]:
        named = part.fields.get(key)
        return [*(part.each_field if named is None else [named]), *part.patterns]

    def _items_of(self, items: Any, applied: _Parts) -> Iterator[tuple[Json, _Parts]]:
        everywhere = [
            (number, times)
            for part, times in applied.items()
            for number in self._parts[part].each_item
        ]
        shared = self._together(iter(everywhere))
        placed = max((len(self._parts[part].places) for part in applied), default=0)
        for index, item in enumerate(items):
            inner = shared
            if index < placed:
                here = [
                    (self._parts[part].places[index], times)
                    for part, times in applied.items()
                    if index < len(self._parts[part].places)
                ]
                inner = self._together(iter([*everywhere, *here]))
            if inner:
                yield item, inner

    def _together(self, wanted: Iterator[tuple[int, int]]) -> _Parts:
        made: _Parts = {}
        for number, times in wanted:
            for part, often in (self._spread[number] or {}).items():
                made[part] = made.get(part, 0) + often * times
        return made

    def _number(self, schema: Json, where: str) -> int:
        """Give the number of a schema, which is read later if it is met for the first time."""
        if not isinstance(schema, bool) and not is_object(schema):
            raise SchemaFault(where, "must be an object, or true or false")
        known = self._numbers.get(id(schema)) if is_object(schema) else None
        if known is not None:
            return known
        if len(self._parts) >= PARTS_MAX:
            raise SchemaFault(where, f"is one more than the {PARTS_MAX} schemas that may be in it")
        number = len(self._parts)
        self._parts.append(_Part())
        if is_object(schema):
            self._numbers[id(schema)] = number
            self._waiting.append((number, schema, where))
        return number

    def _read(self, number: int, schema: dict[str, Json], where: str) -> None:
        part = self._parts[number]
        for name in _OTHER_REFERENCES:
            if name in schema:
                raise SchemaFault(f"{where}.{name}", "is not supported: use '$ref'")
        if where and isinstance(schema.get("$id"), str):
            raise SchemaFault(f"{where}.$id", "can stand only at the root of the schema")
        for name, inner in schema.items():
            path = f"{where}.{name}"
            if name == "$ref":
                part.here.append(self._referred(inner, path))
            elif name == "properties":
                part.fields = self._named(inner, path)
            elif name == "prefixItems" or (name == "items" and is_list(inner)):
                part.places += self._each(inner, path)
            elif name in _LISTED:
                getattr(part, _LISTED[name]).extend(self._each(inner, path))
            elif name in _SINGLE:
                getattr(part, _SINGLE[name]).append(self._number(inner, path))
            elif name in _NAMED:
                getattr(part, _NAMED[name]).extend(self._named(inner, path).values())
            else:
                part.cost += _size(inner)

    def _each(self, inner: Json, path: str) -> list[int]:
        if not is_list(inner):
            raise SchemaFault(path, "must be a list of schemas")
        return [self._number(item, f"{path}[{index}]") for index, item in enumerate(inner)]

    def _named(self, inner: Json, path: str) -> dict[str, int]:
        if not is_object(inner):
            raise SchemaFault(path, "must be an object of schemas")
        # Before 2019 a dependency could be a list of names.
        return {
            name: self._number(item, f"{path}.{name}")
            for name, item in inner.items()
            if not is_list(item)
        }

    def _referred(self, reference: Json, path: str) -> int:
        """Find the schema that a reference leads to."""
        found: Json = self._root
        fault = "must lead to a place in this schema, such as '#/$defs/name'"
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise SchemaFault(path, fault)
        for raw in reference.split("/")[1:]:
            step = raw.replace("~1", "/").replace("~0", "~")
            if is_object(found) and step in found:
                found = found[step]
            elif is_list(found) and step.isdecimal() and int(step[:9]) < len(found):
                found = found[int(step[:9])]
            else:
                raise SchemaFault(path, fault)
        return self._number(found, path)

    def _spread_of(self, number: int) -> _Parts:
        """Give all that a schema applies to the same value, itself included, and how often."""
        stack = [(number, False)]
        entered: set[int] = set()
        while stack:
            current, is_left = stack.pop()
            if self._spread[current] is not None:
                continue
            if is_left:
                made: _Parts = {current: 1}
                for inner in self._parts[current].here:
                    for part, often in (self._spread[inner] or {}).items():
                        made[part] = made.get(part, 0) + often
                self._spread[current] = made
                self._spread_total += len(made)
                if self._spread_total > SPREAD_MAX or sum(made.values()) > WORK_MAX:
                    raise SchemaFault("", "applies its parts to the same value too often")
                entered.discard(current)
                continue
            if current in entered:
                raise SchemaFault("", "has a '$ref' that leads back to itself without end")
            entered.add(current)
            stack.append((current, True))
            for inner in self._parts[current].here:
                if inner in entered and self._spread[inner] is None:
                    raise SchemaFault("", "has a '$ref' that leads back to itself without end")
                stack.append((inner, False))
        return self._spread[number] or {}


def _size(value: Json) -> int:
    """Count the values in a keyword such as `enum` or `required`, and long text by its length."""
    size = 0
    pending: list[Json] = [value]
    while pending:
        item = pending.pop()
        size += 1
        if isinstance(item, str):
            size += len(item) // _LETTERS_PER_WORK
        elif is_object(item):
            pending.extend(item.values())
        elif is_list(item):
            pending.extend(item)
    return size
