"""Inside .venv-quantize: a model folder to four or eight bits a weight by llm-compressor, loaded again and compared."""

import sys
from pathlib import Path
from typing import Any

from probing import Failed, Spec, compare, conversations, copy_readers, require_close, run, token_ids

# What vLLM's kernels take, the usual one first.
_GROUP_SIZES = (128, 64, 32)
_LIMIT = 1.0
_STEPS = 4


def export(spec: Spec) -> dict[str, float]:
    """Write the quantized model folder; return how close it is to its parent."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, output, progress = spec["model"], spec["output"], spec["progress"]
    torch.manual_seed(spec["settings"]["seed"])
    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    progress(0, _STEPS, "loading")
    network = AutoModelForCausalLM.from_pretrained(model, dtype="auto", local_files_only=True)
    rows = token_ids(tokenizer, conversations(spec["probes"]))
    expected = _logits(network, rows)
    progress(1, _STEPS, f"calibrating on {spec['settings']['rows']} rows")
    group_size = _quantize(network, tokenizer, spec)
    progress(2, _STEPS, "writing")
    _save(network, Path(model), Path(output))
    del network
    progress(3, _STEPS, "asking what was written")
    again = AutoModelForCausalLM.from_pretrained(output, dtype="auto", local_files_only=True)
    checks: dict[str, float] = compare(expected, _logits(again, rows)) | {"group_size": group_size}
    require_close(checks, _LIMIT)
    return checks


def _quantize(network: Any, tokenizer: Any, spec: Spec) -> int:
    """Quantize every linear layer but the head; return how many weights share a scale."""
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.pipelines.cache import IntermediatesCache

    if not torch.accelerator.is_available():
        # AWQ pins memory for copies to a device, and torch refuses that where there is none (llm-compressor 0.14).
        IntermediatesCache.pin_memory = lambda *_, **__: None
    settings, group_size = spec["settings"], _group_size(network)
    ids = [row[: settings["max_tokens"]] for row in token_ids(tokenizer, conversations(spec["calibration"]))]
    rows = Dataset.from_dict({"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]})
    bits, _, symmetry = spec["quantization"].removeprefix("w").partition("a16")
    weights = {
        "num_bits": int(bits),
        "type": "int",
        "strategy": "group",
        "group_size": group_size,
        "symmetric": symmetry != "_asym",
    }
    scheme = {"config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}, "ignore": ["lm_head"]}
    recipe = (
        [AWQModifier(), QuantizationModifier(**scheme)] if settings["method"] == "awq" else [GPTQModifier(**scheme)]
    )
    oneshot(
        model=network,
        tokenizer=tokenizer,
        dataset=rows,
        recipe=recipe,
        max_seq_length=settings["max_tokens"],
        num_calibration_samples=len(ids),
        shuffle_calibration_samples=False,
    )
    return group_size


def _save(network: Any, model: Path, output: Path) -> None:
    network.save_pretrained(str(output), save_compressed=True)
    # Its note to itself names Python objects to make, which no reader should; config.json says the same.
    (output / "recipe.yaml").unlink(missing_ok=True)
    copy_readers(model, output)


def _group_size(network: Any) -> int:
    import torch

    layers = [(name, one) for name, one in network.named_modules() if isinstance(one, torch.nn.Linear)]
    widths = {one.in_features for name, one in layers if not name.endswith("lm_head")}
    for size in _GROUP_SIZES:
        if all(width % size == 0 for width in widths):
            return size
    raise Failed(
        "job_failed",
        f"the layers of this model are {', '.join(map(str, sorted(widths)))} weights wide",
        f"widths that divide by one of {', '.join(map(str, _GROUP_SIZES))}",
        "export as gguf or merged",
    )


def _logits(network: Any, rows: list[list[int]]) -> list[Any]:
    import torch

    network.eval()
    with torch.no_grad():
        found = [network(input_ids=torch.tensor([ids], device=network.device)).logits[0] for ids in rows]
    return [one.float().cpu() for one in found]


if __name__ == "__main__":
    sys.exit(run(export))
