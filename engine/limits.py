"""The limits that the engine works within (contract: each is configurable)."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a run, a node and the service as a whole may take."""

    run_seconds_max: float = 3600
    node_seconds_max: float = 300
    cancel_seconds_max: float = 10
    """How long calls on the wire may go on after a request to stop."""
    delay_seconds_max: float = 900
    nodes_max: int = 500
    """Those inside iterators included."""
    iterator_depth_max: int = 5
    subworkflow_depth_max: int = 10
    output_bytes_max: int = 256 * 1024
    active_runs_max: int = 1000
    active_runs_per_tenant_max: int = 500
    active_runs_per_workflow_max: int = 500
    waiting_runs_max: int = 100_000
    """Accepted runs that may wait for a place; beyond that, new ones are refused."""
    waiting_runs_per_tenant_max: int = 50_000
    """Those of one tenant."""
    starts_per_second_per_workflow_max: int = 0
    """Runs of one workflow that are accepted in a second; 0 is no limit."""
