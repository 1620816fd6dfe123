"""An export from its plan to its file."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import msgspec

from ...journal import ids
from ...journal.sqlite_file import JOURNAL_FILE
from ..errors import ExportRefusedError
from .checkpointed import read_checkpoint
from .formats import FORMATS, Format, Streamed
from .plan import Plan, Report, Selection
from .source import Source, identity_and_head, open_source
from .target import Mark, Target, digest_of


class Export(msgspec.Struct, frozen=True):
    """A finished export."""

    file: Path
    events: int
    """How many events of the journal were read into it."""
    erased: int
    """How many of these have bodies that are erased."""
    up_to: int
    taken_up: int
    """How many events an earlier, interrupted export had done already."""
    size: int
    """In bytes."""
    digest: str
    """SHA-256 of the file."""


def export(
    data: Path,
    name: str,
    file: Path,
    selection: Selection,
    up_to: int | None = None,
    *,
    checkpoint: Path | None = None,
    force: bool = False,
    report: Report | None = None,
) -> Export:
    """Write events of the journal in a data directory to a file; the newest are up to `up_to`.

    With `checkpoint`, a signed note in a file, they are what it covers, and NDJSON carries it.

    The service may be running. An export that was interrupted is taken up where its file is
    safe, at the position that it was up to, unless another one is asked for.

    Raises:
        StoreError: there is no journal, or it is damaged.
        ExportRefusedError: it can't be done as asked.
        ExportFailedError: the file can't be written.
    """
    format_ = FORMATS[name]
    if not isinstance(format_, Streamed) and format_.check is not None:
        format_.check()
    journal = data / JOURNAL_FILE
    identity, head = identity_and_head(journal)
    signed = None if checkpoint is None else read_checkpoint(checkpoint, journal, identity)
    up_to = up_to if signed is None else signed.size
    last = _checked_range(selection.first, up_to, head)
    plan = Plan(name, identity, selection, last, signed.text if signed else "")
    target = Target(file.absolute())
    with target.owned(force=force):
        before = _before(target, plan, is_fixed=up_to is not None)
        plan = plan if before is None else before.plan
        with open_source(journal, plan, format_.bodies) as source:
            _check_streams(source, selection)
            mark = _write(target, format_, source, before or Mark(plan, version("refold")), report)
        target.finish()
    digest = digest_of(target.file)
    taken_up = 0 if before is None else before.events
    size = target.file.stat().st_size
    return Export(file, mark.events, mark.erased, plan.up_to, taken_up, size, digest)


def _write(
    target: Target, format_: Format, source: Source, mark: Mark, report: Report | None
) -> Mark:
    plan = source.plan
    if isinstance(format_, Streamed):
        return target.write(
            mark,
            format_.head(plan),
            lambda cursor: format_.chunks(source, cursor),
            format_.tail(plan),
            format_.total(source),
            report,
            lambda: source.erased_total,
        )
    target.discard()
    target.new_file(target.part)
    try:
        with target.failures():
            events = format_.write(source, target.part, report)
    except BaseException:
        target.discard()
        raise
    return msgspec.structs.replace(mark, events=events, erased=source.erased_total)


def _before(target: Target, plan: Plan, *, is_fixed: bool) -> Mark | None:
    """Return how far an interrupted export of the same came, None if there is none."""
    mark = target.interrupted()
    if mark is None or mark.version != version("refold"):
        return None
    last = plan.up_to if is_fixed else min(mark.plan.up_to, plan.up_to)
    return mark if mark.plan == msgspec.structs.replace(plan, up_to=last) else None


def _checked_range(first: int, up_to: int | None, head: int) -> int:
    last = head if up_to is None else up_to
    if last > head:
        raise ExportRefusedError(f"position {last} is beyond the journal's newest one, {head}")
    if first > last:
        raise ExportRefusedError(
            f"there is nothing from position {first} on; the last one is {last}"
        )
    return last


def _check_streams(source: Source, selection: Selection) -> None:
    asked = (("run", selection.run, ids.is_run), ("workflow", selection.workflow, ids.is_workflow))
    for kind, stream, is_of_kind in asked:
        # A workflow may have runs in the range and none of its own events.
        first = selection.first if kind == "run" else 1
        if stream and not (is_of_kind(stream) and source.newest(stream) >= first):
            shown = stream.encode("ascii", "backslashreplace").decode()[:100]
            raise ExportRefusedError(f"there is no {kind} {shown!r} in these positions")
