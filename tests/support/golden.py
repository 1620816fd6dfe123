"""Golden files: the bytes of every schema that was ever written, and what the folds make of them.

A directory of `tests/golden/` holds one small journal: `entries.jsonl` the exact bytes of its
entries, one a line, `bodies.jsonl` its bodies. These two never change; `SHA256SUMS` says so.
`folded.json` is what today's folds make of them, and changes with the folds alone.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard, cast

import msgspec

from refold.engine.authorizations import AuthorizationBody
from refold.engine.runs import RunRequestBody
from refold.engine.subscriptions import SubscriptionBody
from refold.engine.vault_items import VaultBody
from refold.engine.workflows import WorkflowBody
from refold.journal import ids
from refold.journal.claims import claim_changes
from refold.journal.envelope import (
    NO_LEAF,
    Entry,
    Recorded,
    decode_entry,
    leaf_hash,
    parse_entry,
    payload_commitment,
)
from refold.journal.errors import JournalError
from refold.journal.events import DECODERS
from refold.journal.sequencer import hold_changes
from refold.journal.upcasters import Decoders
from refold.projections import authorization_state, run_state, vault_state, workflow_state
from refold.projections.built_in import BUILT_IN
from tests.support.projection_kit import generation_of

GOLDEN = Path(__file__).parents[1] / "golden"
ENTRIES, BODIES, FOLDED, SUMS = "entries.jsonl", "bodies.jsonl", "folded.json", "SHA256SUMS"
MAKE = "python -m tests.support.make_golden"
_BODY_STRUCTS: dict[str, Any] = {
    "run.requested": RunRequestBody,
    "workflow.defined": WorkflowBody,
    "vault.defined": VaultBody,
    "authorization.defined": AuthorizationBody,
    "subscription.defined": SubscriptionBody,
}
_TEXT_BODIES = {"key.wrapped", "key.rotated"}


class Row(NamedTuple):
    """One golden entry."""

    position: int
    entry: bytes
    body_at: int
    salt: bytes | None = None
    body: bytes | None = None

    @property
    def parsed(self) -> Entry:
        """The entry, whatever its type."""
        return parse_entry(self.position, self.entry)


def directories() -> list[Path]:
    """Return the golden journals, oldest first."""
    return sorted(path for path in GOLDEN.iterdir() if path.is_dir())


def read(directory: Path) -> list[Row]:
    """Read a golden journal and see that it is whole: leaves, chains, sources, commitments."""
    lines = [json.loads(line) for line in (directory / BODIES).read_bytes().splitlines()]
    bodies = {line["position"]: (bytes.fromhex(line["salt"]), line["body"]) for line in lines}
    rows: list[Row] = []
    heads: dict[str, tuple[int, str]] = {}
    body_at: dict[str, int] = {}
    for position, entry in enumerate((directory / ENTRIES).read_bytes().splitlines(), 1):
        parsed = parse_entry(position, entry)
        assert (parsed.version - 1, parsed.prev) == heads.get(parsed.stream, (0, NO_LEAF))
        leaf = leaf_hash(entry).hex()
        heads[parsed.stream] = parsed.version, leaf
        own = position if parsed.payload else 0
        shown = body_at[parsed.src] if parsed.src else own
        body_at[f"{parsed.stream}@{parsed.version}#{leaf}"] = shown
        salt, text = bodies.pop(position, (None, None))
        if salt is None or text is None:
            rows.append(Row(position, entry, shown))
            continue
        assert payload_commitment(salt, text.encode()) == parsed.payload, position
        rows.append(Row(position, entry, shown, salt, text.encode()))
    assert not bodies, f"bodies of no entry: {sorted(bodies)}"
    return rows


def decoded(rows: list[Row], decoders: Decoders = DECODERS) -> list[Recorded]:
    """Decode the entries as a store does."""
    return [
        decode_entry(row.position, row.entry, leaf_hash(row.entry), row.body_at, decoders)
        for row in rows
    ]


def misread(rows: list[Row], decoders: Decoders = DECODERS) -> list[str]:
    """Say what the decoders no longer read as it was written, one sentence each.

    Facts of the present schema have to give their own bytes again, so a field that was renamed,
    retyped, added, taken away or moved shows, with a default or without.
    """
    faults: list[str] = []
    present = {(facts.type, facts.schema) for facts in decoders.present}
    for row in rows:
        parsed = row.parsed
        name = f"{parsed.type}/{parsed.schema} at {row.position}"
        try:
            event = decode_entry(row.position, row.entry, b"", row.body_at, decoders)
            if row.body is not None:
                decoders.body((parsed.type, parsed.schema), row.body, row.position)
        except JournalError as error:
            faults.append(f"{name}: {error}")
            continue
        if type(event.facts) not in decoders.present:
            faults.append(f"{name}: the chain ends at {type(event.facts).__name__}")
        elif (parsed.type, parsed.schema) in present and (
            msgspec.json.encode(event.facts) != bytes(parsed.facts)
        ):
            faults.append(f"{name}: its facts would be written differently")
    return faults


def folded(events: list[Recorded]) -> dict[str, Any]:
    """Return what every fold makes of a journal, as plain values."""
    streams: dict[str, list[Recorded]] = {}
    for event in events:
        streams.setdefault(event.stream, []).append(event)
    made: dict[str, Any] = {stream: _state(stream, own) for stream, own in streams.items()}
    made["holds"] = [plain(change) for change in hold_changes(events)]
    made["claims"] = [plain(change) for change in claim_changes(events)]
    for projection in BUILT_IN:
        with generation_of(projection, events) as views:
            for table in projection.tables:
                rows = views.execute(f"SELECT * FROM {table.name}_1 ORDER BY {table.key}")
                made[f"{projection.name}.{table.name}"] = [list(row) for row in rows]
    return made


def folded_bodies(rows: list[Row], decoders: Decoders = DECODERS) -> dict[str, Any]:
    """Return what the engine reads in the bodies."""
    made: dict[str, Any] = {}
    for row in rows:
        if row.body is None:
            continue
        form = row.parsed.type, row.parsed.schema
        body = decoders.body(form, row.body, row.position)
        if form[0] in _TEXT_BODIES:
            made[str(row.position)] = body.decode("ascii")
        else:
            struct = _BODY_STRUCTS.get(form[0], Any)
            made[str(row.position)] = plain(msgspec.json.decode(body, type=struct))
    return made


def everything(directory: Path) -> dict[str, Any]:
    """Return what `folded.json` has to say of a golden journal."""
    rows = read(directory)
    return {**folded(decoded(rows)), "bodies": folded_bodies(rows)}


def _state(stream: str, events: list[Recorded]) -> Any:
    if ids.is_run(stream):
        return plain(run_state.fold(stream, events))
    if ids.is_workflow(stream):
        return plain(workflow_state.fold(stream, events))
    if stream.startswith("auth_"):
        return plain(authorization_state.fold(stream, events))
    if stream.startswith("vlt_"):
        item: vault_state.VaultItem | None = None
        for event in events:
            item = vault_state.evolve(item, event)
        return plain(item)
    if stream == ids.SYS:
        # No fold reads it: its readers take the facts as they stand.
        return [plain(event.facts) for event in events]
    return "a projection alone reads it"


def plain(value: Any) -> Any:
    """Turn states into what JSON can hold; keys that are no strings become pairs."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if _is_map(value):
        if all(isinstance(key, str) for key in value):
            return {key: plain(one) for key, one in value.items()}
        return [[plain(key), plain(one)] for key, one in value.items()]
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in cast("list[Any]", value)]
    return value


def _is_map(value: Any) -> TypeGuard[dict[Any, Any]]:
    return isinstance(value, dict)


def sums() -> dict[str, str]:
    """Return the SHA-256 of each file that never changes, by its path."""
    lines = (GOLDEN / SUMS).read_text("ascii").splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def frozen(directory: Path) -> dict[str, str]:
    """Hash the files of a golden journal that never change."""
    return {
        f"{directory.name}/{name}": sha256((directory / name).read_bytes()).hexdigest()
        for name in (ENTRIES, BODIES)
    }


def covered() -> set[tuple[str, int]]:
    """Return each type and schema that a golden journal has."""
    return {(row.parsed.type, row.parsed.schema) for path in directories() for row in read(path)}
