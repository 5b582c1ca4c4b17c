"""The example project: three real data sets, prepared as its file says."""

import shutil
from pathlib import Path

import pytest

from modelyard.core.errors import DataInvalid, NotFound
from modelyard.project.loading import load_project
from modelyard.workflows.datasets import prepare_dataset
from modelyard.workflows.expectations import demand_expectations, findings_of
from modelyard.workflows.folders import folder_of
from modelyard.workflows.tools import Tools

EXAMPLE = Path(__file__).parents[2] / "examples" / "datasets"
SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
def test_three_real_sets_are_prepared_as_expected(tools: Tools) -> None:
    shutil.copyfile(EXAMPLE / "modelyard.yaml", tools.root / "modelyard.yaml")
    (tools.root / "data").symlink_to(SHARED)
    project = load_project(tools.root / "modelyard.yaml")
    with pytest.raises(NotFound, match="'banking77' is no suite, no prepared dataset and no file"):
        prepare_dataset(tools, "gsm8k", project.datasets["gsm8k"], suites=project.suites)
    made = {
        name: prepare_dataset(tools, name, config, suites=project.suites) for name, config in project.datasets.items()
    }
    for name, dataset in made.items():
        findings = findings_of(tools, dataset)
        print(name, dataset.rows, [(one["step"], one["dropped"]) for one in dataset.steps if one["dropped"]], findings)
        assert findings
        assert all(one["passed"] for one in findings)
        read = sum(one["rows_in"] for one in dataset.steps[:1])
        rejected = (folder_of(tools, dataset) / "quarantine.jsonl").read_bytes().count(b"\n")
        assert sum(dataset.rows.values()) + rejected == read
    assert sum(made["banking77"].rows.values()) > 9_500
    assert sum(made["clinc150"].rows.values()) > 14_000
    assert sum(made["gsm8k"].rows.values()) > 7_000
    assert prepare_dataset(tools, "clinc150", project.datasets["clinc150"]) == made["clinc150"]


def test_an_expectation_that_fails_stops_training(tools: Tools) -> None:
    from modelyard.datasets.config import DatasetConfig

    rows = [f'{{"text": "question number {n} of a few", "label": "{"ab"[n % 2]}"}}\n' for n in range(40)]
    (tools.root / "rows.jsonl").write_text("".join(rows))
    config = DatasetConfig.model_validate(
        {"path": "rows.jsonl", "near_duplicates": None, "splits": {"train": 1.0},
         "expectations": {"min_rows": {"train": 500}, "min_rows_per_label": 5}}
    )  # fmt: skip
    dataset = prepare_dataset(tools, "few", config)
    with pytest.raises(
        DataInvalid, match=r"does not meet 1 of its expectations: min_rows.train: 40, expected 500"
    ) as no:
        demand_expectations(tools, dataset)
    assert no.value.exit_code == 2
