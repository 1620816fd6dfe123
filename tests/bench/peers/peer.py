"""What the comparison needs of a system: to be started, asked, watched and stopped.

Every system does the same work: a workflow of five steps that touch nothing, each step's result
kept by the system, asked for over HTTP by clients that wait for the end. What a system offers no
HTTP for is a small application around its library (apps/), as its users would write.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from refold.scripts.bench.clients import Request

STEPS: Final = 5
START_SECONDS_MAX: Final = 180
APPS: Final = Path(__file__).parent / "apps"
JSON: Final = {"Content-Type": "application/json"}


class MissingPeerError(Exception):
    """A system is not installed; the message says what was looked for."""


class Running(msgspec.Struct):
    """A system that takes runs."""

    processes: list[subprocess.Popen[bytes]]
    port: int
    run: Request
    """Executes a run and is answered when it has ended."""
    read: Request | None = None
    """Reads that run again."""
    read_port: int = 0
    ready_s: float = 0

    def cpu_s(self) -> float:
        """Return the CPU time that all its processes have used."""
        ticks = 0
        for pid in self._tree():
            fields = _stat(pid)
            ticks += int(fields[11]) + int(fields[12]) if fields else 0
        return ticks / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        """Return the resident memory of all its processes."""
        pages = 0
        for pid in self._tree():
            try:
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except OSError:
                continue
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def _tree(self) -> list[int]:
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (fields := _stat(int(entry.name))):
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        found: list[int] = []
        left = [process.pid for process in self.processes]
        while left:
            pid = left.pop()
            found.append(pid)
            left += children.get(pid, [])
        return found


class Peer(Protocol):
    """A system that Refold is compared with."""

    name: str
    durability: str
    """What is on disk, and how, when a run is acknowledged."""

    def version(self, home: Path) -> str:
        """Return the installed version.

        Raises:
            MissingPeerError: it is not installed.
        """
        ...

    def start(self, home: Path, data: Path) -> Running:
        """Start it on an empty directory; return once it has executed a run."""
        ...


@contextmanager
def running(peer: Peer, home: Path, data: Path) -> Generator[Running, None, None]:
    """Keep a system up until the block ends."""
    data.mkdir(parents=True)
    began = time.perf_counter()
    target = peer.start(home, data)
    target.ready_s = time.perf_counter() - began
    try:
        yield target
    finally:
        stop(target.processes)
        shutil.rmtree(data, ignore_errors=True)


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """End processes and whatever they have started."""
    for process in reversed(processes):
        with_group = os.getpgid(process.pid) if process.poll() is None else None
        if with_group is not None:
            os.killpg(with_group, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(with_group, signal.SIGKILL)
        process.wait()


def spawn(command: list[str], data: Path, **environ: str) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own; what it says goes to a file beside its data."""
    with Path(data, "said.log").open("ab") as said:
        return subprocess.Popen(
            command,
            cwd=data,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def ask(port: int, request: Request) -> Any:
    """Send a request and return the answer's JSON (None where there is no body).

    Raises:
        OSError: it was refused, or nobody answers.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(request.method, request.path, request.body or None, request.headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status >= 400:
        raise OSError(f"{request.path} answered {answer.status}: {content[:200]!r}")
    return json.loads(content) if content[:1] in (b"{", b"[") else content.decode()


def until_answered(port: int, request: Request, processes: list[subprocess.Popen[bytes]]) -> Any:
    """Ask until it is answered.

    Raises:
        OSError: a process ended, or three minutes are over.
    """
    until = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            return ask(port, request)
        except (OSError, http.client.HTTPException) as error:
            gone = any(process.poll() is not None for process in processes)
            if gone or time.monotonic() > until:
                stop(processes)
                raise OSError(f"it did not start: {error}") from error
            # Nothing tells when a foreign process listens; it is asked again soon.
            time.sleep(0.1)


def installed(path: Path) -> Path:
    """Return the path of something that has to be there.

    Raises:
        MissingPeerError: it is not.
    """
    if not path.exists():
        raise MissingPeerError(f"there is no {path.name}")
    return path


def package_version(python: Path, package: str) -> str:
    """Return the version of a package in another virtual environment.

    Raises:
        MissingPeerError: the environment or the package is not there.
    """
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    told = subprocess.run(
        [installed(python), "-c", code], capture_output=True, text=True, check=False
    )
    if told.returncode:
        raise MissingPeerError(f"there is no {package}")
    return told.stdout.strip()


def posted(path: str, body: Any) -> Request:
    """Return a POST of JSON."""
    return Request("POST", path, json.dumps(body), JSON)


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []
