"""Tells whether the code of a fold changed, although its version did not.

The fingerprint is over the syntax of the module that defines a projection and of the modules of
the same package that it uses, so that comments, docstrings and layout may change. What the package
imports from elsewhere is not looked at. The built-in projections have none: their versions are
guarded where they are changed, by a test.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Final

from .projection import Projection

_OURS: Final = "refold."
_EXAMPLES: Final = "refold.projections.examples."


def fingerprint(projection: Projection) -> str:
    """Return what tells the code of a projection, "" for a built-in one."""
    module = type(projection).__module__
    if module.startswith(_OURS) and not module.startswith(_EXAMPLES):
        return ""
    return code_of(module)


@cache
def code_of(module: str) -> str:
    """Return what tells the code of a module and of what it uses of its own package."""
    found: dict[str, ModuleType] = {}
    _collect(module, found)
    hashed = sha256()
    for name in sorted(found):
        hashed.update(f"{name}\n{_syntax(found[name])}\n".encode())
    return hashed.hexdigest()


def _collect(name: str, found: dict[str, ModuleType]) -> None:
    module = sys.modules.get(name)
    if module is None or name in found:
        return
    found[name] = module
    if name.startswith(_OURS):
        # Its parts are of this release, and so is what they import.
        return
    package = name.partition(".")[0]
    for value in vars(module).values():
        used = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
        if isinstance(used, str) and f"{used}.".startswith(f"{package}."):
            _collect(used, found)


def _syntax(module: ModuleType) -> str:
    """Return the code of a module without what changes nothing; what has no source is empty."""
    path = getattr(module, "__file__", None)
    if not isinstance(path, str) or not path.endswith(".py"):
        return ""
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ""
    for node in ast.walk(tree):
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
