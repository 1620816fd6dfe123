"""Regular expressions that give what they found: RE2 again, with groups and replacements.

`patterns.py` answers yes or no for conditions; what is limited here besides is how often a
pattern is found, since each search may read the rest of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final, TypeAlias

from ..component import ConfigError, NodeError
from ..template_parts import split_markup
from ..template_values import SyntaxFault
from ..templates import Template, compile_text
from .patterns import MEMORY_MAX, PATTERN_LENGTH_MAX, PatternFault
from .shaping import Deadline

MATCHES_MAX: Final = 50_000
"""How often one pattern is found in one text."""
WORK_MAX: Final = 100_000_000
"""The most that instructions of the pattern times bytes of the text may come to, in a search."""
GROUPS_MAX: Final = 32

Groups: TypeAlias = "list[tuple[int, int]]"
"""Where each group stands in the text, in bytes; (-1, -1) for one that took no part."""
Fill: TypeAlias = "Callable[[bytes, Groups], bytes]"

_REFERENCE = re.compile(r"\$(?:(\$)|([0-9]{1,2})|\{([A-Za-z_0-9]{1,64})\})")


class CapturePattern:
    """A compiled pattern with groups."""

    __slots__ = ("_compiled", "_names", "_size", "groups")

    def __init__(self, source: str, *, ignore_case: bool) -> None:
        """Compile; raise `PatternFault` when that can't be done within the limits."""
        if not source:
            raise PatternFault("is an empty pattern")
        if len(source) > PATTERN_LENGTH_MAX:
            raise PatternFault(f"is a pattern of more than {PATTERN_LENGTH_MAX} characters")
        self._compiled: Any = _compile(source, ignore_case)
        self._size: int = self._compiled.programsize
        self.groups: int = self._compiled.groups
        """How many groups there are, the whole match not counted."""
        if self.groups > GROUPS_MAX:
            raise PatternFault(f"has more than {GROUPS_MAX} groups")
        self._names: dict[str, int] = {
            name.decode(): index for name, index in self._compiled.groupindex.items()
        }

    def group(self, reference: int | str) -> int:
        """Give the number of a group; raise `PatternFault` when there is no such group."""
        text = str(reference)
        index = int(text) if text.isdigit() and text.isascii() else self._names.get(text, -1)
        if not 0 <= index <= self.groups:
            raise PatternFault(f"has no group '{text[:64]}'")
        return index

    def find(self, raw: bytes, deadline: Deadline) -> Iterator[Groups]:
        """Find each match from left to right; raise `NodeError` when it is too much work."""
        if self._size * len(raw) > WORK_MAX:
            message = "Transform stopped: the text is too long for so large a pattern"
            raise NodeError("transform_limit", message)
        at = 0
        for _ in range(MATCHES_MAX):
            deadline.check()
            found = self._compiled.search(raw, at)
            if found is None:
                return
            yield [found.span(group) for group in range(self.groups + 1)]
            end: int = found.end()
            # After an empty match the search goes on behind the next character, all its bytes.
            at = end if end > found.start() else _after_character(raw, end)
            if at > len(raw):
                return
        message = f"Transform stopped: a pattern is found more than {MATCHES_MAX} times"
        raise NodeError("transform_limit", message)


class Replacement:
    """What takes the place of a match: text with `$1`, `${name}` and `$$`, and templates.

    References are read in the text that the author wrote, never in what a template gives.
    """

    __slots__ = ("_parts",)

    def __init__(self, source: str, pattern: CapturePattern, field: str) -> None:
        """Compile; raise `ConfigError` for `field`."""
        self._parts: list[bytes | int | Template] = []
        try:
            for kind, piece in split_markup(source):
                if kind == "text":
                    self._parts.extend(_references(piece, pattern))
                elif kind == "output":
                    self._parts.append(compile_text(piece, field))
                else:
                    raise ConfigError({field: ["can hold '{{ }}' here, but no tags"]})
        except (SyntaxFault, PatternFault) as fault:
            raise ConfigError({field: [str(fault)]}) from fault

    def render(self, context: Any) -> Fill:
        """Give what makes the replacement of a match."""
        parts = [
            part.render_text(context).encode() if isinstance(part, Template) else part
            for part in self._parts
        ]
        return lambda raw, groups: b"".join(
            raw[slice(*groups[part])] if isinstance(part, int) else part for part in parts
        )


def _references(text: str, pattern: CapturePattern) -> Iterator[bytes | int]:
    at = 0
    for found in _REFERENCE.finditer(text):
        yield text[at : found.start()].encode()
        dollar, number, name = found.groups()
        yield b"$" if dollar else pattern.group(number or name)
        at = found.end()
    yield text[at:].encode()


def _after_character(raw: bytes, at: int) -> int:
    at += 1
    while at < len(raw) and raw[at] & 0xC0 == 0x80:
        at += 1
    return at


def _compile(source: str, ignore_case: bool) -> Any:
    # Imported here because few workflows need it, and it costs memory from then on.
    re2: Any = import_module("re2")

    options = re2.Options()
    options.max_mem = MEMORY_MAX
    options.case_sensitive = not ignore_case
    # RE2 would write the pattern to standard error.
    options.log_errors = False
    try:
        return re2.compile(source.encode(), options)
    except re2.error as error:
        first = error.args[0] if error.args else b""
        text = first.decode(errors="replace") if isinstance(first, bytes) else str(first)
        reason = text.partition(":")[0].strip() or "it can't be read"
        raise PatternFault(f"is not a valid pattern: {reason}") from error
    except UnicodeEncodeError as error:
        raise PatternFault("is not valid Unicode") from error
    finally:
        # The library's own cache would keep 128 patterns of hostile size alive.
        re2.purge()
