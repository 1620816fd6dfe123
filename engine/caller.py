"""Who asks: the tenant, the person or service, and the request."""

from __future__ import annotations

import msgspec

from ..journal.actors import Pseudonyms
from ..journal.journal import Metadata


class Caller(msgspec.Struct, frozen=True):
    """The origin of a command, as far as events record it."""

    tenant: str
    subject: str
    request_id: str

    def metadata(self, pseudonyms: Pseudonyms) -> Metadata:
        """Return what the events that this caller causes have in common."""
        return Metadata(self.tenant, pseudonyms.actor(self.tenant, self.subject), self.request_id)
