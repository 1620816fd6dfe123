"""What an operation of a `string_transform` is: a typed configuration that compiles itself.

An operation takes text or a list of texts and gives one of the two, which is known on save. What
is written out for people (`text`, `find`, `separator`, …) may hold templates; patterns may not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

import msgspec

from ..component import ConfigError, Context, NodeError
from ..template_values import to_text
from ..templates import compile_text
from .shaping import Deadline

TEXT_LENGTH_MAX: Final = 1024 * 1024
"""The longest text between two operations, in characters."""
ITEMS_MAX: Final = 50_000
"""The longest list between two operations."""

Apply: TypeAlias = Callable[[Any, Deadline], Any]
"""Does the operation on a text or a list; raises `OperationFault` or `NodeError`."""
Bind: TypeAlias = Callable[[Context], Apply]
"""Renders the templates of an operation, once for all items of a list."""
ReadText: TypeAlias = Callable[[Context], str]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=TEXT_LENGTH_MAX)]
Place: TypeAlias = Annotated[int, msgspec.Meta(ge=-TEXT_LENGTH_MAX, le=TEXT_LENGTH_MAX)]


class OperationFault(Exception):
    """An operation can't be done on this text; the message is a predicate without the text."""


class Operation(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="op"
):
    """One step of the pipeline."""

    takes: ClassVar[Literal["text", "list"]] = "text"
    gives: ClassVar[Literal["text", "list"]] = "text"

    def compile(self, field: str) -> Bind:
        """Check and compile; raise `ConfigError` with paths below `field`."""
        del field
        return lambda _: lambda text, __: self.on(text)

    def on(self, text: str) -> str:
        """Do an operation that needs nothing but its text."""
        raise AssertionError(type(self).__name__)


def compile_part(source: str, field: str, *, needed: bool = False) -> ReadText:
    """Compile a text of an operation; raise `ConfigError` for `field`."""
    if needed and not source:
        raise ConfigError({field: ["is required"]})
    template = compile_text(source, field)
    return lambda context: to_text(template.render(context))


def check_length(length: int) -> None:
    """Raise `NodeError` when a text of so many characters would be too long."""
    if length > TEXT_LENGTH_MAX:
        message = f"Transform stopped: a text is longer than {TEXT_LENGTH_MAX} characters"
        raise NodeError("transform_limit", message)
