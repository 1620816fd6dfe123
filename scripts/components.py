"""What is installed for Refold to run: its dependencies at any depth, with versions and licences.

Read from the metadata of what is installed, so it is about this environment and no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Final

import msgspec

ROOT: Final = "refold"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRAS: Final = re.compile(r"\[([^\]]*)\]")
_EXTRA_MARKER: Final = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
_TEXT_LENGTH_MAX: Final = 60
"""Some projects put the whole text of their licence where its name belongs."""
_BY_CLASSIFIER: Final = {
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
_BY_TEXT: Final = {
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "BSD 3-Clause License": "BSD-3-Clause",
    "MIT License": "MIT",
}


class Component(msgspec.Struct, frozen=True):
    """One distribution."""

    name: str
    """Normalised as PEP 503 says."""
    version: str
    licence: str
    """An SPDX expression, else what the project says, "" if it says nothing."""
    requires: tuple[str, ...]
    """The names of those of its dependencies that are installed."""


def components(extras: frozenset[str] = frozenset()) -> list[Component]:
    """Return Refold itself, and everything that it needs with these extras, by name."""
    found: dict[str, Component] = {}
    asked: dict[str, frozenset[str]] = {}
    left = [(ROOT, extras)]
    while left:
        name, wanted = left.pop()
        if name in asked and wanted <= asked[name]:
            continue
        asked[name] = wanted | asked.get(name, frozenset())
        try:
            known = distribution(name)
        except PackageNotFoundError:
            # A dependency of another platform, or of an extra that nobody asked for.
            continue
        needed = list(_needed(known, asked[name]))
        requires = sorted({need for need, _ in needed if _is_installed(need)})
        found[name] = Component(name, known.version, licence_of(known), tuple(requires))
        left += needed
    return sorted(found.values(), key=lambda component: component.name)


def licence_of(known: Distribution) -> str:
    """Return the licence of a distribution, as an SPDX expression where that can be told."""
    if expression := _first(known, "License-Expression"):
        return expression
    classifiers = [str(line) for line in known.metadata.get_all("Classifier") or []]
    named = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License ::")]
    texts = [_BY_CLASSIFIER[name] for name in named if name in _BY_CLASSIFIER]
    if texts:
        return " AND ".join(sorted(set(texts)))
    text = _first(known, "License").strip()
    if text and "\n" not in text and len(text) <= _TEXT_LENGTH_MAX:
        return _BY_TEXT.get(text, text)
    return named[0] if named else ""


def _first(known: Distribution, name: str) -> str:
    return str(next(iter(known.metadata.get_all(name) or []), ""))


def normalised(name: str) -> str:
    """Return a name as indexes know it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _needed(known: Distribution, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for line in known.requires or []:
        requirement, _, marker = line.partition(";")
        extra = _EXTRA_MARKER.search(marker)
        if extra is not None and extra[1] not in extras:
            continue
        name, asked = _NAME.match(requirement.strip()), _EXTRAS.search(requirement)
        if name is not None:
            wanted = asked[1].replace(" ", "").split(",") if asked else []
            yield normalised(name[0]), frozenset(wanted)


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
