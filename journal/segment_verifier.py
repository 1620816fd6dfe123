"""Verifies segments of archived runs: one alone, or those that a journal says its bodies are in.

Stands on the verifier alone (verifier.py) and shares no code with what writes segments. A segment
is a folder of its name with the files `entries` and `bodies`, a note of the log about each of them
(`entries.note`, `bodies.note`), and `checkpoint.pub`; journal/README.md has its format.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from . import verifier
from .verifier import ERASED, INCOMPLETE, INVALID, PUBLIC, VALID, Fault, Result, demand

ENTRIES: Final = "entries"
BODIES: Final = "bodies"
DIRECTORY: Final = "segments"
"""Where a data directory has its segments, unless they are put elsewhere."""
NAME: Final = re.compile("segment-([0-9]{6,12})")
NOT_HERE: Final = frozenset({b"erased", b"archived"})
"""What stands in place of a body that is gone for ever, or in an earlier segment."""

_N: Final = "(0|[1-9][0-9]{0,15})"
_ENTRY: Final = re.compile(f"{_N} {_N}\n(.*)\n".encode())
_BODY: Final = re.compile(f"{_N} (?:([0-9a-f]{{64}}) {_N}|(erased|archived))\n".encode())

Held = dict[int, bytes]
"""Salt and body by position, or a word of `NOT_HERE`."""


def note_of(part: str) -> str:
    """Return the name of the file that holds the log's note about a part."""
    return f"{part}.note"


def read_entries(folder: Path) -> tuple[bytes, list[tuple[int, int, bytes]]]:
    """Return the bytes of a segment's entries, and position, body_at and entry of each.

    Raises:
        Fault: the file is not in its form.
        OSError: it can't be read.
    """
    data = (folder / ENTRIES).read_bytes()
    found: list[tuple[int, int, bytes]] = []
    at = 0
    while at < len(data):
        match = _ENTRY.match(data, at)
        if match is None or (found and int(match[1]) <= found[-1][0]):
            raise Fault(INVALID, f"The entries of {folder.name} can't be read at byte {at}.")
        found.append((int(match[1]), int(match[2]), match[3]))
        at = match.end()
    return data, found


def read_bodies(folder: Path) -> tuple[bytes, Held]:
    """Return the bytes of a segment's bodies, and what they say of each position.

    Raises:
        Fault: the file is not in its form.
        OSError: it can't be read.
    """
    data = (folder / BODIES).read_bytes()
    found: Held = {}
    at = last = 0
    while at < len(data):
        match = _BODY.match(data, at)
        if match is None or int(match[1]) <= last:
            raise Fault(INVALID, f"The bodies of {folder.name} can't be read at byte {at}.")
        at, last = match.end(), int(match[1])
        found[last] = match[4] or b""
        if match[2]:
            end = at + int(match[3])
            if data[end : end + 1] != b"\n":
                raise Fault(INVALID, f"The bodies of {folder.name} are cut behind position {last}.")
            found[last], at = bytes.fromhex(match[2].decode()) + data[at:end], end + 1
    return data, found


def is_segment(path: Path) -> bool:
    """Tell whether a path is the folder of a segment."""
    return NAME.fullmatch(path.absolute().name) is not None and (path / ENTRIES).is_file()


def segments_in(folder: Path) -> list[Path]:
    """Return the segments that stand in a folder, in order."""
    return sorted(path for path in folder.glob("segment-*") if is_segment(path))


def verify(
    path: Path,
    keys: Sequence[str] = (),
    kept: Sequence[str] = (),
    witnesses: Sequence[str] = (),
    tell: Any = max,
    *,
    segments: Path | None = None,
) -> Result:
    """Verify what `verifier.verify` does, with the segments that it needs, or a segment alone.

    `segments` is the folder that they stand in, by default `segments` in the data directory.
    Never raises. Bodies that are in a segment that is not there make the evidence incomplete; so
    does a segment that still has a body which the journal says is erased.
    """
    if is_segment(path):
        return _verify_alone(path, list(keys))
    shelf = _Shelf(segments or (path if path.is_dir() else path.parent) / DIRECTORY)
    found = verifier.verify(path, list(keys), list(kept), list(witnesses), tell, shelf.lacking)
    return shelf.judged(found)


class _Shelf:
    """The segments in a folder, held against what a journal says of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._absent: list[str] = []
        self._there: dict[str, set[int]] = {}
        """Positions of the bodies in each segment that was opened."""

    def lacking(self, archived: Sequence[tuple[str, str, int, bytes]]) -> list[str]:
        """Check name, digest, position and commitment of bodies; return the names not here."""
        wanted: dict[str, list[tuple[str, int, bytes]]] = {}
        for name, digest, position, payload in archived:
            wanted.setdefault(name, []).append((digest, position, payload))
        for name, bodies in wanted.items():
            folder = self._folder / name
            if not NAME.fullmatch(name) or not (folder / ENTRIES).is_file():
                self._absent.append(name if NAME.fullmatch(name) else repr(name))
                continue
            digest, held = self._open(folder)
            for said, position, payload in bodies:
                demand(said == digest, f"This is not the {name} that the journal names.")
                body = held.get(position, b"")
                fits = sha256(b"refold/payload/v1\x00" + body).hexdigest().encode() == payload
                demand(fits, f"{name} has not the body of position {position}.")
        return self._absent

    def judged(self, found: Result) -> Result:
        """Name what is absent; and demand that no erased body is left in a segment."""
        if found[0] == INCOMPLETE and self._absent:
            names = ", ".join(self._absent)
            return INCOMPLETE, f"Bodies are in {names}, which is not here.", 0, found[3]
        if found[0] not in (VALID, ERASED):
            return found
        erased = set(found[3])
        try:
            for folder in segments_in(self._folder) if erased else ():
                if folder.name not in self._there:
                    self._open(folder)
                left = erased & self._there[folder.name]
                demand(not left, _left(folder.name, len(left)), code=INCOMPLETE)
        except Fault as fault:
            return fault.args[0], str(fault.args[1]), 0, found[3]
        except OSError as error:
            return INCOMPLETE, f"A segment can't be read ({type(error).__name__}).", 0, found[3]
        return found

    def _open(self, folder: Path) -> tuple[str, Held]:
        entries, held = (folder / ENTRIES).read_bytes(), read_bodies(folder)[1]
        self._there[folder.name] = {at for at, body in held.items() if body not in NOT_HERE}
        return sha256(entries).hexdigest(), held


def _left(name: str, count: int) -> str:
    return f"{name} still has {count} erased bodies: run refold archive --scrub."


def _verify_alone(folder: Path, keys: list[str]) -> Result:
    """Verify a segment by itself. Never raises."""
    try:
        known = verifier.parse_keys(keys or (folder / PUBLIC).read_text("utf-8").split())
        chain, counts = _follow(folder)
        for part, count in counts.items():
            _check_note(folder, part, count, chain.journal.decode(), known)
    except Fault as fault:
        return fault.args[0], str(fault.args[1]), 0, []
    except Exception as error:
        code = INCOMPLETE if isinstance(error, FileNotFoundError) else INVALID
        said = f"{folder.name} can't be taken as a segment ({type(error).__name__})."
        return code, said, 0, []
    erased = f", with {len(chain.erased)} erased of its bodies" if chain.erased else ""
    by = "the log's signature" if keys else verifier.LEVELS[0]
    return ERASED if erased else VALID, f"Valid, by {by}{erased}.", int(bool(keys)), chain.erased


def _follow(folder: Path) -> tuple[verifier.Chain, dict[str, int]]:
    """Check each entry and body of a segment, and that its runs are whole."""
    _, entries = read_entries(folder)
    _, held = read_bodies(folder)
    counts = {ENTRIES: len(entries), BODIES: len(held)}
    known: dict[tuple[str, int], tuple[bytes, bytes, int]] = {}
    kinds: dict[bytes, bytes] = {}
    shown: list[tuple[bytes, int]] = [(b"", 0)]

    def find(stream: str, version: int, _: int) -> tuple[bytes, bytes, int]:
        """Find the source of a replayed entry; one that is not here is taken at its word."""
        entry, body_at = shown[0]
        named = re.search(rb'"src":"[^"#]*#([0-9a-f]{64})"', entry)
        word = bytes.fromhex(named[1].decode()) if named else b""
        return known.get((stream, version), (word, entry, body_at))

    chain = verifier.Chain(find, True)
    for position, body_at, entry in entries:
        shown[0] = entry, body_at
        stored, gone = _stored(held.pop(position, None))
        found = chain.add(position, entry, body_at, *stored, gone)
        known[found[7].decode(), int(found[10])] = found[0], entry, body_at
        kinds[found[7]] = found[9]
    demand(not held, f"{folder.name} has bodies of no entry.")
    demand(set(kinds.values()) <= set(verifier.ENDS), f"{folder.name} has runs without an end.")
    return chain, counts


def _stored(held: bytes | None) -> tuple[tuple[Any, Any], tuple[int | None, int | None]]:
    """Return salt and body, and by which entry the body is gone; 0 for one that is elsewhere."""
    if held is None:
        return (None, None), (None, None)
    if held in NOT_HERE:
        return (b"", b""), (0, None) if held == b"erased" else (None, 0)
    return (held[:32], held[32:]), (None, None)


def _check_note(folder: Path, part: str, count: int, journal: str, known: verifier.Keys) -> None:
    """See that a key of the log has signed what the part is."""
    note = (folder / note_of(part)).read_bytes()
    origin, _, _ = note.decode().partition("\n")
    log = origin.removesuffix(f"/{folder.absolute().name}/{part}")
    demand(log != origin and f"/{journal}/" in log + "/", f"{note_of(part)} is about another file.")
    keys = verifier.parse_keys(list(_renamed(known, log, origin)))
    _, size, digest, _ = verifier.open_note(note, keys)
    same = (size, digest) == (count, sha256((folder / part).read_bytes()).digest())
    demand(same, f"The file {part} of {folder.name} is not the one that was signed.")


def _renamed(known: verifier.Keys, log: str, origin: str) -> Iterator[str]:
    """Give the log's keys the name under which they sign a note about a file."""
    for (name, _), (kind, public) in known.items():
        if (name, kind) == (log, 1):
            data = b"\x01" + public
            id_ = sha256(origin.encode() + b"\n" + data).digest()[:4]
            yield f"{origin}+{id_.hex()}+{base64.b64encode(data).decode()}"
