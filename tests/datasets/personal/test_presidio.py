"""Names found by the real Presidio over a real spaCy pipeline, whose entities are rules: no model has to be there."""

import json
from pathlib import Path

import pytest

from modelyard.core.errors import DataInvalid
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.files import read_split
from modelyard.datasets.personal.config import PresidioConfig
from modelyard.datasets.personal.presidio import Presidio
from modelyard.datasets.preparation import Prepared, prepare

spacy = pytest.importorskip("spacy")
pytest.importorskip("presidio_analyzer")

ROWS = [
    {"prompt": "Ada Lovelace writes from Paris, ada@example.com", "completion": "Noted."},
    {"prompt": "Where is my order, the blue lamp?", "completion": "On its way to Ada Lovelace."},
    {"prompt": "What does the green lamp cost today?", "completion": "Ten."},
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    pipeline = spacy.blank("en")
    pipeline.meta.update(name="rules", version="1.0.0")
    name = [{"LOWER": "ada"}, {"LOWER": "lovelace"}]
    pipeline.add_pipe("entity_ruler").add_patterns(
        [{"label": "PERSON", "pattern": name}, {"label": "GPE", "pattern": "Paris"}]
    )
    pipeline.to_disk(folder / "rules")
    lines = [*map(json.dumps, ROWS), '{"prompt": "Ada Lovelace again"', json.dumps({"prompt": "Ada Lovelace"})]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    return folder


def prepared(root: Path, out: Path, **personal_data: object) -> Prepared:
    out.mkdir()
    splits = {"train": 1.0}
    config = DatasetConfig(path="rows.jsonl", personal_data=personal_data, splits=splits, near_duplicates=None)
    return prepare("names", config, root=root, out=out)


def test_names_and_places_are_masked_beside_what_patterns_find(root: Path, tmp_path: Path) -> None:
    found = prepared(root, tmp_path / "out", presidio="rules")
    first = next(row for row in read_split(tmp_path / "out", "train") if row.line == 1)
    assert first.messages[0].content == "[PERSON] writes from [LOCATION], [EMAIL]"
    step = next(one for one in found.steps if one["step"] == "personal_data")
    assert step["changed"] == 2
    assert found.report["personal_data"]["found"] == {"email": 1, "location": 1, "person": 2}


def test_no_name_is_left_in_the_quarantine_or_the_report(root: Path, tmp_path: Path) -> None:
    prepared(root, tmp_path / "out", presidio="rules")
    for name in ("quarantine.jsonl", "report.json"):
        assert "Lovelace" not in (tmp_path / "out" / name).read_text()
    assert (tmp_path / "out" / "quarantine.jsonl").read_text().count("[PERSON]") == 2


def test_rows_with_names_can_be_dropped(root: Path, tmp_path: Path) -> None:
    found = prepared(root, tmp_path / "out", mode="drop", presidio={"model": "rules", "entities": ["PERSON"]})
    assert found.rows["train"] == 1
    quarantine = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    dropped = [one for one in quarantine if one["step"] == "personal_data"]
    assert {one["reason"] for one in dropped} == {
        "personal data: a person's name",
        "personal data: an e-mail address, a person's name",
    }
    assert not any("Lovelace" in one["raw"] for one in quarantine)


def test_the_pipeline_enters_the_digest(root: Path) -> None:
    first = Presidio.load(PresidioConfig(model="rules"), root)
    pipeline = spacy.load(root / "rules")
    pipeline.meta["version"] = "1.0.1"
    pipeline.to_disk(root / "newer")
    assert Presidio.load(PresidioConfig(model="newer"), root).digest != first.digest


@pytest.mark.parametrize(
    ("config", "seen"),
    [
        (PresidioConfig(model="xx_missing_sm"), "there is no spaCy pipeline 'xx_missing_sm'"),
        (PresidioConfig(model="rules", entities=("PERSONS",)), "knows no entity 'PERSONS'"),
    ],
)
def test_what_is_not_there_is_told_before_any_row_is_read(root: Path, config: PresidioConfig, seen: str) -> None:
    with pytest.raises(DataInvalid, match=seen):
        Presidio.load(config, root)
