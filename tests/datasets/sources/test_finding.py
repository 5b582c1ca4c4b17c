"""Finding: which files a configuration means, in which order and under which names; none twice, none by accident."""

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from modelyard.core.digests import digest_file
from modelyard.core.errors import DataInvalid, Unavailable
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.sources.block import SourceFile
from modelyard.datasets.sources.finding import describe, find_sources
from modelyard.datasets.sources.reader import SourceReader
from tests.datasets.sources.reading import CSV, GOOD, ROW, found, read_source


def find(root: Path, *paths: str) -> list[SourceFile]:
    return find_sources(DatasetConfig(path=paths), root)


def names(root: Path, *paths: str) -> list[str]:
    return [source.name for source in find(root, *paths)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/2.jsonl", "b/1.jsonl.gz", "a.csv", ".hidden/x.jsonl", "b/.part.jsonl", "b/README.md"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(CSV if name.endswith("csv") else GOOD)
    return tmp_path


def test_folders_are_searched_and_sorted(folder: Path) -> None:
    assert names(folder, ".") == ["a.csv", "b/1.jsonl.gz", "b/2.jsonl"]
    assert names(folder, "b", "a.csv") == ["a.csv", "b/1.jsonl.gz", "b/2.jsonl"]


def test_globs(folder: Path) -> None:
    assert names(folder, "b/*.jsonl", "*.csv") == ["a.csv", "b/2.jsonl"]
    assert names(folder, "**/*.jsonl*") == ["b/1.jsonl.gz", "b/2.jsonl"]
    with pytest.raises(DataInvalid, match=r"b/\*.tsv names no file"):
        find(folder, "b/*.tsv")


def test_brackets_in_names_are_no_globs(tmp_path: Path) -> None:
    root = tmp_path / "odd [x]"
    root.mkdir()
    (root / "rows [1].jsonl").write_bytes(GOOD)
    assert names(root, "rows [1].jsonl") == ["rows [1].jsonl"]
    assert names(root, "*.jsonl") == ["rows [1].jsonl"]


def test_folder_without_data_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(DataInvalid, match="folder b holds no file of a known format: it is empty"):
        find(tmp_path, "b")
    (tmp_path / "b" / "notes.md").write_text("x")
    with pytest.raises(DataInvalid, match=r"but notes\.md"):
        find(tmp_path, "b")


@pytest.mark.parametrize("again", ["b/2.jsonl", "b/*.jsonl", "b", "./b/../b/2.jsonl", "link.jsonl"])
def test_a_file_is_not_read_twice(folder: Path, again: str) -> None:
    (folder / "link.jsonl").symlink_to("b/2.jsonl")
    with pytest.raises(DataInvalid, match="is named twice"):
        find(folder, "b/2.jsonl", again)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "project"
    for path in (root, tmp_path / "x", tmp_path / "y"):
        path.mkdir()
        (path / "rows.jsonl").write_bytes(GOOD)
    with pytest.raises(DataInvalid, match=r"two sources are called rows.jsonl: .*x.* and .*y"):
        find(root, "../x/rows.jsonl", "../y/rows.jsonl")


def test_names_leave_no_trace_of_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD)
    root = tmp_path / "project"
    root.mkdir()
    assert names(root, str(path)) == names(root, "../rows.jsonl") == names(root, f"file://{path}") == ["rows.jsonl"]
    assert names(tmp_path, str(path)) == names(tmp_path, f"file://{tmp_path}/*.jsonl") == ["rows.jsonl"]


def test_a_link_keeps_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "0a1b2c").write_bytes(CSV)
    root = tmp_path / "project"
    root.mkdir()
    (root / "rows.csv").symlink_to("../0a1b2c")
    (source,) = find(root, "rows.csv")
    assert (source.name, source.format) == ("rows.csv", "csv")
    (tmp_path / "other").symlink_to("project")
    assert names(tmp_path / "other", "rows.csv") == ["rows.csv"]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"nothing.jsonl is not there"):
        find(tmp_path, "nothing.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(DataInvalid, match="not a regular file"):
        find(tmp_path, "pipe.jsonl")
    with pytest.raises(DataInvalid, match="holds no file"):
        find(tmp_path, ".")


@pytest.mark.skipif(os.geteuid() == 0, reason="this user may read every file")
def test_what_may_not_be_read_is_refused(folder: Path) -> None:
    (folder / "a.csv").chmod(0)
    with pytest.raises(DataInvalid, match=r"a.csv cannot be read: Permission denied"):
        find(folder, "a.csv")
    (folder / "b").chmod(0)
    with pytest.raises(DataInvalid, match="b cannot be read: Permission denied"):
        find(folder, ".")
    (folder / "b").chmod(0o755)


def test_addresses(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("/found/b.jsonl", "/found/deep/a.csv", "/found/notes.md", "/found/.x.jsonl"):
        memory.pipe_file(name, CSV if name.endswith("csv") else GOOD)
    try:
        assert names(tmp_path, "memory://found") == ["memory:///found/b.jsonl", "memory:///found/deep/a.csv"]
        assert names(tmp_path, "memory://found/*.jsonl") == ["memory:///found/b.jsonl"]
        for source in find(tmp_path, "memory://found"):
            reader = SourceReader(source)
            assert len(list(reader)) == 1
            assert reader.source().num_bytes == source.num_bytes > 0
            assert read_source(source)[0][0][1] == ROW
        with pytest.raises(DataInvalid, match=r"memory:///found/c.jsonl is not there"):
            find(tmp_path, "memory://found/c.jsonl")
        with pytest.raises(DataInvalid, match="names no file"):
            find(tmp_path, "memory://found/*.parquet")
        with pytest.raises(DataInvalid, match="is named twice"):
            find(tmp_path, "memory://found", "memory://found/b.jsonl")
    finally:
        memory.rm("/found", recursive=True)


def test_address_that_changes_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/changes.jsonl", GOOD)
    monkeypatch.setattr("modelyard.datasets.sources.reader.BLOCK_BYTES", 10)
    (source,) = find(tmp_path, "memory://changes.jsonl")
    blocks = iter(SourceReader(source))
    next(blocks)
    memory.pipe_file("/changes.jsonl", GOOD + GOOD)
    with pytest.raises(DataInvalid, match="changed while it was read"):
        list(blocks)
    memory.rm("/changes.jsonl")


def test_addresses_that_nobody_can_open(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="cannot be opened"):
        find(tmp_path, "nosuch://bucket/rows.jsonl")
    with pytest.raises(DataInvalid, match="chains addresses"):
        find(tmp_path, "zip://rows.jsonl::file:///rows.zip")


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if "broken" in self.path:
                self.send_error(503)
            else:
                super().do_GET()

        do_HEAD = SimpleHTTPRequestHandler.do_HEAD

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{http.server_port}"
        http.shutdown()


def test_a_signed_address_is_read_and_its_secrets_kept(server: str, folder: Path) -> None:
    (source,) = find(folder, f"http://{server}/b/2.jsonl?signature=secret*&x=[1]")
    assert source.name == f"http://{server}/b/2.jsonl"
    reader = SourceReader(source)
    assert len(list(reader)) == 1
    assert reader.source().digest == digest_file(folder / "b" / "2.jsonl")
    for path in ("nothing.jsonl", "b/2.jsonl/broken"):
        with pytest.raises((DataInvalid, Unavailable)) as caught:
            find(folder, f"http://me:secret@{server}/{path}?signature=secret")
        assert "secret" not in str(caught.value)


def test_what_was_found_is_described(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"\xef\xbb\xbftext;label\na;b\n")
    assert describe(found(tmp_path / "rows.csv")) == {
        "format": "csv",
        "compression": "",
        "encoding": "utf-8",
        "byte_order_mark": True,
        "delimiter": ";",
        "detected_by": "ending",
    }
