"""Datasets as they are recorded: what is another one, and what is put back."""

import shutil

import pytest

from modelyard.core.errors import Corrupt, InvalidInput, NotFound
from modelyard.datasets.config import DatasetConfig
from modelyard.ports.dataset import Dataset
from modelyard.workflows.datasets import examples_of, prepare_dataset
from modelyard.workflows.tools import Tools
from tests.workflows.stand_ins import make_rows

CONFIG = DatasetConfig(path="raw.jsonl", answer="{intent}")


@pytest.fixture
def dataset(tools: Tools) -> Dataset:
    make_rows(tools.root / "raw.jsonl")
    return prepare_dataset(tools, "messages", CONFIG)


def test_the_same_again_is_the_same_dataset(tools: Tools, dataset: Dataset) -> None:
    assert prepare_dataset(tools, "messages", CONFIG) == dataset
    assert prepare_dataset(tools, "messages", CONFIG.model_copy(update={"path": "./raw.jsonl"})) == dataset
    absolute = CONFIG.model_copy(update={"path": str(tools.root / "raw.jsonl")})
    assert prepare_dataset(tools, "messages", absolute) == dataset
    assert tools.records.datasets.newest() == [dataset]


def test_the_same_rows_under_another_name_are_found_by_that_name(tools: Tools, dataset: Dataset) -> None:
    other = prepare_dataset(tools, "others", CONFIG)
    assert tools.records.datasets.find("others") == other
    assert tools.records.datasets.find("messages") == dataset


def test_the_same_rows_from_another_file_keep_that_file(tools: Tools, dataset: Dataset) -> None:
    with (tools.root / "raw.jsonl").open("a") as file:
        file.write("not a row\n")
    other = prepare_dataset(tools, "messages", CONFIG)
    assert other.rows == dataset.rows
    assert other.sources != dataset.sources
    assert tools.records.datasets.get(other.digest).sources == other.sources
    assert tools.records.datasets.find("messages") == other


def test_the_same_rows_by_another_configuration_are_another_dataset(tools: Tools, dataset: Dataset) -> None:
    other = prepare_dataset(tools, "messages", CONFIG.model_copy(update={"max_chars": 1999}))
    assert other.rows == dataset.rows
    assert other.digest != dataset.digest
    assert tools.records.datasets.get(other.digest).config["max_chars"] == 1999


def test_a_configuration_taken_back_gives_the_newest_again(tools: Tools, dataset: Dataset) -> None:
    prepare_dataset(tools, "messages", CONFIG.model_copy(update={"max_chars": 1999}))
    assert prepare_dataset(tools, "messages", CONFIG) == dataset
    assert tools.records.datasets.find("messages") == dataset


def lose_files(tools: Tools) -> None:
    shutil.rmtree(tools.state / "blobs")
    shutil.rmtree(tools.state / "cache", ignore_errors=True)


def test_lost_files_are_told_and_put_back(tools: Tools, dataset: Dataset) -> None:
    rows = examples_of(tools, dataset, "train")
    lose_files(tools)
    with pytest.raises(NotFound, match="are lost") as lost:
        examples_of(tools, dataset, "train")
    assert "modelyard data prepare messages" in lost.value.fix
    assert prepare_dataset(tools, "messages", CONFIG) == dataset
    assert examples_of(tools, dataset, "train") == rows


def test_damaged_files_are_told(tools: Tools, dataset: Dataset) -> None:
    for file in (tools.state / "blobs").rglob("*"):
        if file.is_file():
            file.chmod(0o600)
            file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(Corrupt):
        examples_of(tools, dataset, "train")


def test_a_split_that_is_none_is_wrong_input(tools: Tools, dataset: Dataset) -> None:
    with pytest.raises(InvalidInput, match="'nonsense' is no split") as refusal:
        examples_of(tools, dataset, "nonsense")
    assert refusal.value.expected == "train, validation, test"
