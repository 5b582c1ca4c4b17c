"""What is rendered for Kubeflow Trainer is what its API takes."""

import json
from typing import Any

import kubernetes_validate
import pytest
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

from modelyard.core.errors import InvalidInput
from modelyard.training.kubeflow import KubernetesConfig, manifests
from modelyard.training.spec import TrainingSpec

SPEC = TrainingSpec(
    recipe={"base": "tiny"}, base_folder="/modelyard/bases/tiny", train="/modelyard/x/train", output="/o"
)
CONFIGS = [
    {"image": "registry/yard:1"},
    {"image": "registry/yard:1", "nodes": 2, "gpus": 4, "memory": "256Gi", "cpu": "500m", "namespace": "training"},
]


def rendered(devices: int = 8, **fields: Any) -> dict[str, Any]:
    return manifests("standard-1a2b", SPEC, KubernetesConfig(**({"image": "registry/yard:1"} | fields)), devices)


@pytest.mark.parametrize("fields", CONFIGS)
def test_the_api_of_kubeflow_takes_the_job_and_drops_nothing(fields: dict[str, Any]) -> None:
    job = rendered(**fields)["trainjob.yaml"]
    read = TrainerV1alpha1TrainJob.from_dict(job)
    assert read is not None
    assert read.to_dict() == job


def test_a_mistake_in_the_job_would_be_seen() -> None:
    job = rendered()["trainjob.yaml"]
    job["spec"]["trainer"]["numProcesses"] = 2
    read = TrainerV1alpha1TrainJob.from_dict(job)
    assert read is not None
    assert read.to_dict() != job


@pytest.mark.parametrize("fields", CONFIGS)
@pytest.mark.parametrize("file", ["claim.yaml", "spec.yaml"])
def test_kubernetes_takes_the_others(fields: dict[str, Any], file: str) -> None:
    kubernetes_validate.validate(rendered(**fields)[file], kubernetes_validate.latest_version(), strict=True)


def test_the_job_says_what_the_project_says() -> None:
    found = rendered(nodes=2, gpus=4)
    trainer = found["trainjob.yaml"]["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 4)
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "4"
    assert trainer["command"][-1] == "/etc/modelyard/spec.json"
    assert json.loads(found["spec.yaml"]["data"]["spec.json"])["base_folder"] == "/modelyard/bases/tiny"
    assert found["claim.yaml"]["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize(
    ("devices", "fields", "says"),
    [
        (3, {"nodes": 2}, "compute.devices is 3, which does not divide over 2 nodes"),
        (1, {"nodes": 2}, "compute.devices is 1"),
        (4, {"gpus": 2}, "gpus is 2, with 4 devices on each node"),
    ],
)
def test_devices_that_cannot_be_dealt_out_are_refused(devices: int, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        rendered(devices, **fields)
