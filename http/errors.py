"""Every error, as an answer: the only place where a status code meets an error class.

    RequestError            a refusal that HTTP itself makes, with its status and code

Everything else comes from the rooms below and is looked up by class, then by code.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Final

from msgspec import UNSET

from ..engine.authoring import VersionMismatchError
from ..engine.definition import DefinitionError
from ..engine.errors import (
    BusyError,
    InvalidError,
    NodeNotCompletedError,
    NodeNotFoundError,
    NotFoundError,
    StateError,
    TooManyError,
)
from ..engine.fault_text import fault_text
from ..engine.secret_source import SecretsUnavailableError
from ..journal.bundle import NoBundleError
from ..journal.checkpoints import SigningRefusedError
from ..journal.errors import (
    BodyErasedError,
    ConflictError,
    CorruptStoreError,
    OverloadedError,
    RequestReusedError,
    StoreClosedError,
    StoreFailedError,
    UnknownEventError,
)
from ..journal.tree_store import TreeRangeError
from ..projections.errors import (
    NothingKeptError,
    NotStoppedError,
    SearchTooSlowError,
    StaleViewsError,
    UnknownProjectionError,
    ViewsBusyError,
    ViewsFailedError,
)
from .auth import AuthUnavailableError, ForbiddenError, UnauthorizedError
from .feeds import TooManyFeedsError
from .wire import Error

_log = logging.getLogger("refold.http")

TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    409: "conflict_error",
    412: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "unprocessable_entity",
    431: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    504: "api_error",
}
"""The `type` of an error by its status."""
RETRY_AFTER_S: Final = "1"


class RequestError(Exception):
    """A refusal made while a request is read."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        errors: Mapping[str, Sequence[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.errors = {path: list(faults) for path, faults in (errors or {}).items()}
        self.headers = dict(headers or {})


def parameter_invalid(path: str, message: str) -> RequestError:
    """Refuse one parameter of the query, a header or the path."""
    return RequestError(422, "parameter_invalid", f"{path} {message}.", errors={path: [message]})


BY_CLASS: Final[dict[type[Exception], tuple[int, str]]] = {
    NotFoundError: (404, "resource_missing"),
    NodeNotFoundError: (404, "node_not_found"),
    NodeNotCompletedError: (422, "node_not_completed"),
    InvalidError: (422, "parameter_invalid"),
    BusyError: (503, "overloaded"),
    VersionMismatchError: (412, "version_mismatch"),
    RequestReusedError: (409, "idempotency_key_reused"),
    BodyErasedError: (409, "payload_erased"),
    OverloadedError: (503, "overloaded"),
    StoreClosedError: (503, "overloaded"),
    StoreFailedError: (503, "read_only"),
    # SQLite says so of a disk that can't be read, too: another moment, or another disk, can answer.
    CorruptStoreError: (503, "read_only"),
    SigningRefusedError: (503, "signing_refused"),
    TreeRangeError: (422, "parameter_invalid"),
    NoBundleError: (409, "no_bundle"),
    TooManyFeedsError: (429, "too_many_requests"),
    # Another process, of a newer version, can answer; nothing is wrong with the request.
    UnknownEventError: (503, "unknown_event"),
    # Only after every bounded attempt to decide anew: many writers on one workflow.
    ConflictError: (503, "overloaded"),
    StaleViewsError: (503, "overloaded"),
    ViewsFailedError: (503, "overloaded"),
    UnknownProjectionError: (404, "resource_missing"),
    SearchTooSlowError: (422, "search_too_broad"),
    ViewsBusyError: (409, "views_busy"),
    NotStoppedError: (409, "not_stopped"),
    NothingKeptError: (409, "nothing_kept"),
    SecretsUnavailableError: (503, "overloaded"),
    ForbiddenError: (403, "insufficient_scope"),
    AuthUnavailableError: (503, "overloaded"),
}
_MESSAGES: Final = {
    "read_only": "The journal can't be used at the moment; nothing was changed.",
    "overloaded": "The service has more to do than it can; try again later.",
    "payload_erased": "What the new run needs was erased just now.",
    "idempotency_key_reused": "The idempotency key was used for another request.",
}


def refusal_of(error: Exception) -> RequestError:
    """Turn any error into the refusal that the client reads.

    What is not known here is a fault of ours: it is logged with its trace, and the client
    learns no more than that.
    """
    if isinstance(error, RequestError):
        return error
    if isinstance(error, UnauthorizedError):
        return RequestError(401, "unauthorized", str(error), headers={"WWW-Authenticate": "Bearer"})
    if isinstance(error, DefinitionError):
        code = "parameter_invalid"
        if all(fault == "is required" for faults in error.errors.values() for fault in faults):
            code = "parameter_missing"
        return RequestError(422, code, str(error), errors=error.errors)
    if isinstance(error, StateError):
        return RequestError(409, error.code, str(error))
    if isinstance(error, TooManyError):
        retry_after = str(max(1, ceil(error.retry_after_s)))
        return RequestError(429, error.code, str(error), headers={"Retry-After": retry_after})
    known = BY_CLASS.get(type(error))
    if known is None:
        _log.error("unexpected error: %s", fault_text(error))
        return RequestError(500, "internal_server_error", "Something went wrong on our side.")
    if isinstance(error, (CorruptStoreError, UnknownEventError)):
        _log.error("a request can't be answered: %s", error)
    status, code = known
    headers = {"Retry-After": RETRY_AFTER_S} if status in (429, 503) else {}
    errors = error.errors if isinstance(error, InvalidError) else {}
    return RequestError(
        status, code, _MESSAGES.get(code, str(error)), errors=errors, headers=headers
    )


def body_of(refusal: RequestError, docs: str) -> Error:
    """Return the body of a refusal; `docs` is the address of the documentation page."""
    return Error(
        TYPES[refusal.status],
        refusal.code,
        refusal.message,
        f"{docs}#{refusal.code}",
        refusal.errors or UNSET,
    )
