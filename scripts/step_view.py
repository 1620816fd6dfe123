"""Shows a run event by event on a terminal, and asks between them; piped, it asks nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Final, cast

import msgspec
from rich.console import Console, Group
from rich.text import Text

from ..http.times import to_wire
from ..journal.verified import Verified
from ..projections.stepping import Step
from .tables import STYLES, console, described, plain, plain_table

BODY_CHARACTERS_MAX: Final = 2000
"""How much of a body is shown; `--json` has all of it."""
_TIMES: Final = frozenset({"created_at", "started_at", "ended_at", "due_at", "paused_at"})
_ALWAYS: Final = frozenset({"/version", "/last_event_id"})
"""What every event changes: the line above the table says it."""
_EMPTY: Final[tuple[Any, ...]] = ("", 0, False, None, {})
_Fields = dict[str, Any]
_QUESTION: Final = "Enter: next   c: all the rest   q: quit > "
_INTERRUPTED: Final = 130
"""What a shell expects of a program that ended by an interrupt."""


def walk(shown: Iterable[tuple[Verified, Step]], last: int, total: int) -> int:
    """Show each event with what it changed; returns the exit code.

    Where input and output are a terminal it waits for a line after each but the `last` version,
    of `total` that the run has.
    """
    out = console()
    asks = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        for verified, step in shown:
            out.print(_view(verified, step, total))
            if asks and verified.event.version < last:
                said = _asked(out)
                if said == "q":
                    break
                asks = said != "c"
    except KeyboardInterrupt:
        out.print()
        return _INTERRUPTED
    return 0


def _asked(out: Console) -> str:
    out.print(Text(_QUESTION, style="dim"), end="")
    sys.stdout.flush()
    line = sys.stdin.readline()
    # No line at all, not even an empty one, is the end of the input.
    return line.strip().lower() if line else "q"


def _view(verified: Verified, step: Step, total: int) -> Group:
    event = verified.event
    facts = event.facts
    path = getattr(facts, "iteration", "")
    head = [
        f"v{event.version} of {total}",
        to_wire(event.at)[11:26],
        facts.type,
        str(getattr(facts, "node", "")) + (f" [{path}]" if path else ""),
        described(facts),
        "replayed" if event.src else "",
    ]
    title = plain("  ".join(part for part in head if part))
    parts: list[Any] = [Text(title, style=f"bold {STYLES.get(facts.type, 'cyan')}")]
    if body := _body(verified):
        parts.append(Text(f"body  {body}", style="dim"))
    rows = [row for path, value in step.after.items() for row in _rows(path, step, value)]
    if rows:
        parts.append(plain_table("", ("changed", "before", "after"), rows))
    else:
        parts.append(Text("nothing changed\n", style="dim"))
    return Group(*parts)


def _rows(path: str, step: Step, value: Any) -> list[tuple[str, str, str]]:
    """Show a part that has changed; one that is new field by field, empty ones left out."""
    if path in _ALWAYS:
        return []
    before = step.before.get(path)
    if before is not None and before not in _EMPTY:
        return [(path, _value(path, before), _value(path, value))]
    if isinstance(value, dict):
        fields = [(f"{path}/{name}", field) for name, field in cast(_Fields, value).items()]
    else:
        fields = [(path, value)]
    return [(name, "", _value(name, field)) for name, field in fields if _tells(name, field)]


def _tells(name: str, field: Any) -> bool:
    # Of an iterator's item 0 says that it began.
    return field not in _EMPTY or "/items/" in name


def _body(verified: Verified) -> str:
    if verified.segment:
        return f"(archived in {plain(verified.segment)})"
    if verified.is_erased:
        return "(erased)"
    if verified.body is None:
        return ""
    text = plain(verified.body.data.decode("utf-8", "backslashreplace"))
    if len(text) <= BODY_CHARACTERS_MAX:
        return text
    return f"{text[:BODY_CHARACTERS_MAX]}… ({len(text) - BODY_CHARACTERS_MAX} characters more)"


def _value(path: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if value and path.rpartition("/")[2] in _TIMES:
        return to_wire(value)
    return msgspec.json.encode(value).decode()
