"""The published types of erasures. What is answered holds ids and positions, never data."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

REASON_CHARACTERS_MAX = 200
Id = Annotated[str, Meta(min_length=1, max_length=64)]


class ErasureRequest(Struct, frozen=True):
    """Whose data is to go: exactly one of `run`, `workflow` and `subject`."""

    run: Annotated[Id | UnsetType, Meta(description="An ended run: every body that it shows.")] = (
        UNSET
    )
    workflow: Annotated[
        Id | UnsetType,
        Meta(description="A deleted workflow: all its versions and the data of all its runs."),
    ] = UNSET
    subject: Annotated[
        Annotated[str, Meta(min_length=1, max_length=255)] | UnsetType,
        Meta(description="The `sub` of a token: the runs that it gave the payload of, and more."),
    ] = UNSET
    reason: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=REASON_CHARACTERS_MAX,
            description="Why, such as a ticket's number. It stands in the journal and can't be "
            "erased itself, so no data of anybody belongs into it.",
        ),
    ] = "erased on request"
    dry_run: Annotated[bool, Meta(description="Only say what would go.")] = False


class ErasedBodies(Struct, frozen=True):
    """Bodies that stood in one stream."""

    stream: str
    positions: list[int]


class Erasure(Struct, frozen=True, kw_only=True):
    """What was erased, or would be."""

    dry_run: bool
    complete: Annotated[
        bool, Meta(description="False where there is more: send the same request again.")
    ]
    erased: Annotated[int, Meta(description="How many bodies this request erased.")]
    erased_before: Annotated[
        int, Meta(description="How many bodies of the same data were gone already.")
    ]
    streams: Annotated[list[ErasedBodies], Meta(description="Where these bodies stood.")]
    erasures: Annotated[
        list[int], Meta(description="The positions of the `payload.erased` events that say so.")
    ]
    runs: Annotated[
        list[str],
        Meta(
            description="The runs that show less than before, originals, reruns and resumes that "
            "share bodies included; at most 1,000 are named."
        ),
    ]
    runs_total: int
    left: Annotated[
        list[str],
        Meta(
            description="Runs made of the same data, such as reruns and sub-workflows, that still "
            "have bodies of their own; at most 1,000 are named."
        ),
    ]
    left_total: int
    kept: Annotated[
        list[ErasedBodies],
        Meta(description="What names the subject and stays: definitions, and what is not deleted."),
    ]
    out_of_reach: Annotated[str, Meta(description="What no erasure can reach.")]
