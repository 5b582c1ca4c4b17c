"""The training loop: TRL's trainer over documents, with logits computed only where there is something to learn."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from torch.nn import functional
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback
from trl import SFTConfig, SFTTrainer

from modelyard.core.errors import Interrupted
from modelyard.training import attention, device, ranks
from modelyard.training.best import BestWeights
from modelyard.training.checkpoints import Checkpoint, Checkpoints, RunProgress
from modelyard.training.dealing import RankBatches, WithFiller
from modelyard.training.linear import fused_adapters
from modelyard.training.methods import method_of
from modelyard.training.objectives import Losses, Score, objective_of
from modelyard.training.objectives.collation import Collator
from modelyard.training.recipe import Recipe
from modelyard.training.reporting import LAST_STEPS, Reporter
from modelyard.training.scale import Sharding
from modelyard.training.sizes import CHECKPOINT_BYTES
from modelyard.training.spec import Curve
from modelyard.training.tokenization import IGNORED, ChatTokenizer
from modelyard.training.verification import fingerprint, require_learnt


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that memory ran out, on a GPU or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


class ObjectiveTrainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer with an objective of ours, packed attention and fused adapters on a CPU."""

    model: Any
    train_dataset: Dataset

    def __init__(
        self,
        model: Any,
        recipe: Recipe,
        sequences: Dataset,
        chat: ChatTokenizer,
        reporter: Reporter,
        *,
        held_out: Dataset | None,
        folder: Path,
        micro_batch: int,
        checkpoints: Checkpoints | None,
        sharding: Sharding = "ddp",
    ) -> None:
        disable_progress_bars()
        self.steps = recipe.num_steps(len(sequences))
        self._method, self._objective = method_of(recipe), objective_of(recipe)
        self._recipe = recipe
        self._held_out = held_out
        self._folder = folder
        self._reporter = reporter
        self._micro_batch = micro_batch
        self._checkpoints = checkpoints
        self._is_sharded = sharding == "fsdp" and ranks.count() > 1
        super().__init__(
            model=model,
            args=_arguments(recipe, self.steps, folder, micro_batch, sharding, flattens=self._method.flattens),
            train_dataset=sequences,
            processing_class=chat.tokenizer,
            callbacks=[reporter],
        )
        # TRL takes none of another's for batches without padding.
        self.data_collator = Collator(chat.tokenizer.pad_token_id, padding_free=self._method.flattens)
        self.remove_callback(PrinterCallback)

    def run(self, checkpoint: Checkpoint | None) -> None:
        """Train to the end, from a checkpoint where there is one. Raises: Interrupted where it was asked to stop."""
        begun = {"event": "started", "steps": self.steps, "trainable_parameters": self._num_trainable()}
        self._reporter.progress(begun | {"from_step": checkpoint.progress.step if checkpoint else 0})
        folder = str(checkpoint.folder / f"checkpoint-{checkpoint.progress.step}") if checkpoint else None
        self._best = BestWeights(self._folder, checkpoint.folder if checkpoint else None)
        before = fingerprint(self.model)
        with self._fast(), self._reporter.stop.listening():
            self.train_dataset = self._with_reference(self.train_dataset)
            if self._held_out is not None:
                self._held_out = self._with_reference(self._held_out)
            self.train(resume_from_checkpoint=folder)
        self._seconds = self._reporter.seconds
        if self.state.global_step < self.steps and not self._reporter.gave_up:
            raise Interrupted(
                f"interrupted after step {self.state.global_step} of {self.steps}",
                fix="train again, with the same checkpoints" if self._checkpoints else "train again",
            )
        require_learnt(self.model, before)

    def settle(self, base_folder: Path) -> Any:
        """The trained model, with its best weights and in the number format that it leaves in.

        Where several processes trained it, the first one has it, whole.
        """
        if self._is_sharded:
            weights = {name: ranks.whole(weight.detach()) for name, weight in self.model.named_parameters()}
            self.model = self._method.put_on(self._method.load(base_folder, self._recipe), self._recipe)
            self.model.load_state_dict(weights, strict=False)
        if not ranks.is_first():
            return self.model
        if self._reporter.best:
            self._best.restore(self.model)
        self.model = self._method.settle(self.model, self._recipe)
        return self.model

    def metrics(self) -> dict[str, float]:
        """What a finished run has to tell; losses in nats a learnt token, or a pair."""
        losses, num_tokens = self._reporter.losses, self._reporter.num_tokens
        best = self._reporter.best
        return {
            **({"best_step": best.step, "best_validation_loss": best.loss} if best else {}),
            "train_seconds": self._seconds,
            "train_loss": sum(losses) / len(losses),
            "train_loss_last": sum(losses[-LAST_STEPS:]) / len(losses[-LAST_STEPS:]),
            "steps": self.state.global_step,
            "train_tokens": num_tokens,
            "tokens_per_second": num_tokens / self._seconds,
            "trainable_parameters": self._num_trainable(),
        }

    def curve(self) -> Curve:
        """The losses step by step."""
        return Curve(losses=self._reporter.losses, validations=self._reporter.validations)

    @torch.no_grad()
    def _with_reference(self, sequences: Dataset) -> Dataset:
        """Sequences with what the model thinks of each document now, before training, where the objective compares."""
        if not self._objective.compares:
            return sequences
        begins = self._begins(sequences)
        mine = self._batches(sequences, ranks.mine(begins))
        now = [self._losses(batch).by_document().view(-1, 2).tolist() for batch in mine]
        return sequences.add_column("reference", [pair for some in ranks.gathered(now, len(begins)) for pair in some])

    @torch.no_grad()
    def validate(self, *, together: bool = False) -> dict[str, float]:
        """The mean loss over held-out sequences, in nats a learnt token or a pair; the share that is right.

        `together` says that all processes come here, and may share the work.
        """
        assert self._held_out is not None, "there is nothing held out"  # noqa: S101
        begins = self._begins(self._held_out)
        shared = together and not self._is_sharded
        with self._fast():
            batches = self._batches(self._held_out, ranks.mine(begins) if shared else begins)
            scores = [self._objective.score(self._losses(batch), batch).at_rest() for batch in batches]
        return validation_metrics(ranks.gathered(scores, len(begins)) if shared else scores)

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        """Called between two steps: look at held-out rows, and keep the weights where they are the best so far."""
        self.control.should_evaluate = False  # it would be asked for again at the end of the epoch
        found = ranks.from_first(self.validate(together=True)) if self._held_out is not None else {}
        if found and self._reporter.validated(self.state.global_step, found, self.control):
            self._best.keep(self.model)
        return found

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The objective over a batch, divided by the items of the whole step."""
        assert not return_outputs, "nothing here asks for logits"  # noqa: S101
        weight = 0 if inputs.pop("filler", False) else ranks.count()
        score: Score = self._objective.score(self._losses(inputs, model), inputs)
        # Gradients are averaged over the devices, where they are to be added up.
        return weight * score.total / (score.num_items if num_items_in_batch is None else num_items_in_batch)

    def get_batch_samples(self, *arguments: Any) -> tuple[list[Any], Any]:
        """The batches of a step, and how many items the objective counts in them."""
        samples, counted = super().get_batch_samples(*arguments)
        real = [batch for batch in samples if not batch.get("filler")]
        self._reporter.num_tokens += int(ranks.total(sum(batch["input_ids"].numel() for batch in real)))
        if counted is None or not self._objective.compares:
            return samples, counted
        return samples, torch.tensor(ranks.total(sum(self._objective.num_items(batch) for batch in real)))

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Nobody asks: transformers would count every weight again at each step."""
        return 0

    def get_train_dataloader(self) -> Any:
        """The batches of an epoch: all of them for a process alone, else its part of each."""
        if ranks.count() == 1:
            return super().get_train_dataloader()
        batches = RankBatches(len(self.train_dataset), self._micro_batch, self._recipe.seed)
        rows: Any = WithFiller(self.train_dataset)
        return DataLoader(rows, batch_sampler=batches, collate_fn=self.data_collator)

    def _losses(self, inputs: dict[str, Any], model: Any = None) -> Losses:
        """The loss of each learnt token. Labels are moved by one: a position predicts the next token."""
        if model is None:
            model = self.model.eval()
        labels = inputs["labels"][:, 1:]
        others = {name: value for name, value in inputs.items() if name not in ("labels", "reference", "desirable")}
        if self.model.config._attn_implementation == attention.NAME:
            others["layout"] = attention.lay_out(inputs["cu_seq_lens_q"])
        learnt = (labels != IGNORED).any(0).nonzero().flatten()
        logits = model(**others, logits_to_keep=learnt, use_cache=False).logits
        tokens = functional.cross_entropy(
            logits.float().flatten(0, 1), labels[:, learnt].flatten(), ignore_index=IGNORED, reduction="none"
        )
        return _told_apart(tokens, learnt, inputs, labels[:, learnt].flatten() != IGNORED)

    def _begins(self, sequences: Dataset) -> range:
        """Where the batches begin, when they are taken in their order."""
        return range(0, len(sequences), self._micro_batch)

    def _batches(self, sequences: Dataset, begins: Iterable[int]) -> Iterator[dict[str, Any]]:
        """The batches that begin there, on the device."""
        for begin in begins:
            rows = [sequences[i] for i in range(begin, min(begin + self._micro_batch, len(sequences)))]
            yield self._prepare_inputs(self.data_collator(rows))

    def _fast(self) -> AbstractContextManager[object]:
        return nullcontext() if device.is_cuda() else fused_adapters(self.model)

    def _num_trainable(self) -> int:
        return sum(weight.numel() for weight in self.model.parameters() if weight.requires_grad)

    def _save_checkpoint(self, model: Any, trial: Any = None) -> None:
        """What transformers saves, but published whole, and without TRL's card. All processes write into one folder."""
        reporter = self._reporter
        if self._checkpoints is None:
            return
        if not ranks.from_first(self._checkpoints.has_room(CHECKPOINT_BYTES * self._num_trainable())):
            reporter.progress({"event": "no_room", "step": self.state.global_step})
            return
        progress = RunProgress(
            step=self.state.global_step,
            losses=reporter.losses,
            num_tokens=reporter.num_tokens,
            seconds=reporter.seconds,
            micro_batch=self._micro_batch * ranks.count(),
            validations=reporter.validations,
        )
        before = self.args.output_dir
        with self._publishing(progress) as folder:
            self.args.output_dir = str(folder)
            if ranks.is_first():
                self._best.copy_to(folder)
            try:
                Trainer._save_checkpoint(self, model, trial)
            finally:
                self.args.output_dir = before
            ranks.wait_for_all()
        ranks.wait_for_all()
        reporter.progress({"event": "checkpoint", "step": progress.step})

    @contextmanager
    def _publishing(self, progress: RunProgress) -> Iterator[Path]:
        """The folder that the first process publishes, for all of them."""
        assert self._checkpoints is not None, "nothing is kept"  # noqa: S101
        if ranks.is_first():
            with self._checkpoints.publishing(progress) as folder:
                yield ranks.from_first(folder)
        else:
            yield ranks.from_first(None)


def validation_metrics(scores: Sequence[Score]) -> dict[str, float]:
    """Means over all items, with their standard errors over rows, which may hold several items each.

    Source: the variance of a ratio of two means, Cochran (1977), section 2.11.
    """
    totals, items = (torch.cat([one.by_row[:, column] for one in scores]).double() for column in (0, 1))
    num_items, num_rows = float(items.sum()), len(items)
    mean = float(totals.sum()) / max(1.0, num_items)
    found = {"validation_loss": mean, "validation_items": num_items}
    if num_rows > 1 and num_items:
        spread = float((totals - mean * items).square().sum()) * num_rows / (num_rows - 1)
        found["validation_loss_error"] = math.sqrt(spread) / num_items
    if all(score.num_right is not None for score in scores):
        share = sum(score.num_right or 0 for score in scores) / max(1.0, num_items)
        found["validation_accuracy"] = share
        found["validation_accuracy_error"] = math.sqrt(share * (1 - share) / max(1.0, num_items))
    return found


def _told_apart(tokens: torch.Tensor, learnt: torch.Tensor, inputs: dict[str, Any], has_loss: torch.Tensor) -> Losses:
    """The losses with the document of each: by its place in one long row, or its row in a padded batch."""
    boundaries = inputs.get("cu_seq_lens_q")
    if boundaries is None:
        num_rows = len(inputs["input_ids"])
        document = torch.arange(num_rows, device=tokens.device).repeat_interleave(len(learnt))
        return Losses(tokens=tokens, learnt=has_loss, document=document, num_documents=num_rows)
    document = torch.searchsorted(boundaries, learnt.to(boundaries.dtype), right=True) - 1
    return Losses(tokens=tokens, learnt=has_loss, document=document, num_documents=len(boundaries) - 1)


def _arguments(
    recipe: Recipe, steps: int, folder: Path, micro_batch: int, sharding: Sharding, *, flattens: bool
) -> SFTConfig:
    on_cuda, devices = device.is_cuda(), ranks.count()
    return SFTConfig(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=micro_batch,
        per_device_eval_batch_size=micro_batch,
        gradient_accumulation_steps=recipe.batch_size // (micro_batch * devices) * recipe.accumulation,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule if recipe.schedule != "constant" else "constant_with_warmup",
        warmup_steps=int(recipe.warmup_share * steps),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.gradient_clip,
        seed=recipe.seed,
        # Rows are packed and labelled already, and a collator of ours knows their columns.
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        packing=bool(recipe.packing),
        packing_strategy="bfd_split",
        padding_free=flattens,
        max_length=recipe.sequence_length if recipe.packing else None,
        # A bfloat16 base needs no autocast: the adapters cast themselves, on a GPU through autocast.
        bf16=on_cuda and device.precision(recipe) is torch.bfloat16,
        use_cpu=not on_cuda,
        gradient_checkpointing=bool(recipe.gradient_checkpointing),
        dataloader_num_workers=0,
        dataloader_pin_memory=on_cuda,
        optim="adamw_torch_fused",
        save_strategy="no",
        eval_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        **(_distributed(sharding, on_cuda=on_cuda) if devices > 1 else {}),
    )


def _distributed(sharding: Sharding, *, on_cuda: bool) -> dict[str, Any]:
    """What several processes need besides. Sharded weights are put together in checkpoints: any number reads them."""
    fsdp = {"version": 2, "state_dict_type": "FULL_STATE_DICT", "auto_wrap_policy": "TRANSFORMER_BASED_WRAP"}
    return {
        "ddp_backend": "nccl" if on_cuda else "gloo",
        "ddp_find_unused_parameters": False,
        **({"fsdp": "full_shard", "fsdp_config": fsdp} if sharding == "fsdp" else {}),
    }
