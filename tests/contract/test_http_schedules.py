"""Schedules over HTTP: a real service fires them, says when it will, and stops when it is told."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_kit import create, nothing_written, refused
from tests.support.service import Client, Hit, Service, chain, endpoint, node, running

SECOND = {"schedule_type": "interval", "schedule_value": "1 second"}
DAILY = {"schedule_type": "daily", "schedule_value": "9:00"}


class Heard:
    """An endpoint's answer that counts what came, by the name in the body."""

    def __init__(self) -> None:
        self.calls: dict[str, list[dict[str, Any]]] = {}
        self._changed = threading.Condition()

    def __call__(self, hit: Hit) -> tuple[int, object]:
        """Keep one call."""
        body = json.loads(hit.body)
        with self._changed:
            self.calls.setdefault(body["name"], []).append(body)
            self._changed.notify_all()
        return 200, {"ok": True}

    def wait(self, name: str, total: int) -> list[dict[str, Any]]:
        """Wait until so many calls of this name have come, and return them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.calls.get(name, [])) >= total, 30)
            return list(self.calls[name])


def calling(url: str, name: str, schedule: dict[str, Any], **trigger: Any) -> dict[str, Any]:
    """Write a workflow that tells an endpoint what its trigger gave it."""
    body = {
        "name": name,
        "at": "{{ trigger.scheduled_at }}",
        "missed": "{{ trigger.missed }}",
        "team": "{{ trigger.team }}",
        "origin": "{{ run.origin }}",
    }
    first = node("t", "schedule_trigger", **trigger)
    return {**chain(first, node("n", "webhook", url=url, body=body)), **schedule}


def next_of(client: Client, workflow: str) -> Any:
    """Read when a workflow says that it starts next."""
    return client.get(f"/workflows/{workflow}").json["next_run_at"]


def test_a_service_fires_by_itself_goes_on_after_a_kill_and_stops_when_told(
    tmp_path: Path,
) -> None:
    """Each second once: what was fired is in the journal, and what is due after it."""
    heard = Heard()
    with endpoint(heard) as sink, running(tmp_path / "data") as api:
        client = api.client()
        made = client.post("/workflows", calling(sink.url, "tick", SECOND, payload={"team": "ops"}))
        workflow = made.json["id"]
        assert made.json["next_run_at"] > made.json["created_at"]
        calls = heard.wait("tick", 2)
        assert calls[0] == {
            "name": "tick",
            "at": made.json["next_run_at"],
            "missed": 0,
            "team": "ops",
            "origin": "schedule",
        }
        assert next_of(client, workflow) > calls[1]["at"]
        client.close()
        api.kill()
        api.start()
        client = api.client()
        heard.wait("tick", 4)
        runs = client.get(f"/workflows/{workflow}/executions?origin=schedule&per_page=100").json
        firings = [run["trigger_payload"]["scheduled_at"] for run in runs["data"]]
        assert firings == sorted(set(firings), reverse=True)
        off = client.call("PUT", f"/workflows/{workflow}", {"is_active": False})
        assert (off.json["next_run_at"], off.json["schedule_value"]) == (None, "1 second")
        runs = client.get(f"/workflows/{workflow}/executions?per_page=100").json["meta"]["total"]
        # Another one that ticks on shows that time has passed.
        create(client, calling(sink.url, "after", SECOND))
        heard.wait("after", 2)
        after = client.get(f"/workflows/{workflow}/executions?per_page=100").json["meta"]["total"]
        assert after == runs
        on = client.call("PUT", f"/workflows/{workflow}", {"is_active": True})
        assert on.json["next_run_at"] > on.json["updated_at"]
        heard.wait("tick", runs + 1)
        assert client.call("DELETE", f"/workflows/{workflow}").status in (204, 409)
        client.close()
        assert api.stop() == 0


def test_the_next_run_follows_every_change(client: Client) -> None:
    """Also of a workflow without a schedule, and of one with another trigger."""
    workflow = create(client, chain(node("t", "manual_trigger")))
    assert next_of(client, workflow) is None
    path = f"/workflows/{workflow}"
    daily = client.call("PUT", path, DAILY).json
    assert daily["next_run_at"].endswith("T09:00:00.000000Z")
    assert (daily["schedule_type"], daily["schedule_value"]) == ("daily", "9:00")
    kept = client.call("PUT", path, {"description": "x"}).json
    assert kept["next_run_at"] == daily["next_run_at"]
    assert client.get("/workflows").json[0]["next_run_at"] == daily["next_run_at"]
    later = client.call("PUT", path, {"schedule_value": "9:30"}).json
    assert later["next_run_at"].endswith("T09:30:00.000000Z")
    assert client.get(f"{path}/versions/2").json["workflow"]["next_run_at"] is None
    # A run is pinned to a version; when the workflow starts next is no part of that.
    made = client.post(f"{path}/execute", None, Prefer="wait=20").json
    shown = client.get(f"/workflows/runs/{made['id']}?include=workflow").json["workflow"]
    assert (shown["schedule_value"], shown["next_run_at"]) == ("9:30", None)
    off = client.call("PUT", path, {"schedule_type": "manual"}).json
    assert [off[n] for n in ("schedule_type", "schedule_value", "next_run_at")] == [
        "manual",
        None,
        None,
    ]


def test_the_zone_of_the_trigger_is_the_zone_of_the_schedule(client: Client) -> None:
    """09:00 in Kathmandu is a quarter past three in UTC, all year."""
    first = node("t", "schedule_trigger", timezone="Asia/Kathmandu")
    made = client.post("/workflows", {**chain(first), **DAILY}).json
    assert made["next_run_at"].endswith("T03:15:00.000000Z")


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"schedule_type": "interval"}, "schedule_value"),
        ({"schedule_type": "interval", "schedule_value": None}, "schedule_value"),
        ({"schedule_type": "interval", "schedule_value": "soon"}, "schedule_value"),
        ({"schedule_type": "interval", "schedule_value": 5}, "schedule_value"),
        ({"schedule_type": "cron", "schedule_value": "* * * * * *"}, "schedule_value"),
        ({"schedule_type": "cron", "schedule_value": "0 0 30 2 *"}, "schedule_value"),
        ({"schedule_type": "daily", "schedule_value": "09:00" * 100}, "schedule_value"),
        ({"schedule_type": "hourly", "schedule_value": "1"}, "schedule_type"),
        ({"schedule_type": ["daily"], "schedule_value": "09:00"}, "schedule_type"),
        ({"schedule_value": "5 minutes"}, "schedule_value"),
        ({"schedule_type": "manual", "schedule_value": "5 minutes"}, "schedule_value"),
    ],
)
def test_a_schedule_that_can_not_be_is_refused_with_the_name_of_its_field(
    api: Service, client: Client, fields: dict[str, Any], where: str
) -> None:
    """The same in a creation, a change and a validation; and nothing is written."""
    definition = chain(node("t", "schedule_trigger"))
    with nothing_written(api):
        errors = refused(
            client.post("/workflows", {**definition, **fields}), 422, "parameter_invalid"
        )
        assert list(errors) == [where]
    workflow = create(client, definition)
    with nothing_written(api):
        put = client.call("PUT", f"/workflows/{workflow}", fields)
        assert list(refused(put, 422, "parameter_invalid")) == [where]
        found = client.post("/workflows/validate", {**definition, **fields}).json
        assert not found["valid"]
        assert [fault.split(":")[0] for fault in found["errors"]] == [where]


def test_a_schema_that_no_firing_meets_is_refused(api: Service, client: Client) -> None:
    """It is found when it is saved and when it is validated."""
    first = node("t", "schedule_trigger", input_schema={"required": ["team"]})
    definition = {**chain(first), **DAILY}
    with nothing_written(api):
        errors = refused(client.post("/workflows", definition), 422, "parameter_invalid")
        assert list(errors) == ["nodes[0].data.input_schema"]
        found = client.post("/workflows/validate", definition).json
        assert "payload.team: is a required property" in found["errors"][0]
    first["data"]["payload"] = {"team": "ops"}
    workflow = create(client, definition)
    made = client.post(f"/workflows/{workflow}/execute", None, Prefer="wait=20").json
    output = made["logs"][0]["output"]
    assert (output["team"], output["scheduled_at"], output["missed"]) == ("ops", None, 0)
