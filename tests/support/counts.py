"""How often a test does what it does: by the profile, or as a variable of its own says."""

from __future__ import annotations

import os
from typing import Final

PROFILE: Final = os.environ.get("REFOLD_TEST_PROFILE", "dev")


def count_of(name: str, dev: int, ci: int, full: int) -> int:
    """Return how often; `REFOLD_TEST_<NAME>` is asked before the profile.

    Raises:
        ValueError: the variable holds no number above 0.
    """
    variable = f"REFOLD_TEST_{name}"
    text = os.environ.get(variable, "")
    found = int(text) if text.isascii() and text.isdigit() else 0
    if text and not found:
        raise ValueError(f"{variable} is {text!r}, not a number above 0")
    return found or {"dev": dev, "ci": ci, "full": full}[PROFILE]
