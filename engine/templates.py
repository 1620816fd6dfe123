"""Templates in node configurations: text, values and JSON documents with `{{ }}` in them.

Rules, for every kind of template:

1. An undefined variable is null; in text it is empty. It never fails a run.
2. A string that is exactly one `{{ expression }}` keeps the value's JSON type. Anything else is
   text, in which lists and objects stand as JSON, booleans as true and false, null as nothing.
3. Nothing that was rendered is parsed as a template again, and a value put into a JSON document
   can't change the document's structure.
4. What the language can't do, a template can't: no files, no includes, no attributes of Python
   objects. Time, size, loops and nesting are limited (`liquid_sandbox.py`).
5. `'now'` and `'today'` read the clock, in UTC. A node that uses them is not repeatable, which
   is harmless because what a node passes on is recorded and never computed a second time.
6. What touches the root `vault` is `***`, except where it is sent (`secrets.py`): of a text made
   of outputs only those that touched it, of one with tags the whole. A `vlt_…` id that stands in
   the configured text is an output that looks up this secret; in a rendered value it is text.

Most templates are plain look-ups such as `{{ trigger.user.id }}`: those never touch the Liquid
engine, which is imported only when a template needs it, for its size in memory (7 to 15 MB).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from .component import ConfigError, is_list, is_object
from .template_parts import (
    Evaluate,
    ListTemplate,
    ObjectTemplate,
    Part,
    SingleTemplate,
    StaticTemplate,
    Template,
    TextTemplate,
    TreeTemplate,
    ends_in_string,
    is_lookup,
    look_up,
    split_markup,
    split_source,
)
from .template_values import OUTPUT_SIZE_MAX, SyntaxFault

if TYPE_CHECKING:
    from .component import Json

__all__ = ["Template", "compile_json_text", "compile_text", "compile_value", "split_markup"]

NESTING_MAX: Final = 64
"""How deep a value with templates in it may be nested, as for every JSON of the service."""

_ESCAPED_MARK = re.compile(r"\\u[eE]000")


def compile_text(source: str, path: str, *, size_max: int = OUTPUT_SIZE_MAX) -> Template:
    """Compile a string: typed when it is exactly one expression, else text.

    `path` names the field in faults; `size_max` limits the rendered text, in characters.
    Raises `ConfigError` for that path when the template is faulty.
    """
    try:
        return _compile_string(source, path, size_max)
    except SyntaxFault as fault:
        raise ConfigError({path: [str(fault)]}) from fault


def compile_value(value: Json, path: str, *, size_max: int = OUTPUT_SIZE_MAX) -> Template:
    """Compile a JSON value whose strings may be templates; the keys of objects are not.

    Raises `ConfigError` with one entry for each faulty string, such as `body.items[2].name`.
    """
    errors: dict[str, list[str]] = {}
    template = _compile_tree(value, path, size_max, errors, 0)
    if errors:
        raise ConfigError(errors)
    return (
        template
        if isinstance(template, (StaticTemplate, SingleTemplate, TextTemplate))
        else TreeTemplate(template, size_max)
    )


def compile_json_text(source: str, path: str, *, size_max: int = OUTPUT_SIZE_MAX) -> Template:
    """Compile a JSON document that is given as text with templates in it.

    A value inside a JSON string literal becomes a part of that string, whatever it holds; a bare
    `{{ x }}` becomes the JSON value of x. A source that is no object or list is a text template,
    and one without any template is its own JSON value.

    Raises `ConfigError` when the template is faulty or the document around it is not JSON.
    """
    try:
        return _compile_document(source, path, size_max)
    except SyntaxFault as fault:
        raise ConfigError({path: [str(fault)]}) from fault


def _compile_string(source: str, path: str, size_max: int) -> Template:
    if "{{" not in source and "{%" not in source and "vlt_" not in source:
        return StaticTemplate(source)
    pieces = list(split_source(source))
    if all(kind == "text" for kind, _ in pieces):
        return StaticTemplate(source)
    if any(kind in ("tag", "raw") for kind, _ in pieces):
        return SingleTemplate(_liquid_text(pieces, path, size_max, as_json=False), size_max)
    filled = [(kind, piece) for kind, piece in pieces if kind == "output" or not piece.isspace()]
    if len(filled) == 1 and filled[0][0] == "output":
        return SingleTemplate(_compile_output(filled[0][1], path), size_max)
    return TextTemplate(_compile_parts(pieces, path), size_max)


def _compile_parts(pieces: list[tuple[str, str]], path: str) -> list[Part]:
    """Compile literals and outputs, minding the white space that `{{-` and `-}}` take away."""
    parts: list[Part] = []
    for index, (kind, piece) in enumerate(pieces):
        if kind == "output":
            parts.append(_compile_output(piece, path))
            continue
        text = piece
        if index and pieces[index - 1][1].endswith("-}}"):
            text = text.lstrip()
        if index + 1 < len(pieces) and pieces[index + 1][1].startswith("{{-"):
            text = text.rstrip()
        parts.append(text)
    return parts


def _compile_output(piece: str, path: str) -> Evaluate:
    expression = piece[2:-2].removeprefix("-").removesuffix("-").strip()
    if is_lookup(expression):
        return look_up(expression)
    # Imported here because it costs 7 to 15 MB that an instance with plain look-ups never needs.
    from .liquid_sandbox import LiquidExpression

    try:
        return LiquidExpression(piece, path)
    except SyntaxFault as fault:
        raise SyntaxFault(f"{fault} in '{piece[:60]}'") from fault


def _liquid_text(
    pieces: list[tuple[str, str]], path: str, size_max: int, *, as_json: bool
) -> Evaluate:
    # Imported here for the same reason as above.
    from .liquid_sandbox import LiquidDocument, LiquidText

    kind = LiquidDocument if as_json else LiquidText
    return kind(pieces, path, size_max)


def _compile_tree(
    value: Json, path: str, size_max: int, errors: dict[str, list[str]], depth: int
) -> Template:
    if depth > NESTING_MAX:
        errors.setdefault(path, []).append(f"is nested deeper than {NESTING_MAX} levels")
        return StaticTemplate(None)
    if isinstance(value, str):
        try:
            return _compile_string(value, path, size_max)
        except SyntaxFault as fault:
            errors.setdefault(path, []).append(str(fault))
            return StaticTemplate(value)
    if is_list(value):
        items = [
            _compile_tree(item, f"{path}[{index}]", size_max, errors, depth + 1)
            for index, item in enumerate(value)
        ]
        return (
            StaticTemplate(value) if all(item.is_static for item in items) else ListTemplate(items)
        )
    if is_object(value):
        fields = [
            (key, _compile_tree(item, f"{path}.{key}", size_max, errors, depth + 1))
            for key, item in value.items()
        ]
        if all(item.is_static for _, item in fields):
            return StaticTemplate(value)
        return ObjectTemplate([(key, item) for key, item in fields])
    return StaticTemplate(value)


def _compile_document(source: str, path: str, size_max: int) -> Template:
    pieces = list(split_source(source))
    around = "".join(piece for kind, piece in pieces if kind in ("text", "raw")).lstrip()
    first = next((kind for kind, piece in pieces if kind != "tag" and not piece.isspace()), "")
    if first != "text" or not around.startswith(("{", "[")):
        return _compile_string(source, path, size_max)
    if any(kind in ("tag", "raw") for kind, _ in pieces):
        return SingleTemplate(_liquid_text(pieces, path, size_max, as_json=True), size_max)
    if len(pieces) == 1:
        try:
            return StaticTemplate(msgspec.json.decode(source))
        except msgspec.DecodeError:
            return StaticTemplate(source)
    return TreeTemplate(_compile_marked(pieces, path, size_max), size_max)


def _compile_marked(pieces: list[tuple[str, str]], path: str, size_max: int) -> Template:
    """Put a mark in the place of each output, parse the document, and compile its strings.

    The document is parsed once, here, when no value is in it yet.
    """
    source = "".join(piece for _, piece in pieces)
    if _ESCAPED_MARK.search(source):
        raise SyntaxFault("holds the escape of a reserved character, U+E000")
    mark = "\ue000"
    while mark in source:
        mark += "\ue000"
    outputs: list[Evaluate] = []
    marked: list[str] = []
    in_string = False
    for kind, piece in pieces:
        if kind == "text":
            marked.append(piece)
            in_string = ends_in_string(piece, in_string)
            continue
        text = f"{mark}{'s' if in_string else 'v'}{len(outputs)};"
        marked.append(text if in_string else f'"{text}"')
        outputs.append(_compile_output(piece, path))
    try:
        document = msgspec.json.decode("".join(marked))
    except (msgspec.DecodeError, RecursionError) as error:
        raise SyntaxFault("is not valid JSON around its templates") from error
    marks = re.compile(f"{mark}([sv])([0-9]+);")
    return _compile_leaves(document, _Marks(marks, outputs, size_max), 0)


class _Marks(msgspec.Struct, frozen=True):
    """The marks in a document, and the outputs that they stand for."""

    pattern: re.Pattern[str]
    outputs: list[Evaluate]
    size_max: int


def _compile_leaves(value: Json, marks: _Marks, depth: int) -> Template:
    if depth > NESTING_MAX:
        raise SyntaxFault(f"is nested deeper than {NESTING_MAX} levels")
    if isinstance(value, str):
        return _compile_leaf(value, marks)
    if is_list(value):
        return ListTemplate([_compile_leaves(item, marks, depth + 1) for item in value])
    if is_object(value):
        return ObjectTemplate(
            [
                (_compile_leaf(key, marks), _compile_leaves(item, marks, depth + 1))
                for key, item in value.items()
            ]
        )
    return StaticTemplate(value)


def _compile_leaf(text: str, marks: _Marks) -> Template:
    whole = marks.pattern.fullmatch(text)
    if whole and whole.group(1) == "v":
        return SingleTemplate(marks.outputs[int(whole.group(2))], marks.size_max)
    pieces = marks.pattern.split(text)
    if len(pieces) == 1:
        return StaticTemplate(text)
    parts: list[Part] = [pieces[0]]
    for index in range(1, len(pieces), 3):
        parts.append(marks.outputs[int(pieces[index + 1])])
        parts.append(pieces[index + 2])
    return TextTemplate(parts, marks.size_max)
