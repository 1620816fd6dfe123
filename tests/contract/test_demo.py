"""`refold demo`, as a user runs it, and the examples that come with the engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from refold.engine.definition import compile_definition
from refold.scripts import demo_command, demo_stage

EXAMPLES = sorted(Path(str(files("refold.engine") / "examples")).glob("*.json"))


def demo(where: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the demo with its output piped, in an environment without settings."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")}
    environ |= {"TMPDIR": str(where), **variables}
    command = [str(Path(sys.executable).with_name("refold")), "demo"]
    return subprocess.run(
        command, cwd=where, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_demo_fails_a_run_on_a_503_and_resumes_it_without_calling_the_good_node_again(
    tmp_path: Path,
) -> None:
    """The issue's own sentence: the second node was called once, the third twice."""
    done = demo(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "failed: Webhook request failed: 503 Service Unavailable" in done.stdout
    assert "Workflow resumed successfully from node 'charge'." in done.stdout
    calls = re.findall(r"^ (/\w+) +(\d{3}) +(fl_run_\S+)", done.stdout, re.MULTILINE)
    assert [call[:2] for call in calls] == [("/charge", "200"), ("/ship", "503"), ("/ship", "200")]
    assert len({key for _, _, key in calls}) == 3
    assert "Order A-17: payment pay_1, parcel P-1." in done.stdout
    assert list(tmp_path.iterdir()) == [], "the temporary directory is gone"


def test_the_demo_is_readable_when_it_is_piped(tmp_path: Path) -> None:
    """No line is broken by a terminal that is not there, and no colour is left in the text."""
    done = demo(tmp_path)
    assert "\x1b" not in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 100
    assert re.search(r"node\.succeeded +charge +attempt 1 +run 1 v5", done.stdout)


def test_the_demo_ignores_the_settings_of_the_service_that_may_run_beside_it(
    tmp_path: Path,
) -> None:
    """A port or a key in the environment belongs to somebody else."""
    done = demo(tmp_path, REFOLD_PORT="1", REFOLD_VAULT_KEY="unusable")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_demo_that_does_not_go_as_it_should_says_so_and_exits_with_1(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shop that never fails leaves nothing to resume, and the demo must not pretend."""

    def never_the_first(shop: demo_stage.Shop, path: str) -> int:
        del shop, path
        return 1

    monkeypatch.setattr(demo_stage.Shop, "count", never_the_first)
    assert demo_command.demo() == 1
    shown = capfd.readouterr()
    assert shown.err == "refold: The run should have failed at 'ship', and is completed.\n"


def test_a_good_node_that_is_called_twice_fails_the_demo(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one thing that the demo is there to show is checked at the shop, not in the service."""
    answer = demo_stage.Shop.answer

    def twice(shop: demo_stage.Shop, path: str, key: str) -> tuple[int, dict[str, str]]:
        if path == "/charge":
            shop.calls.append(demo_stage.SeenCall(path, key, 200))
        return answer(shop, path, key)

    monkeypatch.setattr(demo_stage.Shop, "answer", twice)
    assert demo_command.demo() == 1
    assert "'charge' once and 'ship' twice" in capfd.readouterr().err


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_is_a_definition_that_can_run(path: Path) -> None:
    """Examples are what newcomers copy."""
    text = json.loads(path.read_text(encoding="utf-8"))
    made = compile_definition(text["nodes"], text["edges"], nodes_max=500)
    assert made.graph.trigger
    assert text["name"]
    assert text["description"]


def test_there_are_examples() -> None:
    """An empty list would make the test above pass without looking at anything."""
    assert EXAMPLES
