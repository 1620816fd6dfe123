"""The OpenAPI 3.1 document, made from the table of routes and the types of the wire."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Final, get_args

import msgspec

from ..engine.nodes.catalogue import CATALOGUE
from ..engine.policy import NodePolicy
from . import wire
from .as_of import HEADER as POSITION
from .endpoint import AS_OF, Endpoint
from .endpoints import ENDPOINTS
from .errors import TYPES

_REF: Final = "#/components/schemas/{name}"
_DESCRIPTIONS: Final = {
    200: "Done",
    201: "Made",
    202: "Accepted and durable",
    204: "Done, nothing to show",
    400: "The body is not acceptable JSON",
    401: "The token is missing or not acceptable",
    403: "The token lacks the scope",
    404: "There is no such thing for this tenant",
    409: "The state of the workflow or run, or of an idempotency key, is against it",
    412: "The version is not the current one",
    413: "The body is too large",
    415: "The body is of a type that is not read here",
    429: "The tenant does as much of this as it may",
    422: "A field or parameter is missing or unusable",
    500: "Something went wrong on our side",
    503: "The service can't take this now",
    504: "The run goes on, and its result was not waited for any longer",
}
_POSITION: Final = {
    "description": "The position of the journal that the answer is of. Asked again with "
    "`as_of=p<position>`, it is byte for byte the same, apart from what was erased or archived "
    "since.",
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
}


def build(
    public_url: str, version: str, endpoints: Sequence[Endpoint] = ENDPOINTS
) -> dict[str, Any]:
    """Return the document of what is served."""
    kinds = _node_kinds()
    types = [*_types(endpoints), NodePolicy, *kinds.values()]
    # All at once, so that types of one name in two modules are told apart.
    made, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = dict(zip(map(repr, types), made, strict=True))
    components |= _node_schemas(kinds, by_type)
    for name in ("WorkflowCreate", "WorkflowChange"):
        components[name]["properties"]["nodes"]["description"] = "Each is a `Node`."
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, by_type)
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Refold",
            "version": version,
            "description": "Workflows whose runs are journals: what happened, why, and "
            "carrying on from there.",
        },
        "servers": [{"url": public_url}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
    }


def _types(endpoints: Sequence[Endpoint]) -> list[Any]:
    found: dict[str, Any] = {repr(wire.Error): wire.Error}
    for endpoint in endpoints:
        others = (made for _, made in endpoint.other_requests)
        for made in (*endpoint.answers.values(), endpoint.request, *others):
            found |= {repr(one): one for one in _alternatives(made) if one is not None}
    return list(found.values())


def _alternatives(made: Any) -> tuple[Any, ...]:
    """Part `A | B`, which msgspec can't describe where both are objects."""
    return get_args(made) if isinstance(made, UnionType) else (made,)


def _schema(made: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    found: list[dict[str, Any]] = [schemas[repr(one)] for one in _alternatives(made)]
    return found[0] if len(found) == 1 else {"anyOf": found}


def _node_kinds() -> dict[str, Any]:
    """Return the type of each component's configuration."""
    return {name: kind.config_type for name, kind in CATALOGUE.items()}


def _node_schemas(kinds: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return `Node`, and for each component its `data` as a schema `Node.<component>`.

    They are for editors and generators. What a request may hold is more: the component may be
    named by the node's `type`, and null stands for a field that isn't there.
    """
    refs = {name: _REF.format(name=f"Node.{name}") for name in kinds}
    made: dict[str, Any] = {
        f"Node.{name}": {
            "title": name,
            "type": "object",
            "required": ["componentId"],
            "properties": {"componentId": {"const": name}},
            "allOf": [schemas[repr(kind)], schemas[repr(NodePolicy)]],
        }
        for name, kind in kinds.items()
    }
    made["Node"] = {
        "title": "Node",
        "type": "object",
        "required": ["id", "data"],
        "properties": {
            "id": {"type": "string", "minLength": 1, "maxLength": 64},
            "type": {"type": "string"},
            "position": {"type": "object"},
            "data": {
                "oneOf": [{"$ref": ref} for ref in refs.values()],
                "discriminator": {"propertyName": "componentId", "mapping": refs},
            },
        },
    }
    return made


def _operation(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.operation_id,
        "summary": endpoint.summary,
        "description": " ".join((endpoint.handler.__doc__ or "").split()),
        "responses": _responses(endpoint, schemas),
    }
    if endpoint.scope:
        operation["security"] = [{"bearer": []}, *([{"api_key": []}] if endpoint.api_key else [])]
        operation["description"] += f" Scope: `{endpoint.scope}`."
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", endpoint.path)
    ]
    parameters += [
        {
            "name": query.name,
            "in": query.place,
            "required": query.required,
            "description": query.description,
            "schema": query.schema,
        }
        for query in (*endpoint.parameters, *([AS_OF] if endpoint.repeatable else []))
    ]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.request is not None:
        operation["requestBody"] = {
            "required": endpoint.request_required,
            "content": {
                media: {"schema": _schema(made, schemas)}
                for media, made in (
                    ("application/json", endpoint.request),
                    *endpoint.other_requests,
                )
            },
        }
    return operation


def _responses(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, made in endpoint.answers.items():
        response: dict[str, Any] = {"description": _DESCRIPTIONS[status]}
        if made is not None:
            content = {endpoint.media: {"schema": _schema(made, schemas)}}
            for media in endpoint.other_media:
                content[media] = {"schema": {"type": "string"}}
            response["content"] = content
        if endpoint.repeatable:
            response["headers"] = {POSITION: _POSITION}
        responses[str(status)] = response
    refusals = {*endpoint.refusals, 413, 429, 500, 503}
    if endpoint.scope:
        refusals |= {401, 403}
    if endpoint.request is not None:
        refusals |= {400, 415, 422}
    # A query string, too, can be beyond reading.
    refusals.add(422)
    for status in sorted(refusals - set(endpoint.answers)):
        responses[str(status)] = {
            "description": f"{_DESCRIPTIONS[status]} (`{TYPES[status]}`)",
            "content": {"application/json": {"schema": schemas[repr(wire.Error)]}},
        }
    return responses
