"""Where Liquid writes to: text of limited length, or a JSON document that no value can break."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from .component import NodeError
from .template_parts import ends_in_string
from .template_values import limit_error, to_json_text, to_text

if TYPE_CHECKING:
    from .component import Json


class Buffer(StringIO):
    """Collects output up to a limit."""

    def __init__(self, size_max: int) -> None:
        super().__init__()
        self._left = size_max
        self._size_max = size_max

    def write(self, text: str, /) -> int:
        """Write what a tag gives; raise `NodeError` past the limit."""
        self._left -= len(text)
        if self._left < 0:
            raise limit_error(f"the text is longer than {self._size_max} characters")
        return super().write(text)

    def write_source(self, text: str) -> None:
        """Write a piece of the template itself."""
        self.write(text)

    def write_value(self, value: Json) -> None:
        """Write a value that an expression gave."""
        self.write(to_text(value))


class DocumentBuffer(Buffer):
    """Collects a JSON document: only the template's own text can open or close a string.

    Whatever else is written, by whichever tag, is a value. Inside a string literal it becomes
    part of the string, elsewhere a JSON value.
    """

    def __init__(self, size_max: int) -> None:
        super().__init__(size_max)
        self._in_string = False

    def write_source(self, text: str) -> None:
        """Write a piece of the template itself, and note whether a string is open after it."""
        super().write(text)
        self._in_string = ends_in_string(text, self._in_string)
        slashes = len(text) - len(text.rstrip("\\"))
        if self._in_string and slashes % 2:
            raise NodeError("template_error", "A backslash stands right before a tag")

    def write_value(self, value: Json) -> None:
        """Write a value: as part of the open string, else as JSON."""
        super().write(
            to_json_text(to_text(value))[1:-1] if self._in_string else to_json_text(value)
        )

    def write(self, text: str, /) -> int:
        """Write what a tag gives, which is a value too."""
        self.write_value(text)
        return len(text)
