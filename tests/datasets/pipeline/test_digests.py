"""The digest of a row: of all it holds, and of nothing else."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.datasets.pipeline.digests import row_digests
from modelyard.datasets.rows import Rows
from modelyard.datasets.texts import Texts


def two_rows(*texts: str, **columns: Any) -> Rows:
    return Rows(
        line=np.array([1, 2]),
        turns=Texts.of(texts or ("ask", "say", "ask more", "say more")),
        roles=np.array([1, 2, 1, 2], np.uint8),
        parts=np.array([0, 1, 0, 1], np.uint8),
        bounds=np.array([0, 2, 4]),
        **{"ids": [None, None], **columns},
    )


def digests(rows: Rows) -> list[str]:
    whole = row_digests(rows).hex()
    return [whole[begin : begin + 64] for begin in range(0, len(whole), 64)]


def test_digests_never_change() -> None:
    assert [digest[:16] for digest in digests(two_rows())] == ["a3f7946858878baf", "e510beab44403a5f"]


def test_file_and_line_are_left_out() -> None:
    assert digests(two_rows()) == digests(replace(two_rows(), line=np.array([7, 9])))


@pytest.mark.parametrize(
    "other",
    [
        two_rows("ask", "say", "ask", "more say more"),
        replace(two_rows(), roles=np.array([1, 2, 0, 2], np.uint8)),
        replace(two_rows(), parts=np.array([0, 1, 0, 2], np.uint8)),
        two_rows(ids=[None, "b"]),
        two_rows(groups=[None, "b"]),
        two_rows(labels=[None, "b"]),
        two_rows(meta=[None, "{}"]),
        two_rows(desirable=[True, False]),
        two_rows(tools={1: "[]"}),
        two_rows(extras={3: '{"name":"b"}'}),
        two_rows(extras={2: '{"name":"b"}'}),
    ],
)
def test_every_part_of_a_row_is_in_its_digest(other: Rows) -> None:
    assert digests(two_rows())[1] != digests(other)[1]


@given(st.lists(st.text(), min_size=4, max_size=4), st.lists(st.text(), min_size=4, max_size=4))
def test_only_equal_rows_share_a_digest(left: list[str], right: list[str]) -> None:
    same = [left[:2] == right[:2], left[2:] == right[2:]]
    pairs = zip(digests(two_rows(*left)), digests(two_rows(*right)), strict=True)
    assert [a == b for a, b in pairs] == same


def test_a_row_alone_has_the_digest_it_has_among_others() -> None:
    rows = two_rows(ids=["a", None], tools={1: "[]"}, extras={3: '{"name":"b"}'})
    keep = np.array([False, True])
    assert digests(rows.take(keep)) == digests(rows)[1:]
