"""`refold sbom`: the software bill of materials of what is installed here."""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, uuid5

import msgspec

from .components import ROOT, Component, components

_OPERATORS = {"AND", "OR", "WITH"}
_SPDX = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0",
    "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
}  # fmt: skip


def sbom() -> int:
    """Print a software bill of materials (CycloneDX 1.6, JSON) of this installation.

    It names Refold and every package that it needs here, at any depth, with version, package
    address and licence, and which needs which. The same installation gives the same document.
    """
    print(msgspec.json.format(msgspec.json.encode(document(components()))).decode())
    return 0


def document(found: list[Component]) -> dict[str, Any]:
    """Return the bill of materials of some components, of which one is Refold."""
    root = next(component for component in found if component.name == ROOT)
    others = [component for component in found if component is not root]
    told = msgspec.json.encode(found).decode()
    by_name = {component.name: _address(component) for component in found}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        # Named after its contents, so that equal documents have equal names.
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, told)}",
        "version": 1,
        "metadata": {"component": _component(root, "application")},
        "components": [_component(component, "library") for component in others],
        "dependencies": [
            {
                "ref": _address(component),
                "dependsOn": [by_name[name] for name in component.requires if name in by_name],
            }
            for component in found
        ],
    }


def _component(component: Component, kind: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": kind,
        "bom-ref": _address(component),
        "name": component.name,
        "version": component.version,
        "purl": _address(component),
    }
    if component.licence:
        made["licenses"] = [_licence(component.licence)]
    return made


def _licence(text: str) -> dict[str, Any]:
    words = set(text.replace("(", " ").replace(")", " ").split())
    if words - _OPERATORS <= _SPDX:
        return {"expression": text}
    return {"license": {"name": text}}


def _address(component: Component) -> str:
    return f"pkg:pypi/{component.name}@{component.version}"
