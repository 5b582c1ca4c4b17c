"""A small real server that answers with the bytes in a folder, chosen as the engine would by the request."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from modelyard.ports.sheets import SHEETS, Sheet

FOLDER = Path(__file__).parent


@contextmanager
def replaying(kind: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Its URL, and the headers of the requests it got."""
    seen: list[dict[str, str]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(SHEETS[kind], FOLDER / kind, seen))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(sheet: Sheet, folder: Path, seen: list[dict[str, str]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one packet, else the reader waits 40 ms for each answer

        def do_GET(self) -> None:
            names = {sheet.health: "health.txt", sheet.path("models"): "models.json"}
            if sheet.metrics:
                names[sheet.metrics.path] = "metrics.txt"
            self._answer(200, names.get(self.path, ""))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"{}")
            if self.path == sheet.path("messages"):
                self._answer(200, "messages.json")
            elif self.path != sheet.path("chat"):
                self._answer(404, "")
            elif body.get("model") != "m":
                self._answer(404, "bad-model.json")
            elif not body.get("stream"):
                self._answer(200, "chat.json")
            else:
                asked = (body.get("stream_options") or {}).get("include_usage")
                self._answer(200, "chat-stream-usage.sse" if asked else "chat-stream.sse")

        def _answer(self, status: int, name: str) -> None:
            seen.append({key.lower(): value for key, value in self.headers.items()})
            path = folder / name
            data = path.read_bytes() if name and path.is_file() else b""
            self.send_response(status if name and path.is_file() else 404)
            kind = {".json": "application/json", ".sse": "text/event-stream"}.get(path.suffix, "text/plain")
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
