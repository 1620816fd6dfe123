"""`refold token`: make a token for the service that uses the same data directory."""

from __future__ import annotations

import time
from typing import Annotated

from cyclopts import Parameter

from ..http.keys import jwt_secret
from ..http.setting_types import SettingsError
from ..http.settings import Settings
from .settings_flags import takes_settings


@takes_settings(("data", "jwt_secret_file", "jwt_issuer", "jwt_audience"))
def token(
    settings: Settings,
    *,
    org: Annotated[str, Parameter(help="Tenant that the token acts for.")] = "local",
    sub: Annotated[str, Parameter(help="Who the token stands for.")] = "operator",
    scope: Annotated[
        str,
        Parameter(
            help="Scopes, separated by spaces; all of them if not given.", show_default=False
        ),
    ] = "",
    ttl: Annotated[int, Parameter(help="Life of the token in seconds.")] = 3600,
) -> int:
    """Print a JWT, alone on standard output.

    It is signed with the HS256 secret of the data directory, which is made if it is missing.
    """
    from ..http.auth import SCOPES, AuthSettingsError, mint

    if not settings.checks_by_secret:
        raise SettingsError(
            "jwt_public_key",
            "The service checks tokens with a public key, so only the owner of the private one "
            "can make them.",
        )
    secret, _ = jwt_secret(settings)
    try:
        text = mint(
            secret,
            subject=sub,
            tenant=org,
            scopes=scope.split() or SCOPES,
            ttl_s=ttl,
            now=time.time(),
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
        )
    except AuthSettingsError as error:
        raise SettingsError("token", str(error)) from error
    print(text)
    return 0
