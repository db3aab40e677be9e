"""A web server on loopback that serves bytes from memory, in ranges, and misbehaves when told to."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """Files by path; `faults` are used up one per request for a file's bytes, in order.

    A fault is "drop" (half the bytes, then a closed connection), "stall" (half the bytes, then silence), "short" (a
    body that is shorter than what was asked for, as if that were all), "500", "403", or "" for none. `served` counts
    bytes by path, `requests` the requests.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.faults = files, []
        self.served: dict[str, int] = {}
        self.requests: list[tuple[str, str]] = []
        self.pause_s = 0.0
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> FileServer:
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def next_fault(self) -> str:
        with self._lock:
            return self.faults.pop(0) if self.faults else ""

    def count(self, path: str, sent: int) -> None:
        with self._lock:
            self.served[path] = self.served.get(path, 0) + sent


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else every answer waits 40 ms for the client's nod

        def log_message(self, *_: object) -> None: ...

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = self.path.partition("?")[0]
            server.requests.append((self.command, path))
            data = server.files.get(path)
            fault = server.next_fault() if body and data is not None else ""
            if data is None or fault in ("500", "403"):
                self.send_response(404 if data is None else int(fault))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start, end = 0, len(data)
            asked = self.headers.get("Range")
            if asked:
                first, _, last = asked.removeprefix("bytes=").partition("-")
                start, end = int(first), min(len(data), int(last) + 1 if last else len(data))
            part = data[start:end]
            if fault == "short":
                part = part[: len(part) // 2]
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(data)}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(part)))
            self.send_header("ETag", f'"{hash(data) & 0xFFFFFFFF:x}"')
            self.end_headers()
            if body:
                self.give(path, part, fault)

        def give(self, path: str, part: bytes, fault: str) -> None:
            sent = part[: len(part) // 2] if fault in ("drop", "stall") else part
            for at in range(0, len(sent), 65536):
                server.count(path, len(sent[at : at + 65536]))
                self.wfile.write(sent[at : at + 65536])
                time.sleep(server.pause_s)
            if fault == "stall":
                self.wfile.flush()
                time.sleep(5)
            if fault in ("drop", "stall"):
                self.close_connection = True
                self.connection.close()

    return Handler
