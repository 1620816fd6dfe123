"""Erasures: take the data of a run, a workflow or a person out of the journal and its files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import UNSET

from ..engine.forgetting import Kind, Loss
from . import erasure_wire as wire
from .call import Answer, Call, answer
from .errors import RequestError, parameter_invalid
from .services import App

KINDS: Final[tuple[Kind, ...]] = ("run", "workflow", "subject")
NAMED_MAX: Final = 1000
FILES_SECONDS_MAX: Final = 10.0
"""How long an answer waits for readers that keep erased bytes in the write-ahead log."""
SEARCHES_SECONDS_MAX: Final = 30.0
"""How long an answer waits until the files of the searches are overwritten."""
OUT_OF_REACH: Final = (
    "Exports, backups, evidence bundles and answers that were handed out before, and what the "
    "disk itself keeps of overwritten blocks, are out of reach; so are segments of archived runs, "
    "until `refold archive --scrub` takes out of them what the journal says is erased."
)


async def erase(app: App, call: Call) -> Answer:
    """Erase all that is named; the answer is sent when it is in no file of the journal any more."""
    wanted = call.read(wire.ErasureRequest, optional=False)
    kind, name = _named(wanted)
    if not wanted.reason.isprintable() or wanted.reason != wanted.reason.strip():
        raise parameter_invalid("reason", "must be printable, without spaces around it")
    meta = call.caller.metadata(app.pseudonyms)
    found = await app.forgetting.forget(
        meta, kind, name, wanted.reason, is_rehearsal=wanted.dry_run
    )
    # Also where nothing was left: an earlier request may have ended before its bytes were gone.
    if not wanted.dry_run and not await app.journal.erased_from_files(FILES_SECONDS_MAX):
        raise RequestError(
            503,
            "overloaded",
            "What was named is erased, but a program that reads the journal's file keeps old bytes "
            "in its log; end it and send the request again to learn when they are gone.",
            headers={"Retry-After": "5"},
        )
    if not wanted.dry_run and not await app.views.apart.have_forgotten(
        app.journal.head, SEARCHES_SECONDS_MAX
    ):
        raise RequestError(
            503,
            "overloaded",
            "What was named is erased, but is still being overwritten in the files of the "
            "searches; send the request again to learn when it is gone.",
            headers={"Retry-After": "5"},
        )
    losses = _shown(found.losses)
    return answer(
        200,
        wire.Erasure(
            dry_run=wanted.dry_run,
            complete=found.is_complete,
            erased=sum(len(loss.positions) for loss in losses),
            erased_before=found.gone_before,
            streams=losses,
            erasures=list(found.erasures),
            runs=list(found.runs[:NAMED_MAX]),
            runs_total=len(found.runs),
            left=list(found.left[:NAMED_MAX]),
            left_total=len(found.left),
            kept=_shown(found.kept),
            out_of_reach=OUT_OF_REACH,
        ),
    )


def _named(wanted: wire.ErasureRequest) -> tuple[Kind, str]:
    """Return what is to be erased.

    Raises:
        RequestError: 422, nothing is named, or more than one thing.
    """
    named: dict[Kind, str] = {
        kind: getattr(wanted, kind) for kind in KINDS if getattr(wanted, kind) is not UNSET
    }
    if not named:
        fault = "is required, unless another of run, workflow and subject is there"
        raise RequestError(
            422,
            "parameter_missing",
            "One of run, workflow and subject is required.",
            errors={"run": [fault]},
        )
    if len(named) > 1:
        raise RequestError(
            422,
            "parameter_invalid",
            "Only one of run, workflow and subject can be erased at a time.",
            errors={kind: ["is one of several"] for kind in named},
        )
    return next(iter(named.items()))


def _shown(losses: Sequence[Loss]) -> list[wire.ErasedBodies]:
    return [wire.ErasedBodies(loss.stream, list(loss.positions)) for loss in losses]
