"""What a line of the log says: on whose behalf it was written, and nothing that can forge one."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from refold.engine.caller import Caller
from refold.engine.limits import Limits
from refold.engine.log_context import REQUEST, RUN
from refold.engine.outbound import OutboundResponse
from refold.http.logs import JsonFormatter, TextFormatter
from tests.support.simulated import TRIGGER, Endpoint, Simulated, call, line
from tests.support.virtual_time import run_virtually

CANARY = "Qz7-vXkJw+W9/pLd"


def record(message: str, *arguments: object) -> logging.LogRecord:
    """Make a record."""
    return logging.LogRecord("refold.x", logging.WARNING, "x.py", 1, message, arguments, None)


@contextmanager
def on_behalf_of(request_id: str, run_id: str) -> Generator[None, None, None]:
    """Say whom the block works for."""
    tokens = REQUEST.set(request_id), RUN.set(run_id)
    try:
        yield
    finally:
        REQUEST.reset(tokens[0])
        RUN.reset(tokens[1])


def test_a_line_names_the_request_and_the_run_that_it_is_about() -> None:
    """In both forms, and only where they are known."""
    with on_behalf_of("req-1", "fl_run_1"):
        shown = json.loads(JsonFormatter().format(record("a %s", "word")))
        text = TextFormatter().format(record("a %s", "word"))
    assert shown["request_id"] == "req-1"
    assert shown["run_id"] == "fl_run_1"
    assert (shown["level"], shown["logger"], shown["message"]) == ("warning", "refold.x", "a word")
    assert text.endswith("WARNING refold.x: a word request_id=req-1 run_id=fl_run_1")
    assert set(json.loads(JsonFormatter().format(record("x")))) == {
        "at",
        "level",
        "logger",
        "message",
    }
    assert TextFormatter().format(record("x")).endswith("refold.x: x")


@pytest.mark.parametrize("form", [JsonFormatter, TextFormatter])
def test_nothing_that_is_logged_begins_another_line(form: type[logging.Formatter]) -> None:
    """Nor does it speak to the operator's terminal."""
    forged = "x\n2026-01-01 CRITICAL refold: y\r\x1b[2J\x85\u2028z"
    text = form().format(record("told: %s", forged))
    assert "\n" not in text
    assert "\r" not in text
    assert "\x1b" not in text
    assert "CRITICAL refold: y" in text


class _Broken(Endpoint):
    """An endpoint's client with a fault of ours in it."""

    async def request(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
        timeout_s: float,
        /,
    ) -> OutboundResponse:
        """Fail in a way that nobody foresaw."""
        await asyncio.sleep(0.1)
        raise ValueError(f"can't send {CANARY}")


def test_a_run_that_another_one_let_in_is_logged_as_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its task is made at the end of the other run, and it goes back to a request of its own."""
    caplog.handler.setFormatter(JsonFormatter())
    began: dict[str, str] = {}

    async def main() -> None:
        sim = Simulated(_Broken(), Limits(active_runs_max=1))
        workflow = await sim.define([TRIGGER, call("n")], line("start", "n"))
        for number in range(3):
            caller = Caller("acme", "ada", f"request-{number}")
            with on_behalf_of(caller.request_id, ""):
                began[await sim.execute(workflow, caller=caller)] = caller.request_id
        for run_id in began:
            assert (await sim.ended(run_id)).status == "failed"
        await sim.close()

    run_virtually(main())
    lines: list[Any] = [json.loads(each) for each in caplog.text.splitlines()]
    told = {each["run_id"]: each["request_id"] for each in lines}
    assert told == began
    assert all("ValueError at" in each["message"] for each in lines)
    assert CANARY not in caplog.text
