"""LoRA training on the shipped base: Modelyard beside plain TRL and beside a loop written by hand, on the same rows.

    python benchmarks/training.py [--threads 1] [--epochs 1] [--json]

Each contestant passes over the same rows in a process of its own, one after the other; what it learnt is then measured
on held-out rows by plain transformers. CPU time is steadier than wall time on busy cores. "By hand" is a bare loop with
the settings and kernels of our trainer: what is above it is the price of checks, events, checkpoints and TRL's trainer.
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

NUM_ROWS, NUM_HELD_OUT = 2700, 300
LEARNING_RATE = 2e-3
BASE = Path(__file__).resolve().parents[1] / "src" / "modelyard" / "demo" / "base"


def main() -> None:
    """Run every contestant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--only", nargs="*", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        print(json.dumps(_measured(options)))
        return
    results = {name: _run(name, options) for name in options.only}
    print(json.dumps(results, indent=2) if options.json else _table(results))


def _run(name: str, options: argparse.Namespace) -> dict[str, float]:
    print(f"{name} ...", file=sys.stderr)
    flags = ["--threads", str(options.threads), "--epochs", str(options.epochs), "--contestant", name]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, __file__, *flags], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured(options: argparse.Namespace) -> dict[str, float]:
    import torch

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        found = CONTESTANTS[options.contestant](options.threads, options.epochs, Path(scratch))
        return found | {"held_out_loss": _held_out_loss(Path(scratch) / "adapter")}


def modelyard(threads: int, epochs: float, folder: Path) -> dict[str, float]:
    """Our trainer with a recipe's defaults: some 66 rows a step."""
    return _modelyard(_recipe(threads, epochs), folder)


def small_steps(threads: int, epochs: float, folder: Path) -> dict[str, float]:
    """Our trainer with steps of the size of TRL's: one sequence of 256 tokens, some 8 rows."""
    return _modelyard(_recipe(threads, epochs, batch_size=1, sequence_length=256), folder)


def small_steps_twice(threads: int, epochs: float, folder: Path) -> dict[str, float]:
    """The same, twice over the rows: for the loss that the others reach in one pass."""
    return small_steps(threads, 2 * epochs, folder)


def _modelyard(recipe: Any, folder: Path) -> dict[str, float]:
    from modelyard.training.examples import write_examples
    from modelyard.training.job import train
    from modelyard.training.spec import TrainingSpec

    marks: dict[str, float] = {}

    def hear(event: Mapping[str, Any]) -> None:
        marks[event["event"]] = time.process_time()

    write_examples(folder / "train", _examples(_rows()))
    spec = TrainingSpec(
        recipe=recipe.model_dump(mode="json"),
        base_folder=str(BASE),
        train=str(folder / "train"),
        output=str(folder / "output"),
        checkpoints=str(folder / "checkpoints"),
    )
    metrics = train(spec, hear).metrics
    (folder / "output" / "adapter").rename(folder / "adapter")
    return _result(metrics["train_tokens"], marks["progress"] - marks["started"], metrics["train_seconds"])


def by_hand(threads: int, epochs: float, folder: Path) -> dict[str, float]:
    """A bare loop over the same packed sequences, with the same kernels and settings."""
    import torch
    from torch.nn import functional
    from transformers import get_cosine_schedule_with_warmup
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from modelyard.training import attention
    from modelyard.training.linear import fused_adapters
    from modelyard.training.methods import method_of
    from modelyard.training.packing import to_sequences
    from modelyard.training.tokenization import IGNORED, ChatTokenizer
    from modelyard.training.weights import num_parameters

    recipe = _recipe(threads, epochs).for_base(num_parameters(BASE))
    method = method_of(recipe)
    model = method.put_on(method.load(BASE, recipe), recipe)
    chat = ChatTokenizer(BASE)
    sequences = to_sequences(chat.encode(_examples(_rows())), recipe)
    steps = recipe.num_steps(len(sequences))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.0, fused=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, int(recipe.warmup_share * steps), steps)
    collate = DataCollatorForLanguageModeling(chat.tokenizer.pad_token_id, padding_free=True)
    generator = torch.Generator().manual_seed(recipe.seed)
    loader = torch.utils.data.DataLoader(
        sequences, batch_size=recipe.batch_size, shuffle=True, generator=generator, collate_fn=collate
    )
    cpu_s, wall_s, num_tokens, step = time.process_time(), time.monotonic(), 0, 0
    model.train()
    with fused_adapters(model):
        while step < steps:
            for batch in loader:
                labels = batch.pop("labels")[:, 1:]
                learnt = (labels != IGNORED).any(0).nonzero().flatten()
                layout = attention.lay_out(batch["cu_seq_lens_q"])
                logits = model(**batch, layout=layout, logits_to_keep=learnt, use_cache=False).logits
                loss = functional.cross_entropy(logits.float().flatten(0, 1), labels[:, learnt].flatten())
                loss.backward()
                torch.nn.utils.clip_grad_norm_(weights, recipe.gradient_clip)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                num_tokens += batch["input_ids"].numel()
                step += 1
                if step == steps:
                    break
    found = _result(num_tokens, time.process_time() - cpu_s, time.monotonic() - wall_s)
    method.save(model, folder / "adapter", BASE)
    return found


def trl_defaults(threads: int, epochs: float, folder: Path) -> dict[str, float]:
    """A plain TRL script: eight padded rows a step."""
    return _trl(epochs, folder, {})


def trl_packed(threads: int, epochs: float, folder: Path) -> dict[str, float]:
    """The same with TRL's own packing, at our batch shape."""
    packed = {"packing": True, "packing_strategy": "bfd_split", "max_length": 512, "per_device_train_batch_size": 4}
    return _trl(epochs, folder, packed)


def _trl(epochs: float, folder: Path, settings: dict[str, object]) -> dict[str, float]:
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    rows = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": label}]}
        for text, label in _rows()
    ]
    arguments = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=epochs,
        report_to="none",
        save_strategy="no",
        assistant_only_loss=True,
        learning_rate=LEARNING_RATE,
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
    trainer.save_model(str(folder / "adapter"))
    return _result(trainer.state.num_input_tokens_seen or trainer._total_train_tokens, cpu_s, wall_s)


def _held_out_loss(adapter: Path) -> float:
    """The mean loss over every learnt token of held-out rows, each alone, in float32. In nats."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from modelyard.training.tokenization import IGNORED, ChatTokenizer

    base = AutoModelForCausalLM.from_pretrained(str(BASE), dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(adapter)).eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for row in ChatTokenizer(BASE).encode(_examples(_held_out_rows())):
            learnt = sum(label != IGNORED for label in row.labels)
            loss = model(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss
            total, count = total + float(loss) * learnt, count + learnt
    return total / count


def _recipe(threads: int, epochs: float, **fields: Any) -> Any:
    from modelyard.training.recipe import Recipe

    return Recipe(base=str(BASE), epochs=epochs, threads=threads, learning_rate=LEARNING_RATE, **fields)


def _result(num_tokens: float, cpu_s: float, wall_s: float) -> dict[str, float]:
    return {"tokens": num_tokens, "cpu_s": cpu_s, "tokens_per_cpu_s": num_tokens / cpu_s, "wall_s": wall_s}


def _examples(rows: list[tuple[str, str]]) -> list[Any]:
    from modelyard.ports.dataset import Example, Message

    return [
        Example(
            id=str(number),
            messages=(Message(role="user", content=text), Message(role="assistant", content=label)),
            source="",
            line=number,
        )
        for number, (text, label) in enumerate(rows)
    ]


def _rows() -> list[tuple[str, str]]:
    from modelyard.demo.messages import generate_messages

    return generate_messages(3, NUM_ROWS)


def _held_out_rows() -> list[tuple[str, str]]:
    """Other rows of the same kind, of which none is trained on."""
    from modelyard.demo.messages import generate_messages

    seen = {text for text, _ in _rows()}
    return [row for row in generate_messages(4, 2 * NUM_HELD_OUT) if row[0] not in seen][:NUM_HELD_OUT]


def _table(results: Mapping[str, Mapping[str, float]]) -> str:
    first = next(iter(results.values()))
    lines = [f"{'':<16}{'tokens/CPU-s':>14}{'CPU s':>9}{'wall s':>9}{'held-out loss':>15}{'beside the first':>18}"]
    for name, found in results.items():
        ratio = found["tokens_per_cpu_s"] / first["tokens_per_cpu_s"]
        lines.append(
            f"{name:<16}{found['tokens_per_cpu_s']:>14,.0f}{found['cpu_s']:>9.1f}{found['wall_s']:>9.1f}"
            f"{found['held_out_loss']:>15.3f}{ratio:>18.2f}"
        )
    return "\n".join(lines)


CONTESTANTS = {
    "modelyard": modelyard,
    "by hand": by_hand,
    "small steps": small_steps,
    "small, twice": small_steps_twice,
    "TRL, defaults": trl_defaults,
    "TRL, packed": trl_packed,
}

if __name__ == "__main__":
    main()
