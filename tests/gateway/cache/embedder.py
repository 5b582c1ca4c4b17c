"""A real embedding without a model hub: TF-IDF over the character n-grams of words, hashed; behind /v1/embeddings.

It sees letters, not meanings: an embedding model of a vendor is better at both, at finding what is alike and at taking
for alike what is not.
"""

import math
import threading
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import msgspec
import numpy as np

NUMBERS = 1024


def grams(text: str) -> Counter[int]:
    padded = " " + " ".join(text.lower().split()) + " "
    found: Counter[int] = Counter()
    for n in (3, 4, 5):
        for start in range(len(padded) - n + 1):
            found[zlib.crc32(padded[start : start + n].encode()) % NUMBERS] += 1
    return found


class Embedder:
    """Weights from a corpus, then vectors of texts."""

    def __init__(self, corpus: Iterable[str]) -> None:
        seen: Counter[int] = Counter()
        texts = list(corpus)
        for text in texts:
            seen.update(grams(text).keys())
        self.weights = [math.log((1 + len(texts)) / (1 + seen[gram])) + 1 for gram in range(NUMBERS)]

    def vector(self, text: str) -> list[float]:
        vector = np.zeros(NUMBERS)
        for gram, count in grams(text).items():
            vector[gram] = (1 + math.log(count)) * self.weights[gram]
        return vector.tolist()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, embedder: Embedder) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.embedder = embedder
        self.requests = 0

    async def embed(self, text: str) -> list[float]:
        """As the gateway asks it: over HTTP."""
        self.requests += 1
        async with httpx.AsyncClient(trust_env=False) as client:
            body = {"model": "grams", "input": text}
            answer = await client.post(f"http://127.0.0.1:{self.server_port}/v1/embeddings", json=body)
        vector: list[float] = answer.raise_for_status().json()["data"][0]["embedding"]
        return vector


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        request = msgspec.json.decode(self.rfile.read(int(self.headers["content-length"])))
        vector = self.server.embedder.vector(request["input"])
        data = [{"object": "embedding", "index": 0, "embedding": vector}]
        body = msgspec.json.encode({"object": "list", "data": data, "model": "grams"})
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def embedding(embedder: Embedder) -> Iterator[Server]:
    server = Server(embedder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
