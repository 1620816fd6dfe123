"""One HTTP call: what a handler gets, and the answer that it gives back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from hashlib import sha256
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import msgspec

from ..engine import strict_json
from ..engine.caller import Caller
from ..engine.component import is_object
from ..engine.fields import check_fields
from ..journal.journal import LATEST, RequestKey
from .auth import Principal, require
from .errors import RequestError, parameter_invalid

JSON: Final = (b"content-type", b"application/json")
WAIT_SECONDS_MAX: Final = 30
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NOT_READ: Final = object()
_encode = msgspec.json.Encoder().encode
S = TypeVar("S", bound=msgspec.Struct)


class Patience(msgspec.Struct, frozen=True):
    """How long the reader of a stream may take nothing, and what it is told then."""

    seconds: float
    last_words: Callable[[], bytes] | None = None
    """None where an answer that breaks off must not look complete."""


class Answer(msgspec.Struct, frozen=True):
    """A status, a body and headers; the body may be a stream."""

    status: int
    body: bytes | AsyncIterator[bytes] = b""
    headers: tuple[tuple[bytes, bytes], ...] = (JSON,)
    patience: Patience | None = None

    def with_header(self, name: str, value: str) -> Answer:
        """Return the same answer with one header more."""
        extra = (name.lower().encode(), value.encode())
        return msgspec.structs.replace(self, headers=(*self.headers, extra))


def answer(status: int, value: Any) -> Answer:
    """Answer with a value as JSON."""
    return Answer(status, _encode(value))


class Call:
    """A request that passed authentication; its body is read already, and bounded."""

    __slots__ = (
        "_json",
        "_query",
        "_query_string",
        "at",
        "body",
        "headers",
        "method",
        "params",
        "path",
        "principal",
        "request_id",
    )

    def __init__(
        self,
        method: str,
        path: str,
        params: Mapping[str, str],
        query_string: bytes,
        headers: Mapping[bytes, bytes],
        request_id: str,
    ) -> None:
        self.method = method
        self.path = path
        self.params = params
        self._query_string = query_string
        self._query: dict[str, str] | None = None
        self._json: Any = _NOT_READ
        self.headers = headers
        self.request_id = request_id
        self.at = LATEST
        """The position that the answer is to be of."""
        self.body = b""
        self.principal = ANYBODY

    @property
    def query(self) -> dict[str, str]:
        """The query parameters, of which the last one of a name counts.

        Read on demand, so that a caller without a token learns of nothing else.

        Raises:
            RequestError: 422, the query can't be read.
        """
        if self._query is None:
            self._query = _read_query(self._query_string)
        return self._query

    @property
    def caller(self) -> Caller:
        """Who asks, as the engine records it."""
        return Caller(self.principal.tenant, self.principal.subject, self.request_id)

    def header(self, name: bytes) -> str | None:
        """Return a header by its lower-case name."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def has_scope(self, scope: str) -> bool:
        """Tell whether the caller has a scope."""
        return scope in self.principal.scopes

    def demand(self, scope: str) -> None:
        """Refuse a caller without a scope.

        Raises:
            ForbiddenError: it is missing.
        """
        require(self.principal, scope)

    def json(self) -> Any:
        """Return the body as JSON, None if there is none.

        Raises:
            RequestError: 400 or 415.
        """
        if self._json is _NOT_READ:
            self._json = self._read_json()
        return self._json

    def _read_json(self) -> Any:
        if not self.body:
            return None
        content_type = self.headers.get(b"content-type", b"application/json")
        kind = content_type.split(b";", 1)[0].strip().lower()
        if kind != b"application/json" and not kind.endswith(b"+json"):
            raise RequestError(
                415, "unsupported_media_type", "The body must be sent as application/json."
            )
        try:
            return strict_json.decode(self.body)
        except strict_json.InvalidJsonError as error:
            raise RequestError(400, "invalid_json", str(error)) from None

    def read(self, struct: type[S], *, optional: bool = True) -> S:
        """Return the body as a request type; no body means all defaults where `optional`.

        Raises:
            RequestError: 400, 415 or 422 with one entry for each fault.
        """
        # A body that says null is a body, and no object.
        return read_struct(struct, self.json(), optional=optional and not self.body)

    def idempotency(self, route: str, resource: str, body: Any) -> RequestKey | None:
        """Return the request's idempotency key and what it stands for, None without one.

        Raises:
            RequestError: 422, the key is not a UUID.
        """
        key = self.header(b"idempotency-key")
        if key is None:
            return None
        if not _UUID.fullmatch(key):
            raise parameter_invalid("Idempotency-Key", "must be a UUID")
        said = f"{self.method}\n{self.path}\n".encode() + strict_json.canonical(body)
        scope = f"{self.principal.tenant}\n{route}\n{resource}"
        return RequestKey(scope, key.lower(), sha256(said).hexdigest())

    def number(self, name: str, default: int = 0) -> int:
        """Return a parameter of the query that counts something.

        Raises:
            RequestError: 422, it is no whole number below 10^15.
        """
        return whole_number(self.query.get(name), name, default)

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a parameter of the query that is `true` or `false`.

        Raises:
            RequestError: 422, it is neither.
        """
        text = self.query.get(name)
        if text is None:
            return default
        if text not in ("true", "false"):
            raise parameter_invalid(name, "must be true or false")
        return text == "true"

    def wait_seconds(self) -> int:
        """Return N of `Prefer: wait=N` (RFC 7240), at most 30, 0 without one.

        A preference that can't be understood is ignored, as the RFC demands.
        """
        prefer = self.header(b"prefer")
        if prefer is None:
            return 0
        for preference in prefer.split(","):
            name, _, value = preference.partition(";")[0].partition("=")
            if name.strip().lower() == "wait" and value.strip().strip('"').isdecimal():
                return min(int(value.strip().strip('"')[:9]), WAIT_SECONDS_MAX)
        return 0


ANYBODY: Final = Principal("", "", frozenset(), 0)
"""The caller of a route that needs no token."""


def whole_number(text: str | None, name: str, default: int = 0) -> int:
    """Read what counts something; `name` is the parameter, header or part of the path.

    Raises:
        RequestError: 422, it is no whole number below 10^15.
    """
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise parameter_invalid(name, "must be a whole number")
    return int(text)


def read_struct(struct: type[S], value: Any, *, optional: bool) -> S:
    """Convert a decoded body to a request type.

    Raises:
        RequestError: 422 with one entry for each fault.
    """
    if value is None and optional:
        value = {}
    if value is None:
        raise RequestError(422, "parameter_missing", "A body that is an object is needed.")
    if not is_object(value):
        raise RequestError(
            422, "parameter_invalid", "The body must be an object.", errors={"": ["not an object"]}
        )
    made, errors = check_fields(struct, value, "", closed=True)
    if made is None:
        missing = all(faults == ["is required"] for faults in errors.values())
        first = next(iter(errors))
        raise RequestError(
            422,
            "parameter_missing" if missing else "parameter_invalid",
            f"{first} {errors[first][0]}.",
            errors=errors,
        )
    return made


def _read_query(query_string: bytes) -> dict[str, str]:
    if not query_string:
        return {}
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=50,
            errors="strict",
        )
    except (UnicodeDecodeError, ValueError):
        raise parameter_invalid("query", "can't be read") from None
    return dict(pairs)
