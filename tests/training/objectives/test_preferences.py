"""DPO and KTO, held against TRL's own trainers on the same rows, and on rows that they must refuse."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from modelyard.core.digests import digest_folder
from modelyard.core.errors import DataInvalid, Interrupted
from modelyard.ports.dataset import Example, Message
from modelyard.training.examples import write_examples
from modelyard.training.job import train
from modelyard.training.objectives import objective_of
from modelyard.training.recipe import Recipe
from modelyard.training.spec import TrainingSpec
from modelyard.training.stopping import Stop
from modelyard.training.tokenization import IGNORED, ChatTokenizer
from tests.training.conftest import LABELS, SpecMaker, make_examples

NUM_ROWS = 9
SETTINGS: dict[str, Any] = {
    "batch_size": NUM_ROWS,
    "max_steps": 5,
    "learning_rate": 1e-2,
    "schedule": "constant",
    "warmup_share": 0,
    "precision": "float32",
}


def pairs(count: int) -> list[Example]:
    """The right label against a wrong one, after a turn that is given."""
    return [
        msgspec.structs.replace(
            example,
            messages=(
                Message(role="user", content="Good day"),
                Message(role="assistant", content="Good day, how can I help?"),
                *example.messages,
            ),
            rejected=(Message(role="assistant", content=LABELS[(number + 1 + number % 2) % 3]),),
        )
        for number, example in enumerate(make_examples(count))
    ]


def verdicts(count: int) -> list[Example]:
    """Right labels and wrong ones, called so."""
    wrong = Message(role="assistant", content="login, I guess")
    return [
        msgspec.structs.replace(
            example,
            messages=example.messages if number % 3 else (*example.prompt, wrong),
            desirable=bool(number % 3),
        )
        for number, example in enumerate(make_examples(count))
    ]


MAKERS = {"dpo": pairs, "kto": verdicts}


@pytest.fixture
def losses(make_spec: SpecMaker):
    def of(objective: str, num_rows: int = NUM_ROWS, **fields: Any) -> tuple[list[float], dict[str, float]]:
        spec = spec_of(make_spec, objective, num_rows, **fields)
        found: list[float] = []
        result = train(spec, lambda event: found.append(event["loss"]) if event["event"] == "progress" else None)
        return found, result.metrics

    return of


def spec_of(make_spec: SpecMaker, objective: str, num_rows: int = NUM_ROWS, **fields: Any) -> TrainingSpec:
    spec = make_spec(**(SETTINGS | {"objective": objective} | fields))
    write_examples(Path(spec.train), MAKERS[objective](num_rows))
    write_examples(Path(spec.validation), MAKERS[objective](6))
    return spec


def turns(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def by_trl(objective: str, base: Path, folder: Path) -> list[float]:
    """The losses of TRL's trainer, its defaults overlaid with what the recipe says."""
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

    rows = MAKERS[objective](NUM_ROWS)
    columns = [{"prompt": turns(row.prompt)} for row in rows]
    if objective == "dpo":
        kinds = [
            {"chosen": turns(row.messages[-1:]), "rejected": turns(row.rejected)} | column
            for row, column in zip(rows, columns, strict=True)
        ]
    else:
        kinds = [
            {"completion": turns(row.messages[-1:]), "label": row.desirable} | column
            for row, column in zip(rows, columns, strict=True)
        ]
    config, trainer = (DPOConfig, DPOTrainer) if objective == "dpo" else (KTOConfig, KTOTrainer)
    arguments = config(
        output_dir=str(folder),
        max_steps=5,
        per_device_train_batch_size=NUM_ROWS,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        seed=7,
        beta=0.1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    lora = LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(base)
    run = trainer(
        model, args=arguments, train_dataset=Dataset.from_list(kinds), processing_class=tokenizer, peft_config=lora
    )
    run.train()
    return [entry["loss"] for entry in run.state.log_history if "loss" in entry]


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_the_losses_are_those_of_trl(objective: str, losses: Any, base: Path, tmp_path: Path) -> None:
    ours, _ = losses(objective)
    theirs = by_trl(objective, base, tmp_path / "trl")
    assert ours == pytest.approx(theirs, abs=2e-3)
    assert ours[0] > ours[-1] + 0.1


def test_before_training_neither_answer_is_preferred(losses: Any) -> None:
    found, _ = losses("dpo", max_steps=1)
    assert found[0] == pytest.approx(math.log(2), abs=1e-3)
    found, _ = losses("kto", max_steps=1, desirable_weight=3.0)
    assert found[0] == pytest.approx((3 * 6 + 1 * 3) / 9 / 2, abs=1e-3)


@pytest.mark.parametrize(("objective", "method"), [("dpo", "lora"), ("dpo", "full"), ("kto", "lora")])
def test_preferences_are_learnt(objective: str, method: str, losses: Any) -> None:
    fields = {"rank": None, "learning_rate": 2e-3} if method == "full" else {}
    _, metrics = losses(objective, 30, batch_size=10, max_steps=20, method=method, **fields)
    assert metrics["validation_accuracy"] > 0.8
    assert metrics["validation_items"] == 6
    assert metrics["train_rows"] == 30


def test_a_step_in_parts_is_the_step(losses: Any) -> None:
    """Pairs are weighed alone, so a batch may go through memory in parts."""
    whole, _ = losses("dpo")
    parts, _ = losses("dpo", batch_size=3, accumulation=3)
    assert parts == pytest.approx(whole, abs=1e-4)


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_interrupted_is_uninterrupted(objective: str, make_spec: SpecMaker, tmp_path: Path) -> None:
    """What the model thought before training is computed again, and is the same."""
    fields = {"output": "out", "batch_size": 3, "checkpoint_minutes": 0}
    straight = spec_of(make_spec, objective, **fields)
    train(straight, lambda event: None)
    cut = msgspec.structs.replace(straight, output=str(tmp_path / "cut"), checkpoints=str(tmp_path / "kept"))
    stop = Stop()

    def hear(event: Mapping[str, Any]) -> None:
        if event.get("step") == 2:
            stop.ask()

    with pytest.raises(Interrupted, match="after step 2 of 5"):
        train(cut, hear, stop)
    train(cut, lambda event: None)
    assert digest_folder(Path(cut.output, "adapter")) == digest_folder(Path(straight.output, "adapter"))


def test_the_last_answer_alone_is_weighed(chat: ChatTokenizer) -> None:
    recipe = Recipe(base="tiny", objective="dpo")
    better, worse = objective_of(recipe).units(pairs(1), chat)[0].documents
    for row, label in ((better, LABELS[0]), (worse, LABELS[1])):
        learnt = [id for id in row.labels if id != IGNORED]
        assert chat.tokenizer.decode(learnt) == f"{label}<|end|>"
        assert "how can I help?" in chat.tokenizer.decode(row.input_ids)


def test_a_stranger_is_the_answer_of_the_row_before(chat: ChatTokenizer) -> None:
    units = objective_of(Recipe(base="tiny", objective="kto")).units(verdicts(4), chat)
    texts = [chat.tokenizer.decode([id for id in unit.documents[1].labels if id != IGNORED]) for unit in units]
    assert texts == ["login, I guess<|end|>", "login, I guess<|end|>", "track_parcel<|end|>", "login<|end|>"]
    assert [unit.desirable for unit in units] == [False, True, True, False]


@pytest.mark.parametrize(
    ("objective", "rows", "message"),
    [
        ("dpo", make_examples(3), "3 of 3 rows have the wrong shape, the first is rows.jsonl:1"),
        ("dpo", [*pairs(2), *verdicts(1)], "1 of 3 rows have the wrong shape, the first is rows.jsonl:1"),
        ("kto", make_examples(3), "3 of 3 rows have the wrong shape"),
        ("kto", [row for row in verdicts(9) if row.desirable], "all 6 rows have the same verdict"),
    ],
)
def test_rows_of_another_shape_are_refused(
    objective: str, rows: list[Example], message: str, make_spec: SpecMaker
) -> None:
    spec = spec_of(make_spec, objective)
    write_examples(Path(spec.train), rows)
    with pytest.raises(DataInvalid, match=message):
        train(spec, lambda event: None)
    assert not Path(spec.output).exists()
