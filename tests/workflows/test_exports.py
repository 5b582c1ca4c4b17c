"""Exports: what may be exported, what is recorded, and that the same export is made once."""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from modelyard.adapters.compute.local import LocalCompute
from modelyard.core.errors import Conflict, InvalidInput, JobFailed, MissingEnvironment, Refused
from modelyard.ports.dataset import Dataset
from modelyard.ports.export import Format
from modelyard.ports.exporter import Exporter
from modelyard.ports.run import Run
from modelyard.project.model import Project
from modelyard.training.recipe import Recipe
from modelyard.workflows.datasets import prepare_dataset
from modelyard.workflows.exports import copy_export, export_run
from modelyard.workflows.releases import release_of_export
from modelyard.workflows.runs import train_run
from modelyard.workflows.tools import Tools
from tests.workflows.stand_ins import TERMS, Workshop, make_base, make_rows

SCRIPT = """\
import json, pathlib, sys
spec = json.load(open(sys.argv[1]))
output = pathlib.Path(spec["output"])
rows = [json.loads(line) for line in open(spec["calibration"])] if spec["calibration"] else []
probes = [json.loads(line) for line in open(spec["probes"])]
tell = lambda **event: print(json.dumps(event), flush=True)
tell(event="progress", done=1, total=2, note="at it")
if spec["settings"].get("system_prompt") == "fail":
    tell(event="failed", error={"code": "job_failed", "seen": "no such layer", "expected": "one", "fix": "add it"})
    sys.exit(8)
for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
    (output / name).write_bytes((pathlib.Path(spec["model"]) / name).read_bytes())
told = {name: spec[name] for name in ("quantization", "settings")} | {"rows": rows}
told["parent"] = sorted(path.name for path in pathlib.Path(spec["adapter"] or spec["model"]).iterdir())
(output / "model.safetensors").write_text(json.dumps(told))
tell(event="finished", checks={"probes": len(probes)})
"""


class Tool:
    """A tool that writes down what it was given, in a process of its own."""

    tool = "writer"

    def __init__(self, format: Format, quantizations: tuple[str, ...] = (), *, calibrates: bool = False) -> None:
        self.format, self.quantizations, self.calibrates = format, quantizations, calibrates
        self.num_jobs, self.installed = 0, "1.0"

    def version(self) -> str:
        if not self.installed:
            raise MissingEnvironment(self.tool, ".venv-writer", "scripts/writer_env.sh")
        return self.installed

    def command(self, spec: Path) -> Sequence[str]:
        self.num_jobs += 1
        return [sys.executable, "-c", SCRIPT, str(spec)]


@pytest.fixture
def tools_of() -> dict[str, Tool]:
    return {
        "merged": Tool("merged"),
        "gguf": Tool("gguf", ("q8_0", "q4_k_m")),
        "awq": Tool("awq", ("w4a16",), calibrates=True),
    }


@pytest.fixture
def exporters(tools_of: dict[str, Tool]) -> dict[str, Exporter]:
    return dict(tools_of)


@pytest.fixture
def yard(tools: Tools) -> Tools:
    make_base(tools.root / "base")
    make_rows(tools.root / "raw.jsonl")
    return tools


@pytest.fixture
def dataset(yard: Tools, project: Project) -> Dataset:
    return prepare_dataset(yard, "messages", project.datasets["messages"])


@pytest.fixture
def train(yard: Tools, dataset: Dataset) -> Callable[..., Run]:
    def made(run_id: str = "run-1", **fields: object) -> Run:
        recipe = Recipe.model_validate({"base": "base", **fields})
        workshop = dataclasses.replace(yard, compute=Workshop())
        return train_run(workshop, run_id, "standard", recipe, dataset, TERMS)

    return made


def given(yard: Tools, blob: str) -> dict[str, object]:
    told: dict[str, object] = json.loads((yard.blobs.get_folder(blob) / "model.safetensors").read_text())
    return told


def test_an_export_is_recorded_with_its_parent_and_made_once(
    yard: Tools, train: Callable[..., Run], tools_of: dict[str, Tool], exporters: dict[str, Exporter]
) -> None:
    run, seen = train(), []
    made = export_run(yard, exporters, run, "merged", progress=lambda *told: seen.append(told))
    assert (made.name, made.run_id, made.parent) == ("standard-merged", "run-1", run.artifacts["adapter"])
    assert (made.tool, made.tool_version, made.base_digest) == ("writer", "1.0", run.lineage.base_digest)
    assert made.checks["probes"] > 0
    assert made.num_bytes > 0
    assert seen == [(1, 2, "at it")]
    assert given(yard, made.blob)["parent"] == ["weights"]
    assert export_run(yard, exporters, run, "merged") == made
    assert tools_of["merged"].num_jobs == 1
    assert yard.records.exports.newest() == [made]
    assert not list((yard.state / "scratch").iterdir())


def test_the_same_weights_of_another_run_are_the_same_export(
    yard: Tools, train: Callable[..., Run], tools_of: dict[str, Tool], exporters: dict[str, Exporter]
) -> None:
    first = export_run(yard, exporters, train(), "merged")
    assert export_run(yard, exporters, train("run-2"), "merged") == first
    tools_of["merged"].installed = "1.1"
    assert export_run(yard, exporters, train("run-2"), "merged").digest != first.digest


def test_files_that_were_lost_are_made_again(
    yard: Tools, train: Callable[..., Run], tools_of: dict[str, Tool], exporters: dict[str, Exporter]
) -> None:
    made = export_run(yard, exporters, train(), "merged")
    name = made.blob.removeprefix("sha256:")
    (lost,) = [path for path in (yard.state / "blobs").rglob(f"*{name[4:]}*") if path.is_file()]
    lost.chmod(0o600)
    lost.unlink()
    assert export_run(yard, exporters, train(), "merged") == made
    assert (tools_of["merged"].num_jobs, yard.blobs.exists(made.blob)) == (2, True)


def test_a_quantization_is_made_of_the_merged_model(
    yard: Tools, train: Callable[..., Run], tools_of: dict[str, Tool], exporters: dict[str, Exporter]
) -> None:
    run = train()
    small = export_run(yard, exporters, run, "gguf", quantization="Q4_K_M")
    whole = export_run(yard, exporters, run, "gguf")
    merged = export_run(yard, exporters, run, "merged")
    assert (small.name, whole.name) == ("standard-gguf-q4_k_m", "standard-gguf-q8_0")
    assert {small.parent, whole.parent} == {merged.blob}
    assert tools_of["merged"].num_jobs == 1
    assert "model.safetensors" in given(yard, small.blob)["parent"]  # type: ignore[operator]


def test_calibration_takes_seeded_rows_of_the_train_split_with_the_prompt(
    yard: Tools, train: Callable[..., Run], exporters: dict[str, Exporter], dataset: Dataset
) -> None:
    run = train(system_prompt="Be short.", seed=3)
    one = export_run(yard, exporters, run, "awq", rows=5)
    two = export_run(yard, exporters, run, "awq", rows=6)
    first, second = (given(yard, export.blob)["rows"] for export in (one, two))
    assert (len(first), len(second)) == (5, 6)  # type: ignore[arg-type]
    assert [turn["role"] for turn in first[0]["messages"]] == ["system", "user", "assistant"]  # type: ignore[index]
    assert one.settings == {
        "method": "awq",
        "dataset": dataset.digest,
        "system_prompt": "Be short.",
        "rows": 5,
        "max_tokens": 512,
        "seed": 3,
    }
    assert one.digest != two.digest


def test_a_whole_model_needs_no_merge_and_takes_none(
    yard: Tools, train: Callable[..., Run], tools_of: dict[str, Tool], exporters: dict[str, Exporter]
) -> None:
    model = yard.blobs.put_folder(make_base(yard.root / "tuned", weights="tuned"))
    run = msgspec.structs.replace(train(method="full"), artifacts={"model": model})
    with pytest.raises(Refused, match="no adapter to merge"):
        export_run(yard, exporters, run, "merged")
    assert export_run(yard, exporters, run, "gguf").parent == model
    assert tools_of["merged"].num_jobs == 0


@pytest.mark.parametrize(
    ("fields", "options", "error", "said"),
    [
        ({}, {"format": "onnx"}, InvalidInput, "'onnx' is no form to export as"),
        ({}, {"format": "gguf", "quantization": "q9"}, InvalidInput, "'q9' was asked for"),
        ({}, {"format": "merged", "quantization": "q8_0"}, InvalidInput, "weights stay in bfloat16"),
        ({}, {"format": "gguf", "rows": 5}, InvalidInput, "no row is looked at"),
        ({}, {"format": "awq", "rows": 0}, InvalidInput, "one or more"),
        ({"method": "prefix"}, {"format": "merged"}, Refused, "cannot be merged"),
        ({"method": "prefix"}, {"format": "gguf"}, Refused, "cannot be merged"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_anything_is_done(
    yard: Tools,
    train: Callable[..., Run],
    tools_of: dict[str, Tool],
    exporters: dict[str, Exporter],
    fields: dict[str, object],
    options: dict[str, object],
    error: type[Exception],
    said: str,
) -> None:
    with pytest.raises(error) as refused:
        export_run(yard, exporters, train(**fields), **options)  # type: ignore[arg-type]
    assert said in str(refused.value)
    assert sum(one.num_jobs for one in tools_of.values()) == 0


def test_a_run_that_has_not_finished_is_refused(
    yard: Tools, train: Callable[..., Run], exporters: dict[str, Exporter]
) -> None:
    with pytest.raises(Conflict, match="is failed"):
        export_run(yard, exporters, msgspec.structs.replace(train(), state="failed"), "merged")


def test_a_missing_environment_is_told_before_the_merge(
    yard: Tools, train: Callable[..., Run], tools_of: dict[str, Tool], exporters: dict[str, Exporter]
) -> None:
    tools_of["gguf"].installed = ""
    with pytest.raises(MissingEnvironment, match=r"writer is not installed") as missing:
        export_run(yard, exporters, train(), "gguf")
    assert "bash scripts/writer_env.sh" in missing.value.fix
    assert tools_of["merged"].num_jobs == 0


def test_a_base_that_has_changed_is_refused(
    yard: Tools, train: Callable[..., Run], exporters: dict[str, Exporter]
) -> None:
    run = train()
    make_base(yard.root / "base", weights="others")
    with pytest.raises(Conflict, match="has changed"):
        export_run(yard, exporters, run, "merged")


def test_a_tool_that_fails_leaves_nothing_and_its_reason(
    yard: Tools, train: Callable[..., Run], exporters: dict[str, Exporter]
) -> None:
    with pytest.raises(JobFailed, match="no such layer") as failed:
        export_run(yard, exporters, train(system_prompt="fail"), "awq")
    assert failed.value.fix == "add it"
    assert [one.format for one in yard.records.exports.newest()] == ["merged"]
    assert not list((yard.state / "scratch").iterdir())


def test_files_are_copied_where_nothing_lies(
    yard: Tools, train: Callable[..., Run], exporters: dict[str, Exporter]
) -> None:
    made = export_run(yard, exporters, train(), "merged")
    folder = copy_export(yard, made, yard.root / "out" / "model")
    kept = yard.blobs.get_folder(made.blob)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in kept.iterdir()
    }
    (folder / "config.json").write_text("mine to change")
    with pytest.raises(Conflict, match="is there already"):
        copy_export(yard, made, folder)
    assert (folder / "config.json").read_text() == "mine to change"


def test_a_release_of_an_export_stands_on_these_very_files(
    yard: Tools, train: Callable[..., Run], exporters: dict[str, Exporter]
) -> None:
    run = train(system_prompt="Be short.")
    made = export_run(yard, exporters, run, "gguf")
    release = release_of_export(yard, "support", made)
    assert (release.base.name, release.adapter, release.quantization) == (made.ref, "", "gguf-q8_0")
    assert (release.engine_model, release.system_prompt, release.run_id) == (made.ref, "Be short.", "run-1")
    assert release.tokenizer_digest == run.lineage.tokenizer_digest
    assert release.template_digest == run.lineage.template_digest
    assert yard.records.releases.stage(release.digest) == "draft"
    assert yard.base_folder(made.ref) == yard.blobs.get_folder(made.blob)
    assert release_of_export(yard, "support", made) == release
    assert isinstance(yard.compute, LocalCompute)
