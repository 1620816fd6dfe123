"""Schemathesis against the live service: what the OpenAPI document says, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.http_kit import calling, create, hook_path, quick, run, slow, started
from tests.support.service import Client, Endpoint, chain, node, running, token

SECONDS = {"dev": 20, "ci": 90, "full": 900}
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
    "use_after_free",
)


def _config(client: Client, sink: Endpoint) -> str:
    """Make things to play with and say where the generator finds them.

    With unknown ids alone, it would see hardly more than 404.
    """
    workflow = create(client, calling(sink, "ok", "503/x"))
    failed = [run(client, workflow)["id"] for _ in range(3)]
    waiting = create(client, slow())
    hooked = create(client, chain(node("t", "webhook_trigger")))
    schema = {"required": ["name"], "properties": {"name": {"type": "string"}}}
    strict = create(client, quick(input_schema=schema))
    answering = create(client, chain(node("t", "sync_request_trigger")))
    create(client, chain(node("t", "event_trigger", event_type="*")))
    known = {
        "workflowId": [workflow, waiting, hooked, strict, answering],
        "runId": [*failed, started(client, waiting), run(client, hooked)["id"]],
        "nodeId": ["t", "n1", "n2"],
        "token": [hook_path(client, hooked).rsplit("/", 1)[1]],
        "version": ["1"],
    }
    lines: list[str] = []
    for name, values in known.items():
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(values)}"]
    lines.append("[parameters]")
    lines += [f'"path.{name}" = {{ dictionary = "{name}", probability = 0.8 }}' for name in known]
    return "\n".join(lines)


@pytest.mark.timeout(SECONDS["full"] + 60)
def test_no_answer_contradicts_the_document(tmp_path: Path, sink: Endpoint, seed: int) -> None:
    """No 5xx, no status, type, header or body that isn't documented, no bad data let through."""
    seconds = SECONDS[os.environ["REFOLD_TEST_PROFILE"]]
    with running(tmp_path / "data", SEARCH="errors,payloads,logs") as service:
        client = service.client()
        config = tmp_path / "schemathesis.toml"
        config.write_text(_config(client, sink))
        base = f"http://127.0.0.1:{service.port}"
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
            *("run", f"{base}/openapi.json", "--url", base, "--no-color"),
            *("--header", f"Authorization: Bearer {token()}"),
            *("--checks", ",".join(CHECKS), "--seed", str(seed), "--max-time", str(seconds)),
            *("--generation-database", "none", "--request-timeout", "40", "--no-shrink"),
            *("--warnings", "off", "--continue-on-failure"),
        ]
        # The service hangs up on a connection that says nothing for that long.
        client.close()
        done = subprocess.run(
            command,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=seconds * 2 + 60,
            check=False,
        )
        client = service.client()
        faults = [line for line in service.log if " ERROR " in line or "Traceback" in line]
        alive = client.get("/readyz").status
        client.close()
    assert done.returncode == 0, f"seed {seed}\n{done.stdout[-12_000:]}\n{done.stderr[-2_000:]}"
    assert "Test cases:" in done.stdout
    assert (faults, alive) == ([], 200)
