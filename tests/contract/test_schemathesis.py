"""Schemathesis against the live service: nothing generated is answered by a fault of ours.

Twice: with ids that are generated too, which mostly don't exist, and with ids of a workflow and a
run that do, so that what lies behind them is reached as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

from tests.support.service import Client, Service, chain, node, running, token

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance"
)
SECONDS = {"dev": 15, "ci": 70, "full": 900}
"""How long each of the two runs may look, by profile."""


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Generator[Service, None, None]:
    """A service of its own, since what is generated may change anything."""
    with running(tmp_path_factory.mktemp("fuzzed") / "data") as made:
        yield made


@pytest.fixture(scope="module")
def ids(fuzzed: Service) -> dict[str, str]:
    """A workflow with a failed run, for the paths."""
    client: Client = fuzzed.client()
    flow = chain(
        node("start", "manual_trigger"),
        node("good", "text_transform", template="Hello {{ trigger.name }}"),
        node("bad", "number_condition", left="{{ good.text }}", operator="equals", right=1),
    )
    workflow = client.post("/workflows", flow).json["id"]
    run = client.post(f"/workflows/{workflow}/execute", {}, Prefer="wait=10").json
    client.close()
    assert run["status"] == "failed"
    return {"workflowId": workflow, "runId": run["id"], "nodeId": "good", "version": "1"}


@pytest.mark.timeout(1200)
def test_no_generated_request_is_answered_by_a_fault_or_an_undocumented_answer(
    fuzzed: Service, seed: int, tmp_path: Path
) -> None:
    """With generated ids: refusals above all, each of them documented."""
    _fuzz(fuzzed, seed, tmp_path, {}, exclude=())


@pytest.mark.timeout(1200)
def test_no_generated_request_about_what_exists_is_answered_by_a_fault(
    fuzzed: Service, ids: Mapping[str, str], seed: int, tmp_path: Path
) -> None:
    """With ids that exist; what would end them (a deletion, a change) is left out."""
    _fuzz(fuzzed, seed, tmp_path, ids, exclude=("DELETE", "PUT"))


def _fuzz(
    service: Service, seed: int, directory: Path, ids: Mapping[str, str], exclude: tuple[str, ...]
) -> None:
    profile = os.environ["REFOLD_TEST_PROFILE"]
    config = directory / "schemathesis.toml"
    lines = [f'"path.{name}" = "{value}"' for name, value in ids.items()]
    config.write_text("\n".join(["[parameters]", *lines, ""]), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        f"--config-file={config}",
        "run",
        f"http://127.0.0.1:{service.port}/openapi.json",
        f"--header=Authorization: Bearer {token()}",
        f"--checks={CHECKS}",
        f"--max-time={SECONDS[profile]}",
        f"--seed={seed}",
        "--max-examples=2000",
        "--suppress-health-check=all",
        "--request-timeout=40",
        "--max-failures=5",
        "--no-color",
        "--warnings=off",
        *(f"--exclude-method={method}" for method in exclude),
    ]
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=1100, check=False
    )
    assert done.returncode == 0, f"seed {seed}\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    client = service.client()
    assert client.get("/readyz").status == 200, "the service is still well"
    client.close()
