"""`refold verify`: check a journal or an evidence bundle, with the verifier that auditors get."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter
from msgspec import UNSET, UnsetType

from ..http.setting_types import SettingsError
from ..http.settings import Settings
from ..journal import segment_verifier, verifier
from ..journal.sqlite_file import JOURNAL_FILE
from ..projections.built_in import BUILT_IN
from ..projections.checking import Checked
from ..projections.loading import find
from .settings_flags import takes_settings
from .verify_projections import told, verify_projections

SHOWN_MAX: Final = 20
"""Most positions of erased bodies that are printed; `--json` has them all."""
DIFFERENT: Final = 50
_INTERRUPTED: Final = 130
_VERDICTS: Final = {
    verifier.VALID: "valid",
    verifier.ERASED: "valid_with_erased_bodies",
    verifier.INCOMPLETE: "incomplete",
    verifier.DIVERGED: "diverged",
    verifier.INVALID: "invalid",
}
_LEVELS: Final = ("bytes", "signed_checkpoint", "kept_checkpoint", "witness")
_KINDS: Final = {"--key": (1, "a log"), "--witness": (4, "a witness")}


class _Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    code: int
    verdict: str
    level: str
    """What vouches for it; empty if it is not valid."""
    sentence: str
    erased: list[int]
    """The positions whose bodies are erased."""
    projections: list[Checked] | UnsetType = UNSET
    """How the rows compare, where that was asked for and the journal is valid."""


@takes_settings(("data", "projection"))
def verify(
    settings: Settings,
    path: Annotated[
        Path | None,
        Parameter(help="A data directory, a journal.db, a bundle or a segment; by default --data."),
    ] = None,
    /,
    *,
    key: Annotated[
        list[str] | None,
        Parameter(
            negative="", help="A public key of the log, as its operator published it; repeatable."
        ),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        Parameter(negative="", help="A checkpoint that you kept from earlier; repeatable."),
    ] = None,
    witness: Annotated[
        list[str] | None,
        Parameter(negative="", help="The public key of a witness that you trust; repeatable."),
    ] = None,
    segments: Annotated[
        Path | None,
        Parameter(help="Folder of the segments; `segments` in the data directory if not given."),
    ] = None,
    projections: Annotated[
        bool,
        Parameter(
            negative="",
            help="Fold a valid journal again, apart, and compare all rows of the views with it.",
        ),
    ] = False,
    as_json: Annotated[
        bool,
        Parameter(name="--json", negative="", help="Print JSON, with every erased position."),
    ] = False,
) -> int:
    """Check every entry, body and hash of a journal or an evidence bundle; only reads.

    Exit code 0: valid. 10: valid, with erased bodies. 20: incomplete. 30: not what a checkpoint
    covers. 40: invalid. 50: the journal is valid, and rows differ with --projections. Without --key
    and --checkpoint it only says that the evidence fits together, not whose it is. It works while
    the service runs, and says how things stood when it began.
    """
    from .progress_bar import progress_bar

    keys, witnesses, kept = key or [], witness or [], checkpoint or []
    _refuse_wrong_keys("--key", keys)
    _refuse_wrong_keys("--witness", witnesses)
    _refuse_unreadable(kept)
    evidence = path or settings.data
    if projections and not (evidence / JOURNAL_FILE).exists():
        raise SettingsError("verify", f"--projections needs a data directory, not {evidence}.")
    try:
        with progress_bar("verify", "entries") as report:
            found = verify_settled(
                evidence, keys, list(map(str, kept)), witnesses, report, segments
            )
    except KeyboardInterrupt:
        print("refold: the verification was interrupted; nothing is said", file=sys.stderr)
        return _INTERRUPTED
    is_valid = found[0] in (verifier.VALID, verifier.ERASED)
    compared = _compared(evidence, settings) if projections and is_valid else None
    return _tell(found, compared, as_json=as_json)


def _tell(found: verifier.Result, compared: list[Checked] | None, *, as_json: bool) -> int:
    """Print what came out, and return the exit code."""
    from .tables import plain

    code, sentence, level, erased = found
    verdict, is_valid = _VERDICTS[code], code in (verifier.VALID, verifier.ERASED)
    if not all(checked.is_equal for checked in compared or ()):
        code = DIFFERENT
    if as_json:
        rows = UNSET if compared is None else compared
        answer = _Answer(code, verdict, _LEVELS[level] * is_valid, sentence, erased, rows)
        print(msgspec.json.encode(answer).decode())
        return code
    print(plain(sentence))
    if erased:
        shown = ", ".join(map(str, erased[:SHOWN_MAX]))
        rest = len(erased) - SHOWN_MAX
        more = f" and {rest} more (--json lists them all)" if rest > 0 else ""
        print(f"Erased: the bodies at {shown}{more}.")
    for checked in compared or ():
        print(told(checked))
    return code


def _compared(directory: Path, settings: Settings) -> list[Checked]:
    """Compare the rows of all projections, those of developers too."""
    known = [*BUILT_IN, *(made.projection for made in find(settings.projection))]
    return verify_projections(directory, (), known)


def verify_settled(
    evidence: Path,
    keys: Sequence[str],
    kept: Sequence[str],
    witnesses: Sequence[str],
    report: Callable[[int, int], None],
    segments: Path | None = None,
) -> verifier.Result:
    """Verify, with archived bodies; once more if the service started or stopped meanwhile.

    A file without its write-ahead log is read without locks, so that evidence stays as it is. Who
    starts to write it just then must not make it look forged.
    """
    if segment_verifier.is_segment(evidence):
        return segment_verifier.verify(evidence, keys)
    journal = evidence / JOURNAL_FILE if evidence.is_dir() else evidence
    if not journal.exists():
        return verifier.INCOMPLETE, f"There is no journal and no bundle at {journal}.", 0, []
    log = journal.with_name(journal.name + "-wal")
    asked = tuple(keys), tuple(kept), tuple(witnesses)
    had_log = log.exists()
    found = segment_verifier.verify(evidence, *asked, report, segments=segments)
    if found[0] in (verifier.VALID, verifier.ERASED) or log.exists() == had_log:
        return found
    return segment_verifier.verify(evidence, *asked, report, segments=segments)


def _refuse_wrong_keys(flag: str, keys: Sequence[str]) -> None:
    """Refuse what is no key, or the key of something else.

    Raises:
        SettingsError: says which flag.
    """
    kind, owner = _KINDS[flag]
    for text in keys:
        try:
            found = {key[0] for key in verifier.parse_keys([text]).values()}
        except Exception as error:
            # Whatever the parser met, it was not written NAME+ID+BASE64.
            raise SettingsError("verify", f"{flag} takes a key written NAME+ID+BASE64.") from error
        if found != {kind}:
            raise SettingsError("verify", f"{flag} takes the key of {owner}, and this is another.")


def _refuse_unreadable(kept: Sequence[Path]) -> None:
    for file in kept:
        try:
            file.open("rb").close()
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise SettingsError("verify", f"--checkpoint: {file} can't be read: {why}.") from error
