"""A sweep: a run for each trial under one run that stands for all, going on where it was cut off."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.digests import digest_json, short
from modelyard.core.errors import JobFailed, NotFound, Pruned, RecipeInvalid
from modelyard.ports.dataset import Dataset
from modelyard.ports.run import Run
from modelyard.training.lineage import digest_base
from modelyard.training.recipe import Recipe
from modelyard.training.sweeps.choice import Choice, Trial, choose, trial_name, trials_of
from modelyard.training.sweeps.config import SweepConfig
from modelyard.workflows.runs import (
    Listener,
    alive,
    begin,
    fail,
    forget_checkpoints,
    state_of,
    train_run,
    unheard,
)
from modelyard.workflows.tools import Progress, Tools, silent
from modelyard.workflows.watching import TrainingTerms

if TYPE_CHECKING:
    from modelyard.training.sweeps.study import Attempt, Study

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep as it is now. `choice` is None until a trial has finished."""

    run: Run
    state: str
    config: SweepConfig
    trials: tuple[Trial, ...]
    choice: Choice | None


def run_sweep(
    tools: Tools,
    name: str,
    config: SweepConfig,
    recipe: Recipe,
    dataset: Dataset,
    terms: TrainingTerms,
    progress: Progress = silent,
) -> Sweep:
    """Try what the sweep says, and find the best.

    The same sweep of the same recipe on the same dataset goes on where it was, and is not done twice. What cannot be
    trained is a failed trial, and the others go on.
    Raises: RecipeInvalid before the first trial; JobFailed where no trial finished; Interrupted.
    """
    config.require(recipe)
    run_id = _id_of(tools, name, config, recipe, dataset)
    if done := _finished(tools, run_id):
        return sweep_of(tools, done)
    with alive(tools, run_id):
        run = begin(tools, run_id, name, recipe, dataset, terms, sweep=config.model_dump(mode="json"))
        work = _Work(tools, config, recipe, dataset, terms, progress, run)
        try:
            return sweep_of(tools, work.run())
        except BaseException as error:  # Ctrl-C too: nobody works on it any more
            fail(tools, run, error, f"modelyard sweep {name} {dataset.ref}")
            raise


def find_sweep(tools: Tools, ref: str) -> Sweep:
    """The newest sweep of a name, or the one of an id. Raises: NotFound."""
    sweeps = [run for run in tools.records.runs.newest() if run.sweep]
    found = next((run for run in sweeps if ref in (run.id, run.name)), None)
    if found is None:
        raise NotFound(
            f"there is no sweep '{ref}'",
            expected=", ".join(dict.fromkeys(run.name for run in sweeps)) or "one that was started",
            fix="start it: modelyard sweep NAME DATASET",
        )
    return sweep_of(tools, found)


def sweep_of(tools: Tools, run: Run) -> Sweep:
    """A sweep by the run that stands for it."""
    config = SweepConfig.model_validate(run.sweep)
    children = [_as_seen(tools, one) for one in tools.records.runs.newest() if one.parent == run.id]
    trials = tuple(trials_of(config, children))
    return Sweep(run=run, state=state_of(tools, run), config=config, trials=trials, choice=choose(config, trials))


def _as_seen(tools: Tools, run: Run) -> Run:
    """A run that died is one that was interrupted: the sweep goes on with it."""
    if run.state == "running" and state_of(tools, run) == "died":
        return msgspec.structs.replace(run, state="interrupted")
    return run


@dataclass(frozen=True)
class _Work:
    """The trials of a sweep, one after the other."""

    tools: Tools
    config: SweepConfig
    recipe: Recipe
    dataset: Dataset
    terms: TrainingTerms
    progress: Progress
    parent: Run

    def run(self) -> Run:
        """Try until all was tried; return the finished run that stands for it."""
        from modelyard.training.sweeps.study import Study

        study = Study(self.tools.state / "sweeps" / f"{self.parent.name}.db", self.parent.id, self.config)
        while (attempt := study.next()) is not None:
            self._try(study, attempt)
        return self._finish()

    def _try(self, study: "Study", attempt: "Attempt") -> None:
        try:
            runs = [self._train(attempt, repeat) for repeat in range(self.config.repeats)]
        except Pruned:
            study.prune(attempt)
        except (JobFailed, RecipeInvalid) as error:
            log.warning("trial %d failed: %s", attempt.number, error.seen.partition("\n")[0])
            study.fail(attempt)
        else:
            study.finish(attempt, sum(run.metrics[self.config.metric] for run in runs) / len(runs))

    def _train(self, attempt: "Attempt", repeat: int) -> Run:
        """One run of a trial. Raises: Pruned; JobFailed and RecipeInvalid where it cannot be trained."""
        recipe = self.config.recipe_with(self.recipe, attempt.values, repeat)
        run_id = f"{self.parent.id}-{attempt.number:03d}-{short(recipe.digest)}"
        self._require_unpruned(run_id)
        listen = self._pruning(attempt) if repeat == 0 and self.config.pruning else unheard
        try:
            return train_run(
                self.tools,
                run_id,
                trial_name(self.parent.name, attempt.number),
                recipe,
                self.dataset,
                self.terms,
                self._progress_of(attempt, repeat),
                parent=self.parent.id,
                listen=listen,
            )
        except (Pruned, JobFailed):
            forget_checkpoints(self.tools, run_id)
            raise

    def _require_unpruned(self, run_id: str) -> None:
        """Where we were killed between the end of a run and its entry in the study, it ends as it did."""
        try:
            run = self.tools.records.runs.get(run_id)
        except NotFound:
            return
        if run.state == "pruned":
            raise Pruned(run.error)

    def _pruning(self, attempt: "Attempt") -> Listener:
        metric = self.config.metric

        def listen(event: Mapping[str, Any]) -> None:
            if event["event"] == "validated" and attempt.is_hopeless(event["step"], event[metric]):
                raise Pruned(f"pruned at step {event['step']}: {metric} {event[metric]:.4g}, others had better")

        return listen

    def _progress_of(self, attempt: "Attempt", repeat: int) -> Progress:
        """How far the whole sweep is."""
        runs = self.config.num_trials * self.config.repeats
        before = attempt.number * self.config.repeats + repeat

        def progress(done: float, total: float, note: str = "") -> None:
            self.progress(
                before + done / total, runs, f"trial {attempt.number + 1} of {self.config.num_trials}, {note}"
            )

        return progress

    def _finish(self) -> Run:
        """The run that stands for the sweep, with the chosen trial's values, finished."""
        sweep = sweep_of(self.tools, self.parent)
        if sweep.choice is None:
            raise JobFailed(
                f"none of {len(sweep.trials)} trials finished: {'; '.join(one.note for one in sweep.trials[:3])}",
                expected="at least one",
                fix="mend what they say, or search among other values",
            )
        finished = msgspec.structs.replace(
            self.parent,
            state="finished",
            finished_ms=now_ms(),
            train_seconds=sum(trial.seconds for trial in sweep.trials),
            metrics=_summary(sweep, sweep.choice),
            cost_nanousd=sum(run.cost_nanousd for run in self._runs(sweep)),
        )
        self.tools.tracker.log_metrics(self.parent.tracking_id, finished.metrics, 0)
        self.tools.tracker.finish(self.parent.tracking_id)
        self.tools.records.runs.put(finished)
        return finished

    def _runs(self, sweep: Sweep) -> list[Run]:
        return [self.tools.records.runs.get(id) for trial in sweep.trials for id in trial.runs]


def _summary(sweep: Sweep, choice: Choice) -> dict[str, float]:
    chosen = next(trial for trial in sweep.trials if trial.number == choice.chosen)
    states = [trial.state for trial in sweep.trials]
    return {
        "trials": len(sweep.trials),
        **{state: states.count(state) for state in ("finished", "pruned", "failed")},
        "chosen_trial": choice.chosen,
        **({sweep.config.metric: chosen.value} if chosen.value is not None else {}),
        **({f"{sweep.config.metric}_error": chosen.error} if chosen.error is not None else {}),
    }


def _id_of(tools: Tools, name: str, config: SweepConfig, recipe: Recipe, dataset: Dataset) -> str:
    """The same for the same work, so that it is found again."""
    base = digest_base(tools.base_folder(recipe.base))
    digest = digest_json([config.model_dump(mode="json"), recipe.digest, dataset.digest, base])
    return f"{name}-{short(digest)}"


def _finished(tools: Tools, run_id: str) -> Run | None:
    try:
        run = tools.records.runs.get(run_id)
    except NotFound:
        return None
    return run if run.state == "finished" else None
