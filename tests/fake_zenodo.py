"""A local HTTP server that imitates Zenodo's record API, in good and in bad moods."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

PAGE = b"<!DOCTYPE html><html><body>Please confirm that you are human.</body></html>"


@dataclass
class FakeZenodo:
    """What the server serves and how.

    ``mood`` of a file: ``good``; ``truncate``, ``stall`` (each connection ends, or falls silent, after ``step``
    bytes); ``html`` (a page in place of the file); ``wrong`` (other bytes of the same length); ``no-range`` (always from the beginning); ``busy`` (503 at first), ``gone`` (404).
    """

    files: dict[str, bytes]
    record: str = "4242"
    mood: dict[str, str] = field(default_factory=dict)
    step: int = 150_000
    api: str = ""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    silence: threading.Event = field(default_factory=threading.Event)
    listing: str = "good"

    @property
    def doi(self) -> str:
        return f"10.5281/zenodo.{self.record}"

    def fetched(self, name: str) -> list[str | None]:
        """Range headers of the requests for a file, in order."""
        return [header for path, header in self.requests if f"/files/{name}/" in path]


@contextmanager
def serve(fake: FakeZenodo) -> Iterator[FakeZenodo]:
    """Serve ``fake`` on a free port of this machine; ``fake.api`` is the base of its record API."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            fake.requests.append((self.path, self.headers.get("Range")))
            parts = unquote(self.path).strip("/").split("/")
            if parts[:2] == ["api", "records"] and len(parts) == 3:
                self.record(parts[2])
            elif len(parts) == 6 and parts[4] in fake.files:
                self.file(parts[4])
            else:
                self.answer(404, b'{"status": 404, "message": "not found"}', "application/json")

        def record(self, number: str) -> None:
            if fake.listing == "html":
                self.answer(200, PAGE, "text/html")
            elif number != fake.record:
                self.answer(404, b'{"status": 404, "message": "PID does not exist"}', "application/json")
            else:
                files = [
                    {
                        "key": name,
                        "size": len(content),
                        "checksum": "md5:" + hashlib.md5(content).hexdigest(),
                        "links": {"self": f"{fake.api}/{number}/files/{name}/content"},
                    }
                    for name, content in fake.files.items()
                ]
                answer = json.dumps({"id": int(number), "files": files}).encode()
                self.answer(200, answer, "application/json")

        def file(self, name: str) -> None:
            content, mood = fake.files[name], fake.mood.get(name, "good")
            if mood == "gone":
                return self.answer(404, b"", "text/plain")
            if mood == "busy" and len(fake.fetched(name)) < 3:
                return self.answer(503, b"", "text/plain")
            if mood == "html":
                return self.answer(200, PAGE, "text/html")
            if mood == "wrong":
                content = bytes(len(content))
            wanted = self.headers.get("Range")
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and mood != "no-range" else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if mood in ("truncate", "stall"):
                self.wfile.write(content[start : start + fake.step])
                self.wfile.flush()
                if mood == "stall" and start + fake.step < len(content):
                    fake.silence.wait(5)
                self.close_connection = True
            else:
                self.wfile.write(content[start:])

        def answer(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """Keep the test's output clean."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *args: object) -> None:
            """A client that went away in mid-answer is what these tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    fake.api = f"http://127.0.0.1:{server.server_port}/api/records"
    try:
        yield fake
    finally:
        fake.silence.set()
        server.shutdown()
        server.server_close()
        thread.join()
