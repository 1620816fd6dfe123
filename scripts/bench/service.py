"""The service that `refold bench` measures: started, called, watched and stopped."""

from __future__ import annotations

import http.client
import json
import os
import platform
import secrets
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from .clients import Request

READY_SECONDS_MAX = 60


class Target(msgspec.Struct):
    """A service under load."""

    process: subprocess.Popen[str]
    port: int
    token: str
    data: Path
    ready_s: float = 0
    """From the start of the process to the first answer that it is ready."""

    def request(self, method: str, path: str, body: Any = None, **more: str) -> Request:
        """Return what clients of a load send."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        text = "" if body is None else json.dumps(body)
        return Request(method, path, text, headers | more)

    def call(self, method: str, path: str, body: Any = None, **more: str) -> Any:
        """Send one request with `more` headers and return the answer's JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
        } | more
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status >= 300:
            raise OSError(f"{method} {path} answered {answer.status}: {content[:300]!r}")
        return json.loads(content)

    def metric(self, name: str) -> float:
        """Return the sum of a metric's samples."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics", None, {"Authorization": f"Bearer {self.token}"})
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        found = [line for line in lines if line.split("{")[0].split(" ")[0] == name]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    def completed(self, workflow_id: str) -> int:
        """Return how many completed runs of a workflow the views show, once they have caught up."""
        path = f"/workflows/{workflow_id}/executions?status=completed&per_page=1"
        return int(self.call("GET", path)["meta"]["total"])

    def drained(self, workflow_id: str, runs: int) -> None:
        """Return once so many runs of a workflow are completed.

        Raises:
            OSError: some were not within a minute.
        """
        until = time.monotonic() + READY_SECONDS_MAX
        while (found := self.completed(workflow_id)) < runs:
            if time.monotonic() > until:
                raise OSError(f"of {runs} accepted runs {found} are completed")
            time.sleep(0.02)

    def cpu_s(self) -> float:
        """Return the CPU time that the process has used."""
        return cpu_of(self.process.pid)

    def rss_mb(self) -> float:
        """Return the resident memory of the process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def wait_ready(self) -> None:
        """Return once the views have caught up."""
        until = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < until:
            try:
                if self.call("GET", "/readyz")["status"] == "ready":
                    return
            except OSError:
                time.sleep(0.05)
        raise OSError("the service did not become ready")


def cpu_of(pid: int) -> float:
    """Return the CPU time in seconds that all threads of a process have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def service(**environ: str) -> Generator[Target, None, None]:
    """Serve a new data directory, or the one that `environ` names, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="refold-bench-") as directory:
        secret = secrets.token_hex(32)
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "refold.scripts.cli", "serve"],
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")},
                "REFOLD_DATA": directory,
                "REFOLD_PORT": "0",
                "REFOLD_JWT_SECRET": secret,
                "REFOLD_EGRESS_ALLOW": "127.0.0.0/8",
                **environ,
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            target = Target(
                process, _port(process), _token(secret), Path(environ.get("REFOLD_DATA", directory))
            )
            target.wait_ready()
            target.ready_s = time.perf_counter() - began
            yield target
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    for line in process.stderr:
        if "Refold serves " in line:
            return int(line.split("Refold serves ")[1].split()[0].rsplit(":", 1)[1])
    raise OSError("the service did not start")


def _token(secret: str) -> str:
    from ...http.auth import SCOPES, mint

    return mint(
        secret, subject="bench", tenant="bench", scopes=SCOPES, ttl_s=86400, now=int(time.time())
    )


def machine() -> dict[str, str]:
    """Say what a figure was measured on."""
    return {
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "durability": "WAL, synchronous=FULL",
    }
