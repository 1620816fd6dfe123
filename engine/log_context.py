"""On whose behalf the code runs just now, so that each line of the log can say so.

A task starts with what its maker had. So whoever begins a run's task says anew what it is for:
runs are often let in by the end of another one.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

REQUEST: Final[ContextVar[str]] = ContextVar("refold_request", default="")
"""The id of the request that is served, or that the run goes back to; "" for none."""
RUN: Final[ContextVar[str]] = ContextVar("refold_run", default="")
"""The run that is carried out, "" outside of one."""
