"""What templates are compiled to: pieces of markup, look-ups, and the kinds of template."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from .component import is_list, is_object
from .secrets import (
    MASK,
    ROOT,
    RevealingVault,
    SecretTouched,
    check_given,
    split_references,
    vault_of,
)
from .template_values import SyntaxFault, fits, limit_error, to_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .component import Json

SOURCE_SIZE_MAX: Final = 64 * 1024
"""The longest template, in characters."""
MARKUP_SIZE_MAX: Final = 4096
"""The longest single `{{ }}` or `{% %}`, in characters: Liquid reads one in quadratic time."""

_OPENING = re.compile(r"\{[{%]")
_VERBATIM = re.compile(r"\{%-?\s*(raw|doc)\s*-?%\}")
_END_OF = {
    "raw": re.compile(r"\{%-?\s*endraw\s*-?%\}"),
    "doc": re.compile(r"\{%-?\s*enddoc\s*-?%\}"),
}
_PATH = re.compile(
    r"[A-Za-z_][A-Za-z0-9_-]*"
    r"(?:\.[A-Za-z_][A-Za-z0-9_-]*|\[-?[0-9]{1,9}\]|\[\"[^\"\]]*\"\]|\['[^'\]]*'\])*",
)
_HEAD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)|\[(-?[0-9]+)\]|\[[\"']([^\"'\]]*)[\"']\]")
_NOT_A_LOOKUP = frozenset({"true", "false", "nil", "null", "empty", "blank", "now", "today"})
"""Words that mean something else than a name in the context, where a path begins with them."""

_JSON_STRING_PART = re.compile(r'\\.|"', re.DOTALL)


class Evaluate(Protocol):
    """What an expression compiles to: its value in a context, as JSON, undefined being null."""

    def __call__(self, context: Mapping[str, Json], /) -> Json:
        """Evaluate."""
        ...


Part: TypeAlias = str | Evaluate


class Template(ABC):
    """A compiled template. It holds no state of a render, so it may be used at any time."""

    __slots__ = ()

    is_static: bool = False
    """True when the result doesn't depend on the context."""

    @abstractmethod
    def render(self, context: Mapping[str, Json]) -> Json:
        """Give the value in this context; it may share parts with it, so it is not to be changed.

        Raises `NodeError` with code `template_error`, or `template_limit` when it is too long,
        too slow or too large.
        """

    def render_text(self, context: Mapping[str, Json]) -> str:
        """Give the value as text, whatever its type."""
        return to_text(self.render(context))


class StaticTemplate(Template):
    """A value without any template in it."""

    __slots__ = ("_value",)
    is_static = True

    def __init__(self, value: Json) -> None:
        self._value = value

    def render(self, context: Mapping[str, Json]) -> Json:
        """Give the value."""
        del context
        return self._value


class SingleTemplate(Template):
    """Exactly one expression: the value keeps its type."""

    __slots__ = ("_evaluate", "_size_max")

    def __init__(self, evaluate: Evaluate, size_max: int) -> None:
        self._evaluate = evaluate
        self._size_max = size_max

    def render(self, context: Mapping[str, Json]) -> Json:
        """Evaluate the expression."""
        return self._evaluate(context)

    def render_text(self, context: Mapping[str, Json]) -> str:
        """Evaluate the expression and write its value as text."""
        text = to_text(self._evaluate(context))
        if len(text) > self._size_max:
            raise limit_error(f"the text is longer than {self._size_max} characters")
        return text


class TextTemplate(Template):
    """Text made of literals and expressions."""

    __slots__ = ("_parts", "_size_max")

    def __init__(self, parts: list[Part], size_max: int) -> None:
        self._parts = tuple(parts)
        self._size_max = size_max

    def render(self, context: Mapping[str, Json]) -> str:
        """Join the parts."""
        left = self._size_max
        texts: list[str] = []
        for part in self._parts:
            text = part if isinstance(part, str) else to_text(part(context))
            left -= len(text)
            if left < 0:
                raise limit_error(f"the text is longer than {self._size_max} characters")
            texts.append(text)
        return "".join(texts)


class ListTemplate(Template):
    """A list with a template in it somewhere."""

    __slots__ = ("_items",)

    def __init__(self, items: list[Template]) -> None:
        self._items = tuple(items)

    def render(self, context: Mapping[str, Json]) -> Json:
        """Render each item."""
        return [item.render(context) for item in self._items]


class ObjectTemplate(Template):
    """An object with a template in it somewhere."""

    __slots__ = ("_fields",)

    def __init__(self, fields: list[tuple[str | Template, Template]]) -> None:
        self._fields = tuple(fields)

    def render(self, context: Mapping[str, Json]) -> Json:
        """Render each field."""
        return {
            key if isinstance(key, str) else key.render_text(context): value.render(context)
            for key, value in self._fields
        }


class TreeTemplate(Template):
    """A list or object whose whole size is checked, since one value may stand in it often."""

    __slots__ = ("_root", "_size_max")

    def __init__(self, root: Template, size_max: int) -> None:
        self._root = root
        self._size_max = size_max

    def render(self, context: Mapping[str, Json]) -> Json:
        """Render the whole and measure it."""
        value = self._root.render(context)
        if not fits(value, self._size_max):
            raise limit_error(f"the value is longer than {self._size_max} characters of JSON")
        return value


def is_lookup(expression: str) -> bool:
    """Say whether an expression is a plain path, which needs no Liquid."""
    if not _PATH.fullmatch(expression):
        return False
    head = _HEAD.match(expression)
    return head is not None and head.group() not in _NOT_A_LOOKUP


class Lookup:
    """A plain path such as `n2.body.items[0].name`, looked up as Liquid would."""

    __slots__ = ("keys", "root")

    def __init__(self, path: str) -> None:
        head = _HEAD.match(path)
        assert head is not None
        self.root = head.group()
        self.keys: tuple[str | int, ...] = tuple(
            int(index) if index else name or quoted
            for name, index, quoted in _STEP.findall(path, head.end())
        )

    def __call__(self, context: Mapping[str, Json], /) -> Json:
        """Follow the path; null where it leads nowhere."""
        try:
            value = context[self.root]
        except KeyError:
            return None
        for key in self.keys:
            kind = value.__class__
            if kind is dict:
                value = value[key] if key in value else _special(value, key)
            elif kind is list and isinstance(key, int):
                value = value[key] if -len(value) <= key < len(value) else _special(value, key)
            else:
                value = _special(value, key)
        return value


class VaultLookup:
    """A plain path that begins at the vault: `vault.name`, `vault["vlt_…"]`."""

    __slots__ = ("_item", "_path", "_reference")

    def __init__(self, path: str) -> None:
        self._path = Lookup(path)
        self._reference = self._path.keys[0] if self._path.keys else None
        self._item = Lookup(path)
        self._item.keys = self._item.keys[1:]

    def __call__(self, context: Mapping[str, Json], /) -> Json:
        """Give the secret in clear where it is sent, and its mask where it is recorded."""
        try:
            vault = vault_of(context)
        except SecretTouched:
            return MASK
        if not isinstance(vault, RevealingVault):
            return self._path(context)
        if self._reference is None:
            check_given(vault)
        return self._item({ROOT: vault[self._reference]})


def look_up(path: str) -> Evaluate:
    """Compile a plain path."""
    lookup = Lookup(path)
    return VaultLookup(path) if lookup.root == ROOT else lookup


def _special(value: Json, key: str | int) -> Json:
    """Give what Liquid knows of a value besides its fields: size, first and last."""
    if key == "size":
        sized = isinstance(value, str) or is_list(value) or is_object(value)
        return len(value) if sized else None
    if key == "first" and value:
        if is_object(value):
            return list(next(iter(value.items())))
        return value[0] if is_list(value) else None
    if key == "last" and value and is_list(value):
        return value[-1]
    return None


def split_markup(source: str) -> Iterator[tuple[str, str]]:
    """Cut a source into its pieces: pairs of `text`, `output`, `tag` or `raw` and the piece.

    The pieces, put together again, are the source.

    It is done here, in one pass, before Liquid sees the source: its own scanner takes quadratic
    time over markup that is never closed. Raises `SyntaxFault` for such markup.
    """
    if len(source) > SOURCE_SIZE_MAX:
        raise SyntaxFault(f"is longer than {SOURCE_SIZE_MAX} characters")
    at = 0
    while opening := _OPENING.search(source, at):
        start = opening.start()
        if start > at:
            yield "text", source[at:start]
        closing = "}}" if opening.group() == "{{" else "%}"
        end = source.find(closing, start + 2)
        if end < 0:
            line = source.count("\n", 0, start) + 1
            raise SyntaxFault(f"'{opening.group()}' is never closed (line {line})")
        at = end + 2
        kind = "output" if closing == "}}" else "tag"
        if verbatim := _VERBATIM.fullmatch(source, start, at):
            name = verbatim.group(1)
            final = _END_OF[name].search(source, at)
            if final is None:
                line = source.count("\n", 0, start) + 1
                raise SyntaxFault(f"'{name}' is never ended (line {line})")
            at = final.end()
            yield "raw", source[start:at]
            continue
        if at - start > MARKUP_SIZE_MAX:
            raise SyntaxFault(f"holds markup longer than {MARKUP_SIZE_MAX} characters")
        yield kind, source[start:at]
    if at < len(source):
        yield "text", source[at:]


def split_source(source: str) -> Iterator[tuple[str, str]]:
    """Cut a source as `split_markup` does, and cut the ids of secrets out of its text as outputs.

    The pieces, put together again, are a source that is cut into the same pieces.
    """
    for kind, piece in split_markup(source):
        if kind == "text" and "vlt_" in piece:
            yield from split_references(piece)
        else:
            yield kind, piece


def ends_in_string(text: str, in_string: bool) -> bool:
    """Say whether a piece of a JSON document ends inside a string literal.

    `in_string` says whether it begins inside one.
    """
    for part in _JSON_STRING_PART.finditer(text):
        if part.group() == '"':
            in_string = not in_string
    return in_string
