"""One model against the whole service: a real process, real calls, crashes and restarts.

Hypothesis draws what clients do; the model in `tests.support.machine_model.py` says what must come
of it: each status and code, each run's outcome, what a resume keeps and executes, and which calls
the endpoint must have seen, with which idempotency keys.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.machine_driver import Sink
from tests.support.machine_rules import Machine
from tests.support.service import Service, running

EXAMPLES = {"dev": 6, "ci": 40, "full": 400}
STEPS = {"dev": 25, "ci": 30, "full": 50}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all examples, each of which is a tenant of its own."""
    data: Path = tmp_path_factory.mktemp("machine") / "data"
    with running(data, SHUTDOWN_SECONDS_MAX="1") as made:
        yield made


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    """The endpoint that all calls go to."""
    with Sink() as made:
        yield made


@pytest.mark.timeout(3600)
def test_the_service_does_what_the_model_says(service: Service, sink: Sink) -> None:
    """Whatever clients do and whenever it is killed."""
    profile = os.environ["REFOLD_TEST_PROFILE"]

    class Bound(Machine):
        pass

    Bound.service, Bound.sink = service, sink
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=EXAMPLES[profile],
            stateful_step_count=STEPS[profile],
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
    assert not any("Traceback" in line for line in service.log), "".join(service.log)[-4000:]
