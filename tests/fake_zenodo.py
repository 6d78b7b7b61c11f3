"""A local HTTP server that imitates Zenodo's record API and GitHub's archives, in good and in bad moods."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import patch
from urllib.parse import unquote

from lmhld_nb.sources import download

PAGE = b"<!DOCTYPE html><html><body>Please confirm that you are human.</body></html>"


@dataclass
class FakeZenodo:
    """What the server serves and how.

    ``mood`` of a file: ``good``; ``truncate``, ``stall`` (each connection ends, or falls silent, after ``step``
    bytes); ``html`` (a page in place of the file); ``wrong`` (other bytes of the same length); ``no-range`` (always
    from the beginning); ``busy`` (503 at first), ``gone`` (404).
    """

    files: dict[str, bytes]
    mood: dict[str, str] = field(default_factory=dict)
    step: int = 150_000
    api: str = ""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    silence: threading.Event = field(default_factory=threading.Event)
    listing: str = "good"
    doi = "10.5281/zenodo.4242"

    def fetched(self, name: str) -> list[str | None]:
        """Range headers of the requests for a file, in order."""
        return [header for path, header in self.requests if f"/files/{name}/" in path]

    def record(self) -> bytes:
        files = []
        for name, content in self.files.items():
            listed = {"key": name, "size": len(content), "checksum": "md5:" + hashlib.md5(content).hexdigest()}
            files.append(listed | {"links": {"self": f"{self.api}/4242/files/{name}/content"}})
        return json.dumps({"id": 4242, "files": files}).encode()


@contextmanager
def serve(fake: FakeZenodo) -> Iterator[FakeZenodo]:
    """Serve ``fake`` on a free port, to downloads that do not wait long; ``fake.api`` is the base of its record API."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            fake.requests.append((self.path, self.headers.get("Range")))
            parts = unquote(self.path).strip("/").split("/")
            if len(parts) == 6 and parts[4] in fake.files:
                self.file(parts[4])
            elif len(parts) == 4 and parts[2] == "archive" and parts[1] in fake.files:
                self.archive(parts[1])
            elif parts == ["api", "records", "4242"]:
                self.answer(200, PAGE if fake.listing == "html" else fake.record())
            else:
                self.answer(404, b'{"status": 404, "message": "not found"}')

        def file(self, name: str) -> None:
            content, mood = fake.files[name], fake.mood.get(name, "good")
            if mood == "gone" or (mood == "busy" and len(fake.fetched(name)) < 3):
                return self.answer(404 if mood == "gone" else 503, b"")
            if mood == "html":
                return self.answer(200, PAGE, {"Content-Type": "text/html"})
            content = bytes(len(content)) if mood == "wrong" else content
            wanted = self.headers.get("Range")
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and mood != "no-range" else 0
            headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
            if mood not in ("truncate", "stall"):
                return self.answer(206 if start else 200, content[start:], headers)
            length = len(content) - start
            self.answer(206 if start else 200, content[start : start + fake.step], headers, length)
            self.wfile.flush()
            if mood == "stall" and fake.step < length:
                fake.silence.wait(5)
            self.close_connection = True

        def archive(self, name: str) -> None:
            """Send a commit's archive as GitHub does: of unknown length, always from the beginning."""
            content, broken = fake.files[name], fake.mood.get(name) == "truncate"
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(content) // 2 if broken else len(content), 1000):
                piece = content[start : start + 1000]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"" if broken else b"0\r\n\r\n")
            self.close_connection = broken
            fake.mood.pop(name, None)

        def answer(self, status: int, content: bytes, headers: dict | None = None, length: int | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content) if length is None else length))
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
        with patch.multiple(download, TIMEOUT=(2, 0.3), ATTEMPTS=3, PAUSE=0.005):
            yield fake
    finally:
        fake.silence.set()
        server.shutdown()
        server.server_close()
        thread.join()
