"""What tests of exports share: the command as an operator runs it, and exported bytes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from refold.projections.exports.export import export
from refold.projections.exports.formats import FORMATS, Streamed
from refold.projections.exports.plan import Selection

STREAMED: Final = [name for name, made in FORMATS.items() if isinstance(made, Streamed)]
ALL: Final = Selection()


def has(name: str) -> None:
    """Skip a test of Parquet where its extra is not installed."""
    if name == "parquet":
        pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")


def command(
    *arguments: str, data: Path, file_bytes_max: int = resource.RLIM_INFINITY
) -> subprocess.CompletedProcess[str]:
    """Run the command as an operator would, its output piped."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")}
    refold = str(Path(sys.executable).with_name("refold"))
    return subprocess.run(
        [refold, "export", *arguments, "--data", str(data)],
        env=environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max)
        ),
    )


def made(
    data: Path, name: str, where: Path, selection: Selection = ALL, up_to: int | None = None
) -> bytes:
    """Export and return what the file holds."""
    file = where / f"made.{name}"
    export(data, name, file, selection, up_to, force=True)
    return file.read_bytes()


def lines(content: bytes) -> list[dict[str, Any]]:
    """Read the lines of NDJSON."""
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.split(b"\n")[:-1]]
