"""Each method on a tiny base: it learns, it leaves what others can load, and what cannot work is told before."""

from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from modelyard.core.digests import digest_folder
from modelyard.core.errors import RecipeInvalid
from modelyard.ports.engine import Capabilities
from modelyard.training.job import train
from tests.training.conftest import LABELS, make_examples

ENGINE = Capabilities(name="some", adapters=True, max_lora_rank=64, lora_ranks=(), tokenize=True)
LEARNING = {
    "prefix": {"method": "prefix", "rank": None, "learning_rate": 1e-1, "virtual_tokens": 8},
    "full": {"method": "full", "rank": None, "learning_rate": 3e-3},
    "rslora": {"rslora": True, "learning_rate": 1e-2},
    "dora": {"dora": True, "learning_rate": 1e-2},
}


def run(spec):
    events = []
    return train(spec, lambda event: events.append(dict(event))), events


@pytest.mark.parametrize("name", LEARNING)
def test_every_method_learns(name, make_spec):
    result, events = run(make_spec(max_steps=60, warmup_share=0, **LEARNING[name]))
    first = next(event["loss"] for event in events if event["event"] == "progress")
    # A prefix of a thousand numbers before random weights can only do so much.
    enough = first - 1.5 if name == "prefix" else 0.2
    assert result.metrics["validation_loss"] < enough < first
    assert result.metrics["logit_change"] > 0


@pytest.mark.parametrize("name", LEARNING)
def test_the_same_seed_gives_the_same_bytes(name, make_spec):
    digests = set()
    for output in ("a", "b"):
        spec = make_spec(output=output, max_steps=3, **LEARNING[name])
        run(spec)
        digests.add(digest_folder(Path(spec.output) / ("model" if name == "full" else "adapter")))
    assert len(digests) == 1


def test_a_full_run_leaves_a_whole_model(base, make_spec):
    spec = make_spec(max_steps=60, warmup_share=0, **LEARNING["full"])
    run(spec)
    folder = Path(spec.output) / "model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": make_examples(3)[1].prompt[0].content}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=16, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) == f"{LABELS[1]}<|end|>"
    names = {path.name for path in folder.iterdir()}
    assert {path.name for path in base.iterdir()} <= names
    assert (folder / "chat_template.jinja").read_bytes() == (base / "chat_template.jinja").read_bytes()


def test_a_full_run_leaves_in_the_precision_of_the_recipe(make_spec):
    for precision, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        spec = make_spec(output=precision, max_steps=2, method="full", rank=None, precision=precision)
        run(spec)
        weights = load_file(Path(spec.output) / "model" / "model.safetensors")
        assert {weight.dtype for weight in weights.values()} == {dtype}


def test_dora_has_lengths_and_rslora_says_so(make_spec):
    spec = make_spec(max_steps=2, dora=True, rslora=True)
    run(spec)
    names = load_file(Path(spec.output) / "adapter" / "adapter_model.safetensors")
    assert any("lora_magnitude_vector" in name for name in names)
    config = (Path(spec.output) / "adapter" / "adapter_config.json").read_text()
    assert '"use_dora": true' in config
    assert '"use_rslora": true' in config


@pytest.mark.parametrize("name", ["prefix", "full", "dora"])
def test_what_the_engine_cannot_load_is_told_before_training(name, make_spec):
    spec = msgspec.structs.replace(make_spec(**LEARNING[name]), engine=ENGINE)
    with pytest.raises(RecipeInvalid, match="some loads LoRA adapters alone"):
        run(spec)
    allowed = msgspec.structs.replace(make_spec(max_steps=1, serve=False, **LEARNING[name]), engine=ENGINE)
    run(msgspec.structs.replace(allowed, recipe=allowed.recipe | {"warmup_share": 0}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("fields", [{"method": "qlora"}, {"accelerator": "unsloth"}])
def test_what_needs_a_gpu_says_so(fields, make_spec):
    with pytest.raises(RecipeInvalid, match=r"CUDA device|not installed") as caught:
        run(make_spec(**fields))
    assert "method: lora" in str(caught.value) or "accelerator: none" in str(caught.value)
