"""Demand that everything that is installed with Refold has a licence that it may be used under."""

from __future__ import annotations

import sys

from refold.scripts.components import Component, components

# All of them let a service be run, changed and passed on, closed or open. Of those that ask for the
# source of changes, only MPL-2.0 is among them: it asks for that of its own files alone.
ALLOWED = {
    "0BSD", "Apache-2.0", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT",
    "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
}  # fmt: skip
EXTRAS = frozenset({"parquet"})


def is_allowed(licence: str) -> bool:
    """Tell whether one of the choices of an expression consists of what is allowed."""
    if licence in ALLOWED:
        return True
    choices = licence.replace("(", "").replace(")", "").split(" OR ")
    return any(all(part in ALLOWED for part in choice.split(" AND ")) for choice in choices)


def refused(found: list[Component]) -> list[str]:
    """Return a line for each component that may not be used."""
    return [
        f"{component.name} {component.version}: {component.licence or 'no licence is named'}"
        for component in found
        if not is_allowed(component.licence)
    ]


def main() -> int:
    """Judge what is installed here; print what is refused."""
    found = components(EXTRAS)
    for line in refused(found):
        print(line)
    if not refused(found):
        print(f"{len(found)} components, each with a licence that is allowed")
    return 1 if refused(found) else 0


if __name__ == "__main__":
    sys.exit(main())
