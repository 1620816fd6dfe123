"""Serves what assembly.py has wired together, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import msgspec
import uvicorn

from ..engine.fault_text import log_loop_fault
from ..engine.outbound import CONNECTIONS_MAX
from ..journal.files import make_directory
from .app import Application
from .assembly import assemble
from .auth import Authenticator
from .auth_keys import AuthSettings
from .call import Answer
from .endpoint import Endpoint
from .endpoints import served_endpoints
from .keys import jwt_secret
from .logs import configure_logging
from .protocol import bounded_protocol
from .sending import POLICY
from .services import App
from .setting_types import SettingsError
from .settings import Settings

_log = logging.getLogger("refold.server")
_KEEP_ALIVE_S = 65
"""Longer than the idle connections of usual proxies, so that it is they who close."""
_GC_ALLOCATIONS = 20_000
"""How many more objects are made than freed before the collector looks for circles among the young.

A run makes few circles, and a thousand objects that live until it ends: by the interpreter's 700
the collector would look at those of all active runs more than once a run, and find nothing.
"""
_OTHER_FILES = 2 * CONNECTIONS_MAX + 100
"""Outgoing connections of nodes and of subscriptions, and the files of the data directory."""


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C; returns the process's exit code.

    Raises:
        SettingsError, AuthSettingsError, JournalError, OSError: each a sentence for the operator.
    """
    configure_logging(settings.log_format)
    listening = _listen(settings.host, settings.port)
    try:
        make_directory(settings.data)
        authenticator, made = _authenticator(settings)
        port = listening.getsockname()[1]
        public_url = settings.public_url.rstrip("/") or f"http://{settings.host}:{port}"
        try:
            import uvloop

            runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        except ImportError:
            runner = asyncio.Runner()
        with runner:
            runner.run(_serve(settings, authenticator, listening, public_url, made=made))
    except KeyboardInterrupt:
        return 0
    finally:
        listening.close()
    return 0


class _Server(uvicorn.Server):
    """Uvicorn, told to stop by us: by itself it ends the process by the signal, not with 0."""

    def __init__(self, config: uvicorn.Config, app: App, drain_s: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain_s = drain_s

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals alone."""
        yield

    def ask_to_stop(self) -> None:
        """Say that it stops, then stop accepting and finish; asked twice, finish at once."""
        intake = self._app.intake
        if self._drain_s and not intake.is_stopping:
            asyncio.get_running_loop().call_later(self._drain_s, self._stop)
        else:
            self.force_exit = self.should_exit
            self._stop()
        intake.is_stopping = True

    def _stop(self) -> None:
        if not self._app.stopping.done():
            self._app.stopping.set_result(None)
        self.should_exit = True


async def _serve(
    settings: Settings,
    authenticator: Authenticator,
    listening: socket.socket,
    public_url: str,
    *,
    made: bool,
) -> None:
    async with assemble(settings, public_url) as (app, ids):
        endpoints = served_endpoints(settings.metrics)
        pages = _pages(public_url, endpoints)
        application = Application(app, authenticator, ids, endpoints, pages)
        server = _Server(
            uvicorn.Config(
                application,
                http=bounded_protocol(
                    f"{public_url}/docs",
                    app.requests.malformed,
                    _connections_max(settings),
                    settings.request_seconds_max,
                ),
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                ws="none",
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=settings.shutdown_seconds_max,
            ),
            app,
            settings.drain_seconds,
        )
        recovered = await app.engine.recover()
        app.scheduler.start()
        app.subscriptions.start()
        # What lives now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_ALLOCATIONS)
        asyncio.get_running_loop().set_exception_handler(log_loop_fault)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, server.ask_to_stop)
        _announce(settings, public_url, recovered, made=made)
        try:
            await server.serve(sockets=[listening])
        finally:
            await app.scheduler.stop(settings.shutdown_seconds_max)
            # Side by side, so that a subscriber that does not answer costs no time of its own.
            async with asyncio.TaskGroup() as group:
                group.create_task(app.engine.stop(settings.shutdown_seconds_max))
                group.create_task(app.subscriptions.stop(settings.shutdown_seconds_max))


def _authenticator(settings: Settings) -> tuple[Authenticator, bool]:
    """Return what checks tokens, and whether its secret was made just now."""
    secret, made = jwt_secret(settings) if settings.checks_by_secret else ("", False)
    auth = AuthSettings(
        secret=secret,
        public_key=str(settings.jwt_public_key or ""),
        jwks_url=settings.jwks_url,
        algorithms=settings.jwt_algorithms,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
    )
    return Authenticator(auth, clock=time.time), made


def _connections_max(settings: Settings) -> int:
    """Return how many connections may be open: files for everything else are left over."""
    wanted = settings.max_connections + _OTHER_FILES
    files, files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < wanted:
        files = wanted if files_max == resource.RLIM_INFINITY else min(wanted, files_max)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files_max))
        return max(10, files - _OTHER_FILES)
    return settings.max_connections


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything else, so that a busy one stops the start."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SettingsError(
            "port", f"can't listen on {host} port {port}: {error.strerror or error}"
        ) from error
    listening.listen(2048)
    return listening


def _pages(public_url: str, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the documents, built when they are first asked for: their builders cost memory."""
    documents: dict[str, bytes] = {}

    def document() -> dict[str, Any]:
        from . import openapi

        return openapi.build(public_url, version("refold"), endpoints)

    async def openapi_page() -> Answer:
        if "openapi" not in documents:
            documents["openapi"] = msgspec.json.encode(document())
        return Answer(200, documents["openapi"])

    async def docs_page() -> Answer:
        from . import docs_page as page

        if "docs" not in documents:
            documents["docs"] = page.render(document()).encode()
        headers = (
            (b"content-type", b"text/html; charset=utf-8"),
            (POLICY, page.content_policy().encode()),
        )
        return Answer(200, documents["docs"], headers)

    return {"/openapi.json": openapi_page, "/docs": docs_page}


def _announce(settings: Settings, public_url: str, recovered: int, *, made: bool) -> None:
    _log.info("Refold serves %s (data in %s)", public_url, settings.data)
    if recovered:
        _log.info("%d unfinished runs continue", recovered)
    if made:
        _log.info("made a secret for tokens in the data directory")
    if settings.checks_by_secret:
        _log.info("mint a token: refold token --data %s", settings.data)
