"""Identifiers: lower-case ULIDs with a prefix that says what they name.

The text form and the bit layout are those of the ULID specification: 48 bits of Unix
milliseconds, then 80 random bits, in Crockford's base 32. Time and randomness come in as
arguments, so this file stays in the pure core.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

ALPHABET: Final = b"0123456789abcdefghjkmnpqrstvwxyz"
RANDOM_BYTES: Final = 16
"""How many random bytes one id takes: five bits are used of each."""

# A byte becomes the letter of its low five bits: sixteen bytes give the 80 random bits in one
# translation, which is several times faster than shifting an integer.
LOW_FIVE_BITS: Final = bytes(ALPHABET[byte & 31] for byte in range(256))

WORKFLOW: Final = "fl_"
RUN: Final = "fl_run_"
LOG: Final = "fl_log_"
SYS: Final = "sys"
"""The one stream that is not an object of a tenant."""


# Under load many ids are made in one millisecond.
@lru_cache(maxsize=8)
def _time_letters(milliseconds: int) -> str:
    letters = bytearray(10)
    for place in range(9, -1, -1):
        letters[place] = ALPHABET[milliseconds & 31]
        milliseconds >>= 5
    return letters.decode()


def ulid(now_us: int, random: bytes) -> str:
    """Make a ULID from a time in microseconds and `RANDOM_BYTES` random bytes."""
    return _time_letters(now_us // 1000) + random.translate(LOW_FIVE_BITS).decode()


def is_run(identifier: str) -> bool:
    """Tell a run's id from a workflow's, whose prefix it shares."""
    return identifier.startswith(RUN)


def is_workflow(identifier: str) -> bool:
    """Tell a workflow's id from those of runs and log entries."""
    return identifier.startswith(WORKFLOW) and len(identifier) == len(WORKFLOW) + 26
