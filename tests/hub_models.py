"""A Hub of models on loopback that answers as the real one does."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c" * 40


class Hub:
    """Files of models by "owner/name/file"; which of them were asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.given: list[str] = []
        self.lie = ""  # a digest to name instead of the true one
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    def told(self, home: str) -> dict[str, str]:
        """Environment of a process that shall use it; the address is read when the Hub's library is imported."""
        names = ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_PROGRESS_BARS")
        return {"HF_ENDPOINT": self.url, "HF_HOME": home, **dict.fromkeys(names, "1")}


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            owner, name, _, _, file = (self.path.partition("?")[0].lstrip("/").split("/", 4) + [""] * 5)[:5]
            known = any(path.startswith(f"{owner}/{name}/") for path in hub.files)
            data = hub.files.get(f"{owner}/{name}/{file}")
            if data is None:
                self.send(404, b"", {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"})
                return
            digest = hub.lie or hashlib.sha256(data).hexdigest()
            if self.command == "GET":
                hub.given.append(file)
            self.send(200, data, {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"', "X-Linked-Etag": f'"{digest}"'})

        def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    return Handler
