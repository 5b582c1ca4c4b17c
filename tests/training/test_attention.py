import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM

from modelyard.training import attention

lengths_strategy = st.lists(st.integers(1, 300), min_size=1, max_size=12)


def boundaries_of(lengths):
    return torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)


@given(lengths_strategy)
@settings(max_examples=60, deadline=None)
def test_every_token_has_a_slot_of_its_own(lengths):
    layout = attention.lay_out(boundaries_of(lengths))
    assert len(layout.slot_of.unique()) == sum(lengths)
    assert torch.equal(layout.token_of[layout.slot_of], torch.arange(sum(lengths)))
    assert sum(box.count for box in layout.rectangles) == len(lengths)


def block_diagonal(query, key, value, lengths, scaling):
    document = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    mask = (document[:, None] == document[None]).tril()
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling).transpose(1, 2)


@given(lengths_strategy, st.sampled_from([1, 2]))
@settings(max_examples=15, deadline=None)
def test_equals_block_diagonal_attention_forward_and_backward(lengths, num_key_heads):
    generator = torch.Generator().manual_seed(sum(lengths))
    shapes = [(1, heads, sum(lengths), 8) for heads in (2, num_key_heads, num_key_heads)]
    inputs = [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]
    twins = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    layout = attention.lay_out(boundaries_of(lengths))
    ours, _ = attention.packed_attention(torch.nn.Module(), *inputs, None, layout=layout, scaling=0.3)
    theirs = block_diagonal(*twins, lengths, 0.3)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    weights = torch.randn(ours.shape, generator=generator)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    for mine, other in zip(inputs, twins, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-4, rtol=1e-3)


def tiny(model_type):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 64}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **sizes, **heads, initializer_range=0.3)
    return AutoModelForCausalLM.from_config(config).eval()


def mean_loss(logits, ids):
    return functional.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="sum")


@pytest.mark.parametrize("model_type", sorted(attention.MODEL_TYPES))
@torch.no_grad()
def test_packed_loss_is_unpacked_loss(model_type):
    lengths = [5, 17, 40, 9, 140]
    ids = torch.randint(0, 64, (1, sum(lengths)), generator=torch.Generator().manual_seed(1))
    model = tiny(model_type)
    assert attention.supports(model.config)
    alone = [mean_loss(model(input_ids=part).logits, part) for part in ids.split(lengths, 1)]

    attention.register()
    model.set_attn_implementation(attention.NAME)
    positions = torch.cat([torch.arange(length) for length in lengths])[None]

    def packed(boundaries):
        layout = attention.lay_out(boundaries)
        logits = model(input_ids=ids, position_ids=positions, layout=layout, use_cache=False).logits
        parts = zip(logits.split(lengths, 1), ids.split(lengths, 1), strict=True)
        return torch.stack([mean_loss(*part) for part in parts])

    assert torch.allclose(packed(boundaries_of(lengths)), torch.stack(alone), atol=1e-3)
    leaky = packed(torch.tensor([0, sum(lengths)]))
    assert (leaky[1:] - torch.stack(alone)[1:]).abs().max() > 1e-3, "documents that see each other must show"


def test_models_with_windows_are_left_alone():
    assert not attention.supports(AutoConfig.for_model("mistral"))
    assert not attention.supports(AutoConfig.for_model("qwen2", use_sliding_window=True))
