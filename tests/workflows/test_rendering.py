"""A job rendered from the command line's own workflow: files that Kubernetes reads, and rows that the spec names."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob
from ruamel.yaml import YAML

from modelyard.core.errors import RecipeInvalid
from modelyard.project.model import Project
from modelyard.training.examples import read_examples
from modelyard.training.kubeflow import KubernetesConfig
from modelyard.workflows.datasets import prepare_dataset
from modelyard.workflows.rendering import render_kubeflow
from modelyard.workflows.tools import Tools
from tests.workflows.stand_ins import TERMS, make_base, make_rows

CONFIG = KubernetesConfig(image="registry/yard:1", nodes=2)


def test_a_job_is_written_whole(tools: Tools, project: Project, tmp_path: Path) -> None:
    make_base(tools.root / "base")
    make_rows(tools.root / "raw.jsonl")
    dataset = prepare_dataset(tools, "messages", project.datasets["messages"])
    recipe, to = project.recipes["standard"], tmp_path / "job"
    terms = dataclasses.replace(TERMS, devices=4)
    facts = render_kubeflow(tools, "Standard_1", recipe, dataset, terms, CONFIG, to)
    yaml = YAML(typ="safe", pure=True)
    job, spec = (yaml.load(to / name) for name in ("trainjob.yaml", "spec.yaml"))
    read = TrainerV1alpha1TrainJob.from_dict(job)
    assert read is not None
    assert read.to_dict() == job
    told = json.loads(spec["data"]["spec.json"])
    assert told["recipe"] == recipe.model_dump(mode="json")
    rows = to / "data" / Path(told["train"]).relative_to(facts["volume"])
    assert len(read_examples(rows)) == dataset.rows["train"]
    assert re.fullmatch(r"train-standard-1-[0-9a-f]{12}", facts["job"])
    assert facts["base"] == str(tools.base_folder("base"))
    assert told["base_folder"] == facts["base_at"] == "/modelyard/bases/base"
    with pytest.raises(RecipeInvalid, match="batch_size is 4"):
        render_kubeflow(tools, "x", recipe, dataset, dataclasses.replace(TERMS, devices=6), CONFIG, tmp_path / "no")
    assert not (tmp_path / "no").exists()
