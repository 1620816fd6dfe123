"""Verifies a Refold journal or an evidence bundle; needs Python 3.11 and "cryptography" alone.

    python verifier.py PATH [--key VKEY]... [--checkpoint FILE]... [--witness VKEY]...

PATH is a data directory, journal.db or bundle. Give the published key, and each checkpoint that you
kept. Ends with 0 valid, 10 valid with erased bodies, 20 incomplete, 30 diverged, 40 invalid.
"""

from __future__ import annotations

import argparse
import base64
import functools
import json
import re
import sqlite3
import struct
import zlib
from bisect import bisect_left
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

VALID, ERASED, INCOMPLETE, DIVERGED, INVALID = 0, 10, 20, 30, 40
LEVELS = ("its bytes alone", "a signed checkpoint", "a kept checkpoint", "a witness")
NOTE, PUBLIC = "checkpoint.note", "checkpoint.pub"
NAMES = ("README.txt", NOTE, PUBLIC, "evidence.txt", "proof.txt", "verifier.py")
ENDS = (b"run.completed", b"run.failed", b"run.cancelled")
SIZE_MAX, BUNDLE_MAX, EMPTY_ROOT = (1 << 53) - 1, 1 << 30, sha256(b"").digest()
Keys = dict[tuple[str, bytes], tuple[int, bytes]]  # name and id: kind (1 log, 4 witness) and key
Seq = list[str] | tuple[str, ...]
Checkpoint = tuple[str, int, bytes, list[str]]  # origin, size, root, names of known witnesses
Result = tuple[int, str, int, list[int]]  # code, sentence, level, positions of erased bodies

# One full match says whether bytes are an entry: one order, one spelling, numbers below 2^53.
_BELOW = [(str(SIZE_MAX)[:i], int(d), 15 - i) for i, d in enumerate(str(SIZE_MAX)) if d != "0"]
_BIG = "|".join(f"{front}[{int(not front)}-{d - 1}][0-9]{{{n}}}" for front, d, n in _BELOW)
_N = f"(?:0|[1-9][0-9]{{0,14}}(?![0-9])|{_BIG}|{SIZE_MAX})"
_C, _HEX, _STREAM = r'[^"\\\x00-\x1f]*+', "[0-9a-f]{64}", r"[ !#-\[\]-~]+"
_S = rf'"{_C}(?:\\(?:["\\bfnrt]|u00(?:0[0-7bef]|1[0-9a-f])){_C})*+"'
_F, _W, _B = rf'"{_C}":(?:{_S}|{_N})', r"[^\s+]{1,300}", "[A-Za-z0-9+/]"
_KEYS = re.compile(_F.replace(_C, f"({_C})", 1).encode())
_ENTRY = re.compile(
    rf'\{{"actor":{_S},"at":({_N}),"cause":{_S},"corr":{_S},"facts":(\{{(?:{_F}(?:,{_F})*+)?\}}),'
    rf'"id":{_S},"journal":"({_C})","payload":"((?:{_HEX})?)","prev":"({_HEX})","schema":{_N},'
    rf'"src":"((?:{_STREAM}@{_N}#{_HEX})?)","stream":"({_STREAM})","tenant":({_S}),'
    rf'"type":"([a-z_.]+)","v":1,"version":({_N})\}}'.encode()
)
_NOTE = f"(({_W})\n({_N})\n({_B}{{43}}=)\n)\n((?:\u2014 {_W} {_B}{{8,8000}}={{0,2}}\n){{1,64}})"
_PROOF = f"refold bundle 1\n(fl_run_[0-9a-z_]+)\n({_N}) ({_HEX})\n((?:{_HEX}\n)*)"
_FRAME = f"({_N}) ({_N}) (?:({_HEX}) ({_N})|erased ({_N})|archived ({_N})|none)\n(.*)\n"
_ROWS = """SELECT position, entry, body_at, salt, data, erasure.by_position, archive.by_position,
  stream, version, at, leaf FROM event LEFT JOIN body USING (position)
  LEFT JOIN erasure USING (position) LEFT JOIN archive USING (position) ORDER BY position"""
_COUNTS = "SELECT (SELECT count(*) FROM body), (SELECT count(*) FROM erasure), id FROM journal"
_FORMAT = """SELECT (application_id = 0x5245464F AND min(type = 'table')) * user_version
  FROM pragma_application_id, pragma_user_version, pragma_table_list"""
_FIND = "SELECT leaf, entry, body_at FROM event WHERE stream = ? AND version = ? AND position <= ?"


class Fault(Exception):
    """Why evidence is not valid: the code to end with, and a sentence."""


def demand(holds: object, where: int | str, what: str = "", code: int = INVALID) -> None:
    """Stop with a sentence, about an entry or anything else, unless something holds."""
    if not holds:
        raise Fault(code, f"The entry at position {where} {what}" if what else where)


def parse_keys(texts: Seq) -> Keys:
    """Read public keys written NAME+ID+BASE64."""
    keys: Keys = {}
    for text in texts:
        name, _, rest = text.partition("+")
        data = base64.b64decode(rest[9:], validate=True)
        id_ = sha256(name.encode() + b"\n" + data).digest()[:4]
        fits = (len(data), rest[:9]) == (33, id_.hex() + "+") and data[0] in (1, 4)
        demand(fits, "A public key is not of the form NAME+ID+BASE64.")
        keys[name, id_] = data[0], data[1:]
    return keys


def open_note(note: bytes, keys: Keys) -> Checkpoint:
    """Read a checkpoint; whatever a known key has signed must be signed well."""
    found: Any = re.fullmatch(_NOTE, note.decode()) if len(note) < 1 << 16 else None
    demand(found, "A checkpoint is not a signed note of exactly three lines.")
    text, root, good = found[1].encode(), base64.b64decode(found[4]), set[tuple[str, int]]()
    for name, coded in re.findall("\u2014 (.+) (.+)\n", found[5]):
        data = base64.b64decode(coded, validate=True)
        kind, raw = keys.get((name, data[:4]), (0, b""))
        if kind and base64.b64encode(data).decode() == coded:
            head = b"cosignature/v1\ntime %d\n" % int.from_bytes(data[4:12], "big") * (kind == 4)
            Ed25519PublicKey.from_public_bytes(raw).verify(data[12 if head else 4 :], head + text)
            good.add((name, kind))
    known = (found[2], 1) in good and base64.b64encode(root).decode() == found[4]
    demand(known, "A checkpoint is signed by no key of its log that is known here.")
    return found[2], int(found[3]), root, sorted(name for name, kind in good if kind == 4)


def node(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (RFC 9162, section 2.1)."""
    return sha256(b"\x01" + left + right).digest()


def joint_roots(leaves: dict[int, bytes], size: int, cut: int, proof: list[bytes]) -> Any:
    """Return the roots of the trees of `size` and `cut` leaves that a joint proof gives."""
    indexes, rest = sorted(leaves), proof[::-1]

    def fold(first: int, last: int) -> tuple[bytes, bytes]:
        is_empty = bisect_left(indexes, first) == bisect_left(indexes, last)
        if last - first == 1 or (is_empty and not first < cut < last):
            whole = rest.pop() if is_empty else leaves[first]
            return whole, whole if last <= cut else b""
        middle = first + (1 << ((last - first - 1).bit_length() - 1))
        (left, old), (right, young) = fold(first, middle), fold(middle, last)
        return node(left, right), node(old, young) if young else old

    demand(indexes and indexes[-1] < size and cut <= size, "The proof is of another size.")
    root, front = fold(0, size)
    demand(not rest, "The proof has hashes to spare.")
    return root, front or EMPTY_ROOT


class Chain:
    """Checks entry after entry. `find` gives leaf, entry, body_at by stream and version."""

    def __init__(self, find: Callable[[str, int, int], Any], has_gaps: bool) -> None:
        self.find, self.has_gaps, self.at, self.place, self.journal = find, has_gaps, 0, 0, b""
        self.gone, self.heads = dict[Any, Any](), dict[bytes, Any]()
        self.erased, self.archived = list[int](), list[Any]()

    def add(self, place: int, entry: bytes, body_at: int, salt: Any, data: Any, lost: Any) -> Any:
        """Return leaf, at, facts, journal, payload, prev, src, stream, tenant, type, version."""
        leaf, found = sha256(b"\x00" + entry).digest(), cast(Any, _ENTRY.fullmatch(entry))
        demand(found and (entry.isascii() or entry.decode()), place, "is not in canonical form.")
        at, facts, journal, payload, prev, src, stream, tenant, kind, version = found.groups()
        names, number, time = _KEYS.findall(facts), int(version), int(at)
        demand(all(map(bytes.__lt__, names, names[1:])), place, "has a fact twice or misplaced.")
        before, head = self.heads.get(stream, (0, b"0" * 64))
        gap, lack = self.has_gaps and number > before + 1, INCOMPLETE if self.has_gaps else INVALID
        demand(not gap or stream[:7] != b"fl_run_", place, "misses some of its run.", INCOMPLETE)
        demand(gap or (number, prev) == (before + 1, head), place, "does not follow its stream.")
        same = time >= self.at and journal == (self.journal or journal)
        demand(same, place, "is from another time or journal than the one before it.")
        self.at, self.place, self.journal = time, place, bytes(journal)
        self.heads[stream] = number, leaf.hex().encode()
        own = place if payload and not src else 0
        if src:
            name, _, rest = src.decode().rpartition("@")
            source = self.find(name, int(rest[:-65]), place - 1)
            demand(source, place, "was replayed from one that is not here.", lack)
            first: Any = _ENTRY.fullmatch(source[1])
            same = (source[0].hex(), first[4], source[2]) == (rest[-64:], payload, body_at)
            demand(same, place, "was not replayed from the entry that it names.")
        demand(src or body_at == own, place, "shows a body that is not its own.")
        body = (salt or b"") + (data or b"")
        if lost[0] is not None:
            self.gone[b"payload.erased", place] = (lost[0], stream, tenant), b""
            self.erased.append(place)
        if lost[1] is not None:
            self.gone[b"segment.archived", place] = (lost[1], b"", b'""'), payload * (not lost[0])
        if lost != (None, None):
            demand(own and not body.strip(b"\0"), place, "has a body that is said to be gone.")
        elif own:
            demand(salt is not None, place, "has lost its body, and nothing says why.", lack)
            hashed = sha256(b"refold/payload/v1\x00" + body).hexdigest().encode()
            demand(hashed == payload, place, "has not the body that it is committed to.")
        demand(own or salt is None, place, "has a body that it is not committed to.")
        if kind in (b"payload.erased", b"segment.archived"):
            told = place, (said := json.loads(facts)).get("target", "").encode(), tenant
            for one in map(int, said["positions"].split()):
                gone, payload = self.gone.pop((kind, one), (self.has_gaps and told, b""))
                demand(gone == told, place, f"says wrongly that the body of {one} is gone.")
                self.archived += [(said["name"], said["digest"], one, payload)] if payload else []
        return leaf, *found.groups()


def verify_journal(path: Path, notes: list[Checkpoint], tell: Any) -> Any:
    """Verify a journal.db; return its roots at the sizes of some checkpoints."""
    alone = not (Path(f"{path}-wal").exists() or Path(f"{path}-journal").exists())
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable={alone:d}", uri=True)) as db:
        (ask := db.execute)("BEGIN")  # What is read is one moment of a journal that may be growing.
        version = ask(_FORMAT).fetchone()[0]
        demand(version in (1, 2, 3), "This is no journal of a known format.")
        ask("SELECT 1" if version > 2 else "CREATE TEMP TABLE archive (position, by_position)")
        demand(ask("PRAGMA integrity_check(1)").fetchone()[0] == "ok", "The tables are damaged.")
        size, bodies, stack, roots = 0, 0, list[bytes](), {note[1]: b"" for note in notes}
        rows, chain = ask(_ROWS), Chain(lambda s, n, p: ask(_FIND, (s, n, p)).fetchone(), False)
        while page := rows.fetchmany(2000):
            for place, entry, body_at, salt, data, by, to, *row in page:
                leaf, at, *_, name, _, _, n = chain.add(place, entry, body_at, salt, data, (by, to))
                size, bodies = size + 1, bodies + (salt is not None)
                same = [place, *row] == [size, name.decode(), int(n), int(at), leaf]
                demand(same, size, "does not stand where its row says.")
                stack.append(leaf)
                for _ in range((size & -size).bit_length() - 1):
                    stack[-2:] = [node(stack[-2], stack[-1])]
                if size in roots:
                    roots[size] = functools.reduce(lambda a, b: node(b, a), stack[::-1])
            tell(size, ask("SELECT max(position) FROM event").fetchone()[0])
        fits = ask(_COUNTS).fetchall() == [(bodies, len(chain.erased), chain.journal.decode())]
        demand((fits and not chain.gone) or not size, "The tables do not account for the entries.")
    return chain, roots


def unpack(raw: bytes) -> dict[str, bytes]:
    """Return the contents of a bundle: one exact zip file, sorted, stored as it is, dated 1980."""
    files, data, directory = dict[str, bytes](), b"", b""
    for name in NAMES:
        start = len(data) + 30 + len(name)
        text = raw[start : start + int.from_bytes(raw[len(data) + 22 : len(data) + 26], "little")]
        meta = struct.pack("<H6xHLLLL", 20, 33, zlib.crc32(text), len(text), len(text), len(name))
        directory += b"PK\x01\x02\x14\0" + meta + struct.pack("<10xL", len(data)) + name.encode()
        data += b"PK\x03\x04" + meta + name.encode() + text
        files[name] = text
    end = struct.pack("<LLHHLL2x", 0x06054B50, 0, len(files), len(files), len(directory), len(data))
    demand(raw == data + directory + end, "This is no bundle of format 1, or it was changed.")
    return files


def verify_bundle(files: dict[str, bytes], notes: list[Checkpoint]) -> Any:
    """Verify a bundle against its checkpoint; return the roots that it proves."""
    known, leaves, kinds = dict[Any, Any](), dict[int, bytes](), dict[str, bytes]()
    chain, needed, there = Chain(lambda s, n, _: known.get((s, n)), True), set[Any](), set[Any]()
    data, at, place, match = files["evidence.txt"], 0, 0, re.compile(_FRAME.encode()).match
    while at < len(data):
        frame: Any = match(data, at)
        demand(frame, f"The evidence behind position {place} can't be read.")
        after, body_at, salt, length, by, to, entry = frame.groups()
        body = data[frame.end() : frame.end() + int(length or 0)]
        at = frame.end() + (len(body) + 1 if salt else 0)
        demand(int(after) > place and data[at - 1 : at] == b"\n", f"What follows {place} is cut.")
        place, salt = int(after), salt and bytes.fromhex(salt.decode())
        found = chain.add(place, entry, int(body_at), salt, body, (by and int(by), to and int(to)))
        stream, kind, facts = found[7].decode(), found[9], json.loads(found[2])
        leaves[place - 1], kinds[stream] = found[0], kind
        known[stream, int(found[10])] = found[0], entry, int(body_at)
        there.add((stream, facts.get("workflow_version")))
        if kind == b"run.requested":
            needed.add((facts["workflow"], facts["workflow_version"]))
            demand(kinds.get(facts["payload_run"] or stream), place, "misses its run.", INCOMPLETE)
    proof: Any = re.fullmatch(_PROOF, files["proof.txt"].decode())
    hashes, cut, (_, size, signed, _) = proof[4].split(), int(proof[2]), notes[0]
    root, front = joint_roots(leaves, size, cut, list(map(bytes.fromhex, hashes)))
    demand((root, front.hex()) == (signed, proof[3]), "The proof is not the checkpoint's.")
    is_whole = kinds.get(proof[1]) in ENDS and needed <= there and not chain.gone
    demand(is_whole, "The run's end, its definition or an erasure is missing.", code=INCOMPLETE)
    return chain, {cut: front, size: root}


def verify(
    path: Path, keys: Seq = (), kept: Seq = (), witnesses: Seq = (), tell: Any = max, ask: Any = set
) -> Result:
    """Verify a data directory, a journal.db or a bundle. Never raises."""
    try:
        folder, path = path, (path / "journal.db" if path.is_dir() else path).resolve()
        with path.open("rb") as file:
            is_db = (raw := file.read(16)) == b"SQLite format 3\0"
            files = {} if is_db else unpack(raw + file.read(BUNDLE_MAX))
        files |= {n: (folder / n).read_bytes() for n in (NOTE, PUBLIC) if (folder / n).exists()}
        logs = parse_keys(keys or files.get(PUBLIC, b"").decode().split())
        known = {name: key for name, key in logs.items() if key[0] == 1} | parse_keys(witnesses)
        own = [files[NOTE]] if NOTE in files else []
        notes = [open_note(n, known) for n in [*own, *(Path(file).read_bytes() for file in kept)]]
        chain, roots = verify_journal(path, notes, tell) if is_db else verify_bundle(files, notes)
        for origin, size, root, _ in notes:
            code = DIVERGED if is_db or size in roots else INCOMPLETE
            demand(roots.get(size) == root, f"This is not the signed tree of {size}.", code=code)
            ours = f"/{chain.journal.decode()}/" in origin + "/"
            demand(ours, "A checkpoint is of another journal.")
        trusted = [n for i, n in enumerate(notes) if keys or n[3] or i >= len(own)]
        level = 3 if any(n[3] for n in notes) else 2 if kept else 1 if trusted else 0
        has_all = chain.place and (trusted or not keys) and (level == 3 or not witnesses)
        demand(not ask(chain.archived), "Archived bodies are not at hand.", code=INCOMPLETE)
        demand(has_all, "Entries, a checkpoint or a cosignature is missing.", code=INCOMPLETE)
    except Fault as fault:
        return fault.args[0], str(fault.args[1]), 0, []
    except Exception as error:
        is_shut = getattr(error, "sqlite_errorcode", 0) & 255 in (5, 14)  # Locked, or unreadable.
        code = INCOMPLETE if is_shut or isinstance(error, OSError) else INVALID
        return code, f"{path} can't be taken as evidence ({type(error).__name__}).", 0, []
    gone, covered = chain.erased, max((note[1] for note in trusted), default=0)
    said = f", to entry {covered} of {chain.place}" if 0 < covered < chain.place else ""
    said += f", with {len(gone)} erased of its bodies" if gone else ""
    return ERASED if gone else VALID, f"Valid, by {LEVELS[level]}{said}.", level, gone


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Verify a Refold journal or an evidence bundle.")
    parser.add_argument("path", type=Path)
    for option in ("--key", "--checkpoint", "--witness"):
        parser.add_argument(option, action="append", default=[])
    code, said, _, gone = verify(*vars(parser.parse_args()).values())
    print(said, *gone)
    raise SystemExit(code)
