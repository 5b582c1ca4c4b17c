"""Tokens per CPU-second of LoRA training on the shipped base: Modelyard's trainer beside plain TRL on the same rows.

    python benchmarks/training.py [--threads 1] [--steps 30]

Each contestant runs in a process of its own, one after the other. CPU time is steadier than wall time on busy cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NUM_ROWS = 2700
BASE = Path(__file__).resolve().parents[1] / "src" / "modelyard" / "demo" / "base"


def main() -> None:
    """Run every contestant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        print(json.dumps(CONTESTANTS[options.contestant](options.threads, options.steps)))
        return
    results = {name: _run(name, options) for name in CONTESTANTS}
    best = results["modelyard"]["tokens_per_cpu_s"]
    print(f"{'':<28}{'tokens/CPU-s':>14}{'tokens/s':>12}{'last loss':>12}{'times slower':>14}")
    for name, found in results.items():
        row = f"{found['tokens_per_cpu_s']:>14,.0f}{found['tokens_per_s']:>12,.0f}{found['loss']:>12.3f}"
        print(f"{name:<28}{row}{best / found['tokens_per_cpu_s']:>14.1f}")


def _run(name: str, options: argparse.Namespace) -> dict[str, float]:
    flags = ["--threads", str(options.threads), "--steps", str(options.steps), "--contestant", name]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, __file__, *flags], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def modelyard(threads: int, steps: int) -> dict[str, float]:
    """Our trainer with a recipe's defaults."""
    from modelyard.ports.dataset import Example, Message
    from modelyard.training.examples import write_examples
    from modelyard.training.recipe import Recipe
    from modelyard.training.spec import TrainingSpec
    from modelyard.training.trainer import train

    marks: dict[str, float] = {}

    def hear(event: Mapping[str, Any]) -> None:
        marks[event["event"]] = time.process_time()

    with tempfile.TemporaryDirectory() as scratch:
        examples = [
            Example(
                id=str(number),
                messages=(Message(role="user", content=text), Message(role="assistant", content=label)),
                source="",
                line=number,
            )
            for number, (text, label) in enumerate(_rows())
        ]
        write_examples(Path(scratch, "train"), examples)
        recipe = Recipe(base=str(BASE), max_steps=steps, threads=threads)
        spec = TrainingSpec(
            recipe=recipe.model_dump(mode="json"),
            base_folder=str(BASE),
            train=str(Path(scratch, "train")),
            output=str(Path(scratch, "output")),
        )
        metrics = train(spec, hear).metrics
    return {
        "tokens_per_cpu_s": metrics["train_tokens"] / (marks["progress"] - marks["started"]),
        "tokens_per_s": metrics["tokens_per_second"],
        "loss": metrics["train_loss_last"],
    }


def trl_defaults(threads: int, steps: int) -> dict[str, float]:
    """A plain TRL script: eight padded rows a step."""
    return _trl(threads, steps, {})


def trl_packed(threads: int, steps: int) -> dict[str, float]:
    """The same with TRL's own packing, at our batch shape."""
    packed = {"packing": True, "packing_strategy": "bfd_split", "max_length": 512, "per_device_train_batch_size": 4}
    return _trl(threads, steps, packed)


def _trl(threads: int, steps: int, settings: dict[str, object]) -> dict[str, float]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(threads)
    rows = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": label}]}
        for text, label in _rows()
    ]
    with tempfile.TemporaryDirectory() as scratch:
        arguments = SFTConfig(
            output_dir=scratch,
            max_steps=steps,
            report_to="none",
            save_strategy="no",
            assistant_only_loss=True,
            learning_rate=2e-3,
            use_cpu=True,
            logging_steps=1,
            disable_tqdm=True,
            **settings,
        )
        lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        trainer = SFTTrainer(model=str(BASE), args=arguments, train_dataset=Dataset.from_list(rows), peft_config=lora)
        cpu_s, wall_s = time.process_time(), time.monotonic()
        trainer.train()
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][-10:]
    tokens = trainer.state.num_input_tokens_seen or trainer._total_train_tokens
    return {"tokens_per_cpu_s": tokens / cpu_s, "tokens_per_s": tokens / wall_s, "loss": sum(losses) / len(losses)}


def _rows() -> list[tuple[str, str]]:
    from modelyard.demo.messages import generate_messages

    return generate_messages(3, NUM_ROWS)


CONTESTANTS = {"modelyard": modelyard, "TRL, defaults": trl_defaults, "TRL, packed": trl_packed}

if __name__ == "__main__":
    main()
