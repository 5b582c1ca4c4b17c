"""The files of a recorded dataset."""

from pathlib import Path

from modelyard.core.errors import NotFound
from modelyard.ports.dataset import Dataset
from modelyard.workflows.tools import Tools


def folder_of(tools: Tools, dataset: Dataset) -> Path:
    """The files of a dataset, checked against the digest they were stored under: do not write there.

    {split}-{part}.parquet, report.json, quarantine.jsonl. Raises: NotFound and Corrupt where they were lost or damaged.
    """
    try:
        return tools.blobs.get_folder(dataset.blob)
    except NotFound as error:
        raise NotFound(
            f"the files of the dataset {dataset.ref} are lost: {error.seen}",
            fix=f"`modelyard data prepare {dataset.name}` puts them back where the raw files are as they were",
        ) from error
