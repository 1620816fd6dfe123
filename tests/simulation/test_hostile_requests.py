"""Tens of thousands of hostile requests: no fault of ours, and nothing of another tenant's.

By command: `REFOLD_TEST_PROFILE=full pytest tests/simulation/test_hostile_requests.py`, with
another number of requests in `REFOLD_TEST_HOSTILE_REQUESTS`.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from tests.support.hostile import Attacker, Judge, owner_is_whole, populated
from tests.support.service import Service

REQUESTS = {"dev": 500, "ci": 500, "full": 50_000}
# A network for documents, where nobody is: addresses that may be named and lead nowhere.
ENVIRON = {"REFOLD_EGRESS_ALLOW": "192.0.2.0/24"}
PLANTED_REQUESTS = 250
BROKEN_OFF_MAX = 0.03
"""The part of the requests that may end in a reset, as what is refused unread does."""


def _count() -> int:
    asked = os.environ.get("REFOLD_TEST_HOSTILE_REQUESTS")
    return int(asked) if asked else REQUESTS[os.environ["REFOLD_TEST_PROFILE"]]


def _attacked(service: Service, seed: int, count: int) -> Judge:
    world = populated(service)
    judge = Judge(service, world)
    for request in Attacker(world, random.Random(seed)).requests(count):
        judge.send(request)
    judge.close()
    if not owner_is_whole(service, world):
        judge.faults.append("something of the owner's was changed")
    return judge


@pytest.mark.timeout(7200)
def test_no_hostile_request_breaks_anything_or_reads_what_is_not_its_own(
    tmp_path: Path, seed: int
) -> None:
    """No 5xx but 503, no foreign read, no change of foreign things, and no error in the log."""
    count = _count()
    service = Service(tmp_path / "data", ENVIRON)
    service.start()
    try:
        judge = _attacked(service, seed, count)
        client = service.client()
        assert client.get("/healthz").status == 200
        client.close()
    finally:
        code = service.stop()
    print(f"seed {seed}: {count} requests, {dict(sorted(judge.statuses.items()))}")
    print(f"{judge.broken_off} broken off")
    assert not judge.faults, f"seed {seed}\n" + "\n".join(judge.faults[:20])
    assert not judge.foreign_reads, f"seed {seed}\n" + "\n".join(judge.foreign_reads[:20])
    wrong = [line for line in service.log if " ERROR " in line or "Traceback" in line]
    assert not wrong, f"seed {seed}\n" + "".join(wrong[:20])
    assert code == 0
    assert judge.broken_off <= count * BROKEN_OFF_MAX
    # It got somewhere: past authentication, past the routes, and into the handlers.
    assert {200, 400, 401, 404, 422} <= set(judge.statuses)


PLANTED = {
    "a run is shown to everybody": """
from refold.engine.runs import Runs
async def first(self, tenant, run_id):
    found = await self._journal.read_stream(run_id, limit=1)
    if not found:
        from refold.engine.errors import NotFoundError
        raise NotFoundError("run")
    return found[0]
async def find(self, tenant, run_id, *, deleted_too=False, at=0):
    await first(self, tenant, run_id)
    return await self.load(run_id)
Runs._first, Runs.find = first, find
""",
    "JSON is read by a reader without bounds": """
import json
from refold.engine import strict_json
strict_json.decode = lambda document, subject="": json.loads(document)
""",
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", sorted(PLANTED))
def test_a_service_with_a_hole_is_found_out(tmp_path: Path, fault: str) -> None:
    """A harness that finds nothing proves nothing unless it finds what is there."""
    planted = f"import sys\nfrom refold.scripts import cli\n{PLANTED[fault]}\nsys.exit(cli.main())"
    command = (sys.executable, "-c", planted, "serve")
    service = Service(tmp_path / "data", ENVIRON, command)
    service.start()
    try:
        judge = _attacked(service, 1, PLANTED_REQUESTS)
    finally:
        service.kill()
    assert judge.foreign_reads if "shown" in fault else judge.faults
