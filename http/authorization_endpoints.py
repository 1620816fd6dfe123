"""The endpoints of stored OAuth 2.0 grants."""

from __future__ import annotations

from typing import Final

from . import authorization_routes as authorizations
from . import wire
from .authorization_wire import AuthorizationCreate
from .endpoint import KEY, WRITE, Endpoint

AUTHORIZATION_ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/workflows/authorization",
        handler=authorizations.list_all,
        summary="List the stored OAuth 2.0 grants, without their secrets",
        scope=WRITE,
        answers={200: list[wire.Authorization]},
    ),
    Endpoint(
        method="POST",
        path="/workflows/authorization",
        handler=authorizations.create,
        summary="Store an OAuth 2.0 grant that workflows may use",
        scope=WRITE,
        request=AuthorizationCreate,
        request_required=True,
        parameters=(KEY,),
        answers={200: wire.Authorization},
        refusals=(409, 422),
    ),
    Endpoint(
        method="DELETE",
        path="/workflows/authorization/{authorizationId}",
        handler=authorizations.delete,
        summary="Delete a grant and the key to its secrets",
        scope=WRITE,
        answers={204: None},
        refusals=(404, 409),
    ),
)
