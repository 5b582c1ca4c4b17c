"""Readings: the numbers of real metric pages, and what is made of pages that are none.

`vllm-0.32.txt` was written by vLLM 0.32's own stat logger (without its histograms' buckets); the others follow the
sources of their engines and were not recorded from a running one.
"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.adapters.engines.builtin.metrics import Metrics
from modelyard.gateway.routing.readings import METRIC_NAMES, Wanted

PAGES = Path(__file__).parent / "pages"


@pytest.mark.parametrize(
    ("page", "kind", "reading"),
    [
        ("vllm-0.32", "vllm", (14.0, 3.0, 0.625)),
        ("llamacpp", "llamacpp", (46.0, 4.0, -1.0)),
        ("sglang", "sglang", (4.0, 8.0, 0.52)),
        ("tgi", "tgi", (5.0, 16.0, -1.0)),
        ("triton", "triton", (6.0, 12.0, 0.25)),
    ],
)
def test_each_kind_of_page_is_read(page, kind, reading):
    assert Wanted(METRIC_NAMES[kind]).read((PAGES / f"{page}.txt").read_bytes()) == reading


def test_our_own_engines_page_is_read():
    page = Metrics("m").render(running=2, waiting=5, running_adapters=set(), max_adapters=0)
    assert Wanted(METRIC_NAMES["builtin"]).read(page) == (5.0, 2.0, -1.0)


VLLM = Wanted(METRIC_NAMES["vllm"])


@pytest.mark.parametrize(
    ("page", "reading"),
    [
        (b'vllm:gpu_cache_usage_perc{model_name="a"} 0.5\n', (-1.0, -1.0, 0.5)),
        (b"vllm:num_requests_waiting 3", (3.0, -1.0, -1.0)),
        (b'vllm:num_requests_waiting{m="a b } 9"} 3 1700000000000\r\n', (3.0, -1.0, -1.0)),
        (b'vllm:num_requests_waiting{engine="0"} 3\nvllm:num_requests_waiting{engine="1"} 4\n', (7.0, -1.0, -1.0)),
        (b'x 1\nvllm:kv_cache_usage_perc{engine="0"} 0.2\nvllm:kv_cache_usage_perc{engine="1"} 0.9\n', (-1, -1, 0.9)),
        (b"vllm:num_requests_waiting NaN\nvllm:num_requests_running +Inf\n", (-1.0, -1.0, -1.0)),
        (b"vllm:num_requests_waiting -4\nvllm:num_requests_running\n", (-1.0, -1.0, -1.0)),
        (b"# TYPE vllm:num_requests_waiting gauge\n", (-1.0, -1.0, -1.0)),
        (b"<html>vllm:num_requests_waiting 3</html>", (-1.0, -1.0, -1.0)),
        (b"", (-1.0, -1.0, -1.0)),
    ],
)
def test_pages_at_the_edge(page, reading):
    assert VLLM.read(page) == reading


@given(st.binary(max_size=300), st.binary(max_size=30))
def test_no_page_breaks_the_reader(noise, tail):
    for number in VLLM.read(noise + b"\nvllm:num_requests_waiting" + tail + b"\n" + noise):
        assert number == -1.0 or number >= 0.0
