"""An adapter merged into its base: the same answers, the same bytes each time, and a refusal where it would not be."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from modelyard.core.digests import digest_folder
from modelyard.core.errors import JobFailed, MissingExtra, RecipeInvalid
from modelyard.ports.exporter import ExportSpec
from modelyard.training.examples import write_examples
from modelyard.training.exports import MergedExporter
from modelyard.training.exports.merged import compare, merge, require_faithful
from modelyard.training.lineage import describe_base
from tests.models import make_random_adapter, make_tiny_model
from tests.training.conftest import make_examples


def silent(_: object) -> None: ...


@pytest.fixture(scope="module")
def spec(base: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportSpec:
    folder = tmp_path_factory.mktemp("merge")
    write_examples(folder / "probes.jsonl", make_examples(6))
    adapter = make_random_adapter(base, folder / "adapter", 1)
    return ExportSpec(
        model=str(base), adapter=str(adapter), output=str(folder / "merged"), probes=str(folder / "probes.jsonl")
    )


@pytest.fixture(scope="module")
def merged(spec: ExportSpec) -> tuple[Path, dict[str, float], list[int]]:
    """The folder, its checks, and the progress that was told."""
    seen: list[int] = []
    checks = merge(spec, lambda event: seen.append(event["done"]))
    return Path(spec.output), checks, seen


def again(spec: ExportSpec, name: str, **fields: object) -> ExportSpec:
    return msgspec.structs.replace(spec, output=str(Path(spec.output).parent / name), **fields)


def test_it_is_a_whole_model_in_bfloat16_that_tokenizes_as_its_base(
    merged: tuple[Path, dict[str, float], list[int]], base: Path
) -> None:
    folder, checks, seen = merged
    assert 0 < checks["logit_error"] < 0.03
    assert checks["effect_error"] < 0.1
    assert checks["probes"] == 6
    assert seen == [0, 1, 2, 3, 4]
    assert {weight.dtype for weight in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    assert not list(folder.glob("adapter*"))
    made, given = describe_base(folder), describe_base(base)
    assert made.ref.digest != given.ref.digest
    assert (made.tokenizer_digest, made.template_digest) == (given.tokenizer_digest, given.template_digest)


def test_the_same_inputs_give_the_same_bytes(
    spec: ExportSpec, merged: tuple[Path, dict[str, float], list[int]]
) -> None:
    merge(again(spec, "twice"), silent)
    assert digest_folder(Path(again(spec, "twice").output)) == digest_folder(merged[0])


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"use_rslora": True, "target_modules": ["q_proj"]}])
def test_every_kind_of_lora_is_merged(
    spec: ExportSpec, base: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    adapter = make_random_adapter(base, tmp_path / "adapter", 2, **settings)
    checks = merge(msgspec.structs.replace(spec, adapter=str(adapter), output=str(tmp_path / "out")), silent)
    assert checks["effect_error"] < 0.1


def test_an_adapter_of_another_base_is_refused(spec: ExportSpec, tmp_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other", hidden_size=32)
    with pytest.raises(RecipeInvalid, match="does not fit"):
        merge(again(spec, "other", model=str(other)), silent)


def test_weights_that_are_no_numbers_are_refused(spec: ExportSpec, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in Path(spec.adapter).iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    weights = load_file(broken / "adapter_model.safetensors")
    name = next(name for name in weights if "lora_B" in name)
    weights[name][0, 0] = float("nan")
    save_file(weights, broken / "adapter_model.safetensors")
    with pytest.raises(JobFailed, match="cannot be merged"):
        merge(again(spec, "broken", adapter=str(broken)), silent)


def test_an_adapter_too_small_for_bfloat16_is_not_passed_off_as_merged(spec: ExportSpec, tmp_path: Path) -> None:
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    for path in Path(spec.adapter).iterdir():
        (tiny / path.name).write_bytes(path.read_bytes())
    weights = load_file(tiny / "adapter_model.safetensors")
    save_file(
        {name: weight * 1e-4 if "lora_B" in name else weight for name, weight in weights.items()},
        tiny / "adapter_model.safetensors",
    )
    with pytest.raises(JobFailed, match="effect_error"):
        merge(again(spec, "tiny", adapter=str(tiny)), silent)


def test_another_model_than_the_trained_one_is_told_by_its_logits() -> None:
    torch.manual_seed(1)
    plain, apart, other = ([torch.randn(5, 9) for _ in range(2)] for _ in range(3))
    assert compare(apart, apart, plain)["logit_error"] == 0.0
    require_faithful(compare(apart, apart, plain))
    for wrong in (other, plain, [one * float("nan") for one in apart]):
        with pytest.raises(JobFailed, match="logit_error"):
            require_faithful(compare(wrong, apart, plain))


def test_merged_it_answers_as_adapter_and_base_do_in_plain_transformers(
    spec: ExportSpec, merged: tuple[Path, dict[str, float], list[int]], base: Path
) -> None:
    from peft import PeftModel

    ids = torch.tensor([[1, 4, 80, 81, 82, 2, 5]])
    alone = AutoModelForCausalLM.from_pretrained(merged[0], dtype=torch.float32)
    apart = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), spec.adapter)
    with torch.no_grad():
        mine, theirs = alone(ids).logits, apart.eval()(ids).logits
    assert float((mine - theirs).square().mean().sqrt()) < 0.05 * float(theirs.std())


@pytest.mark.slow
def test_the_process_speaks_json_alone(spec: ExportSpec, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "spec.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(spec, output=str(out))))
    command = MergedExporter().command(tmp_path / "spec.json")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["checks"]["logit_error"] < 0.03
    assert (out / "model.safetensors").is_file()


def test_a_spec_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modelyard.training.exports.worker", str(tmp_path / "none.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is not an export spec" in json.loads(done.stdout)["error"]["seen"]


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(MissingExtra, match=r"peft|torch"):
        MergedExporter().version()
