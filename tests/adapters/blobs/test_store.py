"""One suite on a local folder and on fsspec's memory file system; then what only a disk can do."""

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.adapters.blobs.store import FsspecBlobs
from modelyard.core.digests import canonical_json, digest_bytes, digest_folder
from modelyard.core.errors import Conflict, Corrupt, InvalidInput, NotFound, Unavailable
from modelyard.core.ids import new_id

_ABSENT = digest_bytes(b"absent")


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "blobs [1]") if request.param == "local" else f"memory://{new_id()}"


@pytest.fixture
def blobs(url: str, tmp_path: Path) -> FsspecBlobs:
    return FsspecBlobs(url, tmp_path / "cache")


def a_folder(path: Path) -> Path:
    (path / "deep" / "er").mkdir(parents=True)
    (path / "weights.bin").write_bytes(bytes(range(256)) * 5000)
    (path / "deep" / "er" / "copy of weights ü.bin").write_bytes(bytes(range(256)) * 5000)
    (path / "config.json").write_text("{}")
    (path / "empty").write_text("")
    return path


def stored(url: str) -> list[str]:
    """Every file of a store, scratch files too, by its path below the store."""
    files, root = fsspec.core.url_to_fs(url)
    return sorted(path.removeprefix(root).lstrip("/") for path in files.find(root))


def path_of(url: str, digest: str) -> str:
    root = fsspec.core.url_to_fs(url)[1]
    return f"{root}/sha256/{digest[7:9]}/{digest[9:]}"


def overwrite(url: str, digest: str, data: bytes) -> None:
    files, path = fsspec.core.url_to_fs(url)[0], path_of(url, digest)
    if Path(path).exists():
        Path(path).unlink()
    files.pipe_file(path, data)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=5000))
def test_bytes_come_back_equal(blobs: FsspecBlobs, data: bytes) -> None:
    digest = blobs.put_bytes(data)
    assert digest == digest_bytes(data)
    assert blobs.put_bytes(data) == digest
    assert blobs.exists(digest)
    assert blobs.get_bytes(digest) == data


_names = st.text("ab.é ", min_size=1, max_size=4).filter(lambda name: name.strip(".") != "")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.dictionaries(st.lists(_names, min_size=1, max_size=3).map(tuple), st.binary(max_size=50), max_size=5))
def test_folders_come_back_equal(blobs: FsspecBlobs, tmp_path: Path, content: dict[tuple[str, ...], bytes]) -> None:
    folder = tmp_path / new_id()
    folder.mkdir()
    for parts, data in content.items():
        path = folder.joinpath(*parts)
        if not path.exists() and not any(parent.is_file() for parent in path.parents):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    digest = blobs.put_folder(folder)
    assert digest == digest_folder(folder)
    copy = blobs.get_folder(digest)
    assert digest_folder(copy) == digest
    assert {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()} == {
        path.relative_to(folder) for path in folder.rglob("*") if path.is_file()
    }


def test_equal_files_are_stored_once(blobs: FsspecBlobs, url: str, tmp_path: Path) -> None:
    blobs.put_folder(a_folder(tmp_path / "source"))
    assert len(stored(url)) == 4, "weights, config, the empty file, the manifest"
    blobs.put_folder(tmp_path / "source")
    assert len(stored(url)) == 4
    assert all(path.startswith("sha256/") for path in stored(url))


def test_what_is_absent_is_not_found(blobs: FsspecBlobs, tmp_path: Path) -> None:
    assert not blobs.exists(_ABSENT)
    with pytest.raises(NotFound, match=f"no blob {_ABSENT}"):
        blobs.get_bytes(_ABSENT)
    with pytest.raises(NotFound, match=f"no blob {_ABSENT}"):
        blobs.get_folder(_ABSENT)
    with pytest.raises(NotFound, match="no folder"):
        blobs.put_folder(tmp_path / "absent")


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:../../etc", "0" * 64, f"sha256:{'A' * 64}", f"{_ABSENT}\n"])
def test_what_is_no_digest_is_refused(blobs: FsspecBlobs, digest: str) -> None:
    for ask in (blobs.get_bytes, blobs.get_folder, blobs.exists):
        with pytest.raises(InvalidInput, match="is not a digest"):
            ask(digest)


@pytest.mark.parametrize("damage", [b"hello worle", b"hello", b""])
def test_a_changed_byte_is_corrupt_and_named(blobs: FsspecBlobs, url: str, damage: bytes) -> None:
    digest = blobs.put_bytes(b"hello world")
    overwrite(url, digest, damage)
    with pytest.raises(Corrupt) as caught:
        blobs.get_bytes(digest)
    assert digest in caught.value.seen
    assert path_of(url, digest).lstrip("/") in caught.value.seen


def test_a_shortened_blob_is_mended_by_storing_it_again(blobs: FsspecBlobs, url: str) -> None:
    digest = blobs.put_bytes(b"hello world")
    overwrite(url, digest, b"hello")
    blobs.put_bytes(b"hello world")
    assert blobs.get_bytes(digest) == b"hello world"


def test_a_damaged_file_of_a_folder_is_corrupt_and_leaves_no_copy(blobs: FsspecBlobs, url: str, tmp_path: Path) -> None:
    digest = blobs.put_folder(a_folder(tmp_path / "source"))
    damaged = digest_bytes(b"{}")
    overwrite(url, damaged, b"[]")
    with pytest.raises(Corrupt, match=damaged):
        blobs.get_folder(digest)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_folder_is_read_only_and_kept(blobs: FsspecBlobs, tmp_path: Path) -> None:
    digest = blobs.put_folder(a_folder(tmp_path / "source"))
    first = blobs.get_folder(digest)
    files = [path for path in first.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o444}
    before = {path: path.stat().st_mtime_ns for path in files}
    assert blobs.get_folder(digest) == first
    assert {path: path.stat().st_mtime_ns for path in files} == before


@pytest.mark.parametrize("harm", ["change", "remove", "add"])
def test_a_damaged_copy_is_made_anew_by_the_next_process(
    blobs: FsspecBlobs, url: str, tmp_path: Path, harm: str
) -> None:
    digest = blobs.put_folder(a_folder(tmp_path / "source"))
    copy = blobs.get_folder(digest)
    config = copy / "config.json"
    config.unlink()
    if harm == "change":
        config.write_text("[]")
    if harm == "add":
        config.write_text("{}")
        (copy / "extra.py").write_text("")
    again = FsspecBlobs(url, tmp_path / "cache").get_folder(digest)
    assert again == copy
    assert digest_folder(again) == digest


def test_bytes_are_not_a_folder(blobs: FsspecBlobs) -> None:
    with pytest.raises(InvalidInput, match="is not a folder"):
        blobs.get_folder(blobs.put_bytes(b"just bytes"))


@pytest.mark.parametrize("path", ["../outside", "/etc/outside", "a/../../outside", ""])
def test_a_manifest_cannot_reach_outside(blobs: FsspecBlobs, tmp_path: Path, path: str) -> None:
    content = blobs.put_bytes(b"malice")
    with pytest.raises(InvalidInput, match="outside itself"):
        blobs.get_folder(blobs.put_bytes(canonical_json({path: content})))
    assert not (tmp_path / "outside").exists()


def test_a_file_that_changes_meanwhile_is_a_conflict(
    blobs: FsspecBlobs, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelyard.adapters.blobs import store

    folder = a_folder(tmp_path / "source")
    manifest = store.folder_manifest(folder)
    (folder / "config.json").write_text("[]")
    monkeypatch.setattr(store, "folder_manifest", lambda _: manifest)
    with pytest.raises(Conflict, match="changed while"):
        blobs.put_folder(folder)
    assert digest_bytes(b"{}")[9:] not in " ".join(stored(url))
    assert not any(path.startswith("scratch") for path in stored(url))


@pytest.mark.parametrize("place", ["nonsense://x", "s3://bucket/x"])
def test_a_place_that_cannot_be_reached_is_refused(tmp_path: Path, place: str) -> None:
    if place.startswith("s3") and shutil.which("python") and _has("s3fs"):
        pytest.skip("s3fs is installed")
    with pytest.raises(InvalidInput, match="cannot be kept"):
        FsspecBlobs(place, tmp_path / "cache")


def _has(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


class TestOnDisk:
    def test_a_copy_costs_no_space_beside_the_store(self, tmp_path: Path) -> None:
        blobs = FsspecBlobs(str(tmp_path / "blobs"), tmp_path / "cache")
        copy = blobs.get_folder(blobs.put_folder(a_folder(tmp_path / "source")))
        weights = copy / "weights.bin"
        assert weights.samefile(path_of(str(tmp_path / "blobs"), digest_bytes(weights.read_bytes())))

    def test_the_source_stays_its_owners(self, tmp_path: Path) -> None:
        blobs = FsspecBlobs(str(tmp_path / "blobs"), tmp_path / "cache")
        source = a_folder(tmp_path / "source")
        digest = blobs.put_folder(source)
        (source / "config.json").write_text("changed later")
        assert (blobs.get_folder(digest) / "config.json").read_text() == "{}"

    def test_a_name_that_is_not_utf8_is_refused(self, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.mkdir()
        try:
            Path(os.fsdecode(os.fsencode(source) + b"/\xff")).write_text("")
        except OSError:
            pytest.skip("this file system has no such names")
        with pytest.raises(InvalidInput, match="UTF-8"):
            FsspecBlobs(str(tmp_path / "blobs"), tmp_path / "cache").put_folder(source)

    def test_a_failing_disk_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        blobs = FsspecBlobs(str(tmp_path / "blobs"), tmp_path / "cache")

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(Unavailable, match="no space is left"):
            blobs.put_bytes(b"data")
        assert stored(str(tmp_path / "blobs")) == []

    def test_a_full_disk_leaves_nothing(self, small_disk: Path, tmp_path: Path) -> None:
        blobs = FsspecBlobs(str(small_disk / "blobs"), tmp_path / "cache")
        kept = blobs.put_bytes(b"x" * 100_000)
        with pytest.raises(Unavailable, match="no space is left"):
            blobs.put_bytes(os.urandom(2_000_000))
        assert [path.rpartition("/")[2] for path in stored(str(small_disk / "blobs"))] == [kept[9:]]
        assert blobs.get_bytes(kept) == b"x" * 100_000

    def test_a_full_cache_leaves_nothing(self, small_disk: Path, tmp_path: Path) -> None:
        blobs = FsspecBlobs(str(tmp_path / "blobs"), small_disk / "cache")
        digest = blobs.put_folder(a_folder(tmp_path / "source"))
        with pytest.raises(Unavailable, match="no space is left"):
            blobs.get_folder(digest)
        assert [path for path in (small_disk / "cache").rglob("*") if path.is_file()] == []

    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        folder = tmp_path / "small"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("needs the right to mount a small file system")
        yield folder
        subprocess.run(["umount", str(folder)], check=True)

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "blobs").write_text("a file")
        with pytest.raises(Unavailable, match="cannot be used"):
            FsspecBlobs(str(tmp_path / "blobs"), tmp_path / "cache").put_bytes(b"data")

    def test_leftovers_go_after_a_day(self, tmp_path: Path) -> None:
        young, old, other = new_id(), "01900000-0000-7000-8000-000000000000", "mine.txt"
        for place in (tmp_path / "blobs" / "scratch", tmp_path / "cache" / "scratch"):
            place.mkdir(parents=True)
            for name in (young, old, other):
                (place / name).write_text("")
        (tmp_path / "cache" / "scratch" / old).unlink()
        (tmp_path / "cache" / "scratch" / old / "deep").mkdir(parents=True)
        FsspecBlobs(str(tmp_path / "blobs"), tmp_path / "cache")
        for place in (tmp_path / "blobs" / "scratch", tmp_path / "cache" / "scratch"):
            assert sorted(path.name for path in place.iterdir()) == sorted([young, other])

    @pytest.mark.parametrize("moment", range(4))
    def test_killed_while_storing_leaves_no_blob(self, tmp_path: Path, moment: int) -> None:
        url, size = str(tmp_path / "blobs"), 40_000_000
        child = subprocess.Popen([sys.executable, "-c", _STORE, url, str(size)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        _wait_for_scratch(tmp_path / "blobs" / "scratch", (0, 1, size // 2, size - 1)[moment])
        child.send_signal(signal.SIGKILL)
        child.wait()
        digest = digest_bytes(b"\x07" * size)
        blobs = FsspecBlobs(url, tmp_path / "cache")
        if blobs.exists(digest):
            assert blobs.get_bytes(digest) == b"\x07" * size, "it was quicker than we: then it is whole"
        blobs.put_bytes(b"\x07" * size)
        assert blobs.get_bytes(digest) == b"\x07" * size


_STORE = """
import sys
from pathlib import Path
from modelyard.adapters.blobs.store import FsspecBlobs
blobs = FsspecBlobs(sys.argv[1], Path(sys.argv[1] + "-cache"))
data = b"\\x07" * int(sys.argv[2])
print("ready", flush=True)
blobs.put_bytes(data)
"""


def _wait_for_scratch(folder: Path, num_bytes: int) -> None:
    for _ in range(2000):
        with suppress(FileNotFoundError):
            if any(path.stat().st_size >= num_bytes for path in folder.glob("*")):
                return
        time.sleep(0.0005)
