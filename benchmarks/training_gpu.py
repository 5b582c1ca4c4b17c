"""LoRA and QLoRA of a large model on one CUDA device: tokens per second, utilisation, peak memory; beside plain TRL.

    python benchmarks/training_gpu.py [--shape llama-3-8b] [--steps 30] [--batch 4] [--json]

The base has the named shape and random weights (made once, under --folder), the rows are random words that fill packed
sequences. Utilisation is model FLOPs, not those computed again by checkpointing: 4 for each weight and token, as frozen
weights get no gradient, and attention's own, over --peak-tflops of the device. `--shape tiny --cpu` tries the script on
a machine without a GPU; its figures mean nothing.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).resolve().parents[1] / "src" / "modelyard" / "demo" / "base"
SHAPES: dict[str, dict[str, int]] = {
    "llama-3-8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 8192,
    },
}
SEQUENCE = 2048
# Dense bfloat16 peaks from the vendors' data sheets.
PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0}
_WARM_STEPS = 3


def main() -> None:
    """Run every contestant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="llama-3-8b")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--sequence", type=int, default=SEQUENCE)
    parser.add_argument("--peak-tflops", type=float, help="of the device in bfloat16; known devices need none")
    parser.add_argument("--only", nargs="*", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--folder", type=Path, help="where the base is kept; default: nowhere")
    parser.add_argument("--cpu", action="store_true", help="go on without a CUDA device")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        print(json.dumps(CONTESTANTS[options.contestant](options)))
        return
    _require_device(options)
    with tempfile.TemporaryDirectory() as scratch:
        options.folder = options.folder or Path(scratch)
        _make_base(options)
        results = {name: _run(name, options) for name in options.only}
    print(json.dumps(results, indent=2) if options.json else _table(results))


def _require_device(options: argparse.Namespace) -> None:
    import torch

    if not torch.cuda.is_available() and not options.cpu:
        raise SystemExit("there is no CUDA device here; run this where one is, or try it with --shape tiny --cpu")


def _base(options: argparse.Namespace) -> Path:
    folder: Path = options.folder
    return folder / options.shape


def _make_base(options: argparse.Namespace) -> None:
    """Random weights in bfloat16, with the tokenizer and template of the shipped base."""
    folder = _base(options)
    if (folder / "config.json").exists():
        return
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    print(f"making a base with the shape {options.shape} ...", file=sys.stderr)
    config = LlamaConfig(**SHAPES[options.shape], max_position_embeddings=8192, dtype=torch.bfloat16)
    torch.set_default_dtype(torch.bfloat16)
    torch.set_default_device("cuda" if torch.cuda.is_available() else "cpu")
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(SHIPPED).save_pretrained(folder)


def _run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    print(f"{name} ...", file=sys.stderr)
    flags = [f"--{flag}={getattr(options, flag)}" for flag in ("shape", "steps", "batch", "sequence", "folder")]
    flags += [f"--peak-tflops={options.peak_tflops}"] if options.peak_tflops else []
    done = subprocess.run(
        [sys.executable, __file__, *flags, "--contestant", name], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        return {"failed": done.returncode}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def modelyard_lora(options: argparse.Namespace) -> dict[str, float]:
    """Our trainer, LoRA r=16 on all linear layers."""
    return _modelyard(options, method="lora")


def modelyard_lora_kept(options: argparse.Namespace) -> dict[str, float]:
    """The same, keeping activations instead of computing them twice."""
    return _modelyard(options, method="lora", gradient_checkpointing=False)


def modelyard_qlora(options: argparse.Namespace) -> dict[str, float]:
    """Our trainer over a base of four bits."""
    return _modelyard(options, method="qlora")


def _modelyard(options: argparse.Namespace, **fields: Any) -> dict[str, float]:
    from modelyard.ports.dataset import Example, Message
    from modelyard.training.examples import write_examples
    from modelyard.training.job import train
    from modelyard.training.recipe import Recipe
    from modelyard.training.spec import TrainingSpec

    clock = _StepClock()
    with tempfile.TemporaryDirectory() as scratch:
        examples = [
            Example(
                id=str(number),
                messages=(Message(role="user", content=question), Message(role="assistant", content=answer)),
                source="",
                line=number,
            )
            for number, (question, answer) in enumerate(_rows(options))
        ]
        write_examples(Path(scratch, "train"), examples)
        recipe = Recipe.model_validate(
            {
                "base": str(_base(options)),
                "max_steps": options.steps,
                "batch_size": options.batch,
                "sequence_length": options.sequence,
                "validate_at_end": False,
            }
            | fields
        )
        spec = TrainingSpec(
            recipe=recipe.model_dump(mode="json"),
            base_folder=str(_base(options)),
            train=str(Path(scratch, "train")),
            output=str(Path(scratch, "output")),
        )
        train(spec, clock.hear)
    return clock.result(options)


def trl_defaults(options: argparse.Namespace) -> dict[str, float]:
    """A plain TRL script in bfloat16: eight padded rows a step, gradient checkpointing on."""
    return _trl(options, {})


def trl_packed(options: argparse.Namespace) -> dict[str, float]:
    """The same with TRL's packing at our batch shape."""
    packed = {"packing": True, "max_length": options.sequence, "per_device_train_batch_size": options.batch}
    return _trl(options, packed)


def _trl(options: argparse.Namespace, settings: Mapping[str, Any]) -> dict[str, float]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    clock = _StepClock()

    class Listener(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, _arguments: object, state: Any, _control: object, **_: object) -> None:
            clock.tokens = trainer._total_train_tokens
            clock.hear({"event": "progress", "step": state.global_step})

    rows = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in _rows(options)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        arguments = SFTConfig(
            output_dir=scratch,
            max_steps=options.steps,
            report_to="none",
            save_strategy="no",
            assistant_only_loss=True,
            use_cpu=not torch.cuda.is_available(),
            disable_tqdm=True,
            model_init_kwargs={"dtype": torch.bfloat16},
            **settings,
        )
        lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        trainer = SFTTrainer(
            model=str(_base(options)),
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            peft_config=lora,
            callbacks=[Listener()],
        )
        trainer.train()
    return clock.result(options)


class _StepClock:
    """Tokens and seconds between the warm steps and the last one."""

    def __init__(self) -> None:
        self.tokens = 0.0
        self._marks: list[tuple[float, float]] = []

    def hear(self, event: Mapping[str, Any]) -> None:
        if event["event"] != "progress":
            return
        if "tokens_per_second" in event:
            self.tokens = event["tokens_per_second"] * event["seconds"]
        self._marks.append((time.monotonic(), self.tokens))

    def result(self, options: argparse.Namespace) -> dict[str, float]:
        import torch

        (began, before), (ended, after) = self._marks[min(_WARM_STEPS, len(self._marks) - 2)], self._marks[-1]
        rate = (after - before) / (ended - began)
        peak = options.peak_tflops or _known_peak()
        on_cuda = torch.cuda.is_available()
        return {
            "tokens_per_s": rate,
            "utilisation": rate * _flops_a_token(options) / (peak * 1e12) if peak else 0.0,
            "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if on_cuda else 0.0,
        }


def _known_peak() -> float:
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return next((peak for known, peak in PEAK_TFLOPS.items() if known in name), 0.0)


def _flops_a_token(options: argparse.Namespace) -> float:
    """Model FLOPs of a training step: forward and the gradient of activations, 2 a weight each; causal attention."""
    from modelyard.training.weights import num_parameters

    shape = SHAPES[options.shape]
    weights = num_parameters(_base(options)) - shape["vocab_size"] * shape["hidden_size"]
    attention = 6 * shape["num_hidden_layers"] * shape["hidden_size"] * options.sequence
    return 4.0 * weights + attention


def _rows(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Enough conversations of some 60 to 900 words for every step."""
    draw = random.Random(7)
    words = ["order", "parcel", "refund", "account", "please", "where", "morning", "card", "number", "delivery"]
    needed, rows = options.steps * options.batch * options.sequence, []
    while needed > 0:
        lengths = draw.randint(30, 300), draw.randint(30, min(600, options.sequence // 4))
        question, answer = (" ".join(draw.choices(words, k=length)) for length in lengths)
        rows.append((question, answer))
        needed -= sum(lengths)
    return rows


def _table(results: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [f"{'':<28}{'tokens/s':>10}{'utilisation':>13}{'peak GiB':>10}"]
    for name, found in results.items():
        if "failed" in found:
            lines.append(f"{name:<28}failed with exit code {found['failed']}")
        else:
            lines.append(
                f"{name:<28}{found['tokens_per_s']:>10,.0f}{found['utilisation']:>12.1%}{found['peak_gib']:>10.1f}"
            )
    return "\n".join(lines)


CONTESTANTS = {
    "modelyard, LoRA": modelyard_lora,
    "modelyard, LoRA, kept": modelyard_lora_kept,
    "modelyard, QLoRA": modelyard_qlora,
    "TRL, defaults": trl_defaults,
    "TRL, packed": trl_packed,
}

if __name__ == "__main__":
    main()
