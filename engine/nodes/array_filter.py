"""The node that filters, sorts and reshapes a list: `array_filter`.

Its steps come in one order, whatever the order of the fields: `where`, `unique`, `sort`, `offset`
and `limit`, `map`. Conditions are those of the condition nodes (`condition_language.py`), so that
an operator has one meaning everywhere.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated, ClassVar, Final, Literal

import msgspec

from ..component import (
    ConfigError,
    Context,
    Json,
    NodeConfig,
    NodeError,
    Outcome,
    PureNode,
    is_list,
)
from ..template_values import kind_of
from ..templates import Template, compile_value
from ..value_order import identity_of, order_of
from .condition_core import Condition, Scope
from .condition_language import new_compiler
from .shaping import Deadline, ValuePath, check_result, compile_source

SORT_KEYS_MAX: Final = 8

_Number = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]


class SortKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing to sort by; items that are equal in it are sorted by the next."""

    by: str = ""
    """A path inside the item; nothing means the item itself."""
    direction: Literal["asc", "desc"] = "asc"
    ignore_case: bool = False


class ArrayFilterConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of an `array_filter`."""

    items: Json
    """A path or template of the list, or a list."""
    where: Json = None
    """A condition, or a list of them, whose templates see `item` and `index`."""
    match: Literal["all", "any"] = "all"
    """How many of several conditions an item has to meet."""
    unique: bool | str = False
    """Keeps the first of equal items; a path says what is compared."""
    sort: tuple[SortKey, ...] = ()
    offset: _Number = 0
    limit: _Number | None = None
    map: Json = None
    """What becomes of each item: a path inside it, or any JSON with templates of `item`."""


class ArrayFilter(PureNode[ArrayFilterConfig]):
    """Filters a list: the output is `{"items", "count", "total"}`."""

    component: ClassVar[str] = "array_filter"
    config_type = ArrayFilterConfig

    def __init__(self, config: ArrayFilterConfig) -> None:
        errors: dict[str, list[str]] = {}
        self._wants_all = config.match == "all"
        self._end = None if config.limit is None else config.offset + config.limit
        self._offset = config.offset
        self._unique = config.unique is True or bool(config.unique)
        self._unique_by: ValuePath | None = None
        self._map_path: ValuePath | None = None
        self._map_template: Template | None = None
        self._sort: list[_Order] = []
        try:
            self._items = compile_source(config.items, "items")
            if self._items.is_static:
                _take_list(config.items)
        except ConfigError as error:
            errors |= error.errors
        except NodeError as error:
            errors["items"] = [error.message]
        try:
            self._where = _compile_conditions(config.where)
        except ConfigError as error:
            errors |= error.errors
        try:
            if isinstance(config.unique, str) and config.unique:
                self._unique_by = ValuePath(config.unique, "unique")
        except ConfigError as error:
            errors |= error.errors
        if len(config.sort) > SORT_KEYS_MAX:
            errors["sort"] = [f"has more than {SORT_KEYS_MAX} keys"]
        for index, key in enumerate(config.sort[:SORT_KEYS_MAX]):
            try:
                self._sort.append(_Order(key, f"sort[{index}].by"))
            except ConfigError as error:
                errors |= error.errors
        try:
            self._compile_map(config.map)
        except ConfigError as error:
            errors |= error.errors
        if errors:
            raise ConfigError(errors)

    def run(self, context: Context) -> Outcome:
        """Take all steps."""
        deadline = Deadline()
        given = _take_list(self._items.render(context))
        items = self._keep(given, context, deadline)
        if self._unique:
            items = self._first_of_each(items)
        for order in reversed(self._sort):
            deadline.check()
            items = order.sorted(items)
        items = items[self._offset : self._end]
        items = self._mapped(items, context, deadline)
        check_result(items)
        return Outcome({"items": items, "count": len(items), "total": len(given)})

    def _compile_map(self, spec: Json) -> None:
        if spec is None or spec == "":
            return
        if isinstance(spec, str) and "{{" not in spec and "{%" not in spec:
            self._map_path = ValuePath(spec, "map")
        else:
            self._map_template = compile_value(spec, "map")

    def _keep(self, items: list[Json], context: Context, deadline: Deadline) -> list[Json]:
        if not self._where:
            return items
        seen: dict[str, Json] = dict(context)
        scope = Scope(context).inside(seen)
        kept: list[Json] = []
        decide = all if self._wants_all else any
        for index, item in enumerate(items):
            deadline.check()
            seen["item"], seen["index"] = item, index
            try:
                met = decide(condition.evaluate(scope).result for condition in self._where)
            except NodeError as error:
                message = f"{error.message} (item {index})"
                raise NodeError(error.code, message, error.received) from error
            if met:
                kept.append(item)
        return kept

    def _first_of_each(self, items: list[Json]) -> list[Json]:
        seen: set[Hashable] = set()
        kept: list[Json] = []
        for item in items:
            compared = item if self._unique_by is None else self._unique_by.follow(item)
            identity = identity_of(compared)
            if identity not in seen:
                seen.add(identity)
                kept.append(item)
        return kept

    def _mapped(self, items: list[Json], context: Context, deadline: Deadline) -> list[Json]:
        if self._map_path is not None:
            return [self._map_path.follow(item) for item in items]
        if self._map_template is None:
            return items
        seen: dict[str, Json] = dict(context)
        made: list[Json] = []
        for index, item in enumerate(items):
            deadline.check()
            seen["item"], seen["index"] = item, index
            made.append(self._map_template.render(seen))
        return made


class _Order:
    """A compiled key to sort by."""

    __slots__ = ("_folds", "_path", "_reverse")

    def __init__(self, key: SortKey, field: str) -> None:
        self._path = ValuePath(key.by, field) if key.by else None
        self._reverse = key.direction == "desc"
        self._folds = key.ignore_case

    def sorted(self, items: list[Json]) -> list[Json]:
        """Sort stably. What is null stands at the end in both directions."""
        keyed = [(self._value(item), item) for item in items]
        present = [pair for pair in keyed if pair[0] is not None]
        present.sort(key=lambda pair: order_of(pair[0]), reverse=self._reverse)
        return [item for _, item in present] + [item for value, item in keyed if value is None]

    def _value(self, item: Json) -> Json:
        value = item if self._path is None else self._path.follow(item)
        return value.casefold() if self._folds and isinstance(value, str) else value


def _compile_conditions(spec: Json) -> list[Condition]:
    if spec is None:
        return []
    compiler = new_compiler()
    if not is_list(spec):
        return [compiler.nested(spec, "where")]
    errors: dict[str, list[str]] = {}
    made: list[Condition] = []
    for index, condition in enumerate(spec):
        if compiler.is_full:
            break
        try:
            made.append(compiler.nested(condition, f"where[{index}]"))
        except ConfigError as error:
            errors |= error.errors
    if errors:
        raise ConfigError(errors)
    return made


def _take_list(value: Json) -> list[Json]:
    """Take a list; null counts as an empty one, as everywhere a list is asked for."""
    if value is None:
        return []
    if not is_list(value):
        raise NodeError("type_mismatch", f"'items' is {kind_of(value)}, a list is needed")
    return list(value)
