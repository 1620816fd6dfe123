"""One request to a subscriber: a batch of CloudEvents, signed as Standard Webhooks says.

The body is `application/cloudevents-batch+json` (CloudEvents 1.0, JSON batch format), with events
as an export writes them. Three headers are those of the Standard Webhooks specification 1.0.0:

    webhook-id         names the batch; a repeated batch may have another one
    webhook-timestamp  Unix seconds
    webhook-signature  v1,<base64 of HMAC-SHA256 over "<id>.<timestamp>.<body>">

The secret is shown as `whsec_<base64>`; the key is what the base64 stands for.
"""

from __future__ import annotations

import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import Container, Mapping, Sequence
from hashlib import sha256
from typing import Final, Literal

import msgspec

from ..journal.envelope import Recorded
from ..journal.journal import Body
from ..projections.exports.cloud_events import cloud_event
from ..projections.exports.plan import SEALED
from .calls import Outbound
from .outbound import OutboundError

EVENTS_MAX: Final = 100
"""Most events in a batch."""
BYTES_MAX: Final = 512 * 1024
"""Most bytes of bodies in a batch, where one event has no more by itself."""
TIMEOUT_SECONDS: Final = 30.0
CONTENT_TYPE: Final = "application/cloudevents-batch+json; charset=utf-8"
_SECRET_PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = 32
_TEMPORARY: Final = frozenset({408, 425, 429})


class Verdict(msgspec.Struct, frozen=True):
    """What a request came to."""

    kind: Literal["taken", "refused", "unavailable", "gone"]
    """Refused is the batch; unavailable is the subscriber, this time; gone it says it is."""
    code: str = ""


def new_secret() -> str:
    """Make a secret for signatures."""
    return _SECRET_PREFIX + b64encode(os.urandom(_SECRET_BYTES)).decode()


def signature(secret: str, id_: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a batch."""
    key = b64decode(secret.removeprefix(_SECRET_PREFIX))
    signed = hmac.new(key, f"{id_}.{timestamp}.".encode() + body, sha256).digest()
    return f"v1,{b64encode(signed).decode()}"


def batch_of(events: Sequence[Recorded], bodies: Mapping[int, Body]) -> int:
    """Return how many of the first events make up a batch; one at least."""
    size = 0
    for count, event in enumerate(events[:EVENTS_MAX]):
        body = bodies.get(event.body_at)
        size += len(body.data) if body is not None else 0
        if size > BYTES_MAX and count:
            return count
    return min(len(events), EVENTS_MAX)


def write_batch(
    journal_id: str,
    events: Sequence[Recorded],
    bodies: Mapping[int, Body],
    archived: Container[int],
    *,
    with_bodies: bool,
) -> bytes:
    """Write a batch; a body that isn't sent is marked `withheld`, `archived` or `erased`."""
    written = [
        cloud_event(
            journal_id,
            event,
            bodies.get(event.body_at) if with_bodies and not _is_sealed(event) else None,
            is_withheld=event.body_at > 0 and (not with_bodies or _is_sealed(event)),
            is_archived=event.body_at in archived,
        )
        for event in events
    ]
    return b"[" + b",".join(written) + b"]"


def _is_sealed(event: Recorded) -> bool:
    return event.facts.type.startswith(SEALED)


class Subscriber:
    """Who is told: an address and a secret."""

    def __init__(self, outbound: Outbound, url: str, secret: str) -> None:
        """`outbound` must follow no redirect: what was meant for one address goes to no other."""
        self._outbound = outbound
        self._url = url
        self._secret = secret

    async def send(self, id_: str, now_us: int, body: bytes) -> Verdict:
        """Send a batch and say what came of it; never raises."""
        timestamp = now_us // 1_000_000
        headers = [
            ("content-type", CONTENT_TYPE),
            ("webhook-id", id_),
            ("webhook-timestamp", str(timestamp)),
            ("webhook-signature", signature(self._secret, id_, timestamp, body)),
        ]
        try:
            answer = await self._outbound.request("POST", self._url, headers, body, TIMEOUT_SECONDS)
        except OutboundError as error:
            is_batchs = error.code == "request_too_large"
            return Verdict("refused" if is_batchs else "unavailable", error.code)
        status = answer.status
        if 200 <= status < 300:
            return Verdict("taken")
        code = f"http_{status}"
        if status == 410:
            return Verdict("gone", code)
        if status >= 500 or status in _TEMPORARY:
            return Verdict("unavailable", code)
        return Verdict("refused", code)
