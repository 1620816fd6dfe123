"""What a workflow must say of its authorization: one that exists, and one where it is needed."""

from __future__ import annotations

from .authorizations import Authorizations
from .definition import Definition, DefinitionError
from .errors import NotFoundError
from .nodes.altostrat_api import AltostratApi

Guard = tuple[str, int]
"""A stream and the version that it must be at."""


async def check_authorization(
    authorizations: Authorizations | None,
    tenant: str,
    definition: Definition,
    authorization_id: str | None,
) -> list[Guard]:
    """See that the named authorization exists; return the guards of a commit that relies on it.

    Raises:
        DefinitionError: there is none of this id in the tenant, or one is needed and not named.
    """
    if authorization_id is None:
        for step in definition.steps.values():
            if isinstance(step.run, AltostratApi):
                fault = f"is required by node '{step.node}' ({AltostratApi.component})"
                raise DefinitionError({"authorization_id": [fault]})
        return []
    try:
        if authorizations is None:
            raise NotFoundError("authorization")
        state = await authorizations.find(tenant, authorization_id)
    except NotFoundError:
        raise DefinitionError({"authorization_id": ["there is no such authorization"]}) from None
    return [(authorization_id, state.version)]
