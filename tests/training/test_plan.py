"""A plan is held against what training really does."""

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from modelyard.core.money import nanousd
from modelyard.training.device import Device
from modelyard.training.job import train
from modelyard.training.material import gather
from modelyard.training.memory import estimate
from modelyard.training.methods import method_of
from modelyard.training.packing import num_packed, to_sequences
from modelyard.training.plan import Pace, make_plan, memory_is_enough
from modelyard.training.recipe import Recipe
from modelyard.training.sample import sample
from modelyard.training.sizes import num_trainable, read_sizes
from modelyard.training.tokenization import Row
from tests.training.conftest import make_examples

CPU = Device(name="some CPU", is_cuda=False, memory_bytes=8 * 10**9, flops=1e11)
PACE = Pace(tokens_per_second=1000.0, source="a run")

RECIPES = [
    {"rank": 4},
    {"rank": 3, "dora": True},
    {"rank": 8, "target_modules": ["q_proj", "down_proj"]},
    {"method": "prefix", "virtual_tokens": 5},
    {"method": "full"},
]


@pytest.mark.parametrize("fields", RECIPES)
def test_what_is_learnt_is_counted_as_peft_counts_it(base, fields):
    recipe = Recipe(base="tiny", precision="float32", **fields)
    method = method_of(recipe)
    model = method.put_on(method.load(base, recipe), recipe)
    learnt = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert num_trainable(recipe, read_sizes(base)) == learnt


def test_the_plan_is_what_the_run_does(make_spec):
    spec = make_spec(max_steps=None, epochs=2)
    plan = make_plan(gather(spec), CPU, PACE, nanousd("3.60"))
    metrics = train(spec, lambda event: None).metrics
    assert plan.steps == metrics["steps"]
    assert plan.trainable_parameters == metrics["trainable_parameters"]
    assert plan.rows == metrics["train_rows"]
    assert plan.tokens_per_epoch == metrics["train_row_tokens"]
    assert plan.learnt_tokens_per_epoch == metrics["train_learnt_tokens"]
    assert plan.tokens == pytest.approx(metrics["train_tokens"], rel=0.35)
    assert plan.seconds == pytest.approx(plan.tokens / 1000)
    assert plan.cost_nanousd == round(plan.seconds * 1_000_000)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(8, 32))
@settings(max_examples=100, deadline=None)
def test_packing_is_counted_as_it_is_done(lengths, sequence_length):
    rows = [
        Row(example_id="r", input_ids=[1] * length, labels=[1] * length, prompt_ids=[], answers=())
        for length in (min(length, sequence_length) for length in lengths)
    ]
    recipe = Recipe(base="b", sequence_length=sequence_length)
    counted = num_packed([len(row.input_ids) for row in rows], sequence_length)
    assert counted == len(to_sequences(rows, recipe))


def test_without_a_pace_time_is_a_guess_that_says_so(make_spec):
    material = gather(make_spec())
    plan = make_plan(material, CPU, None, 0)
    assert "rough guess" in plan.seconds_from
    assert plan.seconds == pytest.approx(plan.tokens * 4 * plan.base_parameters / CPU.flops)
    full = gather(make_spec(method="full", rank=None, serve=False))
    assert make_plan(full, CPU, None, 0).seconds == pytest.approx(plan.seconds * 1.5)


def test_too_little_memory_is_a_warning(make_spec):
    plan = make_plan(gather(make_spec()), CPU, PACE, 0)
    assert memory_is_enough(plan).passed
    short = memory_is_enough(msgspec.structs.replace(plan, device_memory_bytes=plan.memory_bytes - 1))
    assert (short.passed, short.stops) == (False, False)
    assert "batch_size" in short.fix


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_those_that_autograd_keeps(base, checkpointing):
    recipe = Recipe(base="tiny", precision="float32", rank=8, gradient_checkpointing=checkpointing)
    num_tokens = 512
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if checkpointing:
        model.gradient_checkpointing_enable()
    model.train()
    kept = {}
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    ids = torch.randint(6, 300, (4, num_tokens // 4))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.model(input_ids=ids, use_cache=False)
    sizes = read_sizes(base)
    parts = estimate(recipe, sizes, width=4, num_tokens=num_tokens, num_learnt=0)
    measured = sum(num_bytes for num_bytes, _ in kept.values())
    print(checkpointing, measured, parts["activations"])
    if checkpointing:
        # On the way back one block is computed again, which is not kept here.
        assert sizes.layers * num_tokens * sizes.hidden * 4 <= parts["activations"]
        assert measured <= parts["activations"]
    else:
        assert 0.6 * measured <= parts["activations"] <= 1.6 * measured


def test_four_bits_and_full_weights_are_counted_so(base):
    sizes = read_sizes(base)

    def weights(**fields):
        return estimate(Recipe(base="b", **fields), sizes, width=2, num_tokens=1, num_learnt=1)

    lora, quantized, full = weights(), weights(method="qlora"), weights(method="full")
    assert lora["base weights"] == 2 * sizes.num_parameters
    assert quantized["base weights"] < lora["base weights"]
    assert full["base weights"] == full["gradients"] == full["optimizer"] // 2 == 4 * sizes.num_parameters
    assert full["learnt weights"] == 0
    assert lora["optimizer"] == 8 * num_trainable(Recipe(base="b"), sizes)


def test_a_sample_shows_what_is_learnt(chat):
    rows = chat.encode(make_examples(3))
    shown = sample(rows, chat)
    assert [row.example_id for row in shown] == ["row-0", "row-1", "row-2"]
    first = shown[0]
    assert "".join(piece.text for piece in first.pieces) == chat.decode([rows[0].input_ids])[0]
    assert [piece.text for piece in first.pieces if piece.learnt] == ["refund", "<|end|>"]
    assert [piece.text for piece in first.pieces if piece.special][:2] == ["<|bos|><|user|>", "<|end|><|assistant|>"]


def test_a_long_row_is_shown_by_its_ends(chat):
    (row,) = chat.encode(make_examples(1))
    long = msgspec.structs.replace(row, input_ids=row.input_ids * 100, labels=row.labels * 100)
    (shown,) = sample([long], chat)
    assert shown.num_left_out == len(long.input_ids) - 800
    assert sample([], chat) == []
