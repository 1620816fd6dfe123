"""Brings a journal file of an earlier format to the present one; entries and bodies stay."""

from __future__ import annotations

import re
import sqlite3
from typing import Final

_NAME: Final = "body_no_update"
_IN_FORMAT_1: Final = f"""CREATE TRIGGER {_NAME} BEFORE UPDATE ON body BEGIN
  SELECT RAISE(ABORT, 'journal: a body is written once');
END"""


def upgrade_from_1(connection: sqlite3.Connection, schema: str, file_format: int) -> None:
    """Let an erased body be overwritten, which format 1 did not know.

    A trigger that isn't the one of format 1 stays as it is, for the comparison of the whole
    schema to find.
    """
    present = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = ?", (_NAME,)
    ).fetchone()
    if present is None or present[0] != _IN_FORMAT_1:
        return
    found = re.search(rf"^CREATE TRIGGER {_NAME} .*?^END;$", schema, re.DOTALL | re.MULTILINE)
    assert found is not None, "the schema has this trigger"
    connection.executescript(
        f"BEGIN IMMEDIATE; DROP TRIGGER {_NAME}; {found[0]}\n"
        f"PRAGMA user_version = {file_format}; COMMIT;"
    )
