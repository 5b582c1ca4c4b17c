"""Rows with different adapters in one batch: the same logits as PEFT gives, and refusals that name what was seen."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from modelyard.adapters.engines.builtin.cache import BatchCache
from modelyard.adapters.engines.builtin.lora import Adapter
from modelyard.adapters.engines.builtin.model import Model
from modelyard.core.errors import InvalidInput
from tests.models import make_random_adapter, make_tiny_model

PROMPTS = [[1, 40, 50, 60, 5], [1, 90, 5], [1, 70, 71, 72, 73, 74, 75, 5], [1, 33, 5], [1, 200, 201, 5]]


def peft_logits(base: Path, folder: Path | None, prompt: list[int]) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(base)
    if folder:
        model = PeftModel.from_pretrained(model, folder)
    with torch.inference_mode():
        return model.eval()(input_ids=torch.tensor([prompt])).logits[0, -1]


def test_mixed_rows_have_the_logits_that_peft_gives_each_alone(
    base: Path, model: Model, adapters: list[Adapter], adapter_folders: list[Path]
) -> None:
    model.bank.place(adapters)
    rows = [adapters[0], None, adapters[1], adapters[2], adapters[0]]
    with torch.inference_mode():
        logits, prompts = model.prefill(PROMPTS, rows)
        cache = BatchCache()
        cache.join(prompts, [len(prompt) for prompt in PROMPTS])
        next_logits = model.step([101, 102, 103, 104, 105], rows, cache)
    for index, (prompt, row) in enumerate(zip(PROMPTS, rows, strict=True)):
        folder = row.folder if row else None
        torch.testing.assert_close(logits[index], peft_logits(base, folder, prompt), atol=2e-5, rtol=1e-4)
        longer = peft_logits(base, folder, [*prompt, 101 + index])
        torch.testing.assert_close(next_logits[index], longer, atol=2e-5, rtol=1e-4)


def test_every_adapter_changes_the_logits(model: Model, adapters: list[Adapter]) -> None:
    model.bank.place(adapters)
    plain, _ = model.prefill([PROMPTS[0]], [None])
    for adapter in adapters:
        logits, _ = model.prefill([PROMPTS[0]], [adapter])
        assert (logits - plain).abs().max() > 0.01


def test_placing_again_forgets_what_was_there(model: Model, adapters: list[Adapter]) -> None:
    model.bank.place([adapters[1]])
    alone, _ = model.prefill([PROMPTS[0]], [adapters[1]])
    model.bank.place(adapters)
    beside, _ = model.prefill([PROMPTS[0]], [adapters[1]])
    model.bank.place([])
    assert model.bank.placed == set()
    torch.testing.assert_close(alone, beside, atol=1e-6, rtol=1e-5)


def set_config(**fields: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


def set_tensors(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter_model.safetensors")

    return write


FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("spoil", "seen"),
    [
        (set_config(peft_type="PREFIX_TUNING"), "peft_type PREFIX_TUNING"),
        (set_config(use_dora=True), "use_dora"),
        (set_config(modules_to_save=["lm_head"]), "modules_to_save"),
        (set_config(bias="all"), "bias=all"),
        (set_config(init_lora_weights="pissa_niter_4"), "init_lora_weights=pissa_niter_4"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "No such file"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "not an adapter's configuration"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "cannot read"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"x" * 99), "cannot read"),
        (set_tensors(lambda tensors: tensors.pop(FIRST)), "only one of lora_A and lora_B"),
        (set_tensors(lambda tensors: tensors.update({FIRST: torch.full((4, 64), torch.nan)})), "not finite"),
        (set_tensors(lambda tensors: tensors.update({"lora_magnitude_vector": torch.ones(1)})), "lora_magnitude"),
        (set_tensors(lambda tensors: tensors.clear()), "no tensors"),
    ],
)
def test_a_bad_adapter_is_refused(
    base: Path, model: Model, tmp_path: Path, spoil: Callable[[Path], object], seen: str
) -> None:
    folder = make_random_adapter(base, tmp_path / "adapter", 1, rank=4)
    spoil(folder)
    with pytest.raises(InvalidInput, match=seen):
        model.read_adapter("bad", folder)


def test_an_adapter_of_another_base_is_refused(model: Model, tmp_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other", hidden_size=128)
    folder = make_random_adapter(other, tmp_path / "adapter", 1)
    with pytest.raises(InvalidInput, match=r"shape .* the base model has \(64, 96\)"):
        model.read_adapter("other", folder)


def test_an_adapter_of_modules_the_base_lacks_is_refused(base: Path, model: Model, tmp_path: Path) -> None:
    folder = make_random_adapter(base, tmp_path / "adapter", 1)
    path = folder / "adapter_model.safetensors"
    save_file({key.replace("q_proj", "query"): value for key, value in load_file(path).items()}, path)
    with pytest.raises(InvalidInput, match="query, where the base model has nothing"):
        model.read_adapter("strange", folder)
