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
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from typing import Final, Literal

import msgspec

from .calls import Outbound
from .outbound import OutboundError

EVENTS_MAX: Final = 100
"""Most events in a batch."""
TIMEOUT_SECONDS: Final = 30.0
CONTENT_TYPE: Final = "application/cloudevents-batch+json; charset=utf-8"
_SECRET_PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = 32
_TEMPORARY: Final = frozenset({408, 425, 429, 502, 503, 504})


class Verdict(msgspec.Struct, frozen=True):
    """What a request came to."""

    kind: Literal["taken", "refused", "failed", "unavailable", "gone"]
    """Refused is the batch; failed has the batch or the subscriber, which can't be told from it;
    unavailable is the subscriber, this time; gone it says it is."""
    code: str = ""


def new_secret() -> str:
    """Make a secret for signatures."""
    return _SECRET_PREFIX + b64encode(os.urandom(_SECRET_BYTES)).decode()


def signature(secret: str, id_: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a batch."""
    key = b64decode(secret.removeprefix(_SECRET_PREFIX))
    signed = hmac.new(key, f"{id_}.{timestamp}.".encode() + body, sha256).digest()
    return f"v1,{b64encode(signed).decode()}"


class Subscriber:
    """Who is told: an address and a secret."""

    def __init__(
        self,
        outbound: Outbound,
        url: str,
        secret: str,
        place: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        """`outbound` must follow no redirect: what was meant for one address goes to no other.

        `place` is held while a request is on the wire: all subscribers share the connections.
        """
        self._place = place
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
            async with self._place():
                answer = await self._outbound.request(
                    "POST", self._url, headers, body, TIMEOUT_SECONDS
                )
        except OutboundError as error:
            is_batchs = error.code == "request_too_large"
            return Verdict("refused" if is_batchs else "unavailable", error.code)
        status = answer.status
        if 200 <= status < 300:
            return Verdict("taken")
        code = f"http_{status}"
        if status == 410:
            return Verdict("gone", code)
        if status in _TEMPORARY:
            return Verdict("unavailable", code)
        return Verdict("failed" if status >= 500 else "refused", code)
