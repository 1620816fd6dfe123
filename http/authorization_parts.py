"""Wires the stored grants: the client for their token endpoints, and the API they are used on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from ..engine.api_client import ApiClient
from ..engine.authorizations import Authorizations
from ..engine.egress import EgressRules, OutboundError
from ..engine.outbound import OutboundClient
from ..journal.clock import Clock, IdSource
from ..journal.journal import Journal
from .setting_types import SettingsError
from .settings import Settings
from .vault_parts import VaultParts


@asynccontextmanager
async def open_authorizations(
    settings: Settings, journal: Journal, secrets: VaultParts, ids: IdSource, clock: Clock
) -> AsyncGenerator[Authorizations]:
    """Make what nodes and routes use grants with.

    Raises:
        SettingsError: the address of the API can't be called.
    """
    rules = EgressRules.parse(",".join(settings.egress_allow))
    try:
        api = ApiClient(settings.api_base_url, max_response_bytes=settings.response_bytes_max)
    except OutboundError as error:
        raise SettingsError(
            "api_base_url", f"REFOLD_API_BASE_URL is not usable: {error.message}"
        ) from None
    # Not the client of the nodes: secrets in a form must not follow a redirect.
    client = OutboundClient(rules, redirects_max=0)
    made = Authorizations(
        journal, ids, secrets.pseudonyms, secrets.sealed, client, rules, clock, api
    )
    try:
        yield made
    finally:
        await made.close()
        await client.close()
