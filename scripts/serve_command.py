"""`refold serve`: run the service."""

from __future__ import annotations

from ..http.setting_types import SettingsError
from ..http.settings import Settings
from .settings_flags import takes_settings


@takes_settings()
def serve(settings: Settings) -> int:
    """Run the service until SIGTERM or Ctrl-C.

    Every flag can also be given as an environment variable: REFOLD_PORT for --port, and so on.
    Secrets have no flag: they come from REFOLD_JWT_SECRET and REFOLD_VAULT_KEY, or from the files
    named below. Without them, the first start makes its own in the data directory.
    """
    from ..http.auth_keys import AuthSettingsError
    from ..http.server import serve as run_server

    try:
        return run_server(settings)
    except AuthSettingsError as error:
        raise SettingsError("jwt_secret", str(error)) from error
