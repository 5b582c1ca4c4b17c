"""One training job from a spec to its output folder: preflight, training, checks of what came out.

Knows nothing about datasets, trackers or records: files in, a folder out.
"""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from modelyard.core.digests import digest_json
from modelyard.core.errors import JobFailed
from modelyard.core.files import write_json_atomically
from modelyard.training import device, ranks
from modelyard.training.checkpoints import Checkpoint, Checkpoints
from modelyard.training.material import gather
from modelyard.training.methods import method_of
from modelyard.training.objectives import Unit, objective_of
from modelyard.training.preflight import Finding, inspect, require
from modelyard.training.probing import probe
from modelyard.training.recipe import Recipe
from modelyard.training.reporting import Reporter
from modelyard.training.scale import require_shareable
from modelyard.training.spec import RESULT, Curve, TrainingResult, TrainingSpec
from modelyard.training.stopping import Stop
from modelyard.training.tokenization import IGNORED, ChatTokenizer, Row
from modelyard.training.trainer import ObjectiveTrainer, is_out_of_memory
from modelyard.training.verification import NUM_ENDS, NUM_PROBES, ends_turns, verify

Progress = Callable[[Mapping[str, Any]], None]


def train(spec: TrainingSpec, progress: Progress, stop: Stop | None = None) -> TrainingResult:
    """Train as a spec says and publish its output folder whole.

    Where there is a checkpoint, training goes on from it. `stop` asks for an early end: then a checkpoint is written.
    Where several processes train together, each comes here; the first one alone checks and writes what came of it.
    Raises: RecipeInvalid, DataInvalid, NotFound, Conflict before the first step; JobFailed where training goes wrong;
    Interrupted where it was stopped.
    """
    began = time.monotonic()
    material = gather(spec)
    recipe, chat, units, rows = material.recipe, material.chat, material.units, material.rows
    require_shareable(recipe, ranks.count(), spec.sharding)
    findings = inspect(material.inspection(spec))
    progress({"event": "preflight", "passed": not any(finding.stops for finding in findings)})
    require(findings)
    _warn(findings, progress)

    device.set_threads(recipe)
    job = _Job(spec, recipe, chat, units, material.held_out, progress, stop or Stop())
    with ranks.output_folder(Path(spec.output)) as scratch:
        metrics = job.run(scratch, rows)
        metrics |= _row_metrics(rows) | {"train_rows": len(units), "total_seconds": time.monotonic() - began}
        precision = str(device.precision(recipe)).removeprefix("torch.")
        found = (*findings, *job.findings)
        result = TrainingResult(precision=precision, metrics=metrics, findings=found, curve=job.curve)
        write_json_atomically(scratch / RESULT, msgspec.to_builtins(result))
    return result


class _Job:
    """Training from the newest checkpoint to the end, with smaller and smaller bites where memory runs out."""

    def __init__(
        self,
        spec: TrainingSpec,
        recipe: Recipe,
        chat: ChatTokenizer,
        units: Sequence[Unit],
        held_out: Sequence[Unit],
        progress: Progress,
        stop: Stop,
    ) -> None:
        self._spec = spec
        self._recipe = recipe
        self._chat = chat
        self._method, self._objective = method_of(recipe), objective_of(recipe)
        self._sequences = self._objective.sequences(units, recipe)
        self._held_out = self._objective.sequences(held_out, recipe) if held_out else None
        self._progress = progress
        self._stop = stop
        tokens = [row.input_ids for unit in units for row in unit.documents]
        identity = {**spec.identity, "recipe": recipe.digest, "rows": digest_json(tokens)}
        self.findings: tuple[Finding, ...] = ()
        self._checkpoints = Checkpoints(Path(spec.checkpoints), identity) if spec.checkpoints else None
        self.curve = Curve()

    def run(self, scratch: Path, rows: Sequence[Row]) -> dict[str, float]:
        """Train to the end, check and save what came of it; return its metrics."""
        trainer = self._train(scratch)
        metrics = trainer.metrics()
        self.curve = trainer.curve()
        model = trainer.settle(Path(self._spec.base_folder))
        if not ranks.is_first():
            return metrics
        if self._held_out is not None and self._recipe.validate_at_end:
            metrics |= trainer.validate()
        base, output = Path(self._spec.base_folder), scratch / self._method.artifact
        self._method.save(model, output, base)
        probes = [row.input_ids for row in rows[:NUM_PROBES]]
        metrics |= verify(model, self._method, self._recipe, output, base, probes)
        metrics["ends_turns"], finding = ends_turns(model, rows[:NUM_ENDS], self._chat.end_of_turn)
        _warn([finding], self._progress)
        self.findings += (finding,)
        return metrics

    def _train(self, scratch: Path) -> ObjectiveTrainer:
        """Train to the end. What memory cannot hold at once goes through it in halves."""
        size = self._recipe.batch_size // ranks.count()
        while True:
            checkpoint = self._checkpoints.newest() if self._checkpoints else None
            size = min(size, max(1, checkpoint.progress.micro_batch // ranks.count())) if checkpoint else size
            try:
                return self._attempt(scratch, checkpoint, size)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                size = self._smaller(size, error)
            gc.collect()
            if device.is_cuda():
                torch.cuda.empty_cache()

    def _attempt(self, scratch: Path, checkpoint: Checkpoint | None, size: int) -> ObjectiveTrainer:
        recipe, method = self._recipe, self._method
        trainer = ObjectiveTrainer(
            method.put_on(method.load(Path(self._spec.base_folder), recipe), recipe),
            recipe,
            self._sequences,
            self._chat,
            Reporter(recipe, self._progress, self._stop, checkpoint.progress if checkpoint else None),
            held_out=self._held_out,
            folder=scratch,
            micro_batch=size,
            checkpoints=self._checkpoints,
            sharding=self._spec.sharding,
        )
        self.findings = probe(trainer, recipe, self._sequences, size)
        trainer.run(checkpoint)
        return trainer

    def _smaller(self, size: int, error: Exception) -> int:
        if ranks.count() > 1:  # the others wait within a step that this process cannot end
            raise JobFailed(
                f"memory ran out with {size} sequences of {self._recipe.sequence_length} tokens on a device: {error}",
                expected="memory for them",
                fix="halve batch_size and double accumulation, which is the same step; or shard with fsdp",
            ) from error
        smaller = next((part for part in range(size // 2, 0, -1) if self._recipe.batch_size % part == 0), 0)
        if not smaller:
            raise JobFailed(
                f"memory ran out with a single sequence of {self._recipe.sequence_length} tokens: {error}",
                expected="memory for one sequence at a time",
                fix="lower sequence_length, or train on a larger device",
            ) from error
        self._progress(
            {"event": "out_of_memory", "micro_batch": smaller, "accumulation": self._recipe.batch_size // smaller}
        )
        return smaller


def _warn(findings: Sequence[Finding], progress: Progress) -> None:
    for finding in findings:
        if not finding.passed:
            progress({"event": "warned", "name": finding.name, "seen": finding.seen, "fix": finding.fix})


def _row_metrics(rows: Sequence[Row]) -> dict[str, float]:
    return {
        "train_row_tokens": sum(len(row.input_ids) for row in rows),
        "train_learnt_tokens": sum(label != IGNORED for row in rows for label in row.labels),
    }
