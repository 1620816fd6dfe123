"""Verifies a Refold journal, or an evidence bundle of one run, and needs nothing else of Refold.

    python verifier.py PATH [--key VKEY]... [--checkpoint FILE]... [--witness VKEY]...

PATH is a data directory, a journal.db or a bundle; it is only read. Give the log's public key as
its operator published it, and each checkpoint that you kept: what lies beside the evidence proves
that the evidence fits together, not whose it is. journal/README.md describes every format here.
Ends with 0 valid, 10 valid with erased bodies, 20 incomplete, 30 diverged from a kept checkpoint,
40 invalid. Needs Python 3.11 and the package "cryptography". At most 300 lines, to be read.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sqlite3
import struct
import zlib
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

VALID, ERASED, INCOMPLETE, DIVERGED, INVALID = 0, 10, 20, 30, 40
LEVELS = ("its bytes alone", "a signed checkpoint", "a kept checkpoint", "a witness")
NAMES = "README.txt checkpoint.txt evidence.txt keys.txt manifest.json verifier.py".split()
ENDS = (b"run.completed", b"run.failed", b"run.cancelled")
EMPTY_ROOT, SIZE_MAX, BUNDLE_MAX = sha256(b"").digest(), (1 << 53) - 1, 1 << 30
Key = tuple[str, bytes, int, bytes]  # name, id, kind (1 a log's, 4 a witness's), public key

# One full match says whether bytes are an entry: it knows no white space, one order of keys, one
# spelling of each string, and numbers up to 2^53 - 1. (Key order inside facts is looked at apart.)
_BELOW = [(str(SIZE_MAX)[:i], int(d), 15 - i) for i, d in enumerate(str(SIZE_MAX)) if d != "0"]
_N = "|".join(f"{front}[{int(not front)}-{d - 1}][0-9]{{{n}}}" for front, d, n in _BELOW)
_N = f"(?:0|[1-9][0-9]{{0,14}}(?![0-9])|{_N}|{SIZE_MAX})"
_C, _HEX, _STREAM = r'[^"\\\x00-\x1f]*+', "[0-9a-f]{64}", r"[ !#-\[\]-~]+"
_S = rf'"{_C}(?:\\(?:["\\bfnrt]|u00(?:0[0-7bef]|1[0-9a-f])){_C})*+"'
_F = rf'"{_C}":(?:{_S}|{_N})'
_KEYS = re.compile(_F.replace(_C, f"({_C})", 1).encode())
_ENTRY = re.compile(
    rf'\{{"actor":{_S},"at":({_N}),"cause":{_S},"corr":{_S},"facts":(\{{(?:{_F}(?:,{_F})*+)?\}}),'
    rf'"id":{_S},"journal":"({_C})","payload":"((?:{_HEX})?)","prev":"({_HEX})","schema":{_N},'
    rf'"src":"((?:{_STREAM}@[1-9][0-9]{{0,15}}#{_HEX})?)","stream":"({_STREAM})","tenant":({_S}),'
    rf'"type":"([a-z_.]+)","v":1,"version":({_N})\}}'.encode()
)
_LINE = "\u2014 [^\\s+]{1,300} [A-Za-z0-9+/]{8,8000}={0,2}\n"
_TEXT = "([^\\s+]{1,300})\n(0|[1-9][0-9]{0,15})\n([A-Za-z0-9+/]{43}=)\n"
_NOTE = re.compile(f"({_TEXT})\n((?:{_LINE}){{1,64}})")
_P = "([1-9][0-9]{0,15})"
_FRAME = f"{_P} (0|{_P[1:]} (?:({_HEX}) (0|{_P[1:]}|erased {_P}|none)\n(.*)\n"
_ROWS = """SELECT e.position, entry, body_at, salt, data, by_position, stream, version, at, leaf
  FROM event e LEFT JOIN body b ON b.position = e.position LEFT JOIN erasure x
  ON x.position = e.position WHERE e.position > ? ORDER BY e.position LIMIT 2000"""


class Fault(Exception):
    """Why evidence is not valid: the code to end with, and a sentence."""


class Result(NamedTuple):
    """What was found: `level` is an index into LEVELS, `erased` are positions of bodies."""

    code: int
    sentence: str
    level: int = 0
    erased: tuple[int, ...] = ()


class Checkpoint(NamedTuple):
    """A checkpoint that a known key has signed, and which known witnesses have."""

    origin: str
    size: int
    root: bytes
    witnesses: tuple[str, ...]


def demand(holds: object, where: int | str, what: str = "", code: int = INVALID) -> None:
    """Stop with a sentence, about an entry or anything else, unless something holds."""
    if not holds:
        raise Fault(code, f"The entry at position {where} {what}" if what else where)


def parse_key(text: str) -> Key:
    """Read a public key written NAME+ID+BASE64."""
    name, _, rest = text.partition("+")
    data = base64.b64decode(rest[9:], validate=True)
    id_ = sha256(name.encode() + b"\n" + data).digest()[:4]
    fits = len(data) == 33 and data[0] in (1, 4) and rest[:9] == id_.hex() + "+"
    demand(fits, f"{text[:99]!r} is not a public key of the form NAME+ID+BASE64.")
    return name, id_, data[0], data[1:]


def open_note(note: bytes, keys: Sequence[Key]) -> Checkpoint:
    """Read a checkpoint; whatever a known key has signed must be signed well."""
    found = _NOTE.fullmatch(note.decode()) if len(note) < 1 << 16 else None
    if found is None or base64.b64encode(base64.b64decode(found[4])).decode() != found[4]:
        raise Fault(INVALID, "A checkpoint is not a signed note of exactly three lines.")
    good = set[Key]()
    for line in found[5].splitlines():
        name, coded = line.split(" ")[1:]
        data, text = base64.b64decode(coded, validate=True), found[1].encode()
        for key in [key for key in keys if key[:2] == (name, data[:4])]:
            time, signature = (data[4:12], data[12:]) if key[2] == 4 else (b"", data[4:])
            if time:
                text = b"cosignature/v1\ntime %d\n" % struct.unpack(">Q", time) + text
            try:
                Ed25519PublicKey.from_public_bytes(key[3]).verify(signature, text)
            except Exception:
                raise Fault(INVALID, f"The signature by {name} on a checkpoint is wrong.") from None
            good.add(key)
    signed = any((name, kind) == (found[2], 1) for name, _, kind, _ in good)
    demand(signed, "A checkpoint is signed by no key of its log that is known here.")
    witnesses = sorted(name for name, _, kind, _ in good if kind == 4)
    return Checkpoint(found[2], int(found[3]), base64.b64decode(found[4]), tuple(witnesses))


def node(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (RFC 9162, section 2.1)."""
    return sha256(b"\x01" + left + right).digest()


def joint_roots(leaves: dict[int, bytes], size: int, cut: int, proof: list[bytes]) -> Any:
    """Return the roots of the trees of `size` and `cut` leaves that a joint proof gives.

    Its hashes, from the left, stand for the largest subtrees without leaves, none across the cut.
    """
    indexes, rest = sorted(leaves), proof[::-1]

    def fold(first: int, last: int) -> tuple[bytes, bytes]:
        at = bisect_left(indexes, first)
        is_empty = at == len(indexes) or indexes[at] >= last
        if last - first == 1 or (is_empty and not first < cut < last):
            whole = rest.pop() if is_empty else leaves[first]
            return whole, whole if last <= cut else b""
        middle = first + (1 << ((last - first - 1).bit_length() - 1))
        (left, old), (right, young) = fold(first, middle), fold(middle, last)
        return node(left, right), node(old, young) if young else old

    demand(
        0 <= cut <= size <= SIZE_MAX and indexes and indexes[-1] < size, "It is of another size."
    )
    root, front = fold(0, size)
    demand(not rest, "The proof has hashes to spare.")
    return root, front or EMPTY_ROOT


class Chain:
    """Checks entry after entry. `find` gives leaf, entry and body_at of a stream's version."""

    def __init__(self, find: Callable[[str, int], Any], has_gaps: bool) -> None:
        self.find, self.missing = find, INCOMPLETE if has_gaps else INVALID
        self.has_gaps, self.at, self.journal, self.erased = has_gaps, 0, b"", list[int]()
        self.heads, self.gone = dict[bytes, tuple[int, bytes]](), dict[int, Any]()

    def add(self, place: int, entry: bytes, body_at: int, *body: Any) -> tuple[Any, ...]:
        """Return leaf, at, facts, journal, payload, prev, src, stream, tenant, type, version."""
        leaf, found = sha256(b"\x00" + entry).digest(), _ENTRY.fullmatch(entry)
        if found is None or not (entry.isascii() or entry.decode()):
            raise Fault(INVALID, f"The entry at position {place} is not in canonical form.")
        at, facts, journal, payload, prev, src, stream, tenant, kind, version = found.groups()
        names, number, time = _KEYS.findall(facts), int(version), int(at)
        demand(all(map(bytes.__lt__, names, names[1:])), place, "has a fact twice or misplaced.")
        before, head = self.heads.get(stream, (0, b"0" * 64))
        if number == before + 1 or not (self.has_gaps and number > before):
            is_next = (number, prev) == (before + 1, head)
            demand(is_next, place, "does not follow the one before it in its stream.")
        else:
            is_run = stream.startswith(b"fl_run_")
            demand(not is_run, place, "is not preceded by all of its run.", INCOMPLETE)
        same = time >= self.at and journal == (self.journal or journal)
        demand(same, place, "is from another time or journal than the one before it.")
        self.at, self.journal, self.heads[stream] = time, journal, (number, leaf.hex().encode())
        own = place if payload and not src else 0
        if src:
            name, _, rest = src.decode().rpartition("@")
            source = self.find(name, int(rest[:-65]))
            demand(source, place, "was replayed from one that is not here.", self.missing)
            said, original = (rest[-64:], payload), _ENTRY.fullmatch(source[1])
            is_copy = original and (source[0].hex(), original[4]) == said
            demand(is_copy, place, "was not replayed from the entry that it names.")
        demand(body_at == (source[2] if src else own), place, "shows a body that is not its own.")
        salt, data, by = body
        if by is not None:
            self.gone[place] = by, stream, tenant
            self.erased.append(place)
            demand(own and not any((salt or b"") + (data or b"")), place, "is erased, and is not.")
        elif own:
            demand(salt is not None, place, "has lost its body: nothing says why.", self.missing)
            hashed = sha256(b"refold/payload/v1\x00" + (salt or b"") + (data or b"")).hexdigest()
            demand(hashed.encode() == payload, place, "has not the body that it is committed to.")
        else:
            demand(salt is None, place, "has a body that it is not committed to.")
        if kind == b"payload.erased":
            stated = json.loads(facts)
            told = place, stated["target"].encode(), tenant
            for one in map(int, stated["positions"].split()):
                is_true = self.gone.pop(one, told if self.has_gaps else None) == told
                demand(is_true, place, f"says that the body of {one} is gone, which it is not.")
        return leaf, *found.groups()


def verify_journal(path: Path, notes: list[Checkpoint], progress: Callable[..., object]) -> Chain:
    """Verify a journal.db, alone and against checkpoints."""
    mode = "ro" if path.with_name(path.name + "-wal").exists() else "ro&immutable=1"
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True)) as db:

        def ask(statement: str, *values: object) -> Any:
            return db.execute(statement, values).fetchone() or (None, None)

        def find(stream: str, version: int) -> Any:
            sought = "SELECT leaf, entry, body_at, position FROM event WHERE (stream, version)"
            return next(
                db.execute(f"{sought} = (?, ?) AND position <= {size}", (stream, version)), 0
            )

        formats = ask("PRAGMA application_id")[0], ask("PRAGMA user_version")[0]
        is_ours = formats in ((0x5245464F, 1), (0x5245464F, 2))
        demand(is_ours, "This is not a journal of a format that is known here.")
        demand(ask("PRAGMA integrity_check(1)")[0] == "ok", "The journal's tables are damaged.")
        chain, size, bodies, stack = Chain(find, has_gaps=False), 0, 0, list[bytes]()
        total, roots = ask("SELECT max(position) FROM event")[0] or 0, {0: EMPTY_ROOT}
        sizes = {note.size for note in notes}
        while rows := db.execute(_ROWS, (size,)).fetchall():
            for place, entry, body_at, salt, data, by, *columns in rows:
                entry_ = chain.add(place, entry, body_at, salt, data, by)
                size, bodies = size + 1, bodies + (salt is not None)
                leaf, stream, version, at = entry_[0], entry_[7], entry_[10], entry_[1]
                stated = [stream.decode(), int(version), int(at), leaf]
                demand((place, columns) == (size, stated), size, "does not stand in its own row.")
                stack.append(leaf)
                for _ in range((size & -size).bit_length() - 1):
                    right = stack.pop()
                    stack[-1] = node(stack[-1], right)
                if size in sizes:
                    roots[size] = stack[-1]
                    for left in stack[-2::-1]:
                        roots[size] = node(left, roots[size])
            progress(size, max(total, size))
        counts = ask("SELECT (SELECT count(*) FROM body), count(*) FROM erasure")
        is_all = counts == (bodies, len(chain.erased)) and not chain.gone
        demand(is_all, "A body is there, or gone, without an entry that accounts for it.")
        id_ = ask("SELECT id FROM journal WHERE format = 1")[0]
        demand(
            id_ == chain.journal.decode() or not size, "The journal has not the id of its entries."
        )
    for note in notes:
        demand(note.size <= size, f"Of {note.size} entries {size} are left.", code=DIVERGED)
        same = roots[note.size] == note.root
        demand(same, f"The first {note.size} entries are not a checkpoint's.", code=DIVERGED)
    return chain


def pack(files: dict[str, bytes]) -> bytes:
    """Return the one zip file of some contents: sorted, stored as they are, dated 1980."""
    data, directory = b"", b""
    for name, content in sorted(files.items()):
        sizes = zlib.crc32(content), len(content), len(content), len(name), 0
        meta = struct.pack("<HHHHHLLLHH", 20, 0, 0, 0, 33, *sizes)
        more = struct.pack("<HHHLL", 0, 0, 0, 0, len(data))
        directory += b"PK\x01\x02\x14\0" + meta + more + name.encode()
        data += b"PK\x03\x04" + meta + name.encode() + content
    end = 0, 0, len(files), len(files), len(directory), len(data), 0
    return data + directory + b"PK\x05\x06" + struct.pack("<HHHHLLH", *end)


def verify_bundle(raw: bytes, keys: list[Key]) -> tuple[Chain, Checkpoint, dict[int, bytes]]:
    """Verify a bundle; returns its checkpoint and the roots of all sizes that it proves."""
    files, at, before = dict[str, bytes](), 0, 0
    for name in NAMES:
        start = at + 30 + len(name)
        at = start + int.from_bytes(raw[at + 22 : at + 26], "little")
        files[name] = raw[start:at]
    demand(pack(files) == raw, "The bundle is no zip file of format 1, or it was changed.")
    said, is_hash = json.loads(files["manifest.json"]), re.compile(_HEX).fullmatch
    again = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    kind = [type(said[key]) for key in ("format", "hashes", "kept", "root", "run")]
    fits = kind == [int, list, int, str, str] and len(said) == 5 and said["format"] == 1
    fits = fits and all(map(is_hash, [said["root"], *said["hashes"]]))
    demand(fits and again == files["manifest.json"], "The bundle's manifest is not of format 1.")
    note = open_note(
        files["checkpoint.txt"], keys or list(map(parse_key, files["keys.txt"].decode().split()))
    )
    known, leaves = dict[tuple[str, int], Any](), dict[int, bytes]()
    chain, needed, there = Chain(lambda *of: known.get(of), has_gaps=True), set[Any](), set[Any]()
    data, at = files["evidence.txt"], 0
    while at < len(data):
        frame = re.compile(_FRAME.encode()).match(data, at)
        if frame is None:
            raise Fault(INVALID, f"The evidence is unreadable behind position {before}.")
        place, body_at, salt, length, by, entry = frame.groups()
        at, salted = frame.end(), bytes.fromhex(salt.decode()) if salt else None
        body = data[at : at + int(length)] if salt else None
        at += int(length) + 1 if salt else 0
        ordered = int(place) > before and data[at - 1 : at] == b"\n"
        demand(ordered, int(place), "does not stand where it should.")
        before = int(place)
        erased = int(by) if by else None
        found = chain.add(before, entry, int(body_at), salted, body, erased)
        stream, facts = found[7].decode(), json.loads(found[2])
        leaves[before - 1] = found[0]
        known[stream, int(found[10])] = found[0], entry, int(body_at), found[9]
        if found[9] == b"workflow.defined":
            there.add((stream, facts["workflow_version"]))
        if found[9] == b"run.requested":
            needed.add((facts["workflow"], facts["workflow_version"]))
            needed.add((facts["payload_run"] or stream, 0))
        there.add((stream, 0))
    proof = list(map(bytes.fromhex, said["hashes"]))
    root, front = joint_roots(leaves, note.size, said["kept"], proof)
    is_proven = root == note.root and front.hex() == said["root"]
    demand(is_proven, "The entries are not those that the checkpoint covers.")
    last = known.get((said["run"], chain.heads.get(said["run"].encode(), (0,))[0]))
    demand(last and last[3] in ENDS, "The run has no end in this bundle.", code=INCOMPLETE)
    demand(
        needed <= there, "A definition or an earlier run is not in this bundle.", code=INCOMPLETE
    )
    demand(not chain.gone, "An erasure's own entry is not in this bundle.", code=INCOMPLETE)
    return chain, note, {note.size: root, said["kept"]: front}


def verify(
    path: Path,
    keys: Sequence[str] = (),
    kept: Sequence[Path] = (),
    witnesses: Sequence[str] = (),
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Result:
    """Verify a data directory, a journal.db or a bundle. Never raises."""
    try:
        beside, own, path = (
            [],
            path / "checkpoint.note",
            path / "journal.db" if path.is_dir() else path,
        )
        if not keys and own.with_suffix(".pub").exists():
            beside = own.with_suffix(".pub").read_text("utf-8").split()
        known = [parse_key(key) for key in (*(keys or beside), *witnesses)]
        with path.open("rb") as file:
            is_journal = file.read(16) == b"SQLite format 3\0"
        if is_journal:
            notes = [open_note(file.read_bytes(), known) for file in [*kept, own] if file.exists()]
            chain = verify_journal(path, notes, progress)
        else:
            demand(path.stat().st_size <= BUNDLE_MAX, "The bundle is larger than 1 GiB.")
            chain, note, roots = verify_bundle(path.read_bytes(), known)
            notes = [*(open_note(file.read_bytes(), known) for file in kept), note]
            for one in notes:
                has = one.size in roots
                demand(has, f"No proof leads to size {one.size} in the bundle.", code=INCOMPLETE)
                same = roots[one.size] == one.root
                demand(same, f"The bundle contradicts the checkpoint {one.size}.", code=DIVERGED)
        origin = re.compile(f"[^/]+/{re.escape(chain.journal.decode())}(/g[1-9][0-9]*)?")
        ours = all(origin.fullmatch(note.origin) for note in notes)
        demand(ours or not chain.journal, "A checkpoint is of another journal.")
        level = 2 if kept else 1 if keys and notes else 0
        level = 3 if level and any(note.witnesses for note in notes) else level
    except Fault as fault:
        return Result(*fault.args)
    except FileNotFoundError:
        return Result(INCOMPLETE, f"There is nothing at {path}.")
    except Exception as error:
        return Result(INVALID, f"{path} can't be read as evidence ({type(error).__name__}).")
    erased = "".join(f", {len(chain.erased)} bodies are erased" for _ in chain.erased[:1])
    sentence = f"Valid by {LEVELS[level]}: all entries fit{erased}."
    return Result(ERASED if erased else VALID, sentence, level, tuple(chain.erased))


def main() -> int:
    """Read the command line, verify, and say what was found."""
    parser = argparse.ArgumentParser(description="Verify a Refold journal or an evidence bundle.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--key", action="append", default=[])
    parser.add_argument("--checkpoint", action="append", default=[], type=Path)
    parser.add_argument("--witness", action="append", default=[])
    given = parser.parse_args()
    found = verify(given.path, given.key, given.checkpoint, given.witness)
    print(found.sentence, *found.erased)
    return found.code


if __name__ == "__main__":
    raise SystemExit(main())
