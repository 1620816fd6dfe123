"""What must be true of a world at rest: its promises, its views, its proofs."""

from __future__ import annotations

import asyncio
from hashlib import sha256

from refold.journal import ids, merkle, verifier
from refold.journal.envelope import leaf_hash
from refold.projections.applying import Applier
from refold.projections.built_in import BUILT_IN
from refold.projections.generations import live_generations
from tests.simulator.audit import Audit
from tests.simulator.clients import Ledger
from tests.simulator.disk import Disk
from tests.simulator.endings import check_endings
from tests.simulator.life import Life
from tests.simulator.outside import Outside
from tests.simulator.views import ViewsFile, digests, new_views_file

CATCH_UP_SECONDS_MAX = 60.0
TOLD_SECONDS_MAX = 20_000
"""Subscribers that were hard to reach are tried again ever later."""


async def check_at_last(life: Life, ledger: Ledger, audit: Audit, outside: Outside) -> None:
    """Judge a world whose runs have all ended."""
    await life.views.wait_for(life.store.head, CATCH_UP_SECONDS_MAX)
    if life.app.engine.unfinished_total or life.app.engine.active_total:
        # The last of them tell of their end a few steps after it is durable.
        await asyncio.sleep(1)
    if life.app.engine.unfinished_total:
        audit.wrong(f"the engine holds {life.app.engine.unfinished_total} runs that have ended")
    if held := [h.holder for h in await life.store.holds() if ids.is_run(h.holder)]:
        audit.wrong(f"ended runs still hold their workflows: {held[:3]}")
    for _ in range(TOLD_SECONDS_MAX // 200):
        if not outside.unheard():
            break
        await asyncio.sleep(200)
    audit.faults.extend(outside.unheard())
    _check_promises(life, ledger, audit)
    _check_views(life.store.disk, life.views.simulated.file, audit)
    await _check_proofs(life, audit)
    check_endings(life.store.disk, ledger, audit, outside)


def root_of(disk: Disk) -> bytes:
    """Compute the root over all entries, by the definition."""
    return _root([leaf_hash(entry) for entry in disk.entries])


def _root(leaves: list[bytes]) -> bytes:
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"").digest()
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + _root(leaves[:half]) + _root(leaves[half:])).digest()


def _check_promises(life: Life, ledger: Ledger, audit: Audit) -> None:
    keys: dict[tuple[str, str], str] = {}
    for known in ledger.known.values():
        for run in known.runs:
            if not life.store.disk.events(run):
                audit.wrong(f"acknowledged and lost: {run}")
        for workflow in known.workflows:
            if not life.store.disk.events(workflow):
                audit.wrong(f"acknowledged and lost: {workflow}")
    for run, story in audit.runs.items():
        key = story.request.idempotency_scope, story.request.idempotency_key
        # A key is free again after a day; no world lasts that long before its troubles cease.
        if key[1] and keys.setdefault(key, run) != run:
            audit.wrong(f"one key made two runs: {run} and {keys[key]}")


def _check_views(disk: Disk, file: ViewsFile, audit: Audit) -> None:
    fresh = new_views_file()
    live = live_generations(fresh)
    for projection in BUILT_IN:
        applier = Applier(fresh, projection, live[projection.name].generation)
        for event in disk.ledger.events:
            applier.apply([event])
    rebuilt, shown = digests(fresh), digests(file)
    for name, (position, digest) in shown.items():
        if position != disk.head:
            audit.wrong(f"projection {name} stands at {position} of {disk.head}")
        elif digest != rebuilt[name][1]:
            audit.wrong(f"the rows of projection {name} are not the fold of the journal")
    fresh.close()


async def _check_proofs(life: Life, audit: Audit) -> None:
    proofs, disk = life.app.proofs, life.store.disk
    note, size = await proofs.note(life.store.head)
    known = verifier.parse_keys(proofs.checkpoints.public_keys)
    _, signed, root, _ = verifier.open_note(note, known)
    leaves = [leaf_hash(entry) for entry in disk.entries]
    if signed != size or root != _root(leaves[:size]):
        audit.wrong(f"the checkpoint of {size} entries does not have their root")
    for index in range(0, size, max(1, size // 5)):
        proof = proofs.tree.inclusion(index, size)
        if not merkle.is_included(leaves[index], index, size, proof, root):
            audit.wrong(f"the proof of entry {index + 1} of {size} is wrong")
    for part in (size // 3, size // 2):
        steps = proofs.tree.consistency(part, size)
        if not merkle.is_consistent(part, _root(leaves[:part]), size, root, steps):
            audit.wrong(f"the proof that {part} entries are the front of {size} is wrong")
