"""A training job for a cluster: manifests, and the rows that belong on its volume."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from modelyard.core.digests import digest_json, short
from modelyard.core.files import folder_atomically
from modelyard.ports.dataset import Dataset
from modelyard.training.examples import write_examples
from modelyard.training.kubeflow import VOLUME, KubernetesConfig, manifests
from modelyard.training.lineage import describe_base
from modelyard.training.recipe import Recipe
from modelyard.training.scale import require_shareable
from modelyard.training.spec import TrainingSpec
from modelyard.workflows.datasets import examples_of
from modelyard.workflows.expectations import demand_expectations
from modelyard.workflows.tools import Tools
from modelyard.workflows.watching import TrainingTerms

DATA = "data"


def render_kubeflow(
    tools: Tools, name: str, recipe: Recipe, dataset: Dataset, terms: TrainingTerms, config: KubernetesConfig, to: Path
) -> dict[str, str]:
    """Write the manifests into a folder, and under `data` what must lie on the volume; return what lies where.

    Raises: RecipeInvalid, DataInvalid, InvalidInput before anything is written.
    """
    require_shareable(recipe, terms.devices, terms.sharding)
    demand_expectations(tools, dataset)
    folder = tools.base_folder(recipe.base)
    base = describe_base(folder, Path(recipe.base).name)
    digest = digest_json([recipe.digest, dataset.digest, base.ref.digest])
    job = f"train-{_plain(name)}-{short(digest)}"
    place = f"{VOLUME}/{job}"
    spec = TrainingSpec(
        recipe=recipe.model_dump(mode="json"),
        base_folder=f"{VOLUME}/bases/{base.ref.name}",
        train=f"{place}/train",
        validation=f"{place}/validation",
        output=f"{place}/output",
        engine=terms.engine,
        checkpoints=f"{place}/checkpoints",
        identity={"dataset": dataset.digest, "base": base.ref.digest},
        sharding=terms.sharding,
    )
    found = manifests(job, spec, config, terms.devices)
    with folder_atomically(to) as scratch:
        for file, manifest in found.items():
            _write(scratch / file, manifest)
        for split in ("train", "validation"):
            (scratch / DATA / job).mkdir(parents=True, exist_ok=True)
            write_examples(scratch / DATA / job / split, examples_of(tools, dataset, split))
    return {"job": job, "folder": str(to), "volume": VOLUME, "base": str(folder), "base_at": spec.base_folder}


def _plain(name: str) -> str:
    """A name as Kubernetes takes it within another: its own must not be longer than 63 characters."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:40].strip("-")


def _write(path: Path, manifest: dict[str, Any]) -> None:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 10_000
    with path.open("w") as file:
        yaml.dump(manifest, file)
