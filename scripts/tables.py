"""How the commands draw: one console, tables that fit it, and text that can't steer a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..http.times import to_wire
from ..journal import events as e

WIDTH: Final = 100
_SOURCE: Final = re.compile(r"(?P<stream>.+)@(?P<version>\d+)#[0-9a-f]{64}")
STYLES: Final = {
    e.RunFailed.type: "red",
    e.NodeFailed.type: "red",
    e.NodeInterrupted.type: "red",
    e.RunCancelled.type: "red",
    e.RunCompleted.type: "green",
}


class EventLine(msgspec.Struct, frozen=True):
    """What a table shows of one event."""

    version: int
    at: int
    type: str
    node: str
    what: str
    src: str


def console() -> Console:
    """Return a console on standard output; piped, it has no colours and a width of its own."""
    found = Console()
    width = min(found.width, WIDTH) if found.is_terminal else WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


def plain(text: str) -> str:
    """Return a text of others with its control characters written out, not obeyed."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def event_line(version: int, at: int, facts: e.Facts, src: str) -> EventLine:
    """Describe an event by its facts."""
    node = str(getattr(facts, "node", ""))
    return EventLine(version, at, facts.type, node, described(facts), src)


def event_table(title: str, lines: Iterable[EventLine], name: Callable[[str], str]) -> Table:
    """Draw a run's events; `name` shortens the stream that a replayed one was copied from."""
    table = _table(title, ("v", "time (UTC)", "event", "node", "what", "replayed from"))
    table.columns[0].justify = "right"
    for column in (0, 1, 2):
        table.columns[column].no_wrap = True
    for line in lines:
        found = _SOURCE.fullmatch(line.src)
        source = f"{name(found['stream'])} v{found['version']}" if found else ""
        cells = (
            str(line.version),
            _time_of_day(line.at),
            line.type,
            line.node,
            line.what,
            source,
        )
        table.add_row(*texts(cells), style="dim" if source else STYLES.get(line.type, ""))
    return table


def plain_table(
    title: str,
    names: Sequence[str],
    rows: Iterable[Sequence[str]],
    style: Callable[[Sequence[str]], str] = lambda row: "",
) -> Table:
    """Draw rows of text, each in the style that is chosen by it."""
    table = _table(title, names)
    for row in rows:
        table.add_row(*texts(row), style=style(row))
    return table


def texts(cells: Iterable[str]) -> list[Text]:
    """Make cells that stand for themselves, whatever is in them."""
    return [Text(plain(cell)) for cell in cells]


def described(facts: e.Facts) -> str:
    """Say in a few words what an event is about, beside its type and node."""
    match facts:
        case e.RunRequested():
            return _requested(facts)
        case e.RunStarted():
            return f"limit {facts.limit_us / 1e6:g} s"
        case e.RunFailed() | e.RunCancelRequested() | e.RunCancelled():
            return facts.code
        case e.NodeStarted():
            return f"attempt {facts.attempt}"
        case e.NodeSucceeded():
            return _node_succeeded(facts)
        case e.NodeFailed():
            return _node_failed(facts)
        case e.NodeInterrupted():
            return _interrupted(facts)
        case e.NodeRetryScheduled():
            return f"attempt {facts.attempt} due {_time_of_day(facts.due_at)}"
        case e.TimerSet():
            return f"due {_time_of_day(facts.due_at)}"
        case _:
            return ""


def _table(title: str, names: Sequence[str]) -> Table:
    table = Table(
        title=Text(plain(title), style="bold") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        header_style="dim",
    )
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _time_of_day(at: int) -> str:
    return to_wire(at)[11:26] if at else ""


def _requested(facts: e.RunRequested) -> str:
    if facts.chosen_node:
        return f"resume from '{facts.chosen_node}', replays {facts.replayed_total}"
    return f"{facts.origin}, version {facts.workflow_version}"


def _node_succeeded(facts: e.NodeSucceeded) -> str:
    handle = f", leaves by '{facts.handle}'" if facts.handle else ""
    ends = f", ends the run as {facts.ends}" if facts.ends else ""
    return f"attempt {facts.attempt}{handle}{ends}"


def _node_failed(facts: e.NodeFailed) -> str:
    then = ", tolerated" if facts.tolerated else ", tried again" if facts.retried else ""
    return f"attempt {facts.attempt}: {facts.code}{then}"


def _interrupted(facts: e.NodeInterrupted) -> str:
    doubt = ", outcome unknown" if facts.in_doubt else ""
    return f"attempt {facts.attempt}: {facts.code}{doubt}"
