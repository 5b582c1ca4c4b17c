"""Raw files in, a recorded Dataset out."""

import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.errors import InvalidInput, NotFound
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.preparation import prepare, read_split
from modelyard.datasets.splits import SPLITS
from modelyard.ports.dataset import Dataset, Example
from modelyard.workflows.tools import Progress, Tools, silent


def prepare_dataset(tools: Tools, name: str, config: DatasetConfig, progress: Progress = silent) -> Dataset:
    """Prepare a dataset, store its files and record it.

    The same file and configuration under the same name give the record that is there already; files of it that were
    lost are put back.
    """

    def tell(step: str, done: int, total: int) -> None:
        progress(done, total, step)

    with tools.scratch() as folder:
        prepared = prepare(name, config, root=tools.root, out=folder, progress=tell)
        blob = tools.blobs.put_folder(folder)
    try:
        dataset = tools.records.datasets.get(prepared.digest)
    except NotFound:
        dataset = prepared.dataset(blob=blob, created_ms=now_ms())
    # Added again, it is the newest of its name once more.
    tools.records.datasets.add(msgspec.structs.replace(dataset, created_ms=now_ms()))
    return tools.records.datasets.get(prepared.digest)


def examples_of(tools: Tools, dataset: Dataset, split: str) -> list[Example]:
    """The rows of one split, checked against the digest they were stored under.

    Raises: InvalidInput where there is no such split; NotFound and Corrupt where its files were lost or damaged.
    """
    if split not in SPLITS:
        raise InvalidInput(f"'{split}' is no split of a dataset", expected=", ".join(SPLITS))
    try:
        folder = tools.blobs.get_folder(dataset.blob)
    except NotFound as error:
        raise NotFound(
            f"the files of the dataset {dataset.ref} are lost: {error.seen}",
            fix=f"`modelyard data prepare {dataset.name}` puts them back where the raw file is as it was",
        ) from error
    return read_split(folder, split)
