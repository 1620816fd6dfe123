"""Regular expressions that can't hang: RE2, with limits on the pattern and on the work.

RE2 takes time in proportion to the text for most patterns, and in proportion to the text times
the pattern for the worst. So the product is limited, and nothing that an author or a payload
brings takes longer than about a second.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from ..component import NodeError

PATTERN_LENGTH_MAX: Final = 1000
"""The longest pattern, in characters."""
MEMORY_MAX: Final = 4 * 1024 * 1024
"""What RE2 may use for one pattern, in bytes; it comes to about 43,000 instructions."""
WORK_MAX: Final = 500_000_000
"""The most that instructions of the pattern times bytes of the text may come to."""


class PatternFault(Exception):
    """A pattern can't be used; the message is a predicate and never holds the pattern."""


class Pattern:
    """A compiled pattern."""

    __slots__ = ("_compiled", "_size", "source")

    def __init__(self, source: str, *, ignore_case: bool = False) -> None:
        """Compile; raise `PatternFault` when that can't be done within the limits."""
        if not source:
            raise PatternFault("is an empty pattern")
        if len(source) > PATTERN_LENGTH_MAX:
            raise PatternFault(f"is a pattern of more than {PATTERN_LENGTH_MAX} characters")
        self.source: Final = source
        self._compiled = _compile(source, ignore_case)
        self._size: int = self._compiled.programsize

    def is_in(self, text: str) -> bool:
        """Say whether some part of the text matches; raise `NodeError` if that is too much work."""
        return self._compiled.search(self._bytes(text)) is not None

    def is_all_of(self, text: str) -> bool:
        """Say whether the whole text matches; raise `NodeError` if that is too much work."""
        return self._compiled.fullmatch(self._bytes(text)) is not None

    def _bytes(self, text: str) -> bytes:
        # Half of a surrogate pair, which no UTF-8 holds, stands as a question mark.
        raw = text.encode(errors="replace")
        if self._size * len(raw) > WORK_MAX:
            message = "Condition stopped: the text is too long for so large a pattern"
            raise NodeError("condition_limit", message)
        return raw


def _compile(source: str, ignore_case: bool) -> Any:
    # Imported here because few workflows need it, and it costs memory from then on.
    re2: Any = import_module("re2")
    options = re2.Options()
    options.max_mem = MEMORY_MAX
    options.case_sensitive = not ignore_case
    options.never_capture = True
    # RE2 would write the pattern to standard error.
    options.log_errors = False
    try:
        return re2.compile(source.encode(errors="replace"), options)
    except re2.error as error:
        raise PatternFault(f"is not a valid pattern: {_reason(error)}") from error
    finally:
        # The library's own cache would keep 128 patterns of hostile size alive.
        re2.purge()


def _reason(error: Exception) -> str:
    """Give RE2's reason without the piece of the pattern that it quotes."""
    first = error.args[0] if error.args else b""
    text = first.decode(errors="replace") if isinstance(first, bytes) else str(first)
    return text.partition(":")[0].strip() or "it can't be read"
