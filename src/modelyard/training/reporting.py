"""What a training loop tells after each step, and when it must end: a signal, or a loss that runs away."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback

from modelyard.core.errors import JobFailed
from modelyard.training import ranks
from modelyard.training.checkpoints import RunProgress, Validation
from modelyard.training.recipe import Recipe
from modelyard.training.stopping import Stop
from modelyard.training.usage import Usage

Progress = Callable[[Mapping[str, Any]], None]
LAST_STEPS = 10
# A loss that stays this much above the best it had is not noise any more, in nats a token.
_DIVERGED_FACTOR, _DIVERGED_NATS = 2.0, 1.0


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Passes every step on, asks for checkpoints, and stops where going on makes no sense."""

    def __init__(self, recipe: Recipe, progress: Progress, stop: Stop, before: RunProgress | None) -> None:
        self.progress = progress
        self.losses: list[float] = list(before.losses) if before else []
        self.num_tokens = before.num_tokens if before else 0
        self.validations: list[Validation] = list(before.validations) if before else []
        self._seconds_before = before.seconds if before else 0.0
        self._recipe = recipe
        self.stop = stop
        self._best = math.inf
        self._usage = Usage()
        self._began = self._saved_at = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before an interruption included."""
        return self._seconds_before + time.monotonic() - self._began

    @property
    def best(self) -> Validation | None:
        """The look at held-out rows with the lowest loss; the first of equals."""
        return min(self.validations, key=lambda one: one.loss, default=None)

    @property
    def gave_up(self) -> bool:
        """Whether the last looks, as many as the recipe has patience for, found nothing better."""
        patience, best = self._recipe.patience, self.best
        return patience is not None and best is not None and best not in self.validations[-patience:]

    def on_step_end(self, _args: object, state: Any, control: Any, **_: object) -> None:
        every = self._recipe.validate_every
        if every and (state.global_step % every == 0 or state.global_step == state.max_steps):
            control.should_evaluate = True

    def validated(self, step: int, found: Mapping[str, float], control: Any) -> bool:
        """Take a look at held-out rows in; return whether it is the best so far. Ends training where patience does."""
        self.validations.append(Validation(step=step, loss=found["validation_loss"]))
        self.progress({"event": "validated", "step": step, **found})
        if self.gave_up:
            control.should_training_stop, control.should_save = True, False
        return self.best is self.validations[-1]

    def on_train_begin(self, *_: object, **__: object) -> None:
        self._began = self._saved_at = time.monotonic()

    def on_log(self, _args: object, state: Any, control: Any, logs: Mapping[str, float], **_: object) -> None:
        if "loss" not in logs:
            return
        self.losses.append(logs["loss"])
        self._check(state)
        self.progress(
            {
                "event": "progress",
                "step": state.global_step,
                "steps": state.max_steps,
                "loss": logs["loss"],
                "learning_rate": logs["learning_rate"],
                "gradient_norm": float(logs["grad_norm"]),
                "tokens_per_second": self.num_tokens / self.seconds,
                "seconds": self.seconds,
                **self._usage.sample(),
            }
        )
        self._decide(control)

    def _decide(self, control: Any) -> None:
        # A signal reaches the processes at different steps, and their clocks differ: all do what one has to.
        is_asked = ranks.any_of(self.stop.is_asked)
        is_due = ranks.any_of(time.monotonic() - self._saved_at >= self._recipe.checkpoint_minutes * 60)
        if is_asked or is_due:
            control.should_save = True
            self._saved_at = time.monotonic()
        if is_asked:
            control.should_training_stop = True

    def _check(self, state: Any) -> None:
        where = f"at step {state.global_step} of {state.max_steps}"
        if not math.isfinite(self.losses[-1]):
            raise JobFailed(
                f"the loss became {self.losses[-1]} {where}",
                expected="a finite number",
                fix="lower learning_rate or gradient_clip; the last checkpoint is kept",
            )
        if len(self.losses) < 2 * LAST_STEPS:
            return
        recent = sum(self.losses[-LAST_STEPS:]) / LAST_STEPS
        self._best = min(self._best, sum(self.losses[-2 * LAST_STEPS : -LAST_STEPS]) / LAST_STEPS)
        if recent > _DIVERGED_FACTOR * self._best + _DIVERGED_NATS:
            raise JobFailed(
                f"the loss diverged: from {self._best:.2f} to {recent:.2f} nats a token {where}",
                expected="a loss that falls, over ten steps",
                fix="lower learning_rate, or raise warmup_share; the last checkpoint is kept",
            )
