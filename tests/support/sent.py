"""What a recorded service told others, and at which point of its log: answers, and calls it made.

Whatever an answer says was durable when it was sent, so a power cut right after it may lose none
of it; and of each call the start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.support.fault_shim import Record
from tests.support.kill_load import Asked, Ledger
from tests.support.service import Hit

_RUN: Final = re.compile(rb"fl_run_[0-9a-z]{26}")
_FIRST: Final = re.compile(rb"(HTTP/1\.1 \d{3} |(GET|POST|PUT|PATCH|DELETE) /)")


@dataclass(frozen=True)
class Message:
    """One whole HTTP message that the service sent."""

    index: int
    """Of the record that completed it."""
    first: str
    """The first line."""
    headers: Mapping[str, str]
    """By lower-case names."""
    body: bytes

    @property
    def status(self) -> int:
        """The status of an answer, 0 of a call."""
        return int(self.first.split()[1]) if self.first.startswith("HTTP/") else 0


@dataclass
class Promises:
    """All that was told until a point."""

    position: int = 0
    """The newest position that an answer was of."""
    ledger: Ledger = field(default_factory=Ledger)
    hits: list[Hit] = field(default_factory=list[Hit])
    runs: set[str] = field(default_factory=set[str])
    """Every run that was named in an answer."""


def messages(records: Sequence[Record]) -> list[Message]:
    """Put the messages together, of each connection by itself."""
    return list(_messages(records))


def _messages(records: Sequence[Record]) -> Iterator[Message]:
    open_: dict[int, bytes] = {}
    for index, record in enumerate(records):
        if record.kind != "S":
            continue
        # A descriptor is given to the next connection, whose first bytes begin a message.
        begins = _FIRST.match(record.data) is not None
        data = record.data if begins else open_.get(record.file, b"") + record.data
        open_[record.file] = data
        head, found, body = data.partition(b"\r\n\r\n")
        if not found or not _FIRST.match(data):
            continue
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in lines)}
        length = int(headers.get("content-length", -1))
        if len(body) >= length >= 0:
            open_[record.file] = b""
            yield Message(index, first, headers, body[:length])


def promised(told: Sequence[Message], until: int, live: Ledger) -> Promises:
    """Gather what was told before a record; `live` knows what each run was asked for."""
    made = Promises()
    made.ledger.workflows, made.ledger.hook = live.workflows, live.hook
    for message in told:
        if message.index >= until:
            break
        if message.status == 0:
            method, path, _ = message.first.split()
            made.hits.append(Hit(method, path, dict(message.headers), message.body))
        elif message.status < 300:
            _note(made, message, live.acknowledged)
    return made


def _note(made: Promises, message: Message, asked: Mapping[str, Asked]) -> None:
    """Take in an answer that says something."""
    position = message.headers.get("x-refold-position", "0")
    made.position = max(made.position, int(position))
    named = {found.decode() for found in _RUN.findall(message.body)}
    named |= {message.headers["x-run-id"]} if "x-run-id" in message.headers else set()
    made.runs |= named
    for run in named & asked.keys():
        made.ledger.acknowledged[run] = asked[run]
    verb, _, run = message.headers.get("x-request-id", "").partition(".")
    if message.status == 202 and verb == "cancel":
        made.ledger.cancelled.add(run)
    elif message.status == 202 and verb == "answer":
        made.ledger.answered.add(run)
    if message.body.startswith(b"{"):
        shown: Any = json.loads(message.body)
        shown = shown.get("new_run", shown)
        if shown.get("status") in ("completed", "failed") and shown.get("id") in asked:
            made.ledger.finished[shown["id"]] = message.body
