"""Rows that mean the same: which go, and where their vectors come from."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import DataInvalid, InvalidInput, Unavailable
from modelyard.datasets.duplicates import semantic
from modelyard.datasets.duplicates.config import SemanticDuplicatesConfig
from modelyard.datasets.duplicates.embedding import embed
from modelyard.datasets.duplicates.semantic import MAX_ROWS, check_num_rows, drop_semantic_duplicates
from tests.datasets.test_balance import index_of


def unit(vectors: Any) -> Any:
    array = np.array(vectors, np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def drops(vectors: Any, split: list[int], threshold: float = 0.9) -> dict[int, tuple[int, float]]:
    alive = np.ones(len(split), bool)
    lost = drop_semantic_duplicates(index_of([1] * len(split), split), alive, unit(vectors), threshold)
    told = zip(lost.places.tolist(), lost.witness.tolist(), lost.numbers[:, 0].tolist(), strict=True)
    return {place: (witness, round(near, 3)) for place, witness, near in told}


def test_the_earliest_stays() -> None:
    assert drops([[1, 0], [0, 1], [1, 0.1], [0.1, 1]], [0, 0, 0, 0]) == {2: (0, 0.995), 3: (1, 0.995)}


def test_the_most_held_out_stays() -> None:
    assert drops([[1, 0], [1, 0], [1, 0]], [0, 2, 1]) == {0: (1, 1.0), 2: (1, 1.0)}


def test_a_row_that_goes_takes_no_other_with_it() -> None:
    # Each is near its neighbour alone: the middle one goes, and the last has no near one that stays.
    angles = np.deg2rad([0, 20, 40])
    assert list(drops(np.stack([np.cos(angles), np.sin(angles)], axis=1), [0, 0, 0])) == [1]


def test_vectors_are_those_of_the_rows_alive() -> None:
    alive = np.array([False, True, False, True, True])
    lost = drop_semantic_duplicates(index_of([1] * 5), alive, unit([[1, 0], [0, 1], [1, 0]]), 0.9)
    assert lost.places.tolist() == [4]
    assert lost.reason(0, lambda place: f"row {place}") == "semantic duplicate: similarity 1.000 to row 1"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(0, 1000), st.integers(1, 9), st.integers(1, 9))
def test_blocks_make_no_difference(count: int, seed: int, rows: int, others: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng.integers(-2, 3, (count, 3)) + 0.01)
    split = rng.integers(0, 3, count).tolist()
    kept: list[int] = []
    for place in sorted(range(count), key=lambda place: (-split[place], place)):
        if not any(vectors[place] @ vectors[other] >= 0.9 for other in kept):
            kept.append(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic, "_BLOCK_ROWS", rows)
        patch.setattr(semantic, "_OTHER_ROWS", others)
        found = drops(vectors, split)
    assert sorted(found) == sorted(set(range(count)) - set(kept))
    assert all(witness in kept for witness, _ in found.values())


def test_nothing_is_compared_with_nothing() -> None:
    assert len(drop_semantic_duplicates(index_of([]), np.zeros(0, bool), np.zeros((0, 1), np.float32), 0.9)) == 0


def test_vectors_that_are_no_numbers_are_told() -> None:
    vectors = np.array([[1, 0], [np.nan, 1]], np.float32)
    with pytest.raises(DataInvalid, match="embeddings of 1 rows"):
        drop_semantic_duplicates(index_of([1, 1]), np.ones(2, bool), vectors, 0.9)


def test_too_many_rows_are_told() -> None:
    check_num_rows(MAX_ROWS)
    with pytest.raises(DataInvalid, match="200,001 rows are too many"):
        check_num_rows(MAX_ROWS + 1)


class Embedder(ThreadingHTTPServer):
    """Answers with the length of each text and 1; the first requests with the planned statuses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[int] = []
        self.seen: list[tuple[str, str | None, dict[str, Any]]] = []
        self.body: bytes | None = None

    @property
    def config(self) -> SemanticDuplicatesConfig:
        return SemanticDuplicatesConfig(url=f"http://127.0.0.1:{self.server_port}/v1", model="small")


class Handler(BaseHTTPRequestHandler):
    server: Embedder

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.seen.append((self.path, self.headers["authorization"], asked))
        status = self.server.plan.pop(0) if self.server.plan else 200
        data = [{"index": place, "embedding": [len(text), 1.0]} for place, text in enumerate(asked["input"])]
        body = self.server.body or json.dumps({"data": data[::-1]} if status == 200 else {"error": "no"}).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Embedder]:
    with Embedder() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def test_an_address_embeds_in_batches_and_in_order(server: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDING_KEY", "secret")
    texts = ["x" * number for number in range(1, 131)]
    vectors = embed(texts, server.config.model_copy(update={"api_key_env": "EMBEDDING_KEY"}))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, unit([[number, 1] for number in range(1, 131)]), rtol=1e-6)
    assert [len(asked["input"]) for _, _, asked in server.seen] == [64, 64, 2]
    path, key, asked = server.seen[0]
    assert (path, key, asked["model"]) == ("/v1/embeddings", "Bearer secret", "small")


def test_a_busy_address_is_asked_again(server: Embedder) -> None:
    server.plan = [429, 503]
    assert embed(["four"], server.config).shape == (1, 2)
    assert len(server.seen) == 3


def test_an_address_that_says_no_is_told_at_once(server: Embedder) -> None:
    server.plan = [400]
    with pytest.raises(Unavailable, match="400"):
        embed(["four"], server.config)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": []}',
        b'{"hello": 1}',
        b"[1]",
        b'{"data": [{"index": 0, "embedding": ["x"]}]}',
        b'{"data": [{"index": 0, "embedding": 1}]}',
        b"<html>",
    ],
)
def test_an_address_that_answers_otherwise_is_told(server: Embedder, body: bytes) -> None:
    server.body = body
    with pytest.raises(Unavailable, match="embed"):
        embed(["four"], server.config)


def test_a_missing_key_is_told(server: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBEDDING_KEY", raising=False)
    with pytest.raises(InvalidInput, match="EMBEDDING_KEY is not set"):
        embed(["four"], server.config.model_copy(update={"api_key_env": "EMBEDDING_KEY"}))
    assert server.seen == []


def test_a_missing_model_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="no model folder"):
        embed(["four"], SemanticDuplicatesConfig(model=str(tmp_path / "none")))


@pytest.mark.slow
def test_a_local_model_embeds(tmp_path: Path) -> None:
    from tests.models import make_tiny_model

    model = str(make_tiny_model(tmp_path))
    texts = ["Where is my order?", "Where is my order?", "Please cancel it and refund the payment, thanks."]
    vectors = embed(texts, SemanticDuplicatesConfig(model=model))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    # Padding makes no difference to a text.
    np.testing.assert_allclose(vectors[:2], embed(texts[:2], SemanticDuplicatesConfig(model=model)), atol=1e-5)
    assert vectors[0] @ vectors[2] < 0.999
