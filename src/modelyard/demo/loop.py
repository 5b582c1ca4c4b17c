"""The loop, step by step: raw data to a model on canary, and back again when it fails.

Each step is durable and hands on a small JSON value: killed and started again, the demonstration goes on at the step
it had reached.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from modelyard.app import App
from modelyard.core.errors import Refused
from modelyard.core.ids import new_id
from modelyard.demo.corruption import write_bad_export
from modelyard.demo.memory import MemoryWatch
from modelyard.demo.telling import Teller
from modelyard.demo.trial import observe_calls, observe_rollout, run_trial
from modelyard.ports.release import Release
from modelyard.ports.report import Metric
from modelyard.ports.rollout import Rollout
from modelyard.serving import Serving, serve
from modelyard.workflows.datasets import examples_of, prepare_dataset
from modelyard.workflows.durable import Step
from modelyard.workflows.releases import release_of_base, release_of_run
from modelyard.workflows.reports import evaluate_release, majority_baseline
from modelyard.workflows.rollouts import begin_rollout
from modelyard.workflows.runs import train_run
from modelyard.workflows.tools import Progress
from modelyard.workflows.verdicts import decide, gate_release

SERVICE = "support"
DATASET = "support"
BAD_DATASET = "support-bad-export"
BAD_EXPORT = "bad_export.jsonl"
FORCED_PLAN = "canary-at-once"
_WARM_UP_ANSWERS = 100
Facts = dict[str, Any]


class Loop:
    """One run of the demonstration on one project. A context manager: what it started ends with the block."""

    def __init__(self, app: App, teller: Teller, *, gateway_port: int | None = None) -> None:
        self._app, self._tools, self._project = app, app.tools, app.project
        self._tell, self._gateway_port = teller, gateway_port
        self._serving: Serving | None = None
        self._memory = MemoryWatch()

    def __enter__(self) -> Self:
        self._memory.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._serving:
            self._serving.stop()
        self._memory.__exit__(kind, error, trace)

    def run(self, step: Step) -> Facts:
        """All steps in their order; the facts of each by its name."""
        facts: Facts = {}

        def do(name: str, title: str, work: Callable[[Progress], Facts]) -> None:
            facts[name] = self._tell.stage(name, title, lambda progress: self._do(step, name, work, progress))

        runs = {name: step(f"name {name}", new_id) for name in ("first", "standard", "hasty")}
        do("prepare", "Prepare the raw messages", self._prepare)
        do("train_first", "Train a first release on few rows", lambda p: self._train("first", runs, p))
        do("base", "Evaluate the untuned base", self._evaluate_base)
        do("gate_first", "Gate the first release", lambda p: self._gate(facts["train_first"], p))
        do("launch", "Give it all traffic", lambda p: self._launch(facts["train_first"], p))
        do("train_better", "Train a better one on all rows", lambda p: self._train("standard", runs, p))
        do("gate_better", "Gate it", lambda p: self._gate(facts["train_better"], p))
        do("promote", "Roll it out: shadow, canary, full", lambda p: self._roll_out(facts["train_better"], p))
        do("train_bad", "Train on an export with shifted labels", lambda p: self._train_bad(runs, p))
        do("gate_bad", "Gate it", lambda p: self._gate(facts["train_bad"], p))
        do("blocked", "Try to roll it out", lambda _: self._try_blocked(facts["train_bad"]))
        do("rollback", "Force it on canary with an override", lambda p: self._force(facts["train_bad"], p))
        return facts

    def _do(self, step: Step, name: str, work: Callable[[Progress], Facts], progress: Progress) -> tuple[Facts, bool]:
        """The facts of a stage with the memory it took, and whether an earlier run had found them."""
        ran = False

        def measured() -> Facts:
            nonlocal ran
            ran = True
            self._memory.take()
            return {**work(progress), "peak_memory_mb": round(self._memory.take(), 1)}

        return step(name, measured), not ran

    def _prepare(self, progress: Progress) -> Facts:
        dataset = prepare_dataset(self._tools, DATASET, self._project.datasets[DATASET], progress)
        return {"digest": dataset.digest, "ref": dataset.ref, "rows": dataset.rows, "steps": list(dataset.steps)}

    def _train(self, recipe: str, runs: dict[str, str], progress: Progress, dataset: str = DATASET) -> Facts:
        found = self._tools.records.datasets.find(dataset)
        terms = self._app.training_terms
        run = train_run(self._tools, runs[recipe], recipe, self._project.recipes[recipe], found, terms, progress)
        release = release_of_run(self._tools, SERVICE, run)
        return {
            "run": run.id,
            "release": release.digest,
            "ref": release.ref,
            "seconds": run.train_seconds,
            "metrics": run.metrics,
            "cost_nanousd": run.cost_nanousd,
        }

    def _train_bad(self, runs: dict[str, str], progress: Progress) -> Facts:
        good = self._tools.records.datasets.find(DATASET)
        write_bad_export(examples_of(self._tools, good, "train"), self._app.places.root / BAD_EXPORT)
        prepare_dataset(self._tools, BAD_DATASET, self._project.datasets[BAD_DATASET])
        return self._train("hasty", runs, progress, BAD_DATASET)

    def _evaluate_base(self, progress: Progress) -> Facts:
        release = release_of_base(self._tools, f"{SERVICE}-untuned", self._project.recipes["standard"])
        name = self._project.services[SERVICE].suite
        suite = self._project.suites[name]
        engine_url = self._running(progress).engine_url
        report = evaluate_release(self._tools, lambda: self._app.connect(engine_url), release, name, suite, progress)
        majority = _plain(majority_baseline(self._tools, suite))
        return {"exact_match": _plain(report.metrics["exact_match"]), "majority_exact_match": majority}

    def _gate(self, trained: Facts, progress: Progress) -> Facts:
        release = self._release(trained)
        engine_url = self._running(progress).engine_url
        tokenize = self._app.tokenizer_of(release)
        verdict = gate_release(
            self._tools, self._project, SERVICE, lambda: self._app.connect(engine_url), release, tokenize, progress
        )
        report = self._tools.records.reports.get(verdict.reports[-1])
        return {
            "verdict": verdict.id,
            "passed": verdict.passed,
            "checks": [[one.passed, one.name, one.seen, one.demanded] for one in verdict.checks],
            "exact_match": _plain(report.metrics["exact_match"]),
        }

    def _launch(self, trained: Facts, progress: Progress) -> Facts:
        self._begin(trained, self._project.services[SERVICE].rollout)
        calls = self._trial(lambda calls: len(calls.calls) >= _WARM_UP_ANSWERS, progress)
        return observe_calls(calls)

    def _roll_out(self, trained: Facts, progress: Progress) -> Facts:
        return self._watch(self._begin(trained, self._project.services[SERVICE].rollout), progress)

    def _try_blocked(self, trained: Facts) -> Facts:
        try:
            self._begin(trained, self._project.services[SERVICE].rollout)
        except Refused as refusal:
            return {"refused": True, "reason": refusal.seen}
        return {"refused": False, "reason": ""}

    def _force(self, trained: Facts, progress: Progress) -> Facts:
        reason = "to show what becomes of a bad release"
        approval = decide(self._tools, self._release(trained), "override", reason)
        facts = self._watch(self._begin(trained, FORCED_PLAN), progress)
        return {**facts, "override_by": approval.person}

    def _watch(self, rollout: Rollout, progress: Progress) -> Facts:
        """Send traffic until a rollout is over; what happened, as recorded."""
        get = self._tools.records.rollouts.get
        calls = self._trial(lambda _: get(rollout.id).state != "running", progress)
        return {**observe_calls(calls), **observe_rollout(self._tools.records, get(rollout.id))}

    def _trial(self, done: Callable[[Any], bool], progress: Progress) -> Any:
        serving = self._running(progress)
        examples = examples_of(self._tools, self._tools.records.datasets.find(DATASET), "validation")
        return run_trial(self._tools.records, serving, SERVICE, examples, done, progress)

    def _begin(self, trained: Facts, plan: str) -> Rollout:
        """Begin a rollout, or take up the one that an interrupted step had begun."""
        for rollout in self._tools.records.rollouts.newest(SERVICE):
            if rollout.challenger == trained["release"]:
                return rollout
        release = self._release(trained)
        return begin_rollout(self._tools, self._project, SERVICE, release, self._project.rollouts[plan].plan())

    def _release(self, trained: Facts) -> Release:
        return self._tools.records.releases.get(trained["release"])

    def _running(self, progress: Progress) -> Serving:
        """The engine, the gateway and the control loop, started when they are first needed."""
        if self._serving is None:
            self._serving = serve(self._app, gateway_port=self._gateway_port, progress=progress)
        self._serving.watch()
        return self._serving


def _plain(metric: Metric) -> Facts:
    return {"value": metric.value, "low": metric.low, "high": metric.high, "num_rows": metric.num_rows}
