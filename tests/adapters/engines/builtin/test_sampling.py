"""Choosing tokens: greedy, within the nucleus, by temperature, with log-probabilities."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from modelyard.adapters.engines.builtin.sampling import Decoding, Sampler, choose

LOGITS = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))


def draw(decoding: Decoding, times: int = 400) -> set[int]:
    sampler = Sampler.start(decoding)
    return {choose(LOGITS, [sampler])[0].id for _ in range(times)}


def test_temperature_zero_is_greedy() -> None:
    assert draw(Decoding(temperature=0, seed=1)) == {0}


def test_every_token_is_drawn_at_temperature_one() -> None:
    assert draw(Decoding(temperature=1.0, seed=1)) == {0, 1, 2, 3}


def test_top_p_draws_from_the_smallest_set_that_holds_it() -> None:
    assert draw(Decoding(top_p=0.4, seed=1)) == {0}
    assert draw(Decoding(top_p=0.6, seed=1)) == {0, 1}
    assert draw(Decoding(top_p=0.9, seed=1)) == {0, 1, 2}


def test_a_low_temperature_sharpens() -> None:
    assert draw(Decoding(temperature=0.05, seed=1)) == {0}


def test_shares_follow_the_probabilities() -> None:
    sampler = Sampler.start(Decoding(seed=3))
    drawn = [choose(LOGITS, [sampler])[0].id for _ in range(4000)]
    for token, share in enumerate((0.5, 0.3, 0.15, 0.05)):
        assert abs(drawn.count(token) / 4000 - share) < 5 * math.sqrt(share * (1 - share) / 4000)


@given(st.integers(0, 2**32))
def test_equal_seeds_draw_equally(seed: int) -> None:
    first, second = (Sampler.start(Decoding(seed=seed)) for _ in range(2))
    assert [choose(LOGITS, [first])[0].id for _ in range(8)] == [choose(LOGITS, [second])[0].id for _ in range(8)]


def test_log_probabilities_are_those_of_the_model() -> None:
    token = choose(LOGITS * 1.0, [Sampler.start(Decoding(temperature=0, top_logprobs=2))])[0]
    assert math.isclose(math.exp(token.logprob), 0.5, rel_tol=1e-5)
    assert [id for id, _ in token.top] == [0, 1]
    assert math.isclose(math.exp(token.top[1][1]), 0.3, rel_tol=1e-5)


def test_more_log_probabilities_than_tokens_are_all_of_them() -> None:
    token = choose(LOGITS, [Sampler.start(Decoding(temperature=0, top_logprobs=20))])[0]
    assert len(token.top) == 4
