"""Tools in environments of their own: found upwards, told in words where they are not there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.adapters.exporters.gguf import QUANTIZATIONS, GgufExporter
from modelyard.adapters.exporters.quantized import quantized_exporters
from modelyard.core.errors import MissingEnvironment
from modelyard.ports.exporter import Exporter

INSIDE = Path(sys.modules["modelyard.adapters.exporters"].__path__[0]) / "inside"
ROOT = Path(__file__).parents[3]


def make_environment(folder: Path, package: str, *, is_whole: bool = True) -> Path:
    installed = folder / "lib" / "python3.11" / "site-packages" / f"{package}.dist-info"
    installed.mkdir(parents=True)
    if is_whole:
        (folder / "installed.txt").write_text("all of it")
    return folder


def exporters(*places: Path) -> list[Exporter]:
    return [GgufExporter(places), *quantized_exporters(places)]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_without_its_environment_one_is_told_which_script_makes_it(tmp_path: Path, number: int) -> None:
    make_environment(tmp_path / ".venv-gguf", "llama_cpp_python-0.3.36", is_whole=False)
    exporter = exporters(tmp_path)[number]
    with pytest.raises(MissingEnvironment) as missing:
        exporter.version()
    script = missing.value.fix.split()[1]
    assert (ROOT / script).is_file()
    assert f"environment={missing.value.expected.split()[-7].rstrip(',')}" in (ROOT / script).read_text()
    with pytest.raises(MissingEnvironment):
        exporter.command(tmp_path / "spec.json")


def test_the_nearest_environment_is_taken_with_its_version(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path
    make_environment(far / ".venv-gguf", "llama_cpp_python-0.3.30")
    make_environment(far / ".venv-quantize", "llmcompressor-0.14.0.1")
    assert [one.version() for one in exporters(near, far)] == ["llama-cpp-python 0.3.30", "0.14.0.1", "0.14.0.1"]
    make_environment(near / ".venv-gguf", "llama_cpp_python-0.3.36")
    exporter = exporters(near, far)[0]
    assert exporter.version() == "llama-cpp-python 0.3.36"
    interpreter, *_, script, spec = exporter.command(tmp_path / "spec.json")
    assert interpreter == str(near / ".venv-gguf" / "bin" / "python")
    assert Path(script).is_file()
    assert spec == str(tmp_path / "spec.json")


def test_the_default_quantizations_are_sound_ones() -> None:
    assert [one.quantizations[0] for one in exporters()] == ["q8_0", "w4a16_asym", "w4a16"]
    assert len(set(QUANTIZATIONS)) == len(QUANTIZATIONS)


def ask(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code as our scripts are run: with their own folder on the path, and without Modelyard."""
    script = f"import sys\nsys.path.insert(0, {str(INSIDE)!r})\nsys.modules['modelyard'] = None\n{code}"
    command = [sys.executable, "-E", "-s", "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("cutter", "said"),
    [
        ({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}, "gpt-2"),
        (
            {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Digits", "individual_digits": True},
                    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True},
                ],
            },
            "smollm",
        ),
        ({"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}, ""),
        ({"type": "Digits", "individual_digits": True}, ""),
        ({"type": "Whitespace"}, ""),
        (None, ""),
    ],
)
def test_a_tokenizer_is_named_by_its_very_rules_or_refused(tmp_path: Path, cutter: object, said: str) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"normalizer": None, "pre_tokenizer": cutter}))
    code = (
        "from pathlib import Path\nimport convert_gguf, probing\n"
        "try:\n    print(convert_gguf._by_its_parts(Path(sys.argv[1])))\n"
        "except probing.Failed as error:\n    print(error.told['fix'])\n"
    )
    done = ask(code, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (
        said or "use a base whose tokenizer llama.cpp knows, or export as merged and serve that"
    )


def test_a_normalizer_is_a_rule_too(tmp_path: Path) -> None:
    cutter = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"normalizer": {"type": "NFC"}, "pre_tokenizer": cutter}))
    code = "from pathlib import Path\nimport convert_gguf\nconvert_gguf._by_its_parts(Path(sys.argv[1]))"
    assert "does not know how this tokenizer cuts words" in ask(code, str(tmp_path)).stderr


def test_events_go_out_alone_whatever_libraries_print(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text("{}")
    code = (
        "import os, probing\n"
        "def work(spec):\n"
        "    print('chatter')\n    os.write(1, b'from C\\n')\n    spec['progress'](1, 2, 'half')\n"
        "    if len(sys.argv) > 2:\n        raise probing.Failed('job_failed', 'seen', 'expected', 'fix')\n"
        "    return {'mean_kl': 0.5}\n"
        "sys.exit(probing.run(work))"
    )
    done = ask(code, str(tmp_path / "spec.json"))
    assert done.returncode == 0
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"event": "progress", "done": 1, "total": 2, "note": "half"},
        {"event": "finished", "checks": {"mean_kl": 0.5}},
    ]
    failed = ask(code, str(tmp_path / "spec.json"), "fail")
    assert failed.returncode == 8
    told = json.loads(failed.stdout.splitlines()[-1])["error"]
    assert told == {"code": "job_failed", "seen": "seen", "expected": "expected", "fix": "fix"}


def test_another_model_is_told_by_its_next_tokens() -> None:
    code = (
        "import torch, probing\ntorch.manual_seed(1)\n"
        "one, other = [torch.randn(5, 9) * 4], [torch.randn(5, 9) * 4]\n"
        "same = probing.compare(one, one)\nassert same['mean_kl'] == 0 and same['top1_agreement'] == 1, same\n"
        "probing.require_close(same, 0.05)\n"
        "for wrong in (other, [one[0] * float('nan')]):\n"
        "    try:\n        probing.require_close(probing.compare(one, wrong), 1.0)\n"
        "    except probing.Failed as error:\n        print(error.told['seen'])\n"
    )
    done = ask(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("answers otherwise than its parent") == 2
