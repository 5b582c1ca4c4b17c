"""Lines of JSON: the fast way takes what the strict one takes and nothing else; the strict one says what is wrong."""

import json
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelyard.datasets.sources.block import Block, SourceFile
from modelyard.datasets.sources.decoding import decode
from modelyard.datasets.sources.lines import MAX_LINE_BYTES
from modelyard.datasets.sources.parsing import parse_block
from modelyard.datasets.sources.scanning import line_places, suspicious
from modelyard.datasets.sources.strict_json import MOST_DEPTH, parse_object
from tests.datasets.sources.reading import GOOD, ROW, read


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "hel', "broken JSON: Unterminated string"),
        (b'{"text": "a"} {"text": "b"}', "broken JSON: Extra data at character 15"),
        (b"ERROR 504 upstream timed out", "broken JSON: Expecting value"),
        (b'{"text": "a", "text": "b"}', "duplicate key: 'text'"),
        (b'{"text": "a", "te\\u0078t": "b"}', "duplicate key: 'text'"),
        (b'{"text": {"a": 1, "a": 2}}', "duplicate key: 'a'"),
        (b'["m-1", "hello", "greeting"]', "not an object: the line holds an array"),
        (b'"hello"', "not an object: the line holds a text"),
        (b"null", "not an object: the line holds null"),
        (b'{"text": NaN}', "broken JSON: NaN"),
        (b'{"text": "a\x00b"}', "NUL byte: at byte 12"),
        (b'{"text": "a\x01b"}', "broken JSON: Invalid control character"),
        (b'{"text": "caf\xe9"}', "invalid UTF-8: at byte 14"),
        (b'{"text": "\\ud800"}', "lone surrogate"),
        (b'{"n": 1e999}', "broken JSON: the number 1e999 is out of range"),
        (b'{"a"\r:1,"a"\r:2}', "duplicate key: 'a'"),
        (b'{"\\ud800": 1, "\\ud800": 2}', "duplicate key: '?'"),
        (b'{"n": ' + b"[" * MOST_DEPTH + b"]" * MOST_DEPTH + b"}", "broken JSON: nested too deeply"),
        (b"[" * 100_000, "broken JSON: nested too deeply"),
        (b'{"n": ' + b"9" * 5000 + b"}", "broken JSON: a number with too many digits"),
        (b'{"text": "' + b"x" * MAX_LINE_BYTES + b'"}', "overlong line"),
    ],
)
def test_bad_json_line_is_kept_with_its_number_and_reason(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + line + b"\n\n" + GOOD)
    rows, rejected = read(path)
    assert rows == [(1, ROW), (4, ROW)]
    assert len(rejected) == 1
    assert rejected[0][0] == 2
    assert rejected[0][1].startswith(reason)


def test_a_pair_of_surrogates_is_a_character(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "\\ud83d\\ude00"}\n')
    assert read(path)[0] == [(1, {"text": "\U0001f600"})]


def lines_of(data: bytes) -> Block:
    return Block(source=SourceFile(name="x", url="x", format="jsonl"), first_line=1, payload=data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_rows_or_rejections(data: bytes) -> None:
    records = parse_block(lines_of(data))
    lines = sorted([*records.lines, *(row.line for row in records.rejected)])
    assert lines == [number for number, line in enumerate(data.split(b"\n"), start=1) if line.strip()]


# Pieces of which nasty lines are made; joined at random, few of them are JSON.
PIECES = [
    '"a"', '"b"', '"\\u0061"', '"\\\\"', '"\\""', '" "', '""', '"\\ud83d\\ude00"', '"\\udc00"', '"\\uD800"',
    '"\t"', '"\x7f"',
    "1", "-0", "-0.0", "1e5", "1e999", "1e-999", "01", "1.", "NaN", "-Infinity", "null", "true", "9" * 30, "9" * 4400,
    "9" * 310 + ".5", "\u00e9", '"\u00e9"', "\u2028",
]  # fmt: skip
MARKS = ["{", "}", "[", "]", ":", ",", " ", "\t", "\r", "\x0b", "\x0c", "\0", "\\", '"']
VALUES = st.recursive(
    st.sampled_from(PIECES),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: "[" + ",".join(values) + "]"),
        st.lists(st.tuples(st.sampled_from(PIECES[:7]), inner, st.sampled_from(["", " ", "\t", "\r"])), max_size=4).map(
            lambda pairs: "{" + ",".join(f"{key}{white}:{white}{value}" for key, value, white in pairs) + "}"
        ),
    ),
    max_leaves=12,
)
LINES = st.one_of(
    VALUES.map(str.encode),
    st.lists(st.sampled_from(PIECES + MARKS), max_size=12).map("".join).map(str.encode),
    st.tuples(VALUES.map(str.encode), st.integers(0, 200), st.sampled_from(range(256))).map(
        lambda told: told[0][: told[1]] + (b"" if told[2] == 10 else bytes([told[2]])) + told[0][told[1] :]
    ),
)


@settings(max_examples=1500, deadline=None)
@given(LINES)
@example(b'{"a":{"a":1},"a":2}')
@example(b'{"a":"}","a":2}')
@example(b'{"\\"a":1,"\\"a":2}')
@example(b'{"a"\r:1,"a"\r:2}')
@example(b'{"a":1}{"a":2}')
@example(b'[{"a":1,"b":[{"a":1}],"a":2}]')
def test_the_fast_way_takes_what_the_strict_one_takes(line: bytes) -> None:
    text, fault = decode(line)
    strict, _ = (None, fault) if fault else parse_object(text)
    if not line.strip():
        return
    records = parse_block(lines_of(line))
    assert repr(records.fields) == repr([] if strict is None else [strict])
    assert len(records.rejected) == (strict is None)
    if strict is None and not fault and not suspicious(line, *line_places(line))[0]:
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(line, type=dict)


def test_one_bad_line_leaves_its_neighbours_alone() -> None:
    rng = random.Random(3)
    lines = [b'{"n": %d}' % n for n in range(1_000)]
    bad = {
        place: rng.choice([b'{"n": "\xff"}', b"{", b'{"a": 1, "a": 2}', b"\0"])
        for place in rng.sample(range(1_000), 40)
    }
    records = parse_block(lines_of(b"\n".join(bad.get(place, line) for place, line in enumerate(lines))))
    assert records.lines == [place + 1 for place in range(1_000) if place not in bad]
    assert [row["n"] for row in records.fields] == [place - 1 for place in records.lines]
    assert [row.line for row in records.rejected] == [place + 1 for place in sorted(bad)]


def test_depth_is_counted_alike_on_both_ways() -> None:
    for depth in (MOST_DEPTH - 1, MOST_DEPTH, MOST_DEPTH + 1):
        line = '{"a":' * (depth - 1) + '{"]": "[{"}' + "}" * (depth - 1)
        assert (parse_object(line)[0] is not None) == (depth <= MOST_DEPTH)
        assert suspicious(line.encode(), *line_places(line.encode()))[0] == (depth > MOST_DEPTH)


def test_many_keys_take_no_longer_than_they_should() -> None:
    # Looking for the doubled one pair by pair would take hours here.
    line = json.dumps({str(n): n for n in range(200_000)})[:-1] + ', "0": 1}'
    assert parse_object(line) == (None, "duplicate key: '0' appears more than once")


def test_a_column_that_changes_its_type_late_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": n if n == 9000 else str(n)}) + "\n" for n in range(10_000)))
    rows, rejected = read(path)
    assert rows[9000] == (9001, {"text": 9000})
    assert (len(rows), rejected) == (10_000, [])
