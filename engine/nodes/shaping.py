"""What the nodes that shape data share: sources, paths into a value, and the limit of a result."""

from __future__ import annotations

import time
from typing import Final

from ..component import ConfigError, Json, NodeError
from ..template_parts import Lookup, is_lookup
from ..template_values import OUTPUT_SIZE_MAX, RenderLimit, fits
from ..templates import Template, compile_text, compile_value

PATH_LENGTH_MAX: Final = 256
"""The longest path, in characters."""


class ValuePath:
    """A path inside a value, such as `user.tags[0]`, `[0].id` or `["a key"]`."""

    __slots__ = ("_lookup",)

    def __init__(self, source: str, field: str) -> None:
        """Compile; raise `ConfigError` for `field` when it is no path."""
        path = f"value{source}" if source.startswith("[") else f"value.{source}"
        if len(source) > PATH_LENGTH_MAX:
            raise ConfigError({field: [f"is longer than {PATH_LENGTH_MAX} characters"]})
        if not is_lookup(path):
            raise ConfigError({field: ["must be a path such as 'user.tags[0]'"]})
        self._lookup = Lookup(path)

    def follow(self, value: Json) -> Json:
        """Give what the path leads to, as a template would; null where it leads nowhere."""
        return self._lookup({"value": value})


def compile_source(source: Json, field: str) -> Template:
    """Compile where a value comes from: a path such as `trigger.user`, or any template.

    Raises `ConfigError` for `field`.
    """
    if not isinstance(source, str) or "{{" in source or "{%" in source:
        return compile_value(source, field)
    path = source.strip()
    if len(path) > PATH_LENGTH_MAX:
        raise ConfigError({field: [f"is longer than {PATH_LENGTH_MAX} characters"]})
    if not is_lookup(path):
        fault = "must be a path such as 'trigger.user', or a template"
        raise ConfigError({field: [fault]})
    return compile_text(f"{{{{ {path} }}}}", field)


class Deadline:
    """How long a node may shape data, which is as long as a template may render."""

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        self._ends = time.monotonic() + RenderLimit.seconds_max

    def check(self) -> None:
        """Raise `NodeError` when the time is over."""
        if time.monotonic() > self._ends:
            message = f"Transform stopped: it takes longer than {RenderLimit.seconds_max:g} s"
            raise NodeError("transform_limit", message)


def check_result(value: Json) -> Json:
    """Give the result, or raise `NodeError` when it is larger than any output may be.

    The runner measures outputs as well, but has to write one down for that; a value that stands
    in a result a thousand times is cheap until then.
    """
    if not fits(value, OUTPUT_SIZE_MAX):
        message = f"The result is larger than {OUTPUT_SIZE_MAX} characters of JSON"
        raise NodeError("output_too_large", message)
    return value
