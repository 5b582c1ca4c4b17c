"""Which trial comes next, and whether one is worth going on with: an Optuna study that survives a kill."""

from pathlib import Path
from typing import Any

from modelyard.core.errors import MissingExtra
from modelyard.training.sweeps.config import Range, SweepConfig

try:
    import optuna
    from optuna.trial import TrialState
except ModuleNotFoundError as error:
    raise MissingExtra("optuna", "sweeps") from error

# So many trials run to their end before any is pruned: a quarter, within these.
_FEWEST, _MOST = 2, 5


class Attempt:
    """One trial while it runs."""

    def __init__(self, trial: optuna.Trial, values: dict[str, Any]) -> None:
        self.trial = trial
        self.values = values

    @property
    def number(self) -> int:
        """From 0."""
        return self.trial.number

    def is_hopeless(self, step: int, value: float) -> bool:
        """Take in how good it is at a step; return whether others were better at that step."""
        self.trial.report(value, step)
        return self.trial.should_prune()


class Study:
    """The trials of a sweep in a file. Those that were cut off come again first; those that ended never do."""

    def __init__(self, file: Path, name: str, config: SweepConfig) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        file.parent.mkdir(parents=True, exist_ok=True)
        self._config = config
        startup = min(_MOST, max(_FEWEST, config.num_trials // 4))
        self._study = optuna.create_study(
            storage=f"sqlite:///{file}",
            study_name=name,
            direction="minimize" if config.is_lower_better else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=startup)
            if config.pruning
            else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        if config.method == "grid":
            for values in config.grid():
                self._study.enqueue_trial(values, skip_if_exists=True)

    @property
    def num_done(self) -> int:
        """How many trials ended, one way or the other."""
        return len(self._in(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))

    def next(self) -> Attempt | None:
        """The next trial, or None where all were tried."""
        if cut_off := self._in(TrialState.RUNNING):
            return self._attempt(optuna.Trial(self._study, cut_off[0]._trial_id))
        if self.num_done >= self._config.num_trials:
            return None
        # Seeded by its number, a search that was interrupted goes on as if it had not been.
        self._study.sampler = optuna.samplers.TPESampler(seed=self._config.seed + self.num_done)
        return self._attempt(self._study.ask())

    def finish(self, attempt: Attempt, value: float) -> None:
        """Say how good a trial was."""
        self._study.tell(attempt.trial, value)

    def prune(self, attempt: Attempt) -> None:
        """Say that a trial was ended early."""
        self._study.tell(attempt.trial, state=TrialState.PRUNED)

    def fail(self, attempt: Attempt) -> None:
        """Say that a trial cannot be trained to its end."""
        self._study.tell(attempt.trial, state=TrialState.FAIL)

    def _attempt(self, trial: optuna.Trial) -> Attempt:
        return Attempt(trial, {field: _suggested(trial, field, found) for field, found in self._config.search.items()})

    def _in(self, *states: TrialState) -> list[Any]:
        return self._study.get_trials(deepcopy=False, states=states)


def _suggested(trial: optuna.Trial, field: str, values: Any) -> Any:
    """The value of a field; the same one whenever it is asked for again."""
    if not isinstance(values, Range):
        return trial.suggest_categorical(field, values)
    if values.is_whole:
        return trial.suggest_int(field, int(values.low), int(values.high), log=values.log)
    return trial.suggest_float(field, values.low, values.high, log=values.log)
