"""A training job as manifests of Kubeflow Trainer v2: a volume claim, a ConfigMap with the spec, a TrainJob.

Knows nothing about a cluster: manifests are written, and a person applies them. The runtime gives each process its
place by the environment variables of torchrun.
"""

from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from modelyard.core.errors import InvalidInput
from modelyard.training.spec import TrainingSpec

# As Kubernetes writes amounts: 4, 500m, 16Gi.
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|[KMGTPE]i?)?$"
_NAME = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
VOLUME = "/modelyard"
_SPEC_FOLDER, _SPEC_FILE = "/etc/modelyard", "spec.json"
# The names that the runtimes of Kubeflow Trainer give to the job that trains, and to its container.
_NODE = "node"
# To end a step and write a checkpoint, when the system takes the host away.
_GRACE_S = 120

Manifest = dict[str, Any]


class KubernetesConfig(BaseModel):
    """Where a training job runs, and on what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str = Field(min_length=1, description="An image that holds modelyard[training].")
    claim: str = Field(
        "modelyard", pattern=_NAME, description="The volume claim for data, base, checkpoints and output."
    )
    storage: str = Field("50Gi", pattern=_QUANTITY, description="How large that volume is.")
    namespace: str = Field("default", pattern=_NAME)
    runtime: str = Field("torch-distributed", pattern=_NAME, description="The ClusterTrainingRuntime to build on.")
    nodes: int = Field(1, ge=1, le=1024, description="Hosts; each runs an equal share of `devices`.")
    cpu: str = Field("4", pattern=_QUANTITY, description="Of each host.")
    memory: str = Field("16Gi", pattern=_QUANTITY, description="Of each host.")
    gpus: int = Field(0, ge=0, description="NVIDIA GPUs of each host, one a device; 0 trains on CPUs.")


def manifests(name: str, spec: TrainingSpec, config: KubernetesConfig, devices: int) -> dict[str, Manifest]:
    """The manifests by the names of their files. The paths of the spec lie on the volume.

    Raises: InvalidInput where the devices cannot be dealt out to the hosts.
    """
    per_node = _per_node(config, devices)
    about = {"name": name, "namespace": config.namespace, "labels": {"app.kubernetes.io/managed-by": "modelyard"}}
    return {
        "claim.yaml": _claim(config),
        "spec.yaml": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": about,
            "immutable": True,
            "data": {_SPEC_FILE: msgspec.json.encode(spec).decode()},
        },
        "trainjob.yaml": {
            "apiVersion": "trainer.kubeflow.org/v1alpha1",
            "kind": "TrainJob",
            "metadata": about,
            "spec": {
                "runtimeRef": {
                    "apiGroup": "trainer.kubeflow.org",
                    "kind": "ClusterTrainingRuntime",
                    "name": config.runtime,
                },
                "trainer": _trainer(config, per_node),
                "runtimePatches": [_volumes(name, config)],
            },
        },
    }


def _per_node(config: KubernetesConfig, devices: int) -> int:
    per_node, left = divmod(devices, config.nodes)
    if left or not per_node:
        raise InvalidInput(
            f"compute.devices is {devices}, which does not divide over {config.nodes} nodes",
            expected="the same number of devices on each node",
            fix=f"set compute.devices to a multiple of {config.nodes}, or compute.kubernetes.nodes to 1",
        )
    if config.gpus not in (0, per_node):
        raise InvalidInput(
            f"compute.kubernetes.gpus is {config.gpus}, with {per_node} devices on each node",
            expected="a GPU for each device",
            fix=f"set compute.kubernetes.gpus to {per_node}, or to 0 for CPUs",
        )
    return per_node


def _claim(config: KubernetesConfig) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": config.claim, "namespace": config.namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce" if config.nodes == 1 else "ReadWriteMany"],
            "resources": {"requests": {"storage": config.storage}},
        },
    }


def _trainer(config: KubernetesConfig, per_node: int) -> Manifest:
    resources = {"cpu": config.cpu, "memory": config.memory}
    if config.gpus:
        resources["nvidia.com/gpu"] = str(config.gpus)
    worker = ["python", "-m", "torch.distributed.run", "-m", "modelyard.training.worker"]
    return {
        "image": config.image,
        "command": [*worker, f"{_SPEC_FOLDER}/{_SPEC_FILE}"],
        "env": [{"name": "TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "value": str(_GRACE_S)}],
        "numNodes": config.nodes,
        "numProcPerNode": per_node,
        "resourcesPerNode": {"requests": resources, "limits": resources},
    }


def _volumes(name: str, config: KubernetesConfig) -> Manifest:
    """What the TrainJob adds to the pods of its runtime."""
    pod = {
        "terminationGracePeriodSeconds": _GRACE_S,
        "volumes": [
            {"name": "yard", "persistentVolumeClaim": {"claimName": config.claim}},
            {"name": "spec", "configMap": {"name": name}},
        ],
        "containers": [
            {
                "name": _NODE,
                "volumeMounts": [
                    {"name": "yard", "mountPath": VOLUME},
                    {"name": "spec", "mountPath": _SPEC_FOLDER, "readOnly": True},
                ],
            }
        ],
    }
    job = {"name": _NODE, "template": {"spec": {"template": {"spec": pod}}}}
    return {
        "manager": "modelyard.dev/render",
        "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}},
    }
