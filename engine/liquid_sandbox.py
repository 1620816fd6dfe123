"""Runs Liquid (python-liquid) so that a hostile template or hostile data can do no harm.

What is limited, and how:

- time: a clock is read at every look-up, filter call, assignment and loop iteration, and no
  single one of these can take long, since what goes into a filter is limited in size;
- loops: iterations are counted over the whole render, nested or one after another;
- memory: ranges, results of filters, assigned variables and output are limited before or as
  soon as they are made, and what could grow by multiplication is measured before it is made;
- reach: there is no loader, and values are plain JSON, whose items are all that a path can name;
- secrets: a render that asks for the vault where it is masked stops right there, and is `***`.

Import this module only where a template needs it: it brings 7 to 15 MB with it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final, TextIO

import liquid
import msgspec
from liquid.builtin.content import ContentNode, Literal
from liquid.builtin.expressions import primitive
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
from liquid.exceptions import LiquidError
from liquid.template import BoundTemplate
from liquid.utils import ReadOnlyChainMap

from .component import NodeError
from .liquid_buffers import Buffer, DocumentBuffer
from .liquid_filters import FILTERS, guard, to_json
from .secrets import (
    MASK,
    SECRET_MISSING,
    Roots,
    SecretTouched,
    check_given,
    is_masked,
)
from .template_values import (
    OUTPUT_SIZE_MAX,
    RenderLimit,
    SyntaxFault,
    limit_error,
    to_json_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import StringIO

    from .component import Json

ITERATIONS_MAX: Final = 100_000
"""How many loop iterations one render may make in all."""
RANGE_LENGTH_MAX: Final = 10_000
VARIABLES_SIZE_MAX: Final = 4 * 1024 * 1024
"""What all variables of one render may hold at a time, in characters of JSON."""

_REFUSED_TAGS = ("include", "render", "liquid")
"""Two load other templates; the third hides whole templates from the checks of one markup."""
_KEYWORD_STEP = re.compile(
    r"""("[^"]*"|'[^']*')|(?<!\.)\.(true|false|nil|null|empty|blank|and|or|contains|not|in|offset"""
    r"|limit|reversed|cols|continue|with|for|as|if|else|required)(?![\w?-])"
)


class _Clock(Mapping[str, object]):
    """The variables `now` and `today`, in UTC, which Liquid would give in local time."""

    def __getitem__(self, name: str) -> datetime | date:
        if name == "now":
            return datetime.now(UTC)
        if name == "today":
            return datetime.now(UTC).date()
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(("now", "today"))

    def __len__(self) -> int:
        return 2


class _Context(liquid.RenderContext):
    """The state of one render, with its limits."""

    __slots__ = ("_deadline", "_iterations_left", "_size_max", "_sizes", "_sizes_left")

    def __init__(self, template: BoundTemplate, roots: Roots, size_max: int) -> None:
        super().__init__(template, globals=roots)
        self.scope = ReadOnlyChainMap(self.locals, self.globals, _Clock(), self.counters)
        self._deadline = time.monotonic() + RenderLimit.seconds_max
        self._iterations_left = ITERATIONS_MAX
        self._size_max = size_max
        self._sizes: dict[str, int] = {}
        self._sizes_left = VARIABLES_SIZE_MAX

    def tick(self) -> None:
        """Stop the render when its time is over."""
        if time.monotonic() > self._deadline:
            raise limit_error(f"it takes longer than {RenderLimit.seconds_max:g} s")

    def get(self, path: list[object], **options: Any) -> object:
        self.tick()
        value = super().get(path, **options)
        check_given(value)
        return value

    def filter(self, name: str, token: Any) -> Callable[..., object]:
        self.tick()
        return super().filter(name, token)

    def assign(self, key: str, val: Any) -> None:
        self.tick()
        value = to_json(val, VARIABLES_SIZE_MAX)
        self._sizes_left += self._sizes.get(key, 0)
        size = len(value) if isinstance(value, str) else len(to_json_text(value))
        self._sizes[key] = size
        self._sizes_left -= size
        if self._sizes_left < 0:
            raise limit_error(f"its variables hold more than {VARIABLES_SIZE_MAX} characters")
        self.locals[key] = value

    def loop(self, namespace: Mapping[str, object], forloop: Any) -> Any:
        """Enter a loop, whose iterations are counted and timed."""
        self._iterations_left -= forloop.length
        if self._iterations_left < 0:
            raise limit_error(f"its loops make more than {ITERATIONS_MAX} iterations")
        forloop.it = self._timed(forloop.it)
        return super().loop(namespace, forloop)

    def _timed(self, items: Iterator[object]) -> Iterator[object]:
        for item in items:
            self.tick()
            yield item

    def get_buffer(self, buf: TextIO | None = None) -> StringIO:
        """Make the buffer of a captured block: what is captured is text, never a document."""
        del buf
        self.tick()
        return Buffer(self._size_max)


class _Template(BoundTemplate):
    """A template that adds no variables of its own to the context."""

    def make_partial_namespace(
        self, partial: bool, render_args: Mapping[str, object]
    ) -> Mapping[str, object]:
        del partial
        return render_args


class _ContentNode(ContentNode):
    """The template's own text."""

    __slots__ = ()

    def render_to_output(self, _: Any, buffer: TextIO) -> int:
        if isinstance(buffer, Buffer):
            buffer.write_source(self.text)
        return len(self.text)


class _Content(Literal):
    node_class = _ContentNode


def _write(node: OutputNode, context: Any, buffer: TextIO) -> int:
    value = to_json(node.expression.evaluate(context), OUTPUT_SIZE_MAX)
    if isinstance(buffer, Buffer):
        buffer.write_value(value)
    return 1


class _OutputNode(OutputNode):
    """An output, with values in their JSON form."""

    __slots__ = ()

    def render_to_output(self, context: Any, buffer: TextIO) -> int:
        return _write(self, context, buffer)


class _EchoNode(EchoNode):
    """The tag form of an output."""

    __slots__ = ()

    def render_to_output(self, context: Any, buffer: TextIO) -> int:
        return _write(self, context, buffer)


class _Output(Output):
    node_class = _OutputNode


class _Echo(EchoTag):
    node_class = _EchoNode


class _Range(primitive.RangeLiteral):
    """A range of limited length, since loops and filters turn ranges into lists."""

    __slots__ = ()

    def evaluate(self, context: Any) -> range:
        made = super().evaluate(context)
        if made.stop - made.start > RANGE_LENGTH_MAX:
            raise limit_error(f"a range has more than {RANGE_LENGTH_MAX} numbers")
        return made


class _Environment(liquid.Environment):
    """The language: Liquid's standard tags and filters, without those that load files."""

    template_class = _Template

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=False)
        for name in _REFUSED_TAGS:
            self.tags.pop(name, None)
        for tag in (_Content, _Output, _Echo):
            self.add_tag(tag)
        for name, function in {**self.filters, **FILTERS}.items():
            self.add_filter(name, guard(name, function))


# Ranges are made deep inside the parser, with no hook in the environment: of all places where
# one can stand (loops, filters, comparisons), replacing the class there leaves none out.
primitive.RangeLiteral = _Range  # type: ignore[misc]

_ENVIRONMENT = _Environment()


class _Compiled:
    """A parsed template, and the one place where Liquid's errors are translated."""

    __slots__ = ("_path", "_template")

    def __init__(self, source: str, path: str) -> None:
        self._path = path
        try:
            self._template = _ENVIRONMENT.from_string(source)
            unknown = sorted(set(self._template.filter_names()) - set(_ENVIRONMENT.filters))
        except RecursionError as error:
            raise SyntaxFault("is nested too deeply") from error
        except LiquidError as error:
            if isinstance(error.__cause__, RecursionError):
                raise SyntaxFault("is nested too deeply") from error
            raise SyntaxFault(_describe(error)) from error
        if unknown:
            raise SyntaxFault(f"unknown filter '{unknown[0]}'")

    def run(self, context: Mapping[str, Json], action: Callable[[Roots], Json]) -> Json:
        """Render; whatever fails in there is the template's fault.

        What touched a masked vault is masked whatever came of it, failures included. Where the
        vault is in clear, a failure tells no more than that: its text may hold a part of a secret.
        """
        roots = Roots(context)
        try:
            value = self._run(roots, action)
        except SecretTouched:
            return MASK
        except NodeError as error:
            if not roots.is_touched or error.code == SECRET_MISSING:
                raise
            if is_masked(context):
                return MASK
            message = f"Template failed on a value from the vault (in '{self._path}')"
            raise NodeError(error.code, message) from None
        return MASK if roots.is_touched and is_masked(context) else value

    def _run(self, roots: Roots, action: Callable[[Roots], Json]) -> Json:
        try:
            return action(roots)
        except SecretTouched:
            raise
        except NodeError as error:
            raise NodeError(error.code, f"{error.message} (in '{self._path}')") from error
        except LiquidError as error:
            message = f"Template failed: {_describe(error)} (in '{self._path}')"
            raise NodeError("template_error", message) from error
        except Exception as error:
            # Liquid lets errors of every kind through, from overflow to recursion. Their texts
            # may hold data, so that only the kind is told.
            message = f"Template failed: {type(error).__name__} (in '{self._path}')"
            raise NodeError("template_error", message) from error


class LiquidExpression(_Compiled):
    """One output statement, evaluated to a JSON value."""

    __slots__ = ("_expression",)

    def __init__(self, piece: str, path: str) -> None:
        super().__init__(_prepare(piece), path)
        node = self._template.nodes[0]
        assert isinstance(node, OutputNode)
        self._expression = node.expression

    def __call__(self, context: Mapping[str, Json], /) -> Json:
        """Evaluate; undefined is null."""
        return self.run(context, self._evaluate)

    def _evaluate(self, roots: Roots) -> Json:
        state = _Context(self._template, roots, OUTPUT_SIZE_MAX)
        return to_json(self._expression.evaluate(state), OUTPUT_SIZE_MAX)


class LiquidText(_Compiled):
    """A template with tags, rendered to text."""

    __slots__ = ("_size_max",)

    def __init__(self, pieces: list[tuple[str, str]], path: str, size_max: int) -> None:
        source = "".join(
            _prepare(piece) if kind in ("output", "tag") else piece for kind, piece in pieces
        )
        super().__init__(source, path)
        self._size_max = size_max

    def __call__(self, context: Mapping[str, Json], /) -> Json:
        """Render the text."""
        return self.run(context, lambda roots: self._render(roots, Buffer(self._size_max)))

    def _render(self, roots: Roots, buffer: Buffer) -> str:
        state = _Context(self._template, roots, self._size_max)
        self._template.render_with_context(state, buffer)
        return buffer.getvalue()


class LiquidDocument(LiquidText):
    """A template with tags, rendered to a JSON document and parsed."""

    __slots__ = ()

    def __call__(self, context: Mapping[str, Json], /) -> Json:
        """Render the document and give its value."""
        return self.run(context, self._document)

    def _document(self, roots: Roots) -> Json:
        return self._parse(self._render(roots, DocumentBuffer(self._size_max)))

    def _parse(self, text: str) -> Json:
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise NodeError("template_error", "Template does not give valid JSON") from error


def _prepare(markup: str) -> str:
    """Write a markup as Liquid's scanner and parser need it.

    White space at its ends goes, over which the scanner takes quadratic time. A step such as
    `.limit` becomes `["limit"]`, since the parser takes the bare word for one of its own.
    """
    inner = markup[2:-2]
    left = "-" if inner.startswith("-") else ""
    right = "-" if inner.endswith("-") and len(inner) > 1 else ""
    inner = inner[len(left) : len(inner) - len(right)].strip()
    inner = _KEYWORD_STEP.sub(lambda m: m.group(1) or f'["{m.group(2)}"]', inner)
    return f"{markup[:2]}{left} {inner} {right}{markup[-2:]}"


def _describe(error: LiquidError) -> str:
    """Give Liquid's message in one line, with the line number where there are several."""
    message = " ".join(str(error.message).split())[:200]
    token = error.token
    if token is None or token.start_index < 0 or "\n" not in token.source:
        return message
    line = token.source.count("\n", 0, token.start_index) + 1
    return f"{message} (line {line})"
