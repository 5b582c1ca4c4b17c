"""How a file can be read, by its first bytes and its name."""

import json
import re
import zlib
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from modelyard.core.errors import DataInvalid
from modelyard.datasets.config import Format

# A packed file gives nothing before its first part is whole, which may have 128 KiB.
HEAD_BYTES = 1 << 18
_LOOK_BYTES = 64_000
FORMATS_BY_ENDING = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
}
_PACKED_ENDINGS = (".gz", ".zst", ".zstd")
_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_BOMS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_UTF32_BOMS = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
# Objects that hold the rows in one of their fields, as many exports do.
_WRAPPED = re.compile(
    r'\s*\{[^\[\]{}]*"(?P<key>data|rows|examples|items|records|instances|annotations|train|dataset|results)"\s*:\s*\[\s*\{'
)


def bare_ending(name: str) -> str:
    """The ending of a name without that of its packing."""
    path = PurePosixPath(name.lower())
    return (path.with_suffix("") if path.suffix in _PACKED_ENDINGS else path).suffix


def detect(head: bytes, name: str, asked: Format) -> dict[str, Any]:
    """Compression, encoding, format, delimiter, and what settled the format, as fields of `SourceFile`.

    `head` has the first `HEAD_BYTES`, or all bytes where there are less.
    Raises: DataInvalid where nothing fits.
    """
    compression = "gzip" if head.startswith(_GZIP) else "zstd" if head.startswith(_ZSTD) else ""
    is_whole = len(head) < HEAD_BYTES
    if compression:
        head = _unpacked(head, name, compression)
    is_whole = is_whole and len(head) < _LOOK_BYTES
    head = head[:_LOOK_BYTES]
    bom = next((bom for bom in _BOMS if head.startswith(bom)), b"")
    encoding = _BOMS.get(bom, "utf-8")
    text = head.removeprefix(bom).decode(encoding, "replace")
    if is_whole and not text.strip():
        raise DataInvalid(f"{name} is empty", expected="at least one row", fix="point `path` to a file with rows")
    _refuse_encoding(head, name)
    if compression and head.startswith(_PARQUET):
        raise DataInvalid(f"{name} is a packed Parquet file", fix="unpack it; Parquet is compressed inside")
    _refuse_object(text, name, is_whole, asked)
    format, detected_by = _format(text, name, asked)
    delimiter = ""
    if format in ("csv", "tsv"):
        by_name = format
        format, delimiter = _delimiter(text, format, asked)
        detected_by = detected_by if format == by_name else "content"
    return {
        "compression": compression,
        "encoding": encoding,
        "has_bom": bool(bom),
        "format": format,
        "delimiter": delimiter,
        "detected_by": detected_by,
    }


def _format(text: str, name: str, asked: Format) -> tuple[str, str]:
    """The format and what settled it."""
    if asked != "auto":
        return asked, "configuration"
    by_ending = FORMATS_BY_ENDING.get(bare_ending(name))
    by_content = _by_content(text)
    if by_content:
        return by_content, "ending" if by_content == by_ending else "content"
    if by_ending == "json":
        return ("json" if text.lstrip().startswith("[") and not _is_lines(text) else "jsonl"), "ending"
    if by_ending is None or by_ending == "parquet":
        raise DataInvalid(
            f"{name} looks like none of the known formats" if by_ending is None else f"{name} is no Parquet file",
            expected="JSONL, a JSON array, CSV, TSV, Parquet or text",
            fix="say what it is in `format` of the dataset",
        )
    return by_ending, "ending"


def _by_content(text: str) -> str | None:
    """What the first characters say for certain: nothing else begins like that."""
    if text.startswith(_PARQUET.decode()):
        return "parquet"
    body = text.lstrip()
    with suppress(ValueError, RecursionError):
        if isinstance(json.loads(_first_line(body)), dict):
            return "jsonl"
    if re.match(r"\[\s*\{", body) and not _is_lines(body):
        return "json"
    # A long object, of which the head has the beginning only.
    is_long = "\n" not in body and len(body) > _LOOK_BYTES // 4
    return "jsonl" if is_long and re.match(r'\{\s*"', body) else None


def _is_lines(text: str) -> bool:
    """Whether the first line is JSON of its own, and more follows."""
    body = text.lstrip()
    first = _first_line(body)
    with suppress(ValueError, RecursionError):
        json.loads(first)
        return bool(body.removeprefix(first).strip())
    return False


def _first_line(body: str) -> str:
    return body.split("\n", 1)[0]


def _delimiter(text: str, format: str, asked: Format) -> tuple[str, str]:
    """CSV or TSV, and what stands between the cells, by the header."""
    header = re.sub(r'"[^"]*"', "", _first_line(text.lstrip()))
    own = "\t" if format == "tsv" else ","
    others = {"auto": ",;\t", "csv": ",;"}.get(asked, own)
    delimiter = own if own in header else max(others, key=header.count)
    if delimiter not in header:
        return format, own
    return ("tsv" if delimiter == "\t" else "csv"), delimiter


def _refuse_encoding(head: bytes, name: str) -> None:
    evens, odds = any(head[:64:2]), any(head[1:64:2])
    if head.startswith(_UTF32_BOMS):
        encoding, called = "UTF-32", "UTF-32"
    elif len(head) >= 8 and not (evens and odds):
        encoding, called = "UTF-16LE" if evens else "UTF-16BE", "UTF-16 without a byte order mark"
    else:
        return
    raise DataInvalid(
        f"{name} is encoded in {called}",
        expected="UTF-8, or UTF-16 with a byte order mark",
        fix=f"iconv -f {encoding} -t UTF-8 {name} > {name}.utf8 and prepare that file",
    )


def _refuse_object(text: str, name: str, is_whole: bool, asked: Format) -> None:
    """Refuse a file that is one object, be it around the rows."""
    wrapped = _WRAPPED.match(text)
    is_wrapped = wrapped and asked == "auto" and bare_ending(name) in (".json", "") and not _is_lines(text)
    if is_wrapped or (asked in ("auto", "json", "jsonl") and _is_object_over_lines(text, is_whole)):
        raise DataInvalid(
            f"{name} holds one JSON object" + (f" with the rows in its field '{wrapped['key']}'" if wrapped else ""),
            expected="a JSON array of rows, or one object a line",
            fix=f"jq -c '{'.' + wrapped['key'] + '[]' if wrapped else '.'}' {name} > rows.jsonl",
        )


def _is_object_over_lines(text: str, is_whole: bool) -> bool:
    """Whether an object goes on behind the line it begins on."""
    body = text.lstrip()
    second = body.find("\n", body.find("\n") + 1)
    if not body.startswith("{") or second < 0:
        return False
    try:
        _, end = json.JSONDecoder().raw_decode(body)
    except json.JSONDecodeError as error:
        # Where the head breaks off, what came before was read without a fault.
        return error.pos > second and not is_whole
    except (ValueError, RecursionError):
        return False
    return end > body.find("\n")


def _unpacked(head: bytes, name: str, compression: str) -> bytes:
    """What the head unpacks to, as far as it goes."""
    data = b""
    try:
        if compression == "gzip":
            return zlib.decompressobj(wbits=31).decompress(head, _LOOK_BYTES)
        with pa.CompressedInputStream(pa.BufferReader(head), "zstd") as stream:
            while len(data) < _LOOK_BYTES and (piece := stream.read(4000)):
                data += piece
    except (zlib.error, OSError) as error:
        if not data:
            raise DataInvalid(
                f"{name} is not a valid {compression} file: {error}", fix="fetch or compress the file again"
            ) from error
    return data
