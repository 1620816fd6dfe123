"""What is answered about a projection that was told to do something."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ..projections.status import State


class ProjectionTold(Struct, frozen=True):
    """A projection that is made anew, or tries again, from here on."""

    name: str
    version: int
    position: Annotated[int, Meta(description="The newest position that its rows include.")]
    state: Annotated[
        State,
        Meta(description="What it does now; `GET /projections` tells how it goes on."),
    ]
