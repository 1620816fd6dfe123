"""Is told of events by Refold: checks who says so, and keeps each once, in the order of its run.

REFOLD_WEBHOOK_SECRET=whsec_… python webhook_subscriber.py 9000 events.db
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import sqlite3
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer


class Subscriber(BaseHTTPRequestHandler):
    """Takes one batch a request."""

    timeout = 30
    key: bytes
    db: sqlite3.Connection

    def do_POST(self) -> None:
        """Answer 204 for what is kept safely by now; whatever else is said, it comes again."""
        self.send_response(self.take(self.rfile.read(int(self.headers["Content-Length"] or 0))))
        self.end_headers()

    def take(self, body: bytes) -> int:
        """Keep a batch and return the status that says so."""
        id_, stamp = self.headers["webhook-id"] or "", self.headers["webhook-timestamp"] or ""
        made = hmac.digest(self.key, f"{id_}.{stamp}.".encode() + body, "sha256")
        expected = f"v1,{base64.b64encode(made).decode()}".encode()
        given = (self.headers["webhook-signature"] or "").encode().split()
        if not any(hmac.compare_digest(expected, one) for one in given):
            return 401
        if abs(time.time() - int(stamp)) > 300:
            # Somebody sends again what was overheard, or a clock is wrong.
            return 503
        with self.db:
            for event in json.loads(body):
                row = (event["id"], event["subject"], int(event["sequence"]), event["type"])
                if self.db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?)", row).rowcount:
                    print(*row[1:], flush=True)
        return 204


def main(port: str, file: str) -> None:
    """Serve until ended; the ids in the file tell what came before."""
    Subscriber.key = base64.b64decode(os.environ["REFOLD_WEBHOOK_SECRET"].removeprefix("whsec_"))
    Subscriber.db = sqlite3.connect(file)
    Subscriber.db.execute("CREATE TABLE IF NOT EXISTS seen (id UNIQUE, stream, position, type)")
    with HTTPServer(("127.0.0.1", int(port)), Subscriber) as server:
        print(f"listening on port {server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
