"""A token's server of the site's: it hands the site's own tokens to whoever asks with the refresh token of a person."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qsl

SECONDS = 300
REFRESH_TOKEN = "of-a-person-who-logged-in"


class TokenServer:
    """`make` makes a token that the site takes for so many seconds."""

    def __init__(self, make: Callable[[int], str]) -> None:
        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
                known = form == {
                    "grant_type": "refresh_token",
                    "refresh_token": REFRESH_TOKEN,
                    "client_id": "passerelle",
                }
                told = {"access_token": make(SECONDS), "expires_in": SECONDS} if known else {"error": "invalid_grant"}
                body = json.dumps(told).encode()
                self.send_response(200 if known else 400)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing is said."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def secret(self) -> dict[str, bytes]:
        """The keys of a Site's Secret, without a user's name."""
        url = f"http://127.0.0.1:{self._server.server_port}/token"
        return {
            "client-id": b"passerelle",
            "refresh-token": REFRESH_TOKEN.encode(),
            "token-url": url.encode(),
        }

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()
