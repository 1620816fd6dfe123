"""The versions of the built-in projections: code that changes the rows needs another one."""

from __future__ import annotations

import json
from pathlib import Path

from refold.projections import effect_ledger, open_nodes, search_text, tallies
from refold.projections.built_in import BUILT_IN
from refold.projections.fingerprint import code_of
from refold.projections.search_projections import (
    ERRORS,
    LOGS,
    PAYLOADS,
    ErrorSearch,
    LogSearch,
    PayloadSearch,
)

KNOWN = Path(__file__).with_name("projection_versions.json")


def test_a_change_of_a_built_in_fold_comes_with_another_version() -> None:
    """Whoever changes one counts its version up, or sees that the rows stay the same.

    Then the file is written anew: name, version, and what tells the code of its modules.
    """
    found: dict[str, list[object]] = {
        projection.name: [projection.version, code_of(type(projection).__module__)]
        for projection in (*BUILT_IN, ErrorSearch(), PayloadSearch(), LogSearch())
    }
    for part in (open_nodes, tallies):
        found["runs"].append(code_of(part.__name__))
    for name in (ERRORS, PAYLOADS, LOGS):
        found[name].append(code_of(search_text.__name__))
    found["effects"].append(code_of(effect_ledger.__name__))
    assert found == json.loads(KNOWN.read_text(encoding="utf-8")), json.dumps(found, indent=2)
