"""The node that builds an object from values of earlier nodes: `data_mapper`.

Its mappings are compiled to a tree, which has the form of the result. So two mappings that
contradict each other are found on save, and a run only fills the tree in.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

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
    is_object,
)
from ..template_values import kind_of
from ..templates import Template, compile_value
from .shaping import PATH_LENGTH_MAX, check_result, compile_source

MAPPINGS_MAX: Final = 500
DEPTH_MAX: Final = 32
"""How many steps a target may have."""
INDEX_MAX: Final = 999
"""The highest index in a target: the places before it that nothing is mapped to are null."""
PLACES_MAX: Final = 10_000
"""How many places the lists of one result may have in all."""

_STEP = re.compile(
    r"(?:^|\.)([^\s.\[\]\"'{}|]+)|\[([0-9]{1,9})\]|\[(?:\"([^\"\]]*)\"|'([^'\]]*)')\]"
)
_UNSET: Final[Json] = msgspec.UNSET


class DataMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One value and where it goes."""

    target: str
    """Such as `user.name`, `items[0].id` or `["a key"].b`."""
    source: str = ""
    """A path such as `trigger.user.name`, or a template."""
    value: Json = msgspec.UNSET
    """In place of `source`: a constant, or any JSON with templates in its strings."""
    default: Json = None
    """What takes the place of null; templates too."""
    required: bool = False
    """Whether null, when there is no default either, fails the node."""


class DataMapperConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `data_mapper`."""

    mappings: list[DataMapping]
    base: Json = None
    """A path or template of the object to start from; nothing means an empty one."""


class _Leaf:
    """The place of one value."""

    __slots__ = ("_default", "_field", "_required", "_target", "_template")

    def __init__(self, mapping: DataMapping, field: str) -> None:
        self._target = mapping.target
        self._required = mapping.required
        # A null beside a source is a field that an editor left empty.
        absent = (None, _UNSET) if mapping.source else (_UNSET,)
        given_value = not any(mapping.value is nothing for nothing in absent)
        if given_value == bool(mapping.source):
            fault = "and 'value' exclude each other" if given_value else "or 'value' is required"
            raise ConfigError({f"{field}.source": [fault]})
        self._field = f"{field}.{'value' if given_value else 'source'}"
        self._template: Template = (
            compile_value(mapping.value, self._field)
            if given_value
            else compile_source(mapping.source, self._field)
        )
        self._default = compile_value(mapping.default, f"{field}.default")

    def fill(self, context: Context) -> Json:
        value = self._template.render(context)
        if value is None:
            value = self._default.render(context)
        if value is None and self._required:
            message = f"'{self._target}' is required, but '{self._field}' gives nothing"
            raise NodeError("value_missing", message)
        return value


class _Branch:
    """An object or a list of the result, with what is mapped into it."""

    __slots__ = ("_path", "inner", "is_list")

    def __init__(self, is_list_: bool, path: str) -> None:
        self.is_list = is_list_
        self._path = path
        self.inner: dict[str | int, _Branch | _Leaf] = {}

    def fill(self, context: Context, base: Json) -> Json:
        """Make the value, beside what is in `base`, which is copied as far as it changes."""
        if not (base is None or (is_list(base) if self.is_list else is_object(base))):
            needed = "a list" if self.is_list else "an object"
            message = f"'{self._path or 'base'}' is {kind_of(base)} in 'base', {needed} is needed"
            raise NodeError("type_mismatch", message)
        made: Json = list(base or ()) if self.is_list else dict(base or {})
        if self.is_list:
            highest = max(place for place in self.inner if isinstance(place, int))
            made.extend([None] * (highest + 1 - len(made)))
        for place, part in self.inner.items():
            if isinstance(part, _Leaf):
                made[place] = part.fill(context)
            else:
                found = made[place] if self.is_list else made.get(place)
                made[place] = part.fill(context, found)
        return made


class DataMapper(PureNode[DataMapperConfig]):
    """Builds an object. A missing value is null, unless it has a default or is required."""

    component: ClassVar[str] = "data_mapper"
    config_type = DataMapperConfig

    def __init__(self, config: DataMapperConfig) -> None:
        errors: dict[str, list[str]] = {}
        if not config.mappings and config.base is None:
            errors["mappings"] = ["needs at least one mapping"]
        if len(config.mappings) > MAPPINGS_MAX:
            raise ConfigError({"mappings": [f"has more than {MAPPINGS_MAX} mappings"]})
        self._root = _Branch(False, "")
        self._places = 0
        for index, mapping in enumerate(config.mappings):
            field = f"mappings[{index}]"
            try:
                steps = _parse_target(mapping.target)
                self._place(steps, _Leaf(mapping, field))
            except ValueError as error:
                errors[f"{field}.target"] = [str(error)]
            except ConfigError as error:
                errors |= error.errors
        self._base: Template | None = None
        if config.base is not None:
            try:
                self._base = compile_source(config.base, "base")
            except ConfigError as error:
                errors |= error.errors
        if errors:
            raise ConfigError(errors)

    def run(self, context: Context) -> Outcome:
        """Build the object."""
        base = None if self._base is None else self._base.render(context)
        return Outcome(check_result(self._root.fill(context, base)))

    def _place(self, steps: list[str | int], leaf: _Leaf) -> None:
        """Put a leaf in the tree; raise `ValueError` when another mapping contradicts."""
        branch, path = self._root, ""
        for step, after in zip(steps, [*steps[1:], None], strict=True):
            if branch.is_list != isinstance(step, int):
                taken = "a list" if branch.is_list else "an object"
                raise ValueError(f"goes into '{path}', which is {taken} in another mapping")
            if isinstance(step, int):
                highest = max((key for key in branch.inner if isinstance(key, int)), default=-1)
                self._places += max(0, step - highest)
                if self._places > PLACES_MAX:
                    raise ValueError(f"makes lists of more than {PLACES_MAX} places in all")
            path = f"{path}[{step}]" if isinstance(step, int) else f"{path}.{step}".lstrip(".")
            found = branch.inner.get(step)
            if after is None:
                if found is not None:
                    raise ValueError(f"is '{path}', which another mapping fills as well")
                branch.inner[step] = leaf
                return
            if isinstance(found, _Leaf):
                raise ValueError(f"goes into '{path}', which is a value in another mapping")
            if found is None:
                found = branch.inner[step] = _Branch(isinstance(after, int), path)
            branch = found


def _parse_target(target: str) -> list[str | int]:
    """Give the steps of a target; raise `ValueError` with what is wrong with it."""
    if len(target) > PATH_LENGTH_MAX:
        raise ValueError(f"is longer than {PATH_LENGTH_MAX} characters")
    steps: list[str | int] = []
    at = 0
    while at < len(target):
        found = _STEP.match(target, at)
        if found is None:
            break
        name, index, double, single = found.groups()
        if index is None:
            steps.append(next(part for part in (name, double, single) if part is not None))
        elif int(index) > INDEX_MAX:
            raise ValueError(f"has an index above {INDEX_MAX}")
        else:
            steps.append(int(index))
        at = found.end()
    if at < len(target) or not steps or isinstance(steps[0], int) or target[0] == ".":
        raise ValueError("must be a path such as 'user.name' or 'items[0].id'")
    if len(steps) > DEPTH_MAX:
        raise ValueError(f"has more than {DEPTH_MAX} steps")
    return steps
