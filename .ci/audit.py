"""Ask the package index which of the locked versions have known vulnerabilities.

An index that can't be reached is no reason to stop everybody's work, so that is said and passed;
an answer that names a vulnerability is one.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("scripts/requirements.lock", ".ci/requirements.lock")
INDEX = "https://pypi.org/pypi"
TIMEOUT_S = 10.0
# Known to be bad: an index or mirror that says nothing against it knows no advisories at all.
CANARY = ("jinja2", "2.4.1")
# The id of an advisory, and why it does not concern us: each one is a decision that is looked at
# again with every change of the lock files.
ACCEPTED: dict[str, str] = {}
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def locked() -> list[tuple[str, str]]:
    """Return each pinned name and version once."""
    texts = [(ROOT / lock).read_text(encoding="utf-8") for lock in LOCKS]
    return sorted({found for text in texts for found in _PINNED.findall(text)})


def known_faults(name: str, version: str, described: dict[str, Any]) -> list[str]:
    """Return a line for each vulnerability that an index's answer names."""
    lines: list[str] = []
    for fault in described.get("vulnerabilities") or []:
        if fault.get("withdrawn") or fault["id"] in ACCEPTED:
            continue
        fixed = ", ".join(fault.get("fixed_in") or []) or "no version"
        lines.append(f"{name} {version}: {fault['id']}, fixed in {fixed}: {fault.get('link', '')}")
    return lines


def ask(pinned: tuple[str, str]) -> list[str]:
    """Ask about one version."""
    name, version = pinned
    request = urllib.request.Request(f"{INDEX}/{name}/{version}/json")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return known_faults(name, version, json.load(answer))
    except urllib.error.HTTPError as error:
        # A mirror has packages that the index does not describe, or no longer.
        if error.code == 404:
            return []
        raise


def main() -> int:
    """Audit what the lock files pin; print what is known against it."""
    pinned = locked()
    assert len(pinned) > len(LOCKS), "the lock files pin nothing"
    try:
        # Alone and first, so that an index that is away costs one wait and not a hundred.
        if not ask(CANARY):
            print(f"skipped: {INDEX} knows of nothing against {' '.join(CANARY)}")
            return 0
        with ThreadPoolExecutor(8) as pool:
            faults = [line for lines in pool.map(ask, pinned) for line in lines]
    except (OSError, ValueError) as error:
        print(f"skipped: {INDEX} can't be asked ({type(error).__name__}: {error})")
        return 0
    for line in faults:
        print(line)
    if not faults:
        print(f"{len(pinned)} pinned versions, nothing is known against them")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
