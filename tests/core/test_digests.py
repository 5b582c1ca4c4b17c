"""Digests depend on content alone."""

import hashlib
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.digests import canonical_json, digest_bytes, digest_file, digest_folder, digest_json, short

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_a_digest_is_the_sha256_of_the_bytes() -> None:
    assert digest_bytes(b"keel") == "sha256:" + hashlib.sha256(b"keel").hexdigest()
    assert short(digest_bytes(b"keel")) == hashlib.sha256(b"keel").hexdigest()[:12]


@given(st.dictionaries(st.text(), json_values, max_size=6))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    reordered = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(reordered)
    assert digest_json(value) == digest_json(reordered)


def test_a_file_is_digested_whole(tmp_path: Path) -> None:
    data = b"x" * (3 << 20) + b"end"
    (tmp_path / "big").write_bytes(data)
    assert digest_file(tmp_path / "big") == digest_bytes(data)


def test_a_folder_changes_with_any_name_or_byte(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(b"1")
    first = digest_folder(tmp_path)
    assert digest_folder(tmp_path) == first
    (tmp_path / "inner" / "a").write_bytes(b"2")
    changed = digest_folder(tmp_path)
    (tmp_path / "inner" / "a").write_bytes(b"1")
    (tmp_path / "inner" / "a").rename(tmp_path / "inner" / "b")
    renamed = digest_folder(tmp_path)
    assert len({first, changed, renamed}) == 3


class First(msgspec.Struct):
    name: str
    count: int


class Second(msgspec.Struct):
    count: int
    name: str


def test_the_order_of_fields_does_not_matter() -> None:
    assert canonical_json(First(name="a", count=1)) == canonical_json(Second(name="a", count=1))
