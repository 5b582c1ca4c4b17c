"""Folded texts and their hashes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.datasets.duplicates.folding import fold, hash128
from modelyard.datasets.splits import split_key
from modelyard.datasets.texts import Texts

ODD = st.one_of(
    st.text(st.characters(max_codepoint=127)),
    st.text(st.sampled_from("aB \t\n\x0b\x1c\x1f\x85\u00a0\u0130éÉ\uff21ß\x00.")),
    st.text(),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(ODD, max_size=6))
def test_the_fast_way_is_the_documented_one(texts: list[str]) -> None:
    assert fold(Texts.of(texts)).to_list() == [split_key(text) for text in texts]


def test_hashes_are_those_of_murmur() -> None:
    """MurmurHash3_x64_128 with the seed 0, by the package `mmh3`."""
    texts = ["foo", "", "hello world, this is longer than sixteen", "a" * 33, "0123456789abcdef"]
    assert hash128(Texts.of(texts)).tolist() == [
        [16316970633193145697, 9128664383759220103],
        [0, 0],
        [10461581743117249639, 703104060985903056],
        [16154063829095142589, 12602011546120265473],
        [5467490433528156583, 9782763267945859290],
    ]


@given(st.lists(st.text(max_size=40), max_size=5, unique=True))
def test_other_texts_have_other_hashes(texts: list[str]) -> None:
    hashes = hash128(Texts.of(texts))
    assert len({tuple(row) for row in hashes.tolist()}) == len(texts)
