"""An endpoint that sends back what it got, in every form and in every part of an answer.

What it does stands in the path of the request, so that a run means the same however often it is
repeated: `/<place>/<transform>/<cut>/…`.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import unquote

from tests.support.canary_forms import TRANSFORMS, WHOLE_ONLY

NAMES: Final = sorted(TRANSFORMS)
LARGE: Final = 1 << 20


class Request:
    """What came, taken apart into the pieces that a sender chose."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("utf-8", "replace").split("\r\n")
        self.method, self.target, _ = lines[0].split(" ", 2)
        self.headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        parts = self.target.partition("?")[0].split("/")
        self.place = parts[1]
        self.name = NAMES[int(parts[2])]
        self.cut = int(parts[3])

    @property
    def pieces(self) -> list[str]:
        """The texts that may hold a secret."""
        return [
            self.target,
            unquote(self.target),
            *self.headers.values(),
            self.body.decode("utf-8", "replace"),
        ]

    @property
    def echoes(self) -> list[str]:
        """The pieces, transformed, and cut where a cut form is still to be found."""
        made = [TRANSFORMS[self.name](piece) for piece in self.pieces]
        if self.cut and self.name not in WHOLE_ONLY:
            made += [form[self.cut : self.cut + 40] for form in made]
        return made


def _answer(status: str, headers: list[str], body: bytes) -> bytes:
    head = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join(head).encode("utf-8", "replace") + b"\r\n\r\n" + body


def _line(request: Request, size: int = 3000) -> str:
    """Give what fits into one line of a head."""
    text = " ".join(request.echoes).replace("\r", " ").replace("\n", " ").replace("\0", " ")
    return text[:size]


def _json(request: Request) -> bytes:
    value: dict[str, Any] = {
        "echo": request.echoes,
        "n": 7,
        "deep": [{form[:99]: 1} for form in request.echoes],
    }
    value["nested"] = json.dumps(request.echoes)
    return _answer("200 OK", ["Content-Type: application/json"], json.dumps(value).encode())


def _text(request: Request) -> bytes:
    body = "\n".join(request.echoes).encode()
    return _answer("200 OK", ["Content-Type: text/html; charset=utf-8"], body)


def _header(request: Request) -> bytes:
    headers = [f"X-Echo-{n}: {_line(request)}" for n in range(2)]
    headers.append(f"Set-Cookie: {_line(request, 100)}=1; Path=/{_line(request, 50)}")
    return _answer("200 OK", headers, b"ok")


def _header_name(request: Request) -> bytes:
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in _line(request, 400))
    return _answer("200 OK", [f"X-{name}: 1"], b"ok")


def _reason(request: Request) -> bytes:
    return _answer(f"403 {_line(request)}", [], _line(request).encode())


def _error(request: Request) -> bytes:
    body = json.dumps({"error": {"message": " ".join(request.echoes)}}).encode()
    return _answer("500 Internal Server Error", ["Content-Type: application/problem+json"], body)


def _redirect(request: Request) -> bytes:
    host = "".join(c for c in " ".join(request.echoes) if c.isascii() and c.isalnum())[:300]
    return _answer("302 Found", [f"Location: https://{host}.invalid/{_line(request, 200)}"], b"")


def _redirect_scheme(request: Request) -> bytes:
    scheme = "".join(c for c in _line(request) if c.isascii() and c.isalnum())[-300:]
    return _answer("307 Temporary Redirect", [f"Location: x{scheme}://h/"], b"")


def _zipped(request: Request) -> bytes:
    body = gzip.compress("\n".join(request.echoes).encode())
    return _answer("201 Created", ["Content-Encoding: gzip"], body)


def _wrongly_zipped(request: Request) -> bytes:
    return _answer("200 OK", ["Content-Encoding: gzip"], _line(request).encode())


def _repeated(request: Request, size: int) -> bytes:
    text = " ".join(request.echoes).encode()
    return (text * (size // len(text) + 1))[:size]


def _too_large(request: Request) -> bytes:
    return _answer("200 OK", [], _repeated(request, LARGE + 5))


def _large(request: Request) -> bytes:
    # Beyond what a node may put out, within what is read.
    return _answer("200 OK", [], _repeated(request, LARGE // 3))


def _bad_status(request: Request) -> bytes:
    return f"HTTP/1.1 {_line(request)}\r\n\r\n".encode()


def _bad_header(request: Request) -> bytes:
    return f"HTTP/1.1 200 OK\r\n{_line(request)}\x00: [\r\n\r\n".encode()


def _bad_chunk(request: Request) -> bytes:
    head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return f"{head}{_line(request)}\r\n".encode()


def _cut_short(request: Request) -> bytes:
    return _answer("200 OK", [], _line(request).encode() + b" " * 5000)[:-4000]


def _nothing(request: Request) -> bytes:
    del request
    return b""


PLACES: Final[dict[str, Callable[[Request], bytes]]] = {
    function.__name__[1:]: function
    for function in (
        _json, _text, _header, _header_name, _reason, _error, _redirect, _redirect_scheme, _zipped,
        _wrongly_zipped, _too_large, _large, _bad_status, _bad_header, _bad_chunk, _cut_short,
        _nothing,
    )
}  # fmt: skip
"""The parts of an answer in which something comes back; besides, `silent` never answers."""


class Echo:
    """The endpoint, on loopback; `received` is all that it got."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._closing = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            raw = _read(connection)
            if not raw:
                return
            self.received.append(raw)
            request = Request(raw)
            if request.place == "silent":
                self._closing.wait(30)
                return
            connection.sendall(PLACES[request.place](request))
            # Whatever is unread would make the end of the connection a reset.
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            while connection.recv(1 << 16):
                pass

    def close(self) -> None:
        """Stop serving."""
        self._closing.set()
        self._listener.close()


def _read(connection: socket.socket) -> bytes:
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = connection.recv(1 << 16)
        if not piece:
            return b""
        raw += piece
    head, _, body = raw.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line[15:])
    while len(body) < length:
        body += connection.recv(1 << 16)
    return head + b"\r\n\r\n" + body


@contextmanager
def echoing() -> Generator[Echo, None, None]:
    """Serve the endpoint for the length of a block."""
    made = Echo()
    try:
        yield made
    finally:
        made.close()
