"""Random changes of evidence, as a seed draws them: of bytes, of a bundle's parts, of rows."""

from __future__ import annotations

import base64
import random
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from refold.journal import merkle, verifier
from refold.journal.bundle import pack
from refold.journal.checkpoint_keys import public_key, sign_note
from refold.journal.envelope import leaf_hash
from tests.support.evidence_kit import OTHER, Evidence, root_of

Files = dict[str, bytes]
Dice = random.Random
EVIDENCE, PROOF = "evidence.txt", "proof.txt"
FRAME = re.compile(rb"(\d+) (\d+) (?:([0-9a-f]{64}) (\d+)|erased \d+|none)\n.*\n")
NUMBER = re.compile(rb"(?<![0-9a-f])[0-9]+(?![0-9a-f])")
KEY = re.compile(rb'"[a-z_]+":(?:"[^"\\]*"|[0-9]+)')


def changed(data: bytes, dice: Dice) -> bytes:
    """Change bytes somewhere: a byte, a bit, an insertion, a deletion, an exchange, a cut."""
    at, length = dice.randrange(len(data)), dice.choice((1, 1, 2, 7, 64))
    kind = dice.randrange(7)
    if kind == 0:
        return data[:at] + dice.randbytes(1) + data[at + 1 :]
    if kind == 1:
        return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + dice.randbytes(length) + data[at:]
    if kind == 3:
        return data[:at] + data[at + length :]
    if kind == 4:
        first, second = sorted((at, dice.randrange(len(data))))
        a, b = data[first : first + length], data[second : second + length]
        rest = data[first + length : second], data[second + length :]
        return data[:first] + b + rest[0] + a + rest[1]
    if kind == 5:
        return data[:at]
    return data[:at] + data[at : at + length] * 2 + data[at + length :]


def frames(evidence: bytes) -> list[bytes]:
    """Part the evidence of a bundle into its frames."""
    found, at = list[bytes](), 0
    while at < len(evidence):
        frame = FRAME.match(evidence, at)
        assert frame is not None
        end = frame.end() + (int(frame[4]) + 1 if frame[3] else 0)
        found.append(evidence[at:end])
        at = end
    return found


def frames_of_run(evidence: Evidence, run: str) -> list[bytes]:
    """Make the frames of a run that is in no bundle of this evidence."""
    statement = (
        "SELECT position, body_at, entry, salt, data FROM event LEFT JOIN body USING (position) "
        "WHERE stream = ? ORDER BY position"
    )
    made = list[bytes]()
    with closing(sqlite3.connect(evidence.file)) as connection:
        for position, body_at, entry, salt, data in connection.execute(statement, (run,)):
            state = b"none" if salt is None else b"%s %d" % (salt.hex().encode(), len(data))
            rest = b"" if salt is None else data + b"\n"
            made.append(b"%d %d %s\n%s\n%s" % (position, body_at, state, entry, rest))
    return made


def number_of_another_size(dice: Dice) -> bytes:
    """Make what must not be taken for a number: too large, padded, signed, of another alphabet."""
    return dice.choice(
        (
            b"9007199254740992",
            b"9" * dice.choice((16, 17, 19, 20, 5000)),
            b"%d" % ((1 << dice.choice((53, 63, 64, 128))) + dice.randrange(9)),
            b"0%d" % dice.randrange(1000),
            b"-%d" % dice.randrange(1000),
            b"1e3",
            b"1.0",
            "\u0661".encode(),
            b"",
        )
    )


class BundleMutants:
    """Draws changed bundles; what two other journals and runs give is made once."""

    def __init__(self, mine: Evidence, other: Evidence) -> None:
        self.mine, self.other = mine, other
        self.files, self.alien = verifier.unpack(mine.bundle), verifier.unpack(other.bundle)
        self.frames = frames(self.files[EVIDENCE])
        self.strange = frames(self.alien[EVIDENCE]) + frames_of_run(mine, OTHER)
        with closing(sqlite3.connect(mine.file)) as connection:
            rows = connection.execute("SELECT leaf FROM event ORDER BY position").fetchall()
        self.leaves = [row[0] for row in rows]
        self.kinds: tuple[Callable[[Dice], Files | bytes], ...] = (
            lambda dice: changed(mine.bundle, dice),
            self.part_changed,
            self.part_changed,
            lambda dice: {(name := self._name(dice)): self.alien[name]},
            self.spliced,
            self.spliced,
            self.resigned,
            self.number,
            self.doubled_key,
            self.path,
            self.forged_prior_root,
            self.proof_of_another_size,
            self.other_hashes,
        )

    def draw(self, dice: Dice) -> bytes:
        """Return a changed bundle, now and then the bundle itself."""
        made = dice.choice(self.kinds)(dice)
        return made if isinstance(made, bytes) else pack(self.files | made)

    def _name(self, dice: Dice) -> str:
        return dice.choice((verifier.NOTE, EVIDENCE, PROOF))

    def part_changed(self, dice: Dice) -> Files:
        """Change bytes of one of the files, and pack it as if it had been made so."""
        name = self._name(dice)
        return {name: changed(self.files[name], dice)}

    def spliced(self, dice: Dice) -> Files:
        """Take a frame out, double it, or put one of another run or journal in its place."""
        own = list(self.frames)
        at = dice.randrange(len(own))
        kind = dice.randrange(5)
        if kind == 0:
            own.insert(at, dice.choice(self.strange))
        elif kind == 1:
            same_place = [f for f in self.strange if f.split()[0] == own[at].split()[0]]
            own[at : at + 1] = [dice.choice(same_place or self.strange)]
        else:
            own[at : at + 1] = ([], [own[at]] * 2, [own[at - 1]])[kind - 2]
        return {EVIDENCE: b"".join(own)}

    def resigned(self, dice: Dice) -> Files:
        """Sign the root or another with another key, under the log's name, id and key or not."""
        key = Ed25519PrivateKey.from_private_bytes(dice.randbytes(32))
        origin, size = self.mine.note.decode().split("\n")[:2]
        root = dice.randbytes(32) if dice.random() < 0.5 else root_of(self.leaves)
        note = sign_note(origin, int(size), root, [key])
        text, right = note[: note.index(b"\n\n") + 1], self.mine.note.split(b"\n")[4]
        kind = dice.randrange(4)
        if kind == 0:
            # The right key's signature of another text.
            note = text + b"\n" + right + b"\n"
        elif kind == 1:
            # A signature that says that it is by the right key.
            dash, name, coded = right.split(b" ")
            data = base64.b64encode(base64.b64decode(coded)[:4] + key.sign(text))
            note = text + b"\n" + b" ".join((dash, name, data)) + b"\n"
        if note == self.mine.note:
            return {}
        return {verifier.NOTE: note, verifier.PUBLIC: f"{public_key(origin, key)}\n".encode()}

    def number(self, dice: Dice) -> Files:
        """Put something else where a number stands."""
        name = self._name(dice)
        text = self.files[name]
        place = dice.choice(list(NUMBER.finditer(text)))
        return {name: text[: place.start()] + number_of_another_size(dice) + text[place.end() :]}

    def doubled_key(self, dice: Dice) -> Files:
        """Let an entry have a key twice, with the same value or with another."""
        own = list(self.frames)
        at = dice.randrange(len(own))
        own[at] = with_a_key_twice(own[at], dice)
        return {EVIDENCE: b"".join(own)}

    def path(self, dice: Dice) -> bytes:
        """Name one of the files otherwise, or add one: a long path, one that leads out."""
        name = dice.choice(verifier.NAMES)
        other = dice.choice(
            ("../" * dice.randrange(1, 9) + name, "x" * dice.choice((1, 300, 60_000)), "/" + name)
        )
        files = dict(self.files)
        text = files.pop(name) if dice.random() < 0.5 else files[name]
        return pack(files | {other: text})

    def forged_prior_root(self, dice: Dice) -> Files:
        """Say that the bundle leads to another earlier checkpoint than it does."""
        lines = self.files[PROOF].split(b"\n")
        cut, root = lines[2].split()
        kind = dice.randrange(3)
        if kind == 0:
            root = dice.randbytes(32).hex().encode()
        elif kind == 1:
            root = self.alien[PROOF].split(b"\n")[2].split()[1]
        else:
            cut = b"%d" % dice.choice([n for n in range(30) if n != int(cut)])
        lines[2] = cut + b" " + root
        return {PROOF: b"\n".join(lines)}

    def other_hashes(self, dice: Dice) -> Files:
        """Let the proof have a hash more or less, or two of them in each other's place."""
        lines = self.files[PROOF].splitlines(keepends=True)
        head, hashes = lines[:3], lines[3:]
        at, kind = dice.randrange(len(hashes)), dice.randrange(4)
        if kind == 0:
            hashes.append(dice.randbytes(32).hex().encode() + b"\n")
        elif kind == 1:
            hashes.insert(at, dice.choice(hashes))
        elif kind == 2:
            del hashes[at]
        else:
            hashes[at], hashes[0] = hashes[0], hashes[at]
        return {PROOF: b"".join(head + hashes)}

    def proof_of_another_size(self, dice: Dice) -> Files:
        """Give the true proof of a tree of another size, or one that is cut elsewhere."""
        places = [int(frame.split()[0]) - 1 for frame in self.frames]
        total, known = len(self.leaves), int(self.files[PROOF].split(b"\n")[2].split()[0])
        size, cut = dice.choice(
            [(s, known) for s in range(places[-1] + 1, total)]
            + [(total, c) for c in range(total + 1) if c != known]
        )
        hashes = merkle.joint_proof(
            lambda _, first, last: b"".join(self.leaves[first:last]), places, size, cut
        )
        run = self.files[PROOF].split(b"\n")[1].decode()
        text = f"refold bundle 1\n{run}\n{cut} {root_of(self.leaves[:cut]).hex()}\n"
        return {PROOF: (text + "".join(f"{found.hex()}\n" for found in hashes)).encode()}


def with_a_key_twice(data: bytes, dice: Dice) -> bytes:
    """Repeat one of an entry's members beside or far from itself."""
    found = list(KEY.finditer(data))
    first, second = dice.choice(found), dice.choice(found)
    member = first[0] if dice.random() < 0.5 else first[0][:-1].rstrip(b'"0123456789') + b'"x"'
    return data[: second.start()] + member + b"," + data[second.start() :]


def _cell(value: Any, dice: Dice) -> Any:
    """Change a value of a row, mostly within its type."""
    if value is None or dice.random() < 0.1:
        return dice.choice((None, 0, -1, "", b"", "x", b"\0" * 32, 1.5))
    if isinstance(value, int):
        return dice.choice((value + 1, value - 1, -value, 0, 1 << 53, value ^ 1 << 40))
    if isinstance(value, str):
        return changed(value.encode(), dice).decode("latin-1") if value else "x"
    return changed(value, dice) if value else b"x"


COLUMNS = {
    "event": ("position", "stream", "version", "at", "entry", "leaf", "body_at"),
    "body": ("position", "salt", "data"),
    "erasure": ("position", "by_position"),
    "journal": ("id",),
}


def change_rows(connection: sqlite3.Connection, alien: sqlite3.Connection, dice: Dice) -> None:
    """Change rows as somebody with the file in hand may; may change nothing."""
    table = dice.choice(("event", "event", "event", "body", "body", "erasure", "journal"))
    ids = [row[0] for row in connection.execute(f"SELECT rowid FROM {table}")]
    where, kind = dice.choice(ids), dice.randrange(6)
    if kind == 0:
        connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (where,))
    elif kind in (1, 2):
        column = dice.choice(COLUMNS[table])
        statement = f"SELECT {column} FROM {table} WHERE rowid = ?"
        value = _cell(connection.execute(statement, (where,)).fetchone()[0], dice)
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, where))
    elif kind == 3:
        row = dice.choice(alien.execute(f"SELECT * FROM {table}").fetchall())
        marks = ", ".join("?" * len(row))
        connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)
    elif kind == 4:
        row = connection.execute(f"SELECT * FROM {table} WHERE rowid = ?", (where,)).fetchone()
        marks = ", ".join("?" * len(row))
        connection.execute(
            f"INSERT OR REPLACE INTO {table} VALUES ({marks})", (dice.choice(ids) + 1, *row[1:])
        )
    else:
        change_entry(connection, dice)


def change_entry(connection: sqlite3.Connection, dice: Dice) -> None:
    """Change an entry and mend what a forger can: its leaf, and each `prev` and leaf after it."""
    position, entry = dice.choice(
        connection.execute("SELECT position, entry FROM event").fetchall()
    )
    made = with_a_key_twice(entry, dice) if dice.random() < 0.3 else changed(entry, dice)
    mend_chain(connection, position, made)


def mend_chain(connection: sqlite3.Connection, position: int, entry: bytes) -> None:
    """Put an entry in a place, and mend every leaf and every `prev` and `src` that follow it."""
    swaps = dict[bytes, bytes]()
    rows = connection.execute(
        "SELECT position, entry, leaf FROM event WHERE position >= ? ORDER BY position", (position,)
    )
    for place, old, leaf in rows.fetchall():
        new = entry if place == position else old
        for before, after in swaps.items():
            new = new.replace(before, after)
        if new != old:
            swaps[leaf.hex().encode()] = leaf_hash(new).hex().encode()
            connection.execute(
                "UPDATE event SET entry = ?, leaf = ? WHERE position = ?",
                (new, leaf_hash(new), place),
            )
