"""The running batch's keys and values, against plain lists of what each row should hold."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.adapters.engines.builtin.cache import BatchCache, PromptCache

HEADS, WIDTH, LAYERS = 2, 3, 2
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.lists(st.integers(1, 90), min_size=1, max_size=3)),
        st.tuples(st.just("step"), st.integers(1, 60)),
        st.tuples(st.just("leave"), st.integers(0, 9)),
    ),
    max_size=25,
)


def fresh(num_tokens: int) -> torch.Tensor:
    return torch.randn(HEADS, num_tokens, WIDTH)


def prompt_cache(rows: list[list[torch.Tensor]]) -> PromptCache:
    """Rows (each one tensor a layer) as a padded forward pass computes them; padding is filled with noise."""
    cache = PromptCache()
    width = max(row[0].shape[1] for row in rows)
    for layer in range(LAYERS):
        padded = torch.randn(len(rows), HEADS, width, WIDTH)
        for index, row in enumerate(rows):
            padded[index, :, width - row[layer].shape[1] :] = row[layer]
        cache.update(padded, -padded, layer)
    return cache


@settings(max_examples=60, deadline=None)
@given(MOVES)
def test_rows_keep_what_is_theirs(moves: list[tuple[str, object]]) -> None:
    cache = BatchCache()
    rows: list[list[torch.Tensor]] = []
    for kind, detail in moves:
        if kind == "join":
            newcomers = [[fresh(length) for _ in range(LAYERS)] for length in detail]
            cache.join(prompt_cache(newcomers), detail)
            rows += newcomers
        elif kind == "leave" and rows:
            index = detail % len(rows)
            cache.leave(index)
            last = rows.pop()
            if index < len(rows):
                rows[index] = last
        elif kind == "step" and rows:
            for _ in range(detail):
                rows = step(cache, rows)
        assert cache.lengths == [row[0].shape[1] for row in rows]


def step(cache: BatchCache, rows: list[list[torch.Tensor]]) -> list[list[torch.Tensor]]:
    """One token further for every row, comparing what each layer gets to see."""
    cache.prepare_step()
    mask = cache.mask()[:, 0, 0]
    grown = [[torch.cat([layer, fresh(1)], dim=1) for layer in row] for row in rows]
    for layer in range(LAYERS):
        newest = torch.stack([row[layer][:, -1:] for row in grown])
        keys, values = cache.update(newest, -newest, layer)
        for index, row in enumerate(grown):
            seen = keys[index][:, mask[index]]
            assert torch.equal(seen, row[layer])
            assert torch.equal(values[index][:, mask[index]], -row[layer])
    cache.finish_step()
    return grown
