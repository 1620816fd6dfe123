"""Plant one fault in each folder of a copy, and demand that each checker reports every one.

A checker that was pointed at nothing is green too; this is what tells the difference.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("engine", "http", "journal", "projections", "scripts")
NAME = "planted_fault"
# An unused import for ruff, bad spacing for the formatter, a wrong type for both type checkers.
FAULT = '"""A planted fault."""\n\nimport json\n\nVALUE: int   = "text"\n'
CHECKERS = (
    ("ruff", "check", "--no-cache", "."),
    ("ruff", "format", "--check", "--no-cache", "."),
    ("mypy", "--cache-dir", os.devnull),
    ("basedpyright", "--pythonpath", sys.executable),
)

# Applications of other systems, which are not installed here: no type of theirs is known.
UNTYPED = {"tests/bench/peers/apps"}


def folders() -> list[str]:
    """Every folder that holds Python files, at any depth of the rooms and the tests."""
    files = [file for top in (*ROOMS, "tests") for file in (ROOT / top).rglob("*.py")]
    return sorted({file.parent.relative_to(ROOT).as_posix() for file in files})


def run(command: tuple[str, ...], where: Path) -> tuple[int, str]:
    """Run a checker in the copy; its exit code and all that it printed."""
    environ = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        command, cwd=where, env=environ, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def file_checkers(copy: Path) -> list[str]:
    """Plant a fault in each folder of an otherwise empty house; which checkers missed which."""
    shutil.copy(ROOT / "pyproject.toml", copy)
    shutil.copytree(ROOT / ".src", copy / ".src", symlinks=True)
    for folder in folders():
        (copy / folder).mkdir(parents=True, exist_ok=True)
        (copy / folder / f"{NAME}.py").write_text(FAULT, encoding="utf-8")
    missed: list[str] = []
    for command in CHECKERS:
        code, output = run(command, copy)
        left_out = UNTYPED if command[0] in ("mypy", "basedpyright") else set[str]()
        seen_by = [folder for folder in folders() if folder not in left_out]
        unseen = [folder for folder in seen_by if f"{folder}/{NAME}.py" not in output]
        if code == 0 or unseen:
            missed.append(f"{' '.join(command[:2])} did not see {unseen or 'anything'}\n{output}")
    return missed


def layer_contracts(copy: Path) -> list[str]:
    """Plant an upward import, a circle and an impure core; which contracts missed theirs."""
    for top in (*ROOMS, ".src"):
        shutil.copytree(ROOT / top, copy / top, symlinks=True)
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / "journal" / f"{NAME}.py").write_text("from ..http import settings\n", encoding="utf-8")
    (copy / "http" / f"{NAME}.py").write_text("from . import planted_pair\n", encoding="utf-8")
    (copy / "http" / "planted_pair.py").write_text(f"from . import {NAME}\n", encoding="utf-8")
    with (copy / "journal" / "envelope.py").open("a", encoding="utf-8") as core:
        core.write("\nimport time\n")
    # Without -S the installed tree would be a second half of the same namespace package, and its
    # sound files would be read in place of the copy's.
    lint = (
        "import sys; sys.path[:0] = sys.argv[1:]; sys.argv = ['lint-imports', '--no-cache']; "
        "from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    paths = (str(copy / ".src"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    code, output = run((sys.executable, "-S", "-c", lint, *paths), copy)
    faults = (
        f"refold.journal.{NAME} -> refold.http.settings",
        "No cycles are allowed in refold.http.",
        "refold.journal.envelope -> time",
    )
    unseen = [fault for fault in faults if fault not in output]
    return [f"lint-imports did not see {unseen}\n{output}"] if code == 0 or unseen else []


def main() -> int:
    """Run both canaries; print what was missed."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        # Resolved: the temporary folder of macOS is itself behind a link.
        missed = file_checkers(Path(first).resolve()) + layer_contracts(Path(second).resolve())
    for line in missed:
        print(line)
    if not missed:
        print(f"{len(CHECKERS) + 1} checkers each saw the faults in {len(folders())} folders")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
