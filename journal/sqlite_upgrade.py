"""Brings a journal file of an earlier format to the present one; entries and bodies stay.

Format 1 let no body be overwritten; format 2 let erased ones be; format 3 knows archived ones.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Final

_NAME: Final = "body_no_update"
_EARLIER: Final = {
    1: f"""CREATE TRIGGER {_NAME} BEFORE UPDATE ON body BEGIN
  SELECT RAISE(ABORT, 'journal: a body is written once');
END""",
    2: f"""CREATE TRIGGER {_NAME} BEFORE UPDATE ON body BEGIN
  SELECT RAISE(ABORT, 'journal: a body is written once')
    WHERE NOT EXISTS (SELECT 1 FROM erasure WHERE position = OLD.position)
      OR NEW.position IS NOT OLD.position
      OR NEW.salt IS NOT zeroblob(32)
      OR NEW.data IS NOT zeroblob(length(OLD.data))
      OR NEW.subject IS NOT NULL;
END""",
}
_MADE: Final = (
    rf"^CREATE TRIGGER {_NAME} .*?^END;$",
    r"^CREATE TABLE archive .*?^\) STRICT;$",
    r"^CREATE TRIGGER archive_insert .*?^END;$",
    r"^CREATE TRIGGER archive_no_update .*?^END;$",
    r"^CREATE TRIGGER archive_no_delete .*?^END;$",
)
"""What the present schema has and the earlier ones had not, or had otherwise."""


def upgrade(connection: sqlite3.Connection, schema: str, version: int, file_format: int) -> None:
    """Bring a file of format 1 or 2 to the present one, in one transaction.

    A trigger that isn't the one of its format stays as it is, for the comparison of the whole
    schema to find.
    """
    present = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = ?", (_NAME,)
    ).fetchone()
    if present is None or present[0] != _EARLIER[version]:
        return
    statements: list[str] = []
    for pattern in _MADE:
        found = re.search(pattern, schema, re.DOTALL | re.MULTILINE)
        assert found is not None, "the schema has this table and these triggers"
        statements.append(found[0])
    made = "\n".join(statements)
    connection.executescript(
        f"BEGIN IMMEDIATE; DROP TRIGGER {_NAME}; {made}\n"
        f"PRAGMA user_version = {file_format}; COMMIT;"
    )
