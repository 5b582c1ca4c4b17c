import json
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from modelyard.core.digests import digest_folder
from modelyard.core.errors import DataInvalid, JobFailed, RecipeInvalid
from modelyard.ports.engine import Capabilities
from modelyard.training import attention
from modelyard.training.bases import load_base
from modelyard.training.examples import write_examples
from modelyard.training.job import train
from modelyard.training.methods import method_of
from modelyard.training.recipe import Recipe
from modelyard.training.spec import read_result
from modelyard.training.tokenization import IGNORED
from modelyard.training.trainer import ObjectiveTrainer
from modelyard.training.verification import fingerprint, require_learnt, verify
from tests.training.conftest import make_examples


@pytest.fixture
def events():
    return []


def run(spec, events):
    return train(spec, lambda event: events.append(dict(event)))


def test_it_learns_and_says_so(make_spec, events):
    spec = make_spec(max_steps=40, learning_rate=1e-2)
    result = run(spec, events)
    steps = [event for event in events if event["event"] == "progress"]
    assert [event["step"] for event in steps] == list(range(1, 41))
    assert steps[-1]["loss"] < 0.2 < 2 < steps[0]["loss"]
    assert result.metrics["validation_loss"] < 0.2
    assert result.metrics["steps"] == 40
    assert result.metrics["train_rows"] == 60
    assert result.metrics["logit_change"] > 0
    assert [one.name for one in result.findings if not one.passed] == ["validation rows are new"]
    assert read_result(Path(spec.output)) == result


def test_a_model_that_never_ends_its_turn_is_told(make_spec, events):
    result = run(make_spec(max_steps=40, learning_rate=1e-2), events)
    assert result.metrics["ends_turns"] == 1.0
    assert "end of turn learnt" not in [event["name"] for event in events if event["event"] == "warned"]
    events.clear()
    result = run(make_spec(output="short", max_steps=1, warmup_share=0, learning_rate=1e-5), events)
    assert result.metrics["ends_turns"] < 0.5
    (told,) = [event for event in events if event["event"] == "warned" and event["name"] == "end of turn learnt"]
    assert told["seen"].endswith("of 16 answers the likeliest token ends the turn")
    assert "more steps" in told["fix"]


def test_the_adapter_is_what_engines_load(make_spec, events):
    spec = make_spec()
    run(spec, events)
    folder = Path(spec.output) / "adapter"
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["r"] == 4
    assert config["base_model_name_or_path"] == "tiny"
    assert config["modules_to_save"] is None
    assert not config["use_dora"]
    assert config["target_modules"] == sorted(config["target_modules"])
    weights = load_file(folder / "adapter_model.safetensors")
    assert all(".lora_A.weight" in name or ".lora_B.weight" in name for name in weights)
    assert sorted(path.name for path in Path(spec.output).iterdir()) == ["adapter", "metrics.json"]


def test_the_same_seed_gives_the_same_bytes(make_spec, events):
    folders = []
    for output, seed in (("a", 7), ("b", 7), ("c", 8)):
        spec = make_spec(output=output, seed=seed)
        run(spec, events)
        folders.append(digest_folder(Path(spec.output) / "adapter"))
    assert folders[0] == folders[1] != folders[2]


def test_packing_changes_the_batches_and_not_the_loss(make_spec, events):
    """One batch of all rows: packed into sequences or row by row, the first loss is the same."""
    losses = []
    for output, packing in (("packed", True), ("rows", False)):
        events.clear()
        run(make_spec(output=output, packing=packing, batch_size=60, max_steps=2, precision="float32"), events)
        losses.append(next(event["loss"] for event in events if event["event"] == "progress"))
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


def test_the_loss_is_that_of_plain_transformers(base, chat, make_spec, events):
    """The first loss equals the mean over the rows, each alone, by the model's own loss."""
    spec = make_spec(batch_size=60, max_steps=1, precision="float32", warmup_share=0, validate_at_end=False)
    run(spec, events)
    first = next(event["loss"] for event in events if event["event"] == "progress")
    model = load_base(base, torch.float32, packed=False).eval()
    total, count = 0.0, 0
    for row in chat.encode(make_examples(60)):
        learnt = sum(label != IGNORED for label in row.labels)
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss
        total, count = total + float(loss) * learnt, count + learnt
    assert first == pytest.approx(total / count, abs=1e-3)


def test_dropout_and_chosen_modules_train_too(make_spec, events):
    result = run(make_spec(dropout=0.1, target_modules=["q_proj", "v_proj"], schedule="constant"), events)
    assert result.metrics["train_loss"] > 0


def test_max_train_rows_takes_the_first(make_spec, events):
    assert run(make_spec(max_train_rows=7), events).metrics["train_rows"] == 7


def test_without_validation_rows_there_is_no_validation_loss(make_spec, events):
    spec = make_spec(max_steps=2, warmup_share=0)
    write_examples(Path(spec.validation), [])
    assert "validation_loss" not in run(spec, events).metrics


def nothing_left(spec):
    return [path for path in Path(spec.output).parent.iterdir() if path.suffix != ".jsonl"] == []


def test_a_failed_preflight_leaves_nothing(make_spec, events):
    engine = Capabilities(name="some", adapters=True, max_lora_rank=16, lora_ranks=(8, 16), tokenize=True)
    spec = msgspec.structs.replace(make_spec(rank=9), engine=engine)
    with pytest.raises(RecipeInvalid, match="rank 9"):
        run(spec, events)
    assert events == [{"event": "preflight", "passed": False}]
    assert nothing_left(spec)


def test_no_rows_and_wrong_modules_are_refused(make_spec, events):
    with pytest.raises(DataInvalid, match="holds no example"):
        run(make_spec(num_rows=0), events)
    spec = make_spec()
    with pytest.raises(RecipeInvalid, match="method 'lota' is not known"):
        run(msgspec.structs.replace(spec, recipe=spec.recipe | {"method": "lota"}), events)
    with pytest.raises(RecipeInvalid, match="target modules are in the base: not in the base: nothing_like_it"):
        run(make_spec(target_modules=["nothing_like_it"]), events)


def test_a_loss_that_is_no_number_stops_and_leaves_nothing(make_spec, events, monkeypatch):
    whole = ObjectiveTrainer.compute_loss

    def with_nan(trainer, model, *arguments, **named):
        loss = whole(trainer, model, *arguments, **named)
        return loss * float("nan") if model.training else loss

    monkeypatch.setattr(ObjectiveTrainer, "compute_loss", with_nan)
    spec = make_spec()
    with pytest.raises(JobFailed, match="the loss became nan at step 1 of 6"):
        run(spec, events)
    assert nothing_left(spec)


def fresh(base, **fields):
    recipe = Recipe(base="tiny", precision="float32", **fields)
    method = method_of(recipe)
    return recipe, method, method.put_on(method.load(base, recipe), recipe)


def test_an_adapter_that_does_nothing_is_refused(base, tmp_path):
    recipe, method, model = fresh(base)
    method.save(model, tmp_path / "a", base)
    with pytest.raises(JobFailed, match="inert"):
        verify(model, method, recipe, tmp_path / "a", base, [[1, 2, 3]])


@pytest.mark.parametrize("name", ["lora", "prefix", "full"])
def test_weights_that_did_not_change_are_refused(base, name):
    _, _, model = fresh(base, method=name)
    before = fingerprint(model)
    with pytest.raises(JobFailed, match="nothing was learnt"):
        require_learnt(model, before)
    next(weight for weight in model.parameters() if weight.requires_grad).data.add_(0.5)
    require_learnt(model, before)


def test_an_adapter_that_was_not_saved_exactly_is_refused(base, tmp_path):
    recipe, method, model = fresh(base)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    method.save(model, tmp_path / "a", base)
    assert verify(model, method, recipe, tmp_path / "a", base, [[1, 2, 3]])["logit_change"] > 0
    next(weight for name, weight in model.named_parameters() if "lora_A" in name).data.add_(0.5)
    with pytest.raises(JobFailed, match="answer otherwise"):
        verify(model, method, recipe, tmp_path / "a", base, [[1, 2, 3]])


def test_the_packed_attention_is_really_used(base, monkeypatch, make_spec, events):
    seen = []
    real = attention.lay_out
    monkeypatch.setattr(attention, "lay_out", lambda boundaries: seen.append(len(boundaries)) or real(boundaries))
    run(make_spec(max_steps=2, validate_at_end=False, warmup_share=0), events)
    assert sum(num_boundaries > 10 for num_boundaries in seen) == 2
