"""Make or renew `.venv`, so that it holds what the lock file pins and this tree itself.

Run by the shell scripts with the system's Python, so it imports the standard library only.
A stamp in the environment says what it was made from; where that still holds, nothing is done.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
ROOMS = ("engine", "http", "journal", "projections", "scripts")
LOCKS = {
    "run": ROOT / "scripts" / "requirements.lock",
    "test": ROOT / "scripts" / "requirements-dev.lock",
    "check": ROOT / ".ci" / "requirements.lock",
}


class SetupError(Exception):
    """The environment can't be made; the message says what to do about it."""


def main(purpose: str) -> int:
    """Prepare the environment for `run`, `test` or `check`; return the exit code."""
    try:
        _check_links()
        # Two scripts started at once take turns; the second finds the work done.
        with LOCKS["run"].open("rb") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if not _is_fresh(purpose):
                _prepare(purpose)
    except SetupError as error:
        print(f"refold: {error}", file=sys.stderr)
        return 1
    return 0


def _check_links() -> None:
    for room in ROOMS:
        if not (ROOT / ".src" / "refold" / room).is_dir():
            raise SetupError(
                f".src/refold/{room} is no symbolic link to a folder; clone again where links "
                "work (git config core.symlinks true)."
            )


def _stamp(purpose: str) -> str:
    """Name what an environment is made from; its place too, since scripts in it hold the path."""
    digest = hashlib.sha256(os.fsencode(ROOT))
    for path in (LOCKS[purpose], ROOT / "pyproject.toml"):
        digest.update(b"\x00" + path.read_bytes())
    return digest.hexdigest()


def _stamp_path(purpose: str) -> Path:
    return ENVIRONMENT / f"refold-{purpose}-stamp"


def _is_fresh(purpose: str) -> bool:
    try:
        stamp = _stamp_path(purpose).read_text(encoding="utf-8")
    except OSError:
        return False
    # A vanished interpreter leaves a dangling link.
    return PYTHON.exists() and stamp == _stamp(purpose)


def _prepare(purpose: str) -> None:
    started = time.monotonic()
    print(
        f"refold: preparing {ENVIRONMENT} (only the first time; needs a package index)",
        file=sys.stderr,
        flush=True,
    )
    if not _is_usable():
        _create()
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    install = [*pip, "install", "--quiet", "--no-warn-script-location"]
    _run(
        [*install, "--require-hashes", "-r", str(LOCKS[purpose])],
        "install the packages of the lock file",
    )
    # The build tool is among them, so this step needs neither isolation nor the network.
    _run([*install, "--no-deps", "--no-build-isolation", "-e", str(ROOT)], "install Refold")
    # Each lock file holds what the ones before it hold, so this serves their purposes too.
    for served in list(LOCKS)[: list(LOCKS).index(purpose) + 1]:
        path = _stamp_path(served)
        partial = path.with_suffix(".partial")
        partial.write_text(_stamp(served), encoding="utf-8")
        partial.replace(path)
    print(f"refold: ready after {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _is_usable() -> bool:
    """Say whether there is an environment of this very place that pip works in."""
    if not PYTHON.exists():
        return False
    probe = "import pip, sys; print(sys.prefix, sys.version_info >= (3, 11))"
    found = subprocess.run([str(PYTHON), "-c", probe], capture_output=True, text=True, check=False)
    moved = (
        not (ENVIRONMENT / "bin" / "pip").is_file()
        or str(ENVIRONMENT).encode() not in (ENVIRONMENT / "bin" / "pip").read_bytes()
    )
    return found.stdout == f"{ENVIRONMENT} True\n" and not moved


def _create() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupError(
            f"Python {version} can't make virtual environments; install its venv package "
            f"(on Debian and Ubuntu: apt install python{version}-venv)."
        )
    _run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], "make a virtual environment")


def _run(command: list[str], what: str) -> None:
    # A user's own pip settings must not send packages elsewhere.
    environ = {k: v for k, v in os.environ.items() if k not in {"PIP_USER", "PIP_TARGET"}}
    if subprocess.run(command, env=environ, stdout=sys.stderr, check=False).returncode != 0:
        raise SetupError(f"could not {what}; the lines above say why.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
