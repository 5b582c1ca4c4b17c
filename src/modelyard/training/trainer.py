"""The training loop: TRL's trainer on packed rows, with logits computed only where there is something to learn."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from torch.nn import functional
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback
from trl import SFTConfig, SFTTrainer

from modelyard.core.errors import Interrupted
from modelyard.training import attention, device
from modelyard.training.checkpoints import Checkpoint, Checkpoints, RunProgress
from modelyard.training.linear import fused_adapters
from modelyard.training.recipe import Recipe
from modelyard.training.reporting import LAST_STEPS, Reporter
from modelyard.training.tokenization import IGNORED, ChatTokenizer


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that memory ran out, on a GPU or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


class AdapterTrainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer with the loss of learnt positions alone, packed attention and fused adapters on a CPU."""

    def __init__(
        self,
        model: Any,
        recipe: Recipe,
        sequences: Dataset,
        chat: ChatTokenizer,
        reporter: Reporter,
        *,
        folder: Path,
        micro_batch: int,
        checkpoints: Checkpoints | None,
    ) -> None:
        disable_progress_bars()
        self.steps = recipe.num_steps(len(sequences))
        self._reporter = reporter
        self._micro_batch = micro_batch
        self._checkpoints = checkpoints
        super().__init__(
            model=model,
            args=_arguments(recipe, self.steps, folder, micro_batch),
            train_dataset=sequences,
            processing_class=chat.tokenizer,
            callbacks=[reporter],
        )
        self.remove_callback(PrinterCallback)

    def run(self, checkpoint: Checkpoint | None) -> None:
        """Train to the end, from a checkpoint where there is one. Raises: Interrupted where it was asked to stop."""
        begun = {"event": "started", "steps": self.steps, "trainable_parameters": self._num_trainable()}
        self._reporter.progress(begun | {"from_step": checkpoint.progress.step if checkpoint else 0})
        folder = str(checkpoint.folder / f"checkpoint-{checkpoint.progress.step}") if checkpoint else None
        with nullcontext() if device.is_cuda() else fused_adapters(self.model), self._reporter.stop.listening():
            self.train(resume_from_checkpoint=folder)
        self._seconds = self._reporter.seconds
        if self.state.global_step < self.steps:
            raise Interrupted(
                f"interrupted after step {self.state.global_step} of {self.steps}",
                fix="train again, with the same checkpoints" if self._checkpoints else "train again",
            )

    def metrics(self) -> dict[str, float]:
        """What a finished run has to tell; losses in nats a learnt token."""
        losses, num_tokens = self._reporter.losses, self._reporter.num_tokens
        return {
            "train_seconds": self._seconds,
            "train_loss": sum(losses) / len(losses),
            "train_loss_last": sum(losses[-LAST_STEPS:]) / len(losses[-LAST_STEPS:]),
            "steps": self.state.global_step,
            "train_tokens": num_tokens,
            "tokens_per_second": num_tokens / self._seconds,
            "trainable_parameters": self._num_trainable(),
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
            self._reporter.num_tokens += inputs["input_ids"].numel()
        total = functional.cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return total / (targets.numel() if num_items_in_batch is None else num_items_in_batch)

    def _num_trainable(self) -> int:
        return sum(weight.numel() for weight in self.model.parameters() if weight.requires_grad)

    def _save_checkpoint(self, model: Any, trial: Any = None) -> None:
        """What transformers saves, but published whole, and without TRL's card."""
        if self._checkpoints is None:
            return
        reporter = self._reporter
        progress = RunProgress(
            step=self.state.global_step,
            losses=reporter.losses,
            num_tokens=reporter.num_tokens,
            seconds=reporter.seconds,
            micro_batch=self._micro_batch,
        )
        before = self.args.output_dir
        with self._checkpoints.publishing(progress) as folder:
            self.args.output_dir = str(folder)
            try:
                Trainer._save_checkpoint(self, model, trial)
            finally:
                self.args.output_dir = before
        reporter.progress({"event": "checkpoint", "step": progress.step})


def _arguments(recipe: Recipe, steps: int, folder: Path, micro_batch: int) -> SFTConfig:
    on_cuda = device.is_cuda()
    return SFTConfig(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=micro_batch,
        per_device_eval_batch_size=micro_batch,
        gradient_accumulation_steps=recipe.batch_size // micro_batch * recipe.accumulation,
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
