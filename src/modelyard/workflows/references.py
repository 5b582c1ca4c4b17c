"""The texts that a dataset must not repeat, by the names that its configuration gives them."""

from collections.abc import Iterator, Mapping

from modelyard.core.digests import digest_json
from modelyard.core.errors import DataInvalid, NotFound
from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.files import read_tables
from modelyard.datasets.overlap.config import OverlapConfig
from modelyard.datasets.overlap.reference import Reference
from modelyard.datasets.preparation import Forbidden
from modelyard.datasets.schema import rows_of
from modelyard.datasets.shapes.detection import detect_shape
from modelyard.datasets.shapes.shaping import shape_rows
from modelyard.datasets.sources.finding import find_sources
from modelyard.datasets.sources.parsing import parse_block
from modelyard.datasets.sources.reader import SourceReader
from modelyard.datasets.splits import SPLITS
from modelyard.datasets.texts import Texts
from modelyard.evaluation.suite import Suite
from modelyard.ports.dataset import Dataset
from modelyard.workflows.folders import folder_of
from modelyard.workflows.tools import Tools

HELD_OUT = tuple(split for split in SPLITS if split != "train")
Suites = Mapping[str, Suite]
_Named = tuple[str, list[Texts]]


def forbidden_texts(tools: Tools, config: OverlapConfig, suites: Suites, splits: tuple[str, ...]) -> Forbidden:
    """The texts of suites (the split they measure on), of datasets (`splits` of them) and of files.

    Raises: NotFound for a name that is none of these.
    """
    found = [_texts(tools, name, suites, splits) for name in config.against]
    texts = Texts.concatenated([part for _, parts in found for part in parts] or [Texts.of([])])
    return Forbidden(
        reference=Reference.of(texts, ngram=config.ngram, threshold=config.threshold),
        digest=digest_json([digest for digest, _ in found]),
    )


def _texts(tools: Tools, name: str, suites: Suites, splits: tuple[str, ...]) -> _Named:
    if suite := suites.get(name):
        return _of_dataset(tools, tools.records.datasets.find(suite.dataset), (suite.split,))
    try:
        dataset = tools.records.datasets.find(name)
    except NotFound as error:
        if (tools.root / name).exists() or "://" in name:
            return _of_files(tools, name)
        raise NotFound(
            f"'{name}' is no suite, no prepared dataset and no file",
            expected=f"a suite ({', '.join(suites) or 'there is none'}), a dataset that was prepared, or a path",
            fix=f"prepare it first (`modelyard data prepare {name}`), or correct `against`",
        ) from error
    return _of_dataset(tools, dataset, splits)


def _of_dataset(tools: Tools, dataset: Dataset, splits: tuple[str, ...]) -> _Named:
    folder = folder_of(tools, dataset)
    texts = [rows_of(table).subjects() for split in splits for table in read_tables(folder, split)]
    return digest_json([dataset.digest, splits]), texts


def _of_files(tools: Tools, path: str) -> _Named:
    """Rows of any shape, or plain lines."""
    config = DatasetConfig(path=path)
    digests, texts = [], []
    for source in find_sources(config, tools.root):
        reader = SourceReader(source)
        texts += list(_of_source(reader, config))
        digests.append(reader.source().digest)
    return digest_json(digests), texts


def _of_source(reader: SourceReader, config: DatasetConfig) -> Iterator[Texts]:
    shape = None
    for block in reader:
        records = parse_block(block)
        if records.fields:
            shape = shape or detect_shape(records.fields[:100], config)
            yield shape_rows(records, shape, config).rows.subjects()
    if shape is None:
        raise DataInvalid("no row of it can be read", fix="mend the file, or take it out of `against`")
