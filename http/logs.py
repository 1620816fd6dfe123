"""The service's log: one line an entry, which says on whose behalf it was written."""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

import msgspec

from ..engine.log_context import REQUEST, RUN

_CONTROLS: Final = {n: f"\\x{n:02x}" for n in (*range(0x20), *range(0x7F, 0xA0))} | {
    0x0A: "\\n",
    0x0D: "\\r",
    0x09: "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
"""What would end a line, or speak to a terminal."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record with its time, level, logger, message, request and run."""
        line: dict[str, Any] = {
            "at": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := REQUEST.get():
            line["request_id"] = request_id
        if run_id := RUN.get():
            line["run_id"] = run_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class TextFormatter(logging.Formatter):
    """A line for people; what came from outside can't begin another one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Write a record's line; a trace follows on lines of its own."""
        line = super().formatMessage(record).translate(_CONTROLS)
        request_id, run_id = REQUEST.get(), RUN.get()
        if request_id:
            line += f" request_id={request_id}"
        if run_id:
            line += f" run_id={run_id}"
        return line


def configure_logging(form: str) -> None:
    """Log to standard error, as `text` or as `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # It has a line for each malformed request, with which anybody could fill the disk; they are
    # counted instead (refold_http_refusals_total).
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
