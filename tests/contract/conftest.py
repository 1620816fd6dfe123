"""One service and one endpoint for all tests of the HTTP contract; each test is its own tenant."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.support.service import Client, Endpoint, Hit, Service, endpoint, running

_tenants = count(1)


def _answer(hit: Hit) -> tuple[int, object]:
    """Answer as the path says: `/503/x` with that status, anything else with 200."""
    status = hit.path.split("/")[1]
    return (int(status), {"problem": "no"}) if status.isdigit() else (200, {"ok": True})


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that the tests of a session share."""
    with running(tmp_path_factory.mktemp("api") / "data") as made:
        yield made


@pytest.fixture(scope="session")
def sink() -> Iterator[Endpoint]:
    """An endpoint that answers as its path says."""
    with endpoint(_answer) as made:
        yield made


@pytest.fixture
def org() -> str:
    """A tenant of this test alone."""
    return f"org-{next(_tenants)}"


@pytest.fixture
def client(api: Service, org: str) -> Iterator[Client]:
    """A client of this test's tenant with all scopes."""
    made = api.client(org)
    yield made
    made.close()
