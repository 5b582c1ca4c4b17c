"""The route table's file is checked by its bytes, so that older and newer versions can read each other's."""

import msgspec
import pytest

from modelyard.core.digests import canonical_json, digest_bytes
from modelyard.core.errors import Corrupt
from modelyard.ports.routes import Key, RouteTable, Service, Variant, decode_route_table, encode_route_table

VARIANT = Variant(release="sha256:1", ref="support@1", engine_url="http://127.0.0.1:1", model="m")
TABLE = RouteTable(
    version=3,
    created_ms=1,
    services=(Service(name="support", champion=VARIANT),),
    keys=(Key(id="k", hash="sha256:2", tenant="acme"),),
)


def file_of(table: object) -> bytes:
    body = canonical_json(table)
    return canonical_json({"digest": digest_bytes(body), "table": msgspec.Raw(body)})


def test_a_file_of_a_writer_that_knew_fewer_fields_is_read() -> None:
    older = msgspec.to_builtins(TABLE)
    del older["services"][0]["body_policy"], older["services"][0]["champion"]["price"], older["keys"][0]["expires_ms"]
    assert decode_route_table(file_of(older)) == TABLE


def test_a_file_of_a_writer_that_knew_more_fields_is_read() -> None:
    newer = msgspec.to_builtins(TABLE)
    newer["services"][0]["champion"]["quota"] = 5
    assert decode_route_table(file_of(newer)) == TABLE


def test_a_file_holds_the_digest_of_its_table() -> None:
    data = encode_route_table(TABLE)
    assert msgspec.json.decode(data)["digest"] == TABLE.digest
    assert decode_route_table(data) == TABLE


@pytest.mark.parametrize("change", [(b'"m"', b'"n"'), (b'"version":3', b'"version":4'), (b"127.0", b"126.0")])
def test_a_changed_table_is_refused(change: tuple[bytes, bytes]) -> None:
    data = encode_route_table(TABLE)
    assert change[0] in data
    with pytest.raises(Corrupt, match="digest"):
        decode_route_table(data.replace(*change))


def test_a_table_of_another_shape_is_refused() -> None:
    with pytest.raises(Corrupt, match="cannot be read"):
        decode_route_table(file_of({"version": "three", "created_ms": 1}))
