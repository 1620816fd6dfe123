"""Operations of a `string_transform` on characters, words and lists of texts."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec

from ..component import Context, NodeError
from .shaping import Deadline
from .string_cases import to_capitalized, to_slug, to_title
from .string_operation import (
    ITEMS_MAX,
    Apply,
    Bind,
    Count,
    Operation,
    OperationFault,
    Place,
    check_length,
    compile_part,
)


class Trim(Operation, frozen=True, tag="trim"):
    """Takes white space, or the given characters, from the ends."""

    side: Literal["both", "start", "end"] = "both"
    characters: str = ""

    def on(self, text: str) -> str:
        """Strip."""
        characters = self.characters or None
        if self.side == "start":
            return text.lstrip(characters)
        return text.rstrip(characters) if self.side == "end" else text.strip(characters)


class Upper(Operation, frozen=True, tag="upper"):
    """Upper case."""

    def on(self, text: str) -> str:
        """Change the case of all letters."""
        return text.upper()


class Lower(Operation, frozen=True, tag="lower"):
    """Lower case."""

    def on(self, text: str) -> str:
        """Change the case of all letters."""
        return text.lower()


class Capitalize(Operation, frozen=True, tag="capitalize"):
    """The first letter large, all others small."""

    def on(self, text: str) -> str:
        """Change the case of all letters."""
        return to_capitalized(text)


class Title(Operation, frozen=True, tag="title"):
    """The first letter of each word large, all others small."""

    def on(self, text: str) -> str:
        """Change the case of all letters."""
        return to_title(text)


class Slug(Operation, frozen=True, tag="slug"):
    """Lower-case letters and digits, parted by a separator, as in addresses."""

    separator: Literal["-", "_", "."] = "-"

    def on(self, text: str) -> str:
        """Make the slug."""
        return to_slug(text, self.separator)


class Replace(Operation, frozen=True, tag="replace"):
    """Each `find` becomes `replacement`."""

    find: str
    replacement: str = ""
    first_only: bool = False

    def compile(self, field: str) -> Bind:
        """Compile both texts."""
        find = compile_part(self.find, f"{field}.find", needed=True)
        replacement = compile_part(self.replacement, f"{field}.replacement")

        def bind(context: Context) -> Apply:
            old, new = find(context), replacement(context)
            if not old:
                raise OperationFault("has nothing to find: 'find' gives an empty text")

            def apply(text: str, _: Deadline) -> str:
                times = min(text.count(old), 1 if self.first_only else len(text))
                check_length(len(text) + times * (len(new) - len(old)))
                return text.replace(old, new, times)

            return apply

        return bind


class Substring(Operation, frozen=True, tag="substring"):
    """`length` characters from `start`, which counts from the end when it is negative."""

    start: Place = 0
    length: Count | None = None

    def on(self, text: str) -> str:
        """Cut; what lies outside of the text is left out."""
        start = max(0, len(text) + self.start) if self.start < 0 else self.start
        return text[start:] if self.length is None else text[start : start + self.length]


class Truncate(Operation, frozen=True, tag="truncate"):
    """At most `length` characters, of which `ending` takes its part where text is left out."""

    length: Count
    ending: str = "…"

    def on(self, text: str) -> str:
        """Cut."""
        if len(text) <= self.length:
            return text
        return text[: max(0, self.length - len(self.ending))] + self.ending[: self.length]


class Pad(Operation, frozen=True, tag="pad"):
    """At least `length` characters."""

    length: Annotated[int, msgspec.Meta(ge=0, le=10_000)]
    side: Literal["start", "end", "both"] = "start"
    fill: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = " "

    def on(self, text: str) -> str:
        """Fill up."""
        if self.side == "start":
            return text.rjust(self.length, self.fill)
        if self.side == "end":
            return text.ljust(self.length, self.fill)
        before = max(0, self.length - len(text)) // 2
        return (self.fill * before + text).ljust(self.length, self.fill)


class Prepend(Operation, frozen=True, tag="prepend"):
    """Puts `text` before it."""

    text: str

    def compile(self, field: str) -> Bind:
        """Compile the text."""
        added = compile_part(self.text, f"{field}.text")

        def bind(context: Context) -> Apply:
            before = added(context)
            return lambda text, _: before + text

        return bind


class Append(Operation, frozen=True, tag="append"):
    """Puts `text` behind it."""

    text: str

    def compile(self, field: str) -> Bind:
        """Compile the text."""
        added = compile_part(self.text, f"{field}.text")

        def bind(context: Context) -> Apply:
            behind = added(context)
            return lambda text, _: text + behind

        return bind


class Default(Operation, frozen=True, tag="default"):
    """`text` in the place of an empty text."""

    text: str

    def compile(self, field: str) -> Bind:
        """Compile the text."""
        instead = compile_part(self.text, f"{field}.text")

        def bind(context: Context) -> Apply:
            return lambda text, _: text or instead(context)

        return bind


class Split(Operation, frozen=True, tag="split"):
    """The parts between the separators: a list. An empty text has no parts."""

    gives: ClassVar[Literal["text", "list"]] = "list"
    separator: str

    def compile(self, field: str) -> Bind:
        """Compile the separator."""
        separator = compile_part(self.separator, f"{field}.separator", needed=True)

        def bind(context: Context) -> Apply:
            between = separator(context)
            if not between:
                raise OperationFault("can't split: 'separator' gives an empty text")

            def apply(text: str, _: Deadline) -> list[str]:
                if text.count(between) >= ITEMS_MAX:
                    raise NodeError(
                        "transform_limit",
                        f"Transform stopped: a text is split in more than {ITEMS_MAX} parts",
                    )
                return text.split(between) if text else []

            return apply

        return bind


class Join(Operation, frozen=True, tag="join"):
    """The items of a list with a separator between them: a text."""

    takes: ClassVar[Literal["text", "list"]] = "list"
    separator: str = ""

    def compile(self, field: str) -> Bind:
        """Compile the separator."""
        separator = compile_part(self.separator, f"{field}.separator")

        def bind(context: Context) -> Apply:
            between = separator(context)

            def apply(items: list[str], _: Deadline) -> str:
                check_length(sum(map(len, items)) + len(between) * len(items))
                return between.join(items)

            return apply

        return bind


class Item(Operation, frozen=True, tag="item"):
    """One item of a list, from the end when `index` is negative; an empty text for no item."""

    takes: ClassVar[Literal["text", "list"]] = "list"
    index: Place

    def compile(self, field: str) -> Bind:
        """Take the item."""
        del field
        index = self.index
        return lambda _: lambda items, __: items[index] if -len(items) <= index < len(items) else ""


TextEdit: TypeAlias = (
    Trim
    | Upper
    | Lower
    | Capitalize
    | Title
    | Slug
    | Replace
    | Substring
    | Truncate
    | Pad
    | Prepend
    | Append
    | Default
    | Split
    | Join
    | Item
)
