"""Bytes on a socket that are no request, nearly one, or one too many; and what that costs."""

from __future__ import annotations

import random
import socket
import struct
from contextlib import suppress
from pathlib import Path

import msgspec

from .service import Service, token

_TIMEOUT_S = 5.0
_SILENCE_S = 0.05
_ANSWER_BYTES_MAX = 1 << 20


class Figures(msgspec.Struct, frozen=True):
    """What a process holds: bytes in memory, files and sockets, threads."""

    memory: int
    files: int
    threads: int


def figures(service: Service) -> Figures:
    """Read what the service's process holds, from the kernel."""
    assert service.process is not None
    place = Path(f"/proc/{service.process.pid}")
    status = dict(line.split(":", 1) for line in (place / "status").read_text("utf-8").splitlines())
    return Figures(
        memory=int(status["VmRSS"].split()[0]) * 1024,
        files=sum(1 for _ in (place / "fd").iterdir()),
        threads=int(status["Threads"]),
    )


class Noise:
    """Makes bytes from a seed and throws them at a port."""

    def __init__(self, port: int, dice: random.Random) -> None:
        self._port = port
        self._dice = dice
        self._token = token("noise", ttl=24 * 3600).encode()
        self.sent = 0
        self.answers = 0
        self.faults: list[str] = []

    def throw(self) -> None:
        """Open a connection, write, and leave it in one of the ways in which clients do."""
        dice = self._dice
        data = self._bytes()
        self.sent += 1
        address = ("127.0.0.1", self._port)
        with socket.create_connection(address, timeout=_TIMEOUT_S) as connection:
            with suppress(ConnectionError, TimeoutError):
                for part in self._parts(data):
                    connection.sendall(part)
            leaving = dice.random()
            if leaving < 0.2:
                # A reset instead of an end.
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return
            if leaving < 0.35:
                return
            if leaving < 0.45:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
            self._judge(self._answer(connection), data)

    def _answer(self, connection: socket.socket) -> bytes:
        """Return what comes until nothing more does: half a request is never answered."""
        answer = b""
        connection.settimeout(_SILENCE_S)
        with suppress(ConnectionError, TimeoutError):
            while len(answer) < _ANSWER_BYTES_MAX and (part := connection.recv(65536)):
                answer += part
        return answer

    def _judge(self, answer: bytes, data: bytes) -> None:
        if not answer:
            return
        self.answers += 1
        status = answer[9:12]
        is_fault = status.startswith(b"5") and status != b"503"
        if not answer.startswith(b"HTTP/1.1 ") or is_fault or b"Traceback" in answer:
            self.faults.append(f"{answer[:300]!r} to {data[:300]!r}")

    def _parts(self, data: bytes) -> list[bytes]:
        if self._dice.random() < 0.7 or len(data) < 2:
            return [data]
        cut = self._dice.randrange(1, len(data))
        return [data[:cut], data[cut:]]

    def _bytes(self) -> bytes:
        dice = self._dice
        kind = dice.random()
        if kind < 0.15:
            return dice.randbytes(dice.choice((1, 10, 1000, 70_000)))
        data = self._request()
        if kind < 0.3:
            return data
        if kind < 0.4:
            return b"".join(self._request() for _ in range(dice.randint(2, 30)))
        if kind < 0.5:
            return data[: dice.randrange(len(data))]
        if kind < 0.6:
            return data + dice.randbytes(dice.choice((1, 100, 5000)))
        made = bytearray(data)
        for _ in range(dice.choice((1, 1, 2, 8))):
            at = dice.randrange(len(made))
            odd = (0, 9, 10, 13, 32, 58, 127, 255, dice.randrange(256))
            if dice.random() < 0.5:
                made[at] = dice.choice(odd)
            else:
                made.insert(at, dice.choice(odd))
        return bytes(made)

    def _request(self) -> bytes:
        dice = self._dice
        line = dice.choice(
            (b"GET /workflows HTTP/1.1", b"GET /healthz HTTP/1.0", b"POST /workflows HTTP/1.1",
             b"GET /docs HTTP/1.1", b"HEAD /readyz HTTP/1.1", b"PRI * HTTP/2.0", b"GET / HTTP/9.9",
             b"CONNECT h:1 HTTP/1.1", b"GET http://h/metrics HTTP/1.1", b"OPTIONS * HTTP/1.1",
             b"GET /" + b"a" * dice.choice((10, 9000, 40_000)) + b" HTTP/1.1")
        )  # fmt: skip
        heads = [b"Host: x"]
        if dice.random() < 0.6:
            heads.append(b"Authorization: Bearer " + self._token)
        odd = (
            b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 5, 6",
            b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: identity, chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 4",
            b"Connection: close", b"Connection: upgrade\r\nUpgrade: websocket",
            b"Expect: 100-continue",
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", b" folded: x", b"No-Colon",
            b"X: " + b"y" * dice.choice((1, 30_000)), b"X:" + dice.randbytes(20),
        )  # fmt: skip
        heads += dice.sample(odd, dice.randrange(4))
        bodies = (b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\nx", b"0\r\n\r\n",
                  b"-1\r\n", b"{}" * 100, dice.randbytes(50))  # fmt: skip
        return line + b"\r\n" + b"\r\n".join(heads) + b"\r\n\r\n" + dice.choice(bodies)
