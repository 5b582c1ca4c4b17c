"""Evaluation: every row of a suite answered by the engine that will serve the release."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

import msgspec

from modelyard.core.clock import monotonic_s
from modelyard.core.errors import DataInvalid, EngineFailed, Unavailable
from modelyard.evaluation.metrics import exact_match, slice_by_expected, summarise
from modelyard.evaluation.suite import Suite
from modelyard.ports.dataset import Example, Message
from modelyard.ports.engine import Engine
from modelyard.ports.release import Release, Sampling
from modelyard.ports.report import Metric, RowResult

MAX_FAILED_SHARE = 0.01

Progress = Callable[[int, int], None]


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What came out, rows in the order of the examples."""

    rows: tuple[RowResult, ...]
    metrics: dict[str, Metric]
    slices: dict[str, Metric]
    seconds: float


async def evaluate(
    engine: Engine, release: Release, model: str, examples: Sequence[Example], suite: Suite, *, progress: Progress
) -> Evaluation:
    """Answer the suite's rows with the release's prompt and sampling; `model` is its name in the engine.

    `progress` hears of rows done and rows in all. A row the engine fails on scores 0 and says why.
    Raises: DataInvalid without rows; EngineFailed as soon as more than 1% of the rows have failed.
    """
    chosen = list(examples[: suite.max_rows])
    if not chosen:
        raise DataInvalid(
            f"the split '{suite.split}' has no row to evaluate on",
            expected="at least one: missing data never passes",
            fix="prepare a dataset with rows in that split, or change the suite's split",
        )
    began = monotonic_s()
    asking = _Asking(engine, release, model, suite, chosen, progress)
    rows = await asking.run()
    return Evaluation(
        rows=rows,
        metrics=summarise(rows, suite.metric),
        slices=dict(slice_by_expected(rows)),
        seconds=monotonic_s() - began,
    )


class _Asking:
    """The rows of one evaluation on their way through an engine, so many at once."""

    def __init__(
        self,
        engine: Engine,
        release: Release,
        model: str,
        suite: Suite,
        examples: Sequence[Example],
        progress: Progress,
    ) -> None:
        self._engine = engine
        self._model = model
        self._suite = suite
        self._examples = examples
        self._progress = progress
        self._system = (Message(role="system", content=release.system_prompt),) if release.system_prompt else ()
        self._sampling = _sampling(release, suite)
        self._waiting: Iterator[int] = iter(range(len(examples)))
        self._rows: dict[int, RowResult] = {}
        self._num_failed = 0

    async def run(self) -> tuple[RowResult, ...]:
        """Ask for every row; the first error that ends the evaluation cancels the others."""
        num_workers = min(self._suite.concurrency, len(self._examples))
        workers = [asyncio.create_task(self._work()) for _ in range(num_workers)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return tuple(self._rows[index] for index in range(len(self._examples)))

    async def _work(self) -> None:
        for index in self._waiting:
            row = await self._ask(self._examples[index])
            self._rows[index] = row
            if row.error:
                self._refuse_too_many(row.error)
            self._progress(len(self._rows), len(self._examples))

    async def _ask(self, example: Example) -> RowResult:
        began = monotonic_s()
        text, error = "", ""
        try:
            answer = await self._engine.chat(self._model, (*self._system, *example.prompt), self._sampling)
            text = answer.text
        except Unavailable as failure:
            error = failure.seen or failure.code
        score = 0.0 if error else exact_match(example.answer, text, fold_case=self._suite.fold_case)
        return RowResult(
            example_id=example.id,
            prompt=_prompt_text(example.prompt),
            expected=example.answer.strip(),
            answer=text.strip(),
            score=score,
            latency_ms=1000 * (monotonic_s() - began),
            error=error,
        )

    def _refuse_too_many(self, newest: str) -> None:
        self._num_failed += 1
        if self._num_failed > MAX_FAILED_SHARE * len(self._examples):
            raise EngineFailed(
                f"{self._num_failed} of {len(self._examples)} rows failed on {self._engine.url}; the last: {newest}",
                expected=f"at most {MAX_FAILED_SHARE:.0%} of the rows",
                fix="see the engine's log, then evaluate again",
            )


def _sampling(release: Release, suite: Suite) -> Sampling:
    if suite.max_tokens is None:
        return release.sampling
    return msgspec.structs.replace(release.sampling, max_tokens=min(release.sampling.max_tokens, suite.max_tokens))


def _prompt_text(prompt: Sequence[Message]) -> str:
    if len(prompt) == 1:
        return prompt[0].content
    return "\n".join(f"{message.role}: {message.content}" for message in prompt)
