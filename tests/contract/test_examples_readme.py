"""The page about the examples tells what is so, and its commands do what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.example_kit import EXAMPLE_ADDRESS, FILES, FOLDER, IDS, Stage, staged
from tests.support.http_kit import followed
from tests.support.service import Client, token

README = (FOLDER / "README.md").read_text("utf-8")
COMMANDS = re.findall(r"^```sh\n(.*?)^```", README, re.S | re.M)
PROGRAMS = ("bash", "curl", "sed", "openssl", "python3")
TOWN: dict[str, Any] = {"id": 7, "number": "I-9", "parcel": "P-1", "customers": [], "sites": []}
"""What the page's own town answers."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage whose town answers as that of the page."""
    with staged(tmp_path_factory.mktemp("examples-readme") / "data") as made:
        made.town.says("", (200, TOWN))
        made.town.says("POST /token", (200, {"access_token": "token-1", "expires_in": 600}))
        yield made


def test_the_page_lists_each_example_and_no_other() -> None:
    """A newcomer finds what is there by this table."""
    assert re.findall(r"^\| `(\w+)\.json` \|", README, re.M) == sorted(
        FILES, key=lambda name: README.index(f"`{name}.json`")
    )
    assert len(FILES) >= 10


@pytest.mark.parametrize("name", FILES)
def test_an_example_names_addresses_for_examples_only(name: str) -> None:
    """Nobody's real address, no real id, nothing of this machine, and a line about what it is."""
    text = (FOLDER / f"{name}.json").read_text("utf-8")
    definition = json.loads(text)
    assert re.sub(EXAMPLE_ADDRESS, "", text).count("://") == 0
    assert set(re.findall(r"@[\w.]+\w", text)) <= {"@company.example"}
    found = set(re.findall(r"\b(?:fl|auth|vlt|whsec|wfk)_[0-9a-z]{20,}\b", text))
    assert found == set(IDS.findall(text))
    assert 20 < len(definition["description"]) < 260
    assert all("\n" not in line and len(line) < 320 for line in text.splitlines())


@pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason="needs " + ", ".join(PROGRAMS))
def test_the_commands_of_the_page_do_what_it_says(stage: Stage, org: str, tmp_path: Path) -> None:
    """Run one after the other in a shell that stops at the first one that fails."""
    start, variables, *rest = COMMANDS
    assert "scripts/run" in start
    assert variables.startswith("R=")
    script = tmp_path / "commands.sh"
    script.write_text("set -euo pipefail\n" + "echo; echo ==\n".join(rest), "utf-8")
    environ = {
        **os.environ,
        "R": f"http://127.0.0.1:{stage.service.port}",
        "T": stage.url,
        "TOKEN": token(org),
    }
    done = subprocess.run(
        ["bash", str(script)],
        cwd=FOLDER.parents[1],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    user = stage.service.client(org)
    said = done.stdout.split("\n==\n")
    assert shown_after("contact_cleanup") == said[1].strip()
    assert said[2].strip() == "{}"
    assert '"title":"Restart shop?"' in said[3]
    assert re.fullmatch(r"20\d\d-\S+Z\ncompleted\n", said[4])
    assert said[5].endswith("\n{}")
    assert [answer.strip() for answer in said[6:]] == ["completed", "completed"]
    finished(user, "Order fan-out")
    user.close()


def shown_after(command: str) -> str:
    """Return what the page shows below a command."""
    blocks = re.findall(r"^```\w+\n(.*?)^```", README, re.S | re.M)
    (shown,) = [after for before, after in pairwise(blocks) if f"post {command})" in before]
    return str(shown).strip()


def finished(user: Client, name: str) -> None:
    """See that the only run of a workflow completes."""
    (workflow,) = [each for each in user.get("/workflows").json if each["name"] == name]
    (run,) = user.get(f"/workflows/{workflow['id']}/executions").json["data"]
    assert followed(user, run["id"])["status"] == "completed"
