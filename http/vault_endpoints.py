"""The endpoints of the vault."""

from __future__ import annotations

from typing import Final

from . import vault_routes as vault
from . import vault_wire as wire
from .endpoint import KEY, Endpoint

_READ, _WRITE = "vault:read", "vault:write"

VAULT_ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/workflows/vault",
        handler=vault.list_items,
        summary="List the vault's items, without their secrets",
        scope=_READ,
        answers={200: list[wire.VaultItem]},
    ),
    Endpoint(
        method="POST",
        path="/workflows/vault",
        handler=vault.create,
        summary="Put a secret into the vault, or make an API key",
        scope=_WRITE,
        request=wire.VaultItemCreate,
        request_required=True,
        parameters=(KEY,),
        answers={201: wire.NewVaultItem},
        refusals=(409, 422),
    ),
    Endpoint(
        method="POST",
        path="/workflows/vault/rotate",
        handler=vault.rotate,
        summary="Change the key that secrets are encrypted with",
        scope="admin",
        answers={202: wire.KeyRotated},
        refusals=(409,),
    ),
    Endpoint(
        method="GET",
        path="/workflows/vault/{itemId}",
        handler=vault.get,
        summary="Get a vault item, without its secret",
        scope=_READ,
        answers={200: wire.VaultItem},
        refusals=(404,),
    ),
    Endpoint(
        method="PUT",
        path="/workflows/vault/{itemId}",
        handler=vault.change,
        summary="Change a vault item's name, secret or expiry",
        scope=_WRITE,
        request=wire.VaultItemChange,
        request_required=True,
        answers={200: wire.VaultItem},
        refusals=(404, 409, 422),
    ),
    Endpoint(
        method="DELETE",
        path="/workflows/vault/{itemId}",
        handler=vault.delete,
        summary="Delete a vault item and the key to its secret",
        scope=_WRITE,
        answers={204: None},
        refusals=(404,),
    ),
)
