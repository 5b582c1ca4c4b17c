import asyncio
from pathlib import Path

import msgspec
import pytest

from modelyard.core.errors import DataInvalid, EngineFailed, Unavailable
from modelyard.evaluation.baselines import majority_answer, majority_baseline
from modelyard.evaluation.evaluation import evaluate
from modelyard.evaluation.report import build_report, rows_jsonl
from modelyard.evaluation.suite import Suite
from modelyard.ports.dataset import Example, Message
from modelyard.ports.engine import Answer, Capabilities
from modelyard.ports.release import ModelRef, Release, Sampling
from modelyard.ports.report import RowResult

RELEASE = Release(
    name="support",
    base=ModelRef(name="tiny", digest="sha256:0"),
    tokenizer_digest="sha256:1",
    template_digest="sha256:2",
    system_prompt="Name the intent.",
    sampling=Sampling(max_tokens=64),
    created_ms=0,
)
SUITE = Suite(dataset="support", concurrency=4)


class ScriptedEngine:
    """Answers with the label in the question, fails where it is told to, and keeps what it was asked."""

    url = "http://scripted"
    capabilities = Capabilities(name="scripted", adapters=True, max_lora_rank=16, lora_ranks=(), tokenize=True)

    def __init__(self, failing=frozenset()):
        self.failing = failing
        self.asked = []
        self.at_once = 0
        self.most_at_once = 0

    async def chat(self, model, messages, sampling, *, top_logprobs=0):
        self.asked.append((model, tuple(messages), sampling))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.001)
        self.at_once -= 1
        question = messages[-1].content
        if question in self.failing:
            raise EngineFailed("answered 500") if len(self.asked) % 2 else Unavailable("connection refused")
        return Answer(
            text=f" {question.split()[-1]}\n", finish_reason="stop", prompt_tokens=1, completion_tokens=1, seconds=0.0
        )

    async def ready(self):
        return True

    async def models(self):
        return []

    async def load_adapter(self, name, folder: Path): ...
    async def unload_adapter(self, name): ...
    async def tokenize(self, model, messages):
        return []

    async def close(self): ...


def examples(count, label="refund"):
    return [
        Example(
            id=f"row-{i}",
            messages=(
                Message(role="user", content=f"number {i} {label if i % 4 else 'login'}"),
                Message(role="assistant", content=label),
            ),
            source="s",
            line=i,
        )
        for i in range(count)
    ]


def run(engine, rows, suite=SUITE, progress=lambda done, total: None):
    return asyncio.run(evaluate(engine, RELEASE, "support@1", rows, suite, progress=progress))


def test_rows_come_back_in_order_with_their_scores():
    engine, heard = ScriptedEngine(), []
    result = run(engine, examples(40), progress=lambda done, total: heard.append((done, total)))
    assert [row.example_id for row in result.rows] == [f"row-{i}" for i in range(40)]
    assert result.metrics["exact_match"].value == 0.75
    assert result.metrics["exact_match"].num_rows == 40
    assert result.slices["expected=refund"].value == 0.75
    assert result.rows[1].answer == "refund"
    assert heard == [(i, 40) for i in range(1, 41)]
    assert engine.most_at_once == 4


def test_the_prompt_is_what_the_gateway_would_send():
    engine = ScriptedEngine()
    run(engine, examples(1))
    model, messages, sampling = engine.asked[0]
    assert model == "support@1"
    assert messages == (
        Message(role="system", content="Name the intent."),
        Message(role="user", content="number 0 login"),
    )
    assert sampling == RELEASE.sampling


def test_a_suite_may_cut_rows_and_tokens():
    engine = ScriptedEngine()
    suite = Suite(dataset="support", max_rows=3, max_tokens=8)
    assert len(run(engine, examples(10), suite).rows) == 3
    assert engine.asked[0][2].max_tokens == 8


def test_a_few_failures_are_rows_with_their_error():
    result = run(ScriptedEngine({"number 7 refund"}), examples(200))
    assert result.rows[7].score == 0.0
    assert result.rows[7].error in ("answered 500", "connection refused")
    assert result.metrics["error_rate"].value == 1 / 200


def test_many_failures_end_the_evaluation_at_once():
    rows = examples(400)
    engine = ScriptedEngine({row.prompt[0].content for row in rows})
    with pytest.raises(EngineFailed, match="5 of 400 rows failed"):
        run(engine, rows)
    assert len(engine.asked) <= 5 + SUITE.concurrency


def test_no_rows_never_pass():
    with pytest.raises(DataInvalid, match="no row to evaluate"):
        run(ScriptedEngine(), [])


def test_the_report_holds_it_all():
    result = run(ScriptedEngine(), examples(8))
    data = rows_jsonl(result.rows)
    assert tuple(msgspec.json.Decoder(RowResult).decode_lines(data)) == result.rows
    report = build_report(
        result,
        release=RELEASE,
        suite_name="held-out",
        suite=SUITE,
        dataset_digest="sha256:d",
        engine_name="scripted",
        rows_digest="sha256:r",
    )
    assert report.release == RELEASE.digest
    assert report.suite_digest == SUITE.digest
    assert report.metrics == result.metrics
    assert (report.split, report.rows, report.engine) == ("test", "sha256:r", "scripted")


def test_majority_baseline_knows_the_train_split_alone():
    assert majority_answer(["b", "a ", "a", "b", "c"]) == "a"
    assert majority_baseline(["a", "a", "b"], ["b", "b", "b", "a"], SUITE).value == 0.25
    with pytest.raises(DataInvalid):
        majority_answer([])


def test_how_fast_one_asks_is_no_other_suite():
    assert SUITE.digest == Suite(dataset="support", concurrency=99).digest
    assert SUITE.digest != Suite(dataset="support", split="validation").digest
