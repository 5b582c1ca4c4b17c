"""Fine-tuning: TRL's trainer on packed rows, with logits computed only where there is something to learn.

Knows nothing about datasets, trackers or records: files in, a folder out.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import torch
from datasets import Dataset, disable_progress_bars
from pydantic import ValidationError
from torch.nn import functional
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import SFTConfig, SFTTrainer

from modelyard.core.errors import DataInvalid, JobFailed, RecipeInvalid
from modelyard.core.files import folder_atomically, write_json_atomically
from modelyard.ports.dataset import Example
from modelyard.training import adapter, attention, device
from modelyard.training.examples import read_examples
from modelyard.training.linear import fused_adapters
from modelyard.training.packing import to_sequences
from modelyard.training.preflight import Inspection, inspect, require
from modelyard.training.recipe import Recipe
from modelyard.training.spec import ADAPTER, RESULT, TrainingResult, TrainingSpec
from modelyard.training.tokenization import IGNORED, ChatTokenizer, Row

Progress = Callable[[Mapping[str, Any]], None]
LAST_STEPS = 10


def train(spec: TrainingSpec, progress: Progress) -> TrainingResult:
    """Train as a spec says and publish its output folder whole.

    Raises: RecipeInvalid, DataInvalid, NotFound before the first step; JobFailed where training goes wrong.
    """
    began = time.monotonic()
    recipe = _read_recipe(spec)
    chat = ChatTokenizer(Path(spec.base_folder), recipe.system_prompt)
    rows = chat.encode(_training_examples(spec, recipe))
    held_out = chat.encode(read_examples(Path(spec.validation))) if spec.validation and recipe.validate_at_end else []
    findings = inspect(Inspection(rows=rows, chat=chat, recipe=recipe, engine=spec.engine))
    progress({"event": "preflight", "passed": all(finding.passed for finding in findings)})
    require(findings)

    device.set_threads(recipe)
    dtype = device.precision(recipe)
    model = adapter.put_on(adapter.load_base(Path(spec.base_folder), dtype, packed=not device.is_cuda()), recipe)
    with folder_atomically(Path(spec.output)) as scratch:
        trainer = _Trainer(model, recipe, to_sequences(rows, recipe), chat, scratch, progress)
        metrics = trainer.run() | _row_metrics(rows)
        if held_out:
            metrics |= trainer.validate(to_sequences(held_out, recipe))
        adapter.save(model, scratch / ADAPTER, Path(spec.base_folder).resolve().name)
        probes = [row.input_ids for row in rows[: adapter.NUM_PROBES]]
        metrics |= adapter.verify(model, scratch / ADAPTER, Path(spec.base_folder), probes)
        metrics["total_seconds"] = time.monotonic() - began
        result = TrainingResult(precision=str(dtype).removeprefix("torch."), metrics=metrics, findings=tuple(findings))
        write_json_atomically(scratch / RESULT, msgspec.to_builtins(result))
    return result


def _read_recipe(spec: TrainingSpec) -> Recipe:
    try:
        return Recipe.model_validate(spec.recipe)
    except ValidationError as error:
        raise RecipeInvalid(f"the recipe is not valid: {error}", fix="correct the fields named above") from error


def _training_examples(spec: TrainingSpec, recipe: Recipe) -> Sequence[Example]:
    examples = read_examples(Path(spec.train))
    if not examples:
        raise DataInvalid(
            f"{spec.train} holds no example",
            expected="at least one",
            fix="prepare the dataset again",
        )
    return examples[: recipe.max_train_rows]


def _row_metrics(rows: Sequence[Row]) -> dict[str, float]:
    return {
        "train_rows": len(rows),
        "train_row_tokens": sum(len(row.input_ids) for row in rows),
        "train_learnt_tokens": sum(label != IGNORED for row in rows for label in row.labels),
    }


class _Trainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer with the loss of learnt positions alone, packed attention and fused adapters on a CPU."""

    def __init__(
        self, model: Any, recipe: Recipe, sequences: Dataset, chat: ChatTokenizer, folder: Path, progress: Progress
    ) -> None:
        disable_progress_bars()
        self.num_tokens = 0
        self.steps = recipe.num_steps(len(sequences))
        self._reporter = _Reporter(self, progress)
        super().__init__(
            model=model,
            args=_arguments(recipe, self.steps, folder),
            train_dataset=sequences,
            processing_class=chat.tokenizer,
            callbacks=[self._reporter],
        )
        self.remove_callback(PrinterCallback)

    def run(self) -> dict[str, float]:
        """Train to the end; losses in nats a learnt token."""
        trainable = sum(weight.numel() for weight in self.model.parameters() if weight.requires_grad)
        self._reporter.progress({"event": "started", "steps": self.steps, "trainable_parameters": trainable})
        began = time.monotonic()
        with nullcontext() if device.is_cuda() else fused_adapters(self.model):
            self.train()
        seconds = time.monotonic() - began
        losses = self._reporter.losses
        return {
            "train_seconds": seconds,
            "train_loss": sum(losses) / len(losses),
            "train_loss_last": sum(losses[-LAST_STEPS:]) / len(losses[-LAST_STEPS:]),
            "steps": self.state.global_step,
            "train_tokens": self.num_tokens,
            "tokens_per_second": self.num_tokens / seconds,
            "trainable_parameters": trainable,
        }

    @torch.no_grad()
    def validate(self, sequences: Dataset) -> dict[str, float]:
        """The mean loss over every learnt token of held-out sequences, in nats."""
        self.model.eval()
        total, count = 0.0, 0
        with nullcontext() if device.is_cuda() else fused_adapters(self.model):
            for batch in self.get_eval_dataloader(sequences):
                num_learnt = int((batch["labels"][:, 1:] != IGNORED).sum())
                total += float(self.compute_loss(self.model, batch)) * num_learnt
                count += num_learnt
        return {"validation_loss": total / max(1, count), "validation_learnt_tokens": count}

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Cross-entropy over the learnt positions, a sum divided by their number in the whole step."""
        assert not return_outputs, "nothing here asks for logits"  # noqa: S101
        labels = inputs["labels"][:, 1:]
        others = {name: value for name, value in inputs.items() if name != "labels"}
        if model.config._attn_implementation == attention.NAME:
            others["layout"] = attention.lay_out(inputs["cu_seq_lens_q"])
        learnt = (labels != IGNORED).any(0).nonzero().flatten()
        logits = model(**others, logits_to_keep=learnt, use_cache=False).logits
        targets = labels[:, learnt]
        if self.model.training:
            self.num_tokens += inputs["input_ids"].numel()
        total = functional.cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return total / (targets.numel() if num_items_in_batch is None else num_items_in_batch)


def _arguments(recipe: Recipe, steps: int, folder: Path) -> SFTConfig:
    on_cuda = device.is_cuda()
    return SFTConfig(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule if recipe.schedule != "constant" else "constant_with_warmup",
        warmup_steps=int(recipe.warmup_share * steps),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.gradient_clip,
        seed=recipe.seed,
        # Rows are packed and labelled already. Both ways the batch is one row without padding, its documents told
        # apart by their positions.
        dataset_kwargs={"skip_prepare_dataset": True},
        packing=recipe.packing,
        packing_strategy="bfd_split",
        padding_free=True,
        max_length=recipe.sequence_length if recipe.packing else None,
        # A bfloat16 base needs no autocast: the adapters cast themselves, on a GPU through autocast.
        bf16=on_cuda and device.precision(recipe) is torch.bfloat16,
        use_cpu=not on_cuda,
        gradient_checkpointing=on_cuda,
        dataloader_num_workers=0,
        dataloader_pin_memory=on_cuda,
        optim="adamw_torch_fused",
        save_strategy="no",
        eval_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
    )


class _Reporter(TrainerCallback):  # type: ignore[misc]
    """Passes every step on, and stops where the loss is no number."""

    def __init__(self, trainer: _Trainer, progress: Progress) -> None:
        self.trainer = trainer
        self.progress = progress
        self.losses: list[float] = []
        self._began = 0.0

    def on_train_begin(self, *_: object, **__: object) -> None:
        self._began = time.monotonic()

    def on_log(self, _args: object, state: Any, _control: object, logs: Mapping[str, float], **_: object) -> None:
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise JobFailed(
                f"the loss became {logs['loss']} at step {state.global_step} of {state.max_steps}",
                expected="a finite number",
                fix="lower learning_rate or gradient_clip",
            )
        self.losses.append(logs["loss"])
        seconds = time.monotonic() - self._began
        self.progress(
            {
                "event": "progress",
                "step": state.global_step,
                "steps": state.max_steps,
                "loss": logs["loss"],
                "learning_rate": logs["learning_rate"],
                "gradient_norm": float(logs["grad_norm"]),
                "tokens_per_second": self.trainer.num_tokens / seconds,
                "seconds": seconds,
            }
        )
