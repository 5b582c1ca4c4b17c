"""A finished Run in, a recorded Export out: merged into its base, or quantized by a tool of another environment."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.clock import monotonic_s, now_ms
from modelyard.core.digests import short
from modelyard.core.errors import Conflict, InvalidInput, JobFailed, ModelyardError, NotFound, Refused, error_from_dict
from modelyard.core.files import copy_folder_atomically
from modelyard.ports.dataset import Example, Message
from modelyard.ports.export import Export, digest_export
from modelyard.ports.exporter import Exporter, ExportSpec
from modelyard.ports.run import Run
from modelyard.training.defaults import LORA_METHODS
from modelyard.training.examples import write_examples
from modelyard.training.lineage import digest_base
from modelyard.training.recipe import Recipe
from modelyard.training.spec import ADAPTER, MODEL
from modelyard.workflows.datasets import examples_of
from modelyard.workflows.tools import Progress, Tools, silent

Exporters = Mapping[str, Exporter]
NUM_PROBES = 32
DEFAULT_ROWS = 256


def export_run(
    tools: Tools,
    exporters: Exporters,
    run: Run,
    format: str,
    *,
    quantization: str = "",
    rows: int | None = None,
    progress: Progress = silent,
) -> Export:
    """Export a run, or hand back the recorded export of the same inputs.

    What a quantization needs merged is merged first, as an export of its own. `rows` is how many rows of the train
    split a calibration looks at. Raises: InvalidInput, Refused, NotFound, Conflict, MissingEnvironment before anything
    is done; JobFailed where the export is not the model that its parent is.
    """
    exporter = _exporter(exporters, format)
    quantization = _quantization(exporter, quantization)
    _require_exportable(run, exporter)
    if exporter.format == "merged":
        return _make(tools, exporter, run, run.artifacts[ADAPTER], progress=progress)
    exporter.version()  # where the environment is missing, one should hear it before a long merge
    settings = _settings(exporter, run, rows)
    model = run.artifacts.get(MODEL) or export_run(tools, exporters, run, "merged", progress=progress).blob
    return _make(tools, exporter, run, model, quantization=quantization, settings=settings, progress=progress)


def copy_export(tools: Tools, export: Export, folder: Path) -> Path:
    """A copy of an export's files at a place of one's own. Raises: Conflict where something else lies there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(
            f"{folder} is there already", expected="a folder that is not there, or empty", fix="name another"
        )
    copy_folder_atomically(tools.blobs.get_folder(export.blob), folder)
    return folder


def _exporter(exporters: Exporters, format: str) -> Exporter:
    if format not in exporters:
        raise InvalidInput(f"'{format}' is no form to export as", expected=", ".join(exporters))
    return exporters[format]


def _quantization(exporter: Exporter, wanted: str) -> str:
    wanted, known = wanted.lower(), exporter.quantizations
    if wanted and wanted not in known:
        raise InvalidInput(
            f"the quantization '{wanted}' was asked for, as {exporter.format}",
            expected=f"one of {', '.join(known)}" if known else "none, as weights stay in bfloat16",
            fix="" if known else "export as gguf, awq or gptq",
        )
    return wanted or next(iter(known), "")


def _require_exportable(run: Run, exporter: Exporter) -> None:
    if run.state != "finished":
        raise Conflict(
            f"the run {run.id} is {run.state}", expected="a finished run", fix=f"modelyard run resume {run.id}"
        )
    method = Recipe.model_validate(run.recipe).method
    if MODEL in run.artifacts and exporter.format == "merged":
        raise Refused(
            f"the run {run.name} trained the whole model: there is no adapter to merge",
            expected="a run of an adapter",
            fix="export it as gguf, awq or gptq, which take the model as it is",
        )
    if MODEL not in run.artifacts and method not in LORA_METHODS:
        raise Refused(
            f"the run {run.name} trained by '{method}', which lives beside the weights and cannot be merged into them",
            expected=f"one of {', '.join(LORA_METHODS)}, or full",
            fix="serve the adapter on its base, or train with another method",
        )


def _settings(exporter: Exporter, run: Run, rows: int | None) -> dict[str, Any]:
    """What else decides the bytes."""
    if rows is not None and (rows < 1 or not exporter.calibrates):
        raise InvalidInput(
            f"{rows} rows for calibration were asked for, as {exporter.format}",
            expected="one or more" if exporter.calibrates else "none, as no row is looked at",
        )
    if not exporter.calibrates:
        return {"name": run.name}
    recipe = Recipe.model_validate(run.recipe)
    return {
        "method": exporter.format,
        "dataset": run.lineage.dataset_digest,
        "system_prompt": recipe.system_prompt,
        "rows": rows or DEFAULT_ROWS,
        "max_tokens": recipe.sequence_length,
        "seed": recipe.seed,
    }


def _make(
    tools: Tools,
    exporter: Exporter,
    run: Run,
    parent: str,
    *,
    quantization: str = "",
    settings: dict[str, Any] | None = None,
    progress: Progress,
) -> Export:
    inputs: dict[str, Any] = {
        "format": exporter.format,
        "quantization": quantization,
        "parent": parent,
        "base_digest": run.lineage.base_digest,
        "tool": exporter.tool,
        "tool_version": exporter.version(),
        "settings": settings or {},
    }
    if done := _recorded(tools, digest_export(**inputs)):
        return done
    with tools.scratch() as folder:
        began = monotonic_s()
        spec = _spec(tools, folder, exporter, run, parent, inputs)
        checks = _carry_out(tools, exporter, folder, spec, progress)
        blob = tools.blobs.put_folder(Path(spec.output))
        export = Export(
            **inputs,
            name="-".join(part for part in (run.name, exporter.format, quantization) if part),
            run_id=run.id,
            blob=blob,
            num_bytes=sum(path.stat().st_size for path in Path(spec.output).rglob("*") if path.is_file()),
            checks=checks,
            seconds=monotonic_s() - began,
            created_ms=now_ms(),
        )
    tools.records.exports.add(export)
    return tools.records.exports.get(export.digest)


def _recorded(tools: Tools, digest: str) -> Export | None:
    """The export of the same inputs, where its files are still there."""
    try:
        export = tools.records.exports.get(digest)
    except NotFound:
        return None
    return export if tools.blobs.exists(export.blob) else None


def _spec(
    tools: Tools, folder: Path, exporter: Exporter, run: Run, parent: str, inputs: Mapping[str, Any]
) -> ExportSpec:
    """The job, with the files that it reads and the empty folder that it fills."""
    dataset = tools.records.datasets.get(run.lineage.dataset_digest)
    prompt = Recipe.model_validate(run.recipe).system_prompt
    train = examples_of(tools, dataset, "train")
    held_out = examples_of(tools, dataset, "validation") or train
    write_examples(folder / "probes.jsonl", _prompted(held_out[:NUM_PROBES], prompt))
    settings = inputs["settings"]
    if exporter.calibrates:
        chosen = random.Random(settings["seed"]).sample(train, min(settings["rows"], len(train)))  # noqa: S311
        write_examples(folder / "calibration.jsonl", _prompted(chosen, prompt))
    (folder / "output").mkdir()
    is_merge = exporter.format == "merged"
    return ExportSpec(
        model=str(_base(tools, run) if is_merge else tools.blobs.get_folder(parent)),
        adapter=str(tools.blobs.get_folder(parent)) if is_merge else "",
        output=str(folder / "output"),
        probes=str(folder / "probes.jsonl"),
        calibration=str(folder / "calibration.jsonl") if exporter.calibrates else "",
        quantization=inputs["quantization"],
        settings=settings,
    )


def _prompted(examples: list[Example], prompt: str) -> list[Example]:
    """Conversations as the model met them: the system prompt first."""
    if not prompt:
        return examples
    system = Message(role="system", content=prompt)
    return [msgspec.structs.replace(one, messages=(system, *one.messages)) for one in examples]


def _base(tools: Tools, run: Run) -> Path:
    """The base's folder, which must be what the run was trained on. Raises: NotFound, Conflict."""
    name, digest = run.lineage.base_name, run.lineage.base_digest
    folder = tools.base_folder(name).resolve()
    if not folder.is_dir():
        raise NotFound(f"the base '{name}' is not here", expected=f"{folder}", fix="put the base back")
    if (found := digest_base(folder)) != digest:
        raise Conflict(
            f"the base in {folder} has changed: its digest is {short(found)}",
            expected=f"{short(digest)}, which the run {run.name} was trained on",
            fix="put the old base back, or train again",
        )
    return folder


def _carry_out(
    tools: Tools, exporter: Exporter, folder: Path, spec: ExportSpec, progress: Progress
) -> dict[str, float]:
    (folder / "spec.json").write_bytes(msgspec.json.encode(spec))
    checks: dict[str, float] = {}
    failure: list[ModelyardError] = []

    def hear(event: Mapping[str, Any]) -> None:
        if event.get("event") == "failed":
            failure.append(error_from_dict(event["error"]))
        if event.get("event") == "progress":
            progress(event["done"], event["total"], event["note"])
        if event.get("event") == "finished":
            checks.update(event["checks"])

    try:
        tools.compute.run(exporter.command(folder / "spec.json"), env={}, progress=hear)
    except JobFailed:
        if failure:
            raise failure[0] from None
        raise
    if not checks or not any(Path(spec.output).iterdir()):
        raise JobFailed(f"{exporter.tool} ended well and left nothing", expected="files, and what its checks found")
    return checks
