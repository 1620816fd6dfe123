"""What clients send to store an OAuth 2.0 grant; nothing of it but the names comes out again."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Secret = Annotated[
    str, Meta(min_length=1, max_length=4000, description="Goes in and never comes out.")
]
# RFC 6749, appendix A: what providers take in a scope.
_SCOPE = r"^[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*$"


class AuthorizationCreate(Struct, frozen=True, forbid_unknown_fields=True):
    """A grant to store."""

    provider: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=100,
            pattern=r"^[^\x00-\x1f\x7f-\x9f]*$",
            description="A name for people.",
        ),
    ]
    grant_type: Annotated[
        Literal["client_credentials", "refresh_token"],
        Meta(description="RFC 6749, section 4.4 or 6."),
    ]
    token_url: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=2000,
            description="The provider's token endpoint: https, and at a public address.",
        ),
    ]
    client_id: Annotated[str, Meta(min_length=1, max_length=1000)]
    client_secret: Secret
    refresh_token: (
        Annotated[
            str, Meta(min_length=1, max_length=16_000, description="Goes in and never comes out.")
        ]
        | None
    ) = None
    scope: Annotated[str, Meta(max_length=2000, pattern=_SCOPE)] | None = None
    audience: Annotated[str, Meta(min_length=1, max_length=2000)] | None = None
    email: Annotated[str, Meta(max_length=254, description="Whose grant it is.")] | None = None
    client_auth: Annotated[
        Literal["basic", "post"],
        Meta(description="How the client shows its secret: in a header or in the form."),
    ] = "basic"
