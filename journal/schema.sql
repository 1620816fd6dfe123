-- The journal on SQLite: facts that are only ever appended, and bodies that may be erased.
-- Names and columns are a storage format (journal/README.md).
-- Each start compares the file's statements with these to the letter, comments inside a statement
-- included: a change of one is a new file format.

CREATE TABLE journal (
  one        INTEGER PRIMARY KEY CHECK (one = 1),
  id         TEXT NOT NULL,
  format     INTEGER NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE event (
  position INTEGER PRIMARY KEY CHECK (position >= 1),
  stream   TEXT NOT NULL,
  version  INTEGER NOT NULL CHECK (version >= 1),
  at       INTEGER NOT NULL,
  entry    BLOB NOT NULL,
  leaf     BLOB NOT NULL CHECK (length(leaf) = 32),
  body_at  INTEGER NOT NULL CHECK (body_at BETWEEN 0 AND position),
  UNIQUE (stream, version)
) STRICT;

CREATE TABLE body (
  position INTEGER PRIMARY KEY,
  salt     BLOB NOT NULL CHECK (length(salt) = 32),
  subject  TEXT,
  data     BLOB NOT NULL
) STRICT;
CREATE INDEX body_subject ON body (subject) WHERE subject IS NOT NULL;

-- Which bodies are gone, and the event that says so.
CREATE TABLE erasure (
  position    INTEGER PRIMARY KEY,
  by_position INTEGER NOT NULL
) STRICT;

-- Which bodies left for a segment, and the event that says so. An erasure may follow.
CREATE TABLE archive (
  position    INTEGER PRIMARY KEY,
  by_position INTEGER NOT NULL
) STRICT;

-- Two indexes over the events, kept in the same commits; both can be made anew from them.
CREATE TABLE request (
  scope  TEXT NOT NULL,
  key    TEXT NOT NULL,
  digest TEXT NOT NULL,
  first  INTEGER NOT NULL,
  last   INTEGER NOT NULL,
  at     INTEGER NOT NULL,
  PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE hold (
  holder   TEXT NOT NULL,
  resource TEXT NOT NULL,
  PRIMARY KEY (holder, resource)
) STRICT, WITHOUT ROWID;
CREATE INDEX hold_resource ON hold (resource);

CREATE TRIGGER journal_insert BEFORE INSERT ON journal BEGIN
  SELECT RAISE(ABORT, 'journal: the identity is written once')
    WHERE EXISTS (SELECT 1 FROM journal);
END;
CREATE TRIGGER journal_no_update BEFORE UPDATE ON journal BEGIN
  SELECT RAISE(ABORT, 'journal: the identity is written once');
END;
CREATE TRIGGER journal_no_delete BEFORE DELETE ON journal BEGIN
  SELECT RAISE(ABORT, 'journal: the identity is written once');
END;

-- INSERT OR REPLACE does not fire delete triggers by default; each table stops it in its insert
-- trigger instead. Here: a replaced position is never max + 1, a replaced version never the next.
CREATE TRIGGER event_append BEFORE INSERT ON event BEGIN
  SELECT RAISE(ABORT, 'journal: position is not the next one')
    WHERE NEW.position IS NOT (SELECT coalesce(max(position), 0) + 1 FROM event);
  SELECT RAISE(ABORT, 'journal: version is not the next one')
    WHERE NEW.version IS NOT
      (SELECT coalesce(max(version), 0) + 1 FROM event WHERE stream = NEW.stream);
END;
CREATE TRIGGER event_no_update BEFORE UPDATE ON event BEGIN
  SELECT RAISE(ABORT, 'journal: events are append-only');
END;
CREATE TRIGGER event_no_delete BEFORE DELETE ON event BEGIN
  SELECT RAISE(ABORT, 'journal: events are append-only');
END;

CREATE TRIGGER body_insert BEFORE INSERT ON body BEGIN
  SELECT RAISE(ABORT, 'journal: a body is written once')
    WHERE EXISTS (SELECT 1 FROM body WHERE position = NEW.position);
  SELECT RAISE(ABORT, 'journal: the body was erased')
    WHERE EXISTS (SELECT 1 FROM erasure WHERE position = NEW.position);
  SELECT RAISE(ABORT, 'journal: no event has this body')
    WHERE NOT EXISTS
      (SELECT 1 FROM event WHERE position = NEW.position AND body_at = NEW.position);
END;
-- An erased body is overwritten where it stands. To delete its row would make SQLite move the rows
-- beside it, and their old bytes stay in the gaps of pages, where no later erasure finds them.
-- Of an archived one the row stays too, empty: it keeps the subject for an erasure. Whoever
-- archives rewrites the whole file afterwards, for the space and for those gaps.
CREATE TRIGGER body_no_update BEFORE UPDATE ON body BEGIN
  SELECT RAISE(ABORT, 'journal: a body is written once')
    WHERE NEW.position IS NOT OLD.position
      OR NEW.salt IS NOT zeroblob(32)
      OR NOT (
        NEW.data IS zeroblob(length(OLD.data)) AND NEW.subject IS NULL
          AND EXISTS (SELECT 1 FROM erasure WHERE position = OLD.position)
        OR NEW.data IS zeroblob(0) AND NEW.subject IS OLD.subject
          AND EXISTS (SELECT 1 FROM archive WHERE position = OLD.position));
END;
CREATE TRIGGER body_delete BEFORE DELETE ON body BEGIN
  SELECT RAISE(ABORT, 'journal: no erasure is recorded for this body')
    WHERE NOT EXISTS (SELECT 1 FROM erasure WHERE position = OLD.position);
END;
-- The bytes are searched as they are: inside a string every quote is escaped, so they can only be
-- the entry's own type. The JSON functions are refused in triggers where the schema isn't trusted.
CREATE TRIGGER erasure_insert BEFORE INSERT ON erasure BEGIN
  SELECT RAISE(ABORT, 'journal: erasures are append-only')
    WHERE EXISTS (SELECT 1 FROM erasure WHERE position = NEW.position);
  SELECT RAISE(ABORT, 'journal: an erasure needs its payload.erased event')
    WHERE NOT EXISTS (SELECT 1 FROM event WHERE position = NEW.by_position
      AND instr(entry, CAST('"type":"payload.erased","v":' AS BLOB)) > 0);
END;
CREATE TRIGGER erasure_no_update BEFORE UPDATE ON erasure BEGIN
  SELECT RAISE(ABORT, 'journal: erasures are append-only');
END;
CREATE TRIGGER erasure_no_delete BEFORE DELETE ON erasure BEGIN
  SELECT RAISE(ABORT, 'journal: erasures are append-only');
END;
CREATE TRIGGER archive_insert BEFORE INSERT ON archive BEGIN
  SELECT RAISE(ABORT, 'journal: a body is archived once')
    WHERE EXISTS (SELECT 1 FROM archive WHERE position = NEW.position);
  SELECT RAISE(ABORT, 'journal: the body was erased')
    WHERE EXISTS (SELECT 1 FROM erasure WHERE position = NEW.position);
  SELECT RAISE(ABORT, 'journal: an archived body needs its segment.archived event')
    WHERE NOT EXISTS (SELECT 1 FROM event WHERE position = NEW.by_position
      AND instr(entry, CAST('"type":"segment.archived","v":' AS BLOB)) > 0);
END;
CREATE TRIGGER archive_no_update BEFORE UPDATE ON archive BEGIN
  SELECT RAISE(ABORT, 'journal: archived bodies are append-only');
END;
CREATE TRIGGER archive_no_delete BEFORE DELETE ON archive BEGIN
  SELECT RAISE(ABORT, 'journal: archived bodies are append-only');
END;
