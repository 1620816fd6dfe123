"""Build the wheel and demand that it holds exactly the files of the rooms, documents left out."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("engine", "http", "journal", "projections", "scripts")
SHELL = {"scripts/run", "scripts/test"}
LEFT_OUT = {".md", ".lock", ".sh", ".pyc"}


def expected() -> set[str]:
    """The files of the rooms that a wheel should hold, by their path in the tree."""
    files = {
        file.relative_to(ROOT).as_posix()
        for room in ROOMS
        for file in (ROOT / room).rglob("*")
        if file.is_file() and file.suffix not in LEFT_OUT
    }
    return files - SHELL


def built() -> set[str]:
    """The files that the wheel holds, by their path in the package."""
    with tempfile.TemporaryDirectory() as folder:
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet")
        options = ("--no-deps", "--no-build-isolation", "--wheel-dir", folder, str(ROOT))
        subprocess.run((*pip, *options), check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
    return {name.removeprefix("refold/") for name in names if name.startswith("refold/")}


def main() -> int:
    """Compare; print each file that is missing or should not be there."""
    wanted, found = expected(), built()
    for name in sorted(wanted - found):
        print(f"missing from the wheel: {name}")
    for name in sorted(found - wanted):
        print(f"in the wheel and not wanted: {name}")
    rooms = {name.split("/")[0] for name in found}
    if rooms != set(ROOMS):
        print(f"rooms in the wheel: {sorted(rooms)}")
    print(f"{len(found)} files of {len(rooms)} rooms in the wheel")
    return 0 if wanted == found and rooms == set(ROOMS) else 1


if __name__ == "__main__":
    sys.exit(main())
