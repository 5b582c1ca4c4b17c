"""Raw rows or production interactions in, a recorded Dataset out."""

import shutil
from pathlib import Path

import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.errors import DataInvalid, InvalidInput, NotFound
from modelyard.datasets.collection.stream import Collected
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.files import read_split
from modelyard.datasets.preparation import Inputs, prepare
from modelyard.datasets.splits import SPLITS
from modelyard.ports.dataset import Dataset, Example
from modelyard.workflows.collection import Collection
from modelyard.workflows.folders import folder_of
from modelyard.workflows.references import HELD_OUT, Suites, forbidden_texts
from modelyard.workflows.tools import Progress, Tools, silent


def prepare_dataset(
    tools: Tools, name: str, config: DatasetConfig, progress: Progress = silent, *, suites: Suites | None = None
) -> Dataset:
    """Prepare a dataset, store its files and record it.

    The same rows and configuration under the same name give the record that is there already; files of it that were
    lost are put back. Where the preparation fails, the rows it rejected are kept; the error says where. `suites` are
    those that `decontaminate` may name. Rows from production are those of the window as it is now; the record names it
    by its moments, so a window that moves gives another dataset each time.
    """

    def tell(step: str, done: int, total: int) -> None:
        progress(done, total, step)

    with tools.scratch() as folder:
        out = folder / "dataset"
        out.mkdir()
        config, collected = _collect(tools, config, progress)
        inputs = _inputs(tools, config, suites or {}, collected)
        try:
            prepared = prepare(
                name, config, root=tools.root, out=out, workers=tools.workers, inputs=inputs, progress=tell
            )
        except DataInvalid as error:
            raise _with_quarantine(error, out, tools.state / "quarantine" / f"{name}.jsonl") from error
        blob = tools.blobs.put_folder(out)
    try:
        dataset = tools.records.datasets.get(prepared.digest)
    except NotFound:
        dataset = prepared.dataset(blob=blob, created_ms=now_ms())
    # Added again, it is the newest of its name once more.
    tools.records.datasets.add(msgspec.structs.replace(dataset, created_ms=now_ms()))
    return tools.records.datasets.get(prepared.digest)


def examples_of(tools: Tools, dataset: Dataset, split: str) -> list[Example]:
    """The rows of one split. Raises: InvalidInput where there is no such split; see `folder_of`."""
    if split not in SPLITS:
        raise InvalidInput(f"'{split}' is no split of a dataset", expected=", ".join(SPLITS))
    return read_split(folder_of(tools, dataset), split)


def _collect(tools: Tools, config: DatasetConfig, progress: Progress) -> tuple[DatasetConfig, Collected | None]:
    """The configuration with the window as it is meant now, and its rows."""
    if config.collect is None:
        return config, None
    collection = Collection(tools.records, config.collect)
    return config.model_copy(update={"collect": collection.config}), collection.collected(progress)


def _inputs(tools: Tools, config: DatasetConfig, suites: Suites, collected: Collected | None) -> Inputs:
    """What the preparation takes besides its files. Of other datasets a suite's texts are those that are held out."""
    suite, known = config.decontaminate, config.exclude
    return Inputs(
        suites=forbidden_texts(tools, suite, suites, HELD_OUT) if suite else None,
        known=forbidden_texts(tools, known, suites, SPLITS) if known else None,
        collected=collected,
    )


def _with_quarantine(error: DataInvalid, out: Path, kept: Path) -> DataInvalid:
    """The error with a word on the rows that were rejected, which are kept outside the scratch folder."""
    rejected = out / "quarantine.jsonl"
    if not rejected.is_file() or not rejected.stat().st_size:
        return error
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(rejected, kept)
    return DataInvalid(
        error.seen, expected=error.expected, fix=f"{error.fix}\nEvery rejected row, with its reason: {kept}"
    )
