"""Which files a configuration means, and how each can be read."""

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modelyard.core.errors import DataInvalid, MissingExtra
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.sources.block import SourceFile
from modelyard.datasets.sources.detection import FORMATS_BY_ENDING, HEAD_BYTES, bare_ending, detect
from modelyard.datasets.sources.opening import is_address, open_raw, public, reaching, state_of
from modelyard.datasets.sources.reader import unreadable

_EXPECTED = "JSONL, JSON, CSV, TSV, Parquet or text, plain or packed with gzip or zstd"
_LOCAL = ("file://", "local://")


def find_sources(config: DatasetConfig, root: Path) -> list[SourceFile]:
    """The files that the configuration names, in the order of their names.

    Raises: DataInvalid where one is not there, cannot be read, or is named twice; Unavailable where an address does not
    answer.
    """
    names: dict[str, str] = {}
    real: dict[str, str] = {}
    for path in config.paths:
        for url in _urls(path, root):
            name = _name(url, root)
            where = url if is_address(url) else os.path.realpath(url)
            if where in real:
                raise DataInvalid(
                    f"{name} is named twice" + (f", also as {real[where]}" if real[where] != name else ""),
                    fix="leave one of both out of `path`; its rows would count double",
                )
            if name in names:
                raise DataInvalid(
                    f"two sources are called {name}: {public(names[name])} and {public(url)}",
                    fix="put both below the project's folder, so that their paths tell them apart",
                )
            names[name], real[where] = url, name
    return [_source(name, url, config) for name, url in sorted(names.items())]


def describe(source: SourceFile) -> dict[str, Any]:
    """How a source was read, as the report tells it."""
    return {
        "format": source.format,
        "compression": source.compression,
        "encoding": source.encoding,
        "byte_order_mark": source.has_bom,
        "delimiter": source.delimiter,
        "detected_by": source.detected_by,
    }


def _urls(path: str, root: Path) -> list[str]:
    for scheme in _LOCAL:
        path = path.removeprefix(scheme)
    found = sorted(_at_address(path) if is_address(path) else _on_disk(path, root))
    if not found:
        raise DataInvalid(f"{public(path)} names no file", expected=_EXPECTED, fix="correct `path` in the dataset")
    return found


def _on_disk(path: str, root: Path) -> Iterator[str]:
    full = root / path
    if full.is_dir():
        yield from _in_folder(full, path)
    elif glob.has_magic(path) and not full.exists():
        for match in glob.iglob(path, root_dir=root, recursive=True):
            if (root / match).is_file():
                yield str(root / match)
    else:
        yield str(full)


def _in_folder(folder: Path, path: str) -> Iterator[str]:
    """The files of a folder, at any depth, whose endings are known; hidden ones are left out."""
    files = list(_walk(folder))
    known = [file for file in files if bare_ending(os.path.basename(file)) in FORMATS_BY_ENDING]
    if not known:
        raise _none_known(path, map(os.path.basename, files))
    yield from known


def _none_known(folder: str, files: Iterable[str]) -> DataInvalid:
    seen = ", ".join(sorted(files)[:5])
    return DataInvalid(
        f"the folder {folder} holds no file of a known format" + (f", but {seen}" if seen else ": it is empty"),
        expected=", ".join(sorted(FORMATS_BY_ENDING)),
        fix="name the files themselves in `path`, and their `format` where the content does not show it",
    )


def _walk(folder: Path) -> Iterator[str]:
    def stop(error: OSError) -> None:
        # A part of the data that nobody misses is worse than none.
        raise unreadable(os.path.relpath(error.filename, folder.parent), error) from error

    for inside, folders, files in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and os.path.isfile(os.path.join(inside, name)):
                yield os.path.join(inside, name)


def _at_address(path: str) -> list[str]:
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingExtra("fsspec", "data") from error
    if "::" in path:
        raise DataInvalid(f"{public(path)} chains addresses", expected="one address", fix="unpack it first")
    parts = urlsplit(path)
    if parts.scheme in ("http", "https"):
        return [path]
    try:
        filesystem, inner = fsspec.core.url_to_fs(path)
        with reaching(path):
            return [_whole(filesystem, match, parts) for match in _matches(filesystem, inner, path)]
    except (ImportError, ValueError) as error:
        raise DataInvalid(
            f"{public(path)} cannot be opened: {error}", fix="correct the address, or install the package it names"
        ) from error
    except OSError as error:
        raise unreadable(public(path), error) from error


def _matches(filesystem: Any, inner: str, path: str) -> list[str]:
    """The files that an address means: itself, those of a folder with known endings, or those a glob matches."""
    if glob.has_magic(inner):
        matches = filesystem.glob(inner)
        return [match for match in matches if filesystem.isfile(match) and ("/." in inner or "/." not in match)]
    if not filesystem.isdir(inner):
        return [inner]
    files = [match for match in filesystem.find(inner) if "/." not in match.removeprefix(inner)]
    known = [match for match in files if bare_ending(match) in FORMATS_BY_ENDING]
    if not known:
        raise _none_known(public(path), (match.rpartition("/")[2] for match in files))
    return known


def _whole(filesystem: Any, match: str, parts: Any) -> str:
    """A match as an address again; some packages leave the machine out that it lies on."""
    if parts.netloc and not match.lstrip("/").startswith(parts.netloc):
        return f"{parts.scheme}://{parts.netloc}/{match.lstrip('/')}"
    whole: str = filesystem.unstrip_protocol(match)
    return whole


def _name(url: str, root: Path) -> str:
    """The path below the root, else the bare name; of an address what holds no secret.

    A link keeps its own name: what it points to may lie anywhere, and be called anything.
    """
    if is_address(url):
        return public(url)
    name = os.path.basename(url)
    for path, base in ((os.path.abspath(url), os.path.abspath(root)), (os.path.realpath(url), os.path.realpath(root))):
        if path.startswith(base.rstrip("/") + "/"):
            name = os.path.relpath(path, base)
            break
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = name.encode("utf-8", "replace").decode()
        raise DataInvalid(f"the name {shown} is not UTF-8", fix="rename the file") from error
    return Path(name).as_posix()


def _source(name: str, url: str, config: DatasetConfig) -> SourceFile:
    try:
        if not is_address(url) and not stat.S_ISREG(os.stat(url).st_mode):
            raise OSError("it is not a regular file")
        with open_raw(url) as file, reaching(url):
            head = file.read(HEAD_BYTES)
            num_bytes = state_of(url, file)[0] or 0
    except FileNotFoundError as error:
        raise DataInvalid(f"{name} is not there", expected=_EXPECTED, fix="correct `path` in the dataset") from error
    except OSError as error:
        raise unreadable(name, error) from error
    return SourceFile(name=name, url=url, num_bytes=num_bytes, **detect(head, name, config.format))
