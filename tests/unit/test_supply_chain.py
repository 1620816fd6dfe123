"""What Refold is made of: the bill of materials, the licences, and the audit of pinned versions."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from refold.scripts.components import Component, components, normalised
from refold.scripts.sbom_command import document
from tests.support.service import Hit, endpoint

ROOT = Path(__file__).resolve().parents[2]
ABSENT = {"uvloop"} if sys.platform == "win32" else set[str]()
CANARY = "/jinja2/2.4.1/json"


def _script(name: str) -> ModuleType:
    """Load a script of the continuous integration, which is no package."""
    spec = importlib.util.spec_from_file_location(f"ci_{name}", ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _direct() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {normalised(re.split(r"[\[><=;~! ]", line)[0]) for line in project["dependencies"]}


def test_the_bill_names_everything_that_is_needed_and_nothing_of_the_tests() -> None:
    """Each direct dependency, what those need, and no tool of developers."""
    made = document(components())
    names = {component["name"] for component in made["components"]}
    # What was installed says what it needs; an installation may be older than the project file.
    lines = [line for line in distribution("refold").requires or [] if "extra ==" not in line]
    assert {normalised(re.split(r"[\[><=;~! ]", line)[0]) for line in lines} - ABSENT <= names
    assert {"aiohttp", "starlette", "multidict", "cffi", "h11"} <= names
    assert not {"pytest", "ruff", "mypy", "schemathesis", "refold"} & names
    assert made["metadata"]["component"]["name"] == "refold"


def test_the_bill_holds_together() -> None:
    """Each reference leads to a component, each component has its entry, and none comes twice."""
    made = document(components())
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    listed = [made["metadata"]["component"], *made["components"]]
    references = [component["bom-ref"] for component in listed]
    assert len(set(references)) == len(references)
    assert sorted(entry["ref"] for entry in made["dependencies"]) == sorted(references)
    for entry in made["dependencies"]:
        assert set(entry["dependsOn"]) <= set(references)
    for component in listed:
        assert re.fullmatch(r"pkg:pypi/[a-z0-9-]+@\S+", component["purl"])
        assert component["licenses"], component["name"]


def test_the_command_prints_the_same_bill_twice() -> None:
    """A bill that differs by the hour could not be compared with the last one."""
    command = [sys.executable, "-m", "refold.scripts.cli", "sbom"]
    printed = [subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2)]
    assert printed[0] == printed[1]
    assert json.loads(printed[0])["components"]


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 AND MIT", True),
        ("GPL-3.0-only OR MIT", True),
        ("(Apache-2.0 OR GPL-3.0-only)", True),
        ("GPL-3.0-only", False),
        ("AGPL-3.0-or-later", False),
        ("MIT AND GPL-3.0-only", False),
        ("LGPL-2.1-only", False),
        ("Proprietary", False),
        ("", False),
    ],
)
def test_a_licence_is_judged_by_each_of_its_choices(licence: str, *, allowed: bool) -> None:
    """What has to be followed as a whole has to be allowed as a whole."""
    judge = _script("licences")
    component = Component("x", "1", licence, ())
    assert (judge.refused([component]) == []) is allowed
    assert judge.refused(components(judge.EXTRAS)) == []


def _audit(module: ModuleType, answers: dict[str, Any]) -> tuple[int, list[str]]:
    """Run the audit against an index that says this; what it has no answer for is not there."""
    asked: list[str] = []

    def answer(hit: Hit) -> tuple[int, Any]:
        asked.append(hit.path)
        return (200, answers[hit.path]) if hit.path in answers else (404, {})

    with endpoint(answer) as index:
        vars(module)["INDEX"] = index.url
        return int(module.main()), asked


BAD = {"vulnerabilities": [{"id": "PYSEC-1", "fixed_in": ["9"], "link": "https://h.example/1"}]}


def test_a_known_vulnerability_stops_a_change(capsys: pytest.CaptureFixture[str]) -> None:
    """Every pinned version is asked about, and the line says what to take instead."""
    module = _script("audit")
    name, version = module.locked()[3]
    code, asked = _audit(module, {CANARY: BAD, f"/{name}/{version}/json": BAD})
    assert code == 1
    assert f"{name} {version}: PYSEC-1, fixed in 9" in capsys.readouterr().out
    assert len(asked) == len(module.locked()) + 1
    assert _direct() <= {normalised(name) for name, _ in module.locked()}
    vars(module)["ACCEPTED"] = {"PYSEC-1": "not reachable"}
    assert module.known_faults(name, version, BAD) == []


def test_an_audit_without_findings_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """What is withdrawn counts for nothing."""
    module = _script("audit")
    name, version = module.locked()[0]
    withdrawn = {"vulnerabilities": [{"id": "PYSEC-1", "withdrawn": "2025-01-01"}]}
    code, _ = _audit(module, {CANARY: BAD, f"/{name}/{version}/json": withdrawn})
    assert code == 0
    assert "nothing is known" in capsys.readouterr().out


@pytest.mark.parametrize("answers", [{}, {CANARY: {"vulnerabilities": []}}])
def test_an_index_that_knows_no_advisories_is_no_clean_bill(
    answers: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A mirror that has never heard of any would find everything clean."""
    code, asked = _audit(_script("audit"), answers)
    assert (code, len(asked)) == (0, 1)
    assert capsys.readouterr().out.startswith("skipped: ")


def test_an_index_that_is_away_is_said_and_stops_nobody(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The reason is printed, so that it is seen if it stays away."""
    module = _script("audit")
    with endpoint() as index:
        vars(module)["INDEX"] = index.url
    assert module.main() == 0
    assert capsys.readouterr().out.startswith("skipped: ")
