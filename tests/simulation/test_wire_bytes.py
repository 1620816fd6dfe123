"""Random bytes on the socket: no crash, no leak, and whoever behaves is served all the while.

By command: `REFOLD_TEST_PROFILE=full pytest tests/simulation/test_wire_bytes.py` for half an hour,
or as many seconds as `REFOLD_TEST_WIRE_SECONDS` says.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.support.service import running
from tests.support.wire_bytes import Figures, Noise, figures

SECONDS = {"dev": 3, "ci": 6, "full": 1800}
WARM_UP = 0.2
"""The part of the time after which memory has to be flat: pools and buffers have their size."""
LONG_SECONDS = 60
"""Shorter runs are still warming up when they end, so more is allowed of them."""
LOG_LINES_MAX = 20
GROWTH_MAX = {True: 1.05, False: 1.15}


def _seconds() -> int:
    asked = os.environ.get("REFOLD_TEST_WIRE_SECONDS")
    return int(asked) if asked else SECONDS[os.environ["REFOLD_TEST_PROFILE"]]


@pytest.mark.timeout(8000)
def test_random_bytes_break_nothing_and_leave_nothing_behind(tmp_path: Path, seed: int) -> None:
    """Memory is flat, and files, sockets and threads are as many as before."""
    seconds = _seconds()
    with running(tmp_path / "data") as service:
        noise = Noise(service.port, random.Random(seed))
        began = time.monotonic()
        warm: Figures | None = None
        while (passed := time.monotonic() - began) < seconds:
            noise.throw()
            if warm is None and passed > seconds * WARM_UP:
                warm = figures(service)
            if noise.sent % 100 == 0:
                client = service.client()
                assert client.get("/workflows").status == 200
                client.close()
        after = figures(service)
        client = service.client()
        assert client.get("/healthz").status == 200
        client.close()
        log = list(service.log)
        assert service.stop() == 0
    assert warm is not None
    print(f"seed {seed}: {noise.sent} connections, {noise.answers} answers; {warm}, {after}")
    assert not noise.faults, f"seed {seed}\n" + "\n".join(noise.faults[:10])
    wrong = [n for n, line in enumerate(log) if " ERROR " in line or "Traceback" in line]
    assert not wrong, f"seed {seed}\n" + "".join(log[wrong[0] : wrong[0] + 60])
    # A line for each would be a way to fill the disk.
    assert len(log) <= LOG_LINES_MAX, "".join(log[:20])
    assert after.memory <= warm.memory * GROWTH_MAX[seconds >= LONG_SECONDS], (warm, after)
    # A connection that was thrown away just now may not have been noticed yet.
    assert after.files <= warm.files + 8, (warm, after)
    assert after.threads <= warm.threads + 1, (warm, after)
    assert noise.answers > noise.sent / 5
