"""A newcomer's walk through "Write your own projection", done word for word."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import tomllib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from refold.projections.loading import GROUP, load

COUNTS = "SELECT component, attempts FROM usage ORDER BY component"
PAGE = Path(__file__).resolve().parents[2] / "projections" / "README.md"


def blocks(language: str) -> list[str]:
    """Return the blocks of the walk in a language."""
    page = PAGE.read_text(encoding="utf-8")
    walk = page[page.index("## Write your own projection") : page.index("### The rules")]
    return re.findall(rf"```{language}\n(.*?)```", walk, re.DOTALL)


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def rows(folder: Path, statement: str) -> list[Any]:
    """Read the views as the page does, [] while they are not there."""
    try:
        with closing(
            sqlite3.connect(f"file:{folder / 'data' / 'views.db'}?mode=ro", uri=True)
        ) as connection:
            return connection.execute(statement).fetchall()
    except sqlite3.OperationalError:
        return []


def until(folder: Path, statement: str, wanted: list[Any]) -> None:
    """Look again until the rows are as wanted."""
    deadline = time.monotonic() + 60
    while (found := rows(folder, statement)) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_who_follows_the_page_word_for_word_has_a_projection_that_runs(tmp_path: Path) -> None:
    """Each block is saved or run as it stands; only the port is another one."""
    for tool in ("bash", "curl", "sqlite3"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not here")
    projection, test = blocks("python")
    serve, look, change = blocks("sh")
    port = str(free_port())
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REFOLD_")}
    environ = {**kept, "PATH": path, "REFOLD_PORT": port}

    def shell(text: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", text.replace("8080", port)],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), text
        return done.stdout

    (tmp_path / "usage.py").write_text(projection, encoding="utf-8")
    (tmp_path / "test_usage.py").write_text(test, encoding="utf-8")
    assert shell("python test_usage.py") == ""
    with subprocess.Popen(
        ["bash", "-ec", f"exec {serve}"], cwd=tmp_path, env=environ, stderr=subprocess.PIPE
    ) as service:
        try:
            assert service.stderr is not None
            assert any(b"Refold serves" in line for line in service.stderr)
            told = shell(look)
            until(tmp_path, COUNTS, [("text_transform", 1), ("webhook_trigger", 1)])
            assert "usage" in told
            version = "SELECT version, state FROM projection WHERE name = 'usage' ORDER BY version"
            until(tmp_path, version, [(1, "live")])
            # The second terminal is one, and the page goes on in it.
            settings = look[: look.index("W=$(")]
            shell(settings + change)
            until(tmp_path, version, [(1, "kept"), (2, "live")])
            until(tmp_path, COUNTS, [("text_transform", 1), ("webhook_trigger", 1)])
            assert len(rows(tmp_path, "SELECT * FROM slowest")) == 2
            verified = shell(settings + "refold projections usage --data data --verify")
            assert "version 2" in verified
            assert "the rows are those of the journal" in verified
        finally:
            service.terminate()


def test_the_entry_point_of_the_page_is_what_a_service_looks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed package needs no flag."""
    (made,) = blocks("toml")
    (reference,) = tomllib.loads(made)["project"]["entry-points"][GROUP].values()
    (tmp_path / "usage.py").write_text(blocks("python")[0], encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "usage", raising=False)
    assert load(reference).projection.name == "usage"
    monkeypatch.delitem(sys.modules, "usage")
