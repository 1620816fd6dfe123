"""The example of a subscriber: takes only what is signed, and after any kills each event once."""

from __future__ import annotations

import os
import random
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

from refold.engine.subscriber import signature
from tests.support.http_kit import create, quick, run
from tests.support.service import running
from tests.support.subscriber_process import SubscriberProcess
from tests.support.view_audit import digest_faults

KILLS = {"dev": 4, "ci": 10, "full": 200}
PROFILE = os.environ.get("REFOLD_TEST_PROFILE", "dev")


@pytest.mark.timeout(3600 if PROFILE == "full" else 300)
def test_every_event_is_kept_once_and_in_order_whoever_is_killed(tmp_path: Path) -> None:
    """The subscriber, the service or both, again and again: what it keeps is what was journaled."""
    chance = random.Random(os.environ["REFOLD_TEST_SEED"])
    subscriber = SubscriberProcess(tmp_path / "events.db")
    subscriber.start()
    with running(tmp_path / "data") as service:
        client = service.client()
        made = client.post("/subscriptions", {"url": subscriber.url}).json
        subscriber.kill()
        subscriber.secret = made["secret"]
        subscriber.start()
        workflow = create(client, quick())
        runs: list[str] = []
        for _ in range(KILLS[PROFILE]):
            runs += [run(client, workflow)["id"] for _ in range(chance.randint(1, 10))]
            who = chance.choice(["subscriber", "service", "both"])
            if who != "service":
                subscriber.kill()
            if who != "subscriber":
                service.kill()
                client.close()
                service.start()
                client = service.client()
            if who != "service":
                subscriber.start()
        journal = {
            made_: [
                event["position"]
                for event in client.get(f"/workflows/runs/{made_}/events").json["data"]
            ]
            for made_ in runs
        }
        last = max(position for own in journal.values() for position in own)
        pause = threading.Event()
        while (shown := client.get(f"/subscriptions/{made['id']}").json)["position"] < last:
            assert shown["status"] == "active"
            pause.wait(0.2)
        kept = subscriber.kept()
        assert {made_: kept[made_] for made_ in runs} == journal
        client.close()
        assert service.stop() == 0
    subscriber.kill()
    assert digest_faults(tmp_path / "data") == []


def test_only_what_is_signed_and_new_is_taken(tmp_path: Path) -> None:
    """By this secret, over these very bytes, within minutes."""
    subscriber = SubscriberProcess(tmp_path / "events.db")
    subscriber.start()
    event = b'[{"id":"a","subject":"fl_run_x","sequence":"7","type":"refold.run.started"}]'
    now = int(time.time())

    def told(body: bytes, stamp: int, secret: str, signed: bytes) -> int:
        headers = {
            "webhook-id": "sub_x-7-1",
            "webhook-timestamp": str(stamp),
            "webhook-signature": f"v1,other {signature(secret, 'sub_x-7-1', stamp, signed)}",
        }
        connection = HTTPConnection("127.0.0.1", subscriber.port, timeout=30)
        connection.request("POST", "/", body, headers)
        status = connection.getresponse().status
        connection.close()
        return status

    good = subscriber.secret
    assert told(event, now, "whsec_b3RoZXI=", event) == 401
    assert told(event.replace(b"7", b"8"), now, good, event) == 401
    assert told(event, now - 600, good, event) == 503
    assert subscriber.kept() == {}
    assert told(event, now, good, event) == told(event, now, good, event) == 204
    assert subscriber.kept() == {"fl_run_x": [7]}
    subscriber.kill()
