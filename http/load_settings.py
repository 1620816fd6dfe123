"""The settings that bound how much is asked of the service, and by whom."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class LoadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A part of `Settings`."""

    max_connections: Annotated[
        int,
        Meta(
            description="Connections that clients have open at once; fewer where the process may "
            "not open so many files.",
            ge=10,
            le=100_000,
        ),
    ] = 2000
    max_waiting_requests_per_tenant: Annotated[
        int,
        Meta(description="Requests of one tenant that wait for their turn.", ge=1, le=100_000),
    ] = 1000
    max_requests_per_second_per_tenant: Annotated[
        int,
        Meta(description="Requests of one tenant in a second; 0 is no limit.", ge=0, le=1_000_000),
    ] = 0
    max_starts_per_second_per_workflow: Annotated[
        int,
        Meta(
            description="Runs of one workflow that may be started in a second; 0 is no limit.",
            ge=0,
            le=1_000_000,
        ),
    ] = 0
    max_waiting_runs_per_tenant: Annotated[
        int,
        Meta(description="Accepted runs of one tenant that wait for a place.", ge=1, le=100_000),
    ] = 50_000
    drain_seconds: Annotated[
        int,
        Meta(
            description="How long the service, asked to stop, still takes requests while /readyz "
            "says that it stops.",
            ge=0,
            le=600,
            extra={"unit": "seconds"},
        ),
    ] = 0
