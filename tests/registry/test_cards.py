"""Model cards: readable by people, and by the hub's own parser."""

import msgspec
import pytest

from modelyard.adapters.records.store import SqlRecords
from modelyard.ports.report import Metric
from modelyard.registry.cards import model_card, render_card, run_card
from tests.adapters.records.values import a_dataset, a_release, a_report, a_run, a_verdict, an_approval

hub = pytest.importorskip("huggingface_hub", reason="pip install huggingface_hub: the oracle for model cards")


def add_everything(records: SqlRecords):
    dataset, run = a_dataset(), a_run()
    release = a_release(run_id=run.id)
    records.datasets.add(dataset)
    records.runs.put(run)
    records.releases.add(release)
    weak = {"expected=refund": Metric(value=0.25, low=0.1, high=0.5, num_rows=12)}
    records.reports.add(a_report(release.digest, slices=weak))
    records.verdicts.add(a_verdict(release.digest))
    return release, run, dataset


def test_a_whole_card(records: SqlRecords) -> None:
    release, run, dataset = add_everything(records)
    card = render_card(records, release)
    for heading in ("Intended use", "Base model", "Training data", "Recipe", "Results", "Gate", "Limits", "Lineage"):
        assert f"\n## {heading}\n" in card
    for fact in (release.digest, dataset.digest, dataset.sources[0].digest, run.id, run.lineage.commit):
        assert fact in card
    assert "| held-out/test | exact_match | 0.9 | 0.85 to 0.94 | 300 |" in card
    assert "| train | 90 |" in card
    assert "| expected=refund | 0.25 | 0.1 to 0.5 | 12 |" in card
    assert "It passed the policy `default`" in card
    assert "Not recorded" not in card


def test_the_hub_reads_the_front_matter(records: SqlRecords) -> None:
    release, _, dataset = add_everything(records)
    data = hub.ModelCard(render_card(records, release)).data
    assert (data.base_model, data.library_name, data.datasets) == ("base", "peft", [dataset.name])
    (result,) = data.eval_results
    assert (result.dataset_name, result.dataset_split, result.metric_type, result.metric_value) == (
        "held-out",
        "test",
        "exact_match",
        0.9,
    )


def test_what_is_not_recorded_is_said() -> None:
    card = model_card(a_release(), run=None, dataset=None, reports=[], verdict=None)
    for sentence in ("Not recorded.", "no run made this release", "Not evaluated.", "Not judged.", "never evaluated"):
        assert sentence in card
    assert hub.ModelCard(card).data.eval_results is None
    assert "What it was trained on is not recorded." in card


def test_a_failed_gate_is_not_hidden() -> None:
    card = model_card(a_release(), run=None, dataset=None, reports=[], verdict=a_verdict(passed=False))
    assert "**did not pass**" in card
    assert "may not go into production" in card


def test_hostile_texts_do_not_break_the_card() -> None:
    nasty = "a | b\n---\n## Gate\n`code`"
    release = a_release(name='x: "y"\n- z', system_prompt=nasty)
    release = msgspec.structs.replace(release, base=msgspec.structs.replace(release.base, name="b: [#1]"))
    card = model_card(release, run=None, dataset=None, reports=[a_report(suite="s: |")], verdict=None)
    assert hub.ModelCard(card).data.base_model == "b: [#1]"
    assert "\n## Gate\n`code`" not in card


def test_it_says_who_decided_what(records: SqlRecords) -> None:
    release, _, _ = add_everything(records)
    assert "Nobody approved" in render_card(records, release)
    (verdict,) = records.verdicts.newest(release.digest)
    records.verdicts.approve(an_approval(verdict, decision="override", person="grace", reason="we want to see"))
    assert "| override | grace | we want to see |" in render_card(records, release)


def test_a_run_has_a_card_before_any_release() -> None:
    run = a_run(metrics={"train_loss": 1.5}, cost_nanousd=2_000_000_000)
    card = run_card(run, a_dataset())
    assert card.startswith(f"# {run.name}\n")
    for told in ("| train_loss | 1.5 |", "$2.00", run.recipe_digest, a_dataset().digest, "| rank | 32 |", run.id):
        assert told in card
    assert "Not recorded." in run_card(run, None)
