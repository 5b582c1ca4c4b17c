"""The route table's file: swapped whole under load, refused when broken, the last good one kept."""

import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import Corrupt
from modelyard.core.files import write_atomically
from modelyard.gateway.cache.caches import Caches
from modelyard.gateway.table import Routes, TableFile
from modelyard.gateway.upstream import Pool
from modelyard.ports.routes import Key, RouteTable, Service, decode_route_table, encode_route_table
from tests.gateway.harness import AUTH, CHAT, Yard, eventually, key_of, variant
from tests.gateway.upstream import Engine


def service(url: str, name: str = "support", champion: str = "champ") -> Service:
    return Service(name=name, champion=variant(champion, url))


def table(version: int = 1, *, services: Any = (), keys: Any = ()) -> RouteTable:
    return RouteTable(version=version, created_ms=1, services=services, keys=keys)


def test_not_ready_without_a_table(yard: Yard, engine_url: str) -> None:
    assert httpx.get(f"{yard.url}/health").status_code == 200
    for answer in (httpx.get(f"{yard.url}/ready"), yard.post()):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    yard.publish(service(engine_url))
    assert yard.post().status_code == 200


def test_swap_under_load_fails_no_request(yard: Yard, engine: Engine, engine_url: str) -> None:
    engine.delay_s = 0.005
    yard.publish(service(engine_url, champion="m0"))
    seen: list[tuple[int, str]] = []
    stop = threading.Event()

    def call() -> None:
        with httpx.Client(base_url=yard.url, headers=AUTH) as client:
            while not stop.is_set():
                answer = client.post("/v1/chat/completions", json={**CHAT, "stream": len(seen) % 2 == 0})
                seen.append((answer.status_code, answer.headers.get("x-modelyard-release", "")))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(8):
        yard.publish(service(engine_url, champion=f"m{number}"))
        eventually(lambda name=f"m{number}@123": any(release == name for _, release in seen[-4:]))
    stop.set()
    for thread in threads:
        thread.join()
    assert {status for status, _ in seen} == {200}
    assert {release for _, release in seen} == {f"m{number}@123" for number in range(8)}
    assert len(yard.interactions()) == len(seen)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"not json",
        b'{"digest":"sha256:00","table":{"version":9,"created_ms":1}}',
        encode_route_table(table(9, services=(service("ftp://nowhere"),))),
        encode_route_table(table(9, services=(service("http://a"), service("http://b")))),
        encode_route_table(table(0)),
    ],
    ids=["empty", "no json", "digest", "engine url", "service twice", "older"],
)
def test_broken_table_keeps_the_last_good_one_and_is_reported(yard: Yard, engine_url: str, broken: bytes) -> None:
    yard.publish(service(engine_url))
    write_atomically(yard.table, broken)
    eventually(lambda: yard.metric("table_errors_total") == 1)
    assert yard.post().status_code == 200
    assert (yard.metric("table_broken"), yard.metric("table_version")) == (1, 1)
    yard.publish(service(engine_url))
    assert (yard.metric("table_broken"), yard.metric("table_errors_total")) == (0, 1)


def test_table_that_vanishes_goes_on_being_served(yard: Yard, engine_url: str) -> None:
    yard.publish(service(engine_url))
    yard.table.unlink()
    eventually(lambda: yard.metric("table_errors_total") == 1)
    assert yard.post().status_code == 200


def test_missing_table_is_no_error_before_the_first(tmp_path: Path) -> None:
    file = TableFile(tmp_path / "routes.json", Pool())
    assert not file.refresh()
    assert (file.num_errors, file.routes) == (0, None)


def test_same_file_is_read_once(tmp_path: Path) -> None:
    file = TableFile(tmp_path / "routes.json", Pool())
    write_atomically(file.path, encode_route_table(table()))
    assert file.refresh()
    routes = file.routes
    assert not file.refresh()
    assert file.routes is routes


def test_models_lists_the_services(yard: Yard, engine_url: str) -> None:
    yard.publish(service(engine_url), service(engine_url, "billing"))
    answer = httpx.get(f"{yard.url}/v1/models", headers=AUTH).json()
    assert [model["id"] for model in answer["data"]] == ["support", "billing"]
    assert {model["owned_by"] for model in answer["data"]} == {"modelyard"}


def test_key_twice_is_refused() -> None:
    keys = (key_of(), Key(id="other", hash=f"sha256:{key_of().hash}", tenant="b"))
    with pytest.raises(Corrupt, match="key twice"):
        Routes(table(keys=keys), Pool(), Caches())


@given(st.integers(0, 10**6), st.lists(st.text(max_size=8), max_size=4, unique=True), st.floats(0, 2))
def test_a_table_survives_its_file(version: int, names: list[str], temperature: float) -> None:
    services = tuple(service("http://localhost:1/v1", name) for name in names)
    original = table(version, services=services, keys=(key_of(),))
    assert decode_route_table(encode_route_table(original)) == original


@given(st.data())
def test_a_damaged_file_is_always_corrupt(data: st.DataObject) -> None:
    original = table(3, services=(service("http://localhost:1"),), keys=(key_of(),))
    encoded = bytearray(encode_route_table(original))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_route_table(bytes(encoded))
    except Corrupt:
        return
    assert decoded == original
