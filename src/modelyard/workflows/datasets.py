"""Raw files in, a recorded Dataset out."""

from modelyard.core.clock import now_ms
from modelyard.core.errors import NotFound
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.preparation import prepare, read_split
from modelyard.ports.dataset import Dataset, Example
from modelyard.workflows.tools import Progress, Tools, silent


def prepare_dataset(tools: Tools, name: str, config: DatasetConfig, progress: Progress = silent) -> Dataset:
    """Prepare a dataset, store its files and record it. The same rows give the record that is there already."""

    def tell(step: str, done: int, total: int) -> None:
        progress(done, total, step)

    with tools.scratch() as folder:
        prepared = prepare(name, config, root=tools.root, out=folder, progress=tell)
        try:
            return tools.records.datasets.get(prepared.digest)
        except NotFound:
            blob = tools.blobs.put_folder(folder)
    dataset = prepared.dataset(blob=blob, created_ms=now_ms())
    tools.records.datasets.add(dataset)
    return dataset


def examples_of(tools: Tools, dataset: Dataset, split: str) -> list[Example]:
    """The rows of one split, checked against the digest they were stored under."""
    return read_split(tools.blobs.get_folder(dataset.blob), split)
