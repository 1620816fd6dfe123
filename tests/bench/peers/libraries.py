"""Systems that are a library in a process of the user's: DBOS, eventsourcing, Prefect, Temporal."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

from refold.scripts.bench.clients import Request
from tests.bench.peers.peer import (
    APPS,
    STEPS,
    MissingPeerError,
    Running,
    installed,
    package_version,
    posted,
    spawn,
    until_answered,
)


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _application(
    python: Path,
    app: str,
    data: Path,
    before: list[subprocess.Popen[bytes]],
    *more: str,
    **environ: str,
) -> Running:
    """Start an application of apps/, and return once it has executed a run."""
    port = free_port()
    command = [str(installed(python)), str(APPS / app), str(port), *more]
    processes = [*before, spawn(command, data, **environ)]
    run = posted("/run", {"steps": STEPS})
    made = until_answered(port, run, processes)
    read = Request("GET", f"/runs/{made['id']}")
    return Running(processes, port, run, read, port)


class Dbos:
    """DBOS Transact on SQLite."""

    name = "DBOS (SQLite)"
    durability = "its own default: rollback journal, synchronous FULL; each step is a commit"

    def version(self, home: Path) -> str:
        """Return the version of the library."""
        return package_version(home / "dbos/bin/python", "dbos")

    def start(self, home: Path, data: Path) -> Running:
        """Start one process with the library in it."""
        database = f"sqlite:///{data}/system.sqlite"
        return _application(home / "dbos/bin/python", "dbos_app.py", data, [], DATABASE=database)


class DbosPostgres:
    """DBOS Transact on a PostgreSQL of its own."""

    name = "DBOS (PostgreSQL)"
    durability = "PostgreSQL's defaults: fsync on, synchronous_commit on; each step is a commit"

    def version(self, home: Path) -> str:
        """Return the versions of the library and the database."""
        server = subprocess.run(
            [_postgres("postgres"), "--version"], capture_output=True, text=True, check=True
        ).stdout
        library = package_version(home / "dbos/bin/python", "dbos")
        found = re.search(r"[\d.]+", server)
        return f"{library}, PostgreSQL {found[0] if found else server.strip()}"

    def start(self, home: Path, data: Path) -> Running:
        """Start a database and one process with the library in it."""
        port, cluster = free_port(), data / "cluster"
        as_user: list[str] = []
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            shutil.chown(data, "postgres", "postgres")
        made = [_postgres("initdb"), "-D", str(cluster), "-A", "trust", "-U", "postgres"]
        subprocess.run([*as_user, *made], capture_output=True, check=True)
        options = f"listen_addresses=127.0.0.1 unix_socket_directories='' port={port}"
        settings = [part for option in options.split() for part in ("-c", option.replace("'", ""))]
        server = spawn([*as_user, _postgres("postgres"), "-D", str(cluster), *settings], data)
        database = f"postgresql://postgres@127.0.0.1:{port}/bench"
        python = home / "dbos/bin/python"
        return _application(python, "dbos_app.py", data, [server], DATABASE=database)


def _postgres(program: str) -> str:
    """Return the path of a program of PostgreSQL.

    Raises:
        MissingPeerError: it is not installed.
    """
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    path = str(found[-1]) if found else shutil.which(program)
    if path is None:
        raise MissingPeerError(f"there is no {program}")
    return path


class Eventsourcing:
    """The library `eventsourcing` on SQLite."""

    name = "eventsourcing"
    durability = "WAL, synchronous FULL; each step is a commit"

    def version(self, home: Path) -> str:
        """Return the version of the library."""
        return package_version(home / "eventsourcing/bin/python", "eventsourcing")

    def start(self, home: Path, data: Path) -> Running:
        """Start one process with the library in it."""
        python = home / "eventsourcing/bin/python"
        database = str(data / "events.db")
        return _application(python, "eventsourcing_app.py", data, [], DATABASE=database)


class Prefect:
    """Prefect's server on SQLite, and a process with the flows."""

    name = "Prefect"
    durability = "WAL, synchronous NORMAL; results of steps in files"

    def version(self, home: Path) -> str:
        """Return the version of the library."""
        return package_version(home / "prefect/bin/python", "prefect")

    def start(self, home: Path, data: Path) -> Running:
        """Start the server, then the process with the flows."""
        port = free_port()
        environ = {
            "PREFECT_HOME": str(data),
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        served = ["server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
        server = spawn([str(installed(home / "prefect/bin/prefect")), *served], data, **environ)
        until_answered(port, Request("GET", "/api/health"), [server])
        python = home / "prefect/bin/python"
        found = _application(python, "prefect_app.py", data, [server], **environ)
        assert found.read is not None
        run = found.read.path.rsplit("/", 1)[1]
        found.read, found.read_port = Request("GET", f"/api/flow_runs/{run}"), port
        return found


class Temporal:
    """Temporal's development server, and a worker of the Python SDK."""

    name = "Temporal (dev server)"
    durability = "its own default: rollback journal on a file, synchronous FULL"

    def version(self, home: Path) -> str:
        """Return the versions that the server tells."""
        told = subprocess.run(
            [_temporal(home), "--version"], capture_output=True, text=True, check=True
        )
        found = re.search(r"Server ([\d.]+)", told.stdout)
        return found[1] if found else told.stdout.strip()

    def start(self, home: Path, data: Path) -> Running:
        """Start the server and the worker."""
        port = free_port()
        options = f"--headless --ip 127.0.0.1 --port {port} --log-level error --db-filename"
        command = [_temporal(home), "server", "start-dev", *options.split(), str(data / "t.db")]
        server = spawn(command, data, HOME=str(data))
        python = home / "temporal/bin/python"
        return _application(python, "temporal_app.py", data, [server], f"127.0.0.1:{port}")


def _temporal(home: Path) -> str:
    found = [*home.glob("tserver/*/scripts/temporal")]
    path = str(found[0]) if found else shutil.which("temporal")
    if path is None:
        raise MissingPeerError("there is no temporal")
    return path
