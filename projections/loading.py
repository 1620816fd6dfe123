"""Finds the projections of developers: installed as entry points, or named as `module:Class`."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Collection, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import msgspec

from ..journal.events import CATALOGUE
from .built_in import BUILT_IN
from .errors import ProjectionRefusedError
from .faults import told
from .projection import BodyProjection, Projection, Table, View
from .vetting import refuse_clashes, vet

GROUP: Final = "refold.projections"
"""The group of entry points that projections are looked for in."""
_REFERENCE: Final = re.compile(r"[A-Za-z_][\w.]{0,200}:[A-Za-z_]\w{0,100}")
_ERASED: Final = "payload.erased"


class Loaded(msgspec.Struct, frozen=True):
    """A developer's projection and where it came from."""

    reference: str
    """`module:Class`."""
    projection: Projection


def find(named: Sequence[str]) -> list[Loaded]:
    """Load what is installed as entry points and what is named, each once, and see that it fits.

    Raises:
        ProjectionRefusedError: one can't be imported, or breaks a rule of the interface.
    """
    references = [point.value.replace(" ", "") for point in entry_points(group=GROUP)]
    references += named
    loaded = [load(reference) for reference in dict.fromkeys(references)]
    refuse_clashes([*BUILT_IN, *(made.projection for made in loaded)])
    return loaded


def load(reference: str) -> Loaded:
    """Load one projection, `module:Class`; the class is called without arguments.

    Raises:
        ProjectionRefusedError: it can't be imported, or breaks a rule of the interface.
    """
    if not _REFERENCE.fullmatch(reference):
        raise ProjectionRefusedError(
            reference, "it is named by its module and its class, such as usage:UsageProjection"
        )
    module, _, attribute = reference.partition(":")
    _look_here_too()
    try:
        found = getattr(importlib.import_module(module), attribute)
        made = found() if isinstance(found, type) else found
    except Exception as error:
        # Whatever the module of somebody else does when it is imported.
        is_missing = isinstance(error, ImportError | AttributeError)
        because = f"{type(error).__name__}: {error}" if is_missing else told(error)
        raise ProjectionRefusedError(reference, f"it can't be loaded: {because}") from error
    return Loaded(reference, _fitting(reference, made))


def _look_here_too() -> None:
    """Let a module in the working directory be found, after everything that is installed."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def _fitting(reference: str, made: Any) -> Projection:
    """See that an object has what the interface says; types are all that a checker would see."""
    expected: dict[str, tuple[Any, str]] = {
        "name": (str, "a string"),
        "version": (int, "a whole number from 1"),
        "events": (Collection, "a collection of classes of refold.journal.events"),
        "tables": (Sequence, "a sequence of Table"),
        "views": (Sequence, "a sequence of View"),
    }
    for name, (kind, words) in expected.items():
        if not isinstance(getattr(made, name, None), kind):
            raise ProjectionRefusedError(reference, f"{name} must be {words}")
    if made.version < 1:
        raise ProjectionRefusedError(reference, "version must be a whole number from 1")
    if not callable(getattr(made, "fold", None)):
        raise ProjectionRefusedError(reference, "fold must be a method")
    if not set(made.events) <= set(CATALOGUE) or not made.events:
        raise ProjectionRefusedError(
            reference, "events must be classes of the catalogue in refold.journal.events"
        )
    if not all(isinstance(table, Table) for table in made.tables):
        raise ProjectionRefusedError(reference, "tables must be a sequence of Table")
    if not all(isinstance(view, View) for view in made.views):
        raise ProjectionRefusedError(reference, "views must be a sequence of View")
    projection: Projection = made
    if isinstance(projection, BodyProjection) and _ERASED not in {
        facts.type for facts in projection.events
    }:
        raise ProjectionRefusedError(
            reference,
            f"it has fold_body, so it must want {_ERASED} and forget what it copied from there",
        )
    vet(projection)
    return projection
