"""What a log says of an unexpected exception: kinds and places, and none of its words."""

from __future__ import annotations

import asyncio
import logging
import os
import re

import pytest

from refold.engine.fault_text import FRAMES_MAX, fault_text, log_loop_fault

CANARY = "Qz7-vXkJw+W9/pLd"


def _fail(depth: int) -> None:
    if depth:
        _fail(depth - 1)
    try:
        os.environ[CANARY]
    except KeyError as error:
        raise ValueError(f"can't send {CANARY}") from error


def _failed(depth: int = 0) -> ValueError:
    with pytest.raises(ValueError, match="send") as caught:
        _fail(depth)
    return caught.value


def test_a_fault_is_told_by_its_kinds_and_places() -> None:
    """Enough to find the line; the words of an exception may quote a request."""
    text = fault_text(_failed())
    assert CANARY not in text
    assert re.search(
        r"^ValueError at .*test_engine_fault_text\.py:\d+ in _fail; from KeyError at", text
    )
    assert "\n" not in text


def test_a_deep_fault_is_told_by_its_innermost_places() -> None:
    """A recursion must not fill the log."""
    assert fault_text(_failed(50)).partition(";")[0].count(" in ") == FRAMES_MAX


def test_a_chain_of_faults_ends() -> None:
    """Even one that leads back to itself."""
    first, second = ValueError(CANARY), TypeError(CANARY)
    first.__cause__, second.__cause__ = second, first
    assert fault_text(first).count("from") == 4


def test_an_exception_that_was_put_aside_is_not_told() -> None:
    """As `raise … from None` means."""
    error = ValueError()
    error.__context__ = KeyError()
    assert fault_text(error) == "ValueError; from KeyError"
    error.__suppress_context__ = True
    assert fault_text(error) == "ValueError"


def test_what_nobody_waited_for_is_logged_without_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The event loop's own handler prints exceptions and objects as they are."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(log_loop_fault)
        loop.call_soon(_fail, 0)
        loop.call_exception_handler({"message": CANARY, "client": CANARY})
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(scenario())
    assert CANARY not in caplog.text
    assert "unexpected in the event loop: ValueError at" in caplog.text
    assert "unexpected in the event loop: no exception" in caplog.text
