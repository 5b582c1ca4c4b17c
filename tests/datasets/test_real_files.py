"""Whole files: the demonstration's messy messages with their planted faults, and real customers' questions."""

import json
from pathlib import Path

import pytest

import modelyard.demo
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.preparation import Prepared, prepare, read_split
from modelyard.datasets.splits import SPLITS, split_key, split_of
from modelyard.demo.messages import SHIPPED_ROWS, SHIPPED_SEED, write_messy

SHIPPED = Path(modelyard.demo.__file__).parent / "data" / "support_messages.jsonl"
BANKING77 = Path(__file__).parents[3] / "shared" / "data" / "banking77" / "train.csv"


def show(prepared: Prepared) -> None:
    for count in prepared.steps:
        print(f"{count['step']:>16}: {count['rows_in']:>6} in, {count['dropped']:>5} dropped {count['causes']}")
    print(prepared.rows, prepared.report["personal_data"])


def test_planted_faults_are_found(tmp_path: Path) -> None:
    planted = write_messy(tmp_path / "again.jsonl", SHIPPED_SEED, SHIPPED_ROWS)
    out = tmp_path / "out"
    out.mkdir()
    config = DatasetConfig(path=str(SHIPPED), answer="{intent}", id="id", max_chars=2000)
    prepared = prepare("support", config, root=tmp_path, out=out)
    show(prepared)
    steps = {count["step"]: count for count in prepared.steps}
    causes = {cause: rows for count in prepared.steps for cause, rows in count["causes"].items()}
    assert steps["reading"]["dropped"] == planted["broken_json"]
    assert steps["mapping"]["dropped"] + causes["empty prompt"] == planted["missing_key"] + planted["empty_text"]
    assert causes["long prompt"] == planted["overlong"]
    assert steps["exact_duplicates"]["dropped"] == pytest.approx(planted["exact_duplicate"], abs=5)
    assert steps["conflicts"]["dropped"] == pytest.approx(2 * planted["conflicting_label"], abs=4)
    assert 0.9 * planted["near_duplicate"] <= steps["near_duplicates"]["dropped"] <= 1.4 * planted["near_duplicate"]
    kinds = ("email", "phone", "card", "iban")
    found = {kind: prepared.report["personal_data"]["found"][kind] for kind in kinds}
    assert found == {kind: planted[f"personal_{kind}"] for kind in kinds}
    assert sum(prepared.rows.values()) > 0.8 * SHIPPED_ROWS


@pytest.mark.skipif(not BANKING77.is_file(), reason="../shared/data/banking77 is not here")
def test_banking77_holds_out_only_what_the_base_model_never_saw(tmp_path: Path) -> None:
    config = DatasetConfig(path=str(BANKING77), answer="{category}")
    prepared = prepare("banking77", config, root=tmp_path, out=tmp_path)
    show(prepared)
    rows = {split: read_split(tmp_path, split) for split in SPLITS}
    raw = {row["line"]: row for row in map(json.loads, (tmp_path / "quarantine.jsonl").open("rb"))}
    for split in ("validation", "test"):
        assert rows[split]
        assert all(split_of(split_key(row.prompt[0].content)) == split for row in rows[split])
    assert sum(map(len, rows.values())) + len(raw) == 10_003
    assert sum(map(len, rows.values())) > 9_500
    assert prepared.report["labels"]["distinct"] == 77
