"""Upgrades: the data directory of every released version is opened, read, and carried on with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support import released
from tests.support.http_kit import run
from tests.support.service import Endpoint, Hit, Service, endpoint

NEVER_SHOWN_AGAIN = {"webhook_url"}
"""An address holds the port that the service was at."""


def _holds(now: Any, then: Any, path: str = "") -> None:
    """See that an answer has all that it had; a later version may add fields."""
    if isinstance(then, Mapping):
        for name, value in cast("Mapping[str, Any]", then).items():
            assert name in now, f"{path}.{name} is gone"
            if name not in NEVER_SHOWN_AGAIN:
                _holds(now[name], value, f"{path}.{name}")
    elif isinstance(then, Sequence) and not isinstance(then, str):
        items: Sequence[Any] = cast("Any", then)
        assert len(now) == len(items), path
        for index, value in enumerate(items):
            _holds(now[index], value, f"{path}[{index}]")
    else:
        assert now == then, path


def _refold(*arguments: str | Path) -> int:
    command = [sys.executable, "-m", "refold.scripts.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode


def test_what_was_packed_never_changes() -> None:
    """A directory that could be packed anew would be opened by definition."""
    lines = (released.RELEASED / released.SUMS).read_text("ascii").splitlines()
    sums = {line[66:]: line[:64] for line in lines}
    files = [path for directory in released.directories() for path in directory.iterdir()]
    found = {
        path.relative_to(released.RELEASED).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    assert found == sums
    assert found


@pytest.mark.parametrize("directory", released.directories(), ids=lambda path: path.name)
def test_a_directory_of_a_released_version_is_carried_on_with(
    directory: Path, tmp_path: Path
) -> None:
    """As a crash left it: nothing is missing, secrets open, forms go on, proofs hold."""
    kept = released.expected(directory)
    data = tmp_path / "data"
    released.unpack(directory, data)
    service = Service(data, {"REFOLD_JWT_SECRET": ""})
    with endpoint() as sink:
        service.start()
        try:
            _carry_on(service, sink, kept)
        finally:
            code = service.stop()
    assert code == 0
    assert not [line for line in service.log if " ERROR " in line or "Traceback" in line]
    assert _refold("verify", data) == 0
    assert _refold("doctor", "--data", data) == 0


def _carry_on(service: Service, sink: Endpoint, kept: released.Expected) -> None:
    client = released.client_of(service)
    for path, then in kept.answers.items():
        _holds(client.get(path).json, then, path)
    entries = client.get("/journal/events/1/proof?size=" + str(kept.position))
    assert entries.status == 200, entries.body
    shown = run(client, kept.calling, {"url": sink.url, "name": "Eve"})
    assert shown["status"] == "completed", shown
    hit: Hit = sink.hits[-1]
    assert hit.headers["x-key"] == released.SECRET
    assert client.post(kept.hook, {"b": 2}).status == 202
    answered = client.post(f"/workflows/runs/{kept.waiting}/interactions/ask", {"action": "submit"})
    assert answered.status == 202, answered.body
    resumed = client.post(f"/workflows/runs/{kept.failed}/resume-from/a", {}, Prefer="wait=20")
    assert resumed.status == 200, resumed.body
    assert resumed.json["new_run"]["logs"][0]["replayed_from"]["run_id"] == kept.failed
    client.close()
