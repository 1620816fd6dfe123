"""The house itself: what stands where, how large it may be, and what it may not say."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("engine", "http", "journal", "projections", "scripts")
TOP = {*ROOMS, "tests", "pyproject.toml", "README.md"}
# What a checkout gathers without git knowing it.
UNTRACKED = {"__pycache__", "data", "dist", "build"}
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
# Split where it is read, so that this file passes its own test.
UNFINISHED = tuple(
    word.replace("|", "")
    for word in ("TO|DO", "FIX|ME", "XX|X", "HA|CK", "NotImplemented|Error", "for |now")
)
SAYS_NOTHING = {"util", "utils", "helper", "helpers", "common", "manager", "base", "misc"}


@cache
def sources() -> tuple[Path, ...]:
    """Every Python file of the project."""
    found = [file for top in (*ROOMS, "tests", ".ci") for file in (ROOT / top).rglob("*.py")]
    return tuple(sorted(found))


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def project() -> dict[str, Any]:
    """What pyproject.toml says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def name(path: Path) -> str:
    """A file's path inside the tree, for messages."""
    return path.relative_to(ROOT).as_posix()


def test_the_top_level_holds_what_was_fixed_and_nothing_else() -> None:
    """Whatever else a project needs is hidden or lives in a room."""
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found - UNTRACKED == TOP


def test_each_room_is_linked_once_and_no_link_is_left_over() -> None:
    """The links are the import package; one that is missing hides a room from every tool."""
    links = {path.name: path for path in (ROOT / ".src" / "refold").iterdir()}
    assert set(links) - UNTRACKED == set(ROOMS)
    for room in ROOMS:
        assert links[room].is_symlink()
        assert links[room].readlink() == Path("../..") / room


def test_no_folder_is_a_package_and_the_standard_library_keeps_its_names() -> None:
    """An `__init__.py` in http/ would replace the standard library's http."""
    assert [name(path) for path in sources() if path.name == "__init__.py"] == []
    shadowing = [name(p) for p in sources() if p.stem in sys.stdlib_module_names]
    assert [path for path in shadowing if path.startswith("scripts/")] == []


def test_each_file_says_first_what_it_holds_and_stays_readable_at_one_sitting() -> None:
    """A reader decides by the first line; a file past the limit has more than one job."""
    for path in sources():
        assert ast.get_docstring(tree_of(path)), name(path)
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= FILE_LINES_MAX, f"{name(path)} has {lines} lines"


def test_no_function_is_longer_than_a_page() -> None:
    """What does not fit on a page is not seen as a whole."""
    for path in sources():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                assert lines <= FUNCTION_LINES_MAX, f"{name(path)}: {node.name} has {lines} lines"


def test_nothing_is_left_unfinished_and_no_file_is_named_after_nothing() -> None:
    """Work that is put off is an issue, not a comment."""
    words = re.compile("|".join(rf"\b{word}\b" for word in UNFINISHED))
    for path in sources():
        found = words.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{name(path)}: {found}"
        assert not SAYS_NOTHING & set(path.stem.split("_")), name(path)


def test_each_test_says_in_a_sentence_what_holds() -> None:
    """The docstring is what a reader of a failure starts from."""
    for path in sources():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                text = ast.get_docstring(node) or ""
                assert text.split("\n")[0].endswith((".", "?", ":")), f"{name(path)}: {node.name}"


def test_what_the_rooms_import_is_declared_and_what_is_declared_is_pinned() -> None:
    """A package that comes along with another may leave with it."""
    declared = {normal(entry) for entry in project()["project"]["dependencies"]}
    lock = (ROOT / "scripts" / "requirements.lock").read_text(encoding="utf-8")
    pinned = {normal(line) for line in lock.splitlines() if "==" in line}
    assert declared <= pinned
    owners = importlib.metadata.packages_distributions()
    for path in sources():
        if path.relative_to(ROOT).parts[0] not in ROOMS:
            continue
        for module in absolute_imports(tree_of(path)) - {"refold"}:
            if module not in sys.stdlib_module_names:
                owner = {normal(package) for package in owners.get(module, [])}
                assert owner & declared, f"{name(path)} imports {module}"


def absolute_imports(tree: ast.Module) -> set[str]:
    """The top-level names of the modules that a file imports absolutely."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def normal(requirement: str) -> str:
    """The name of a package as indexes compare it."""
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-").replace(".", "-")


@pytest.mark.parametrize("lock", ["scripts/requirements.lock", "scripts/requirements-dev.lock"])
def test_lock_files_pin_each_package_with_hashes_and_name_no_index(lock: str) -> None:
    """What is installed is what was tested, wherever it is fetched from."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index-url" not in text
    for entry in re.split(r"\n(?=[a-z0-9])", text)[1:]:
        assert "==" in entry.split("\n")[0]
        assert "--hash=sha256:" in entry


@pytest.mark.parametrize(
    "script", ["scripts/run", "scripts/test", "scripts/environment.sh", ".ci/run"]
)
def test_shell_scripts_parse_and_those_of_the_readme_can_be_started(script: str) -> None:
    """They are what a newcomer types first."""
    path = ROOT / script
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert path.suffix == ".sh" or path.stat().st_mode & 0o111 == 0o111
