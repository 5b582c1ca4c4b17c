"""Exports on the command line with the real parts: trained, merged, converted, quantized, released, evaluated."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modelyard.app import open_app
from modelyard.settings import Settings
from modelyard.workflows.releases import release_of_run
from tests.cli.inside import inside
from tests.models import make_tiny_model

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = Path(os.environ.get("MODELYARD_ENVIRONMENTS") or ROOT)
PROJECT = """\
project: shop
datasets:
  messages: {{path: raw.jsonl, answer: "{{intent}}", near_duplicates: {{threshold: 1.0}}}}
recipes:
  standard: {{base: {base}, max_steps: {steps}, sequence_length: 128, threads: 1, learning_rate: 0.01}}
suites:
  held-out: {{dataset: messages}}
"""
LABELS = {"refund": "give the money back", "parcel": "where is my order", "login": "the code never arrives"}


class Shop:
    """A project folder and its command line."""

    def __init__(self, folder: Path, base: str, *, steps: int) -> None:
        self.folder = folder
        (folder / "modelyard.yaml").write_text(PROJECT.format(base=base, steps=steps))
        rows = [
            {"text": f"{LABELS[label]}, number {number}", "intent": label} for number in range(80) for label in LABELS
        ]
        (folder / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        self("data", "prepare", "messages")
        self("train", "standard", "messages")

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        done = inside(self.folder, *arguments, "--json", MODELYARD_ENVIRONMENTS=str(ENVIRONMENTS))
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)


@pytest.mark.long
def test_a_merged_model_is_released_and_evaluated_as_such(tmp_path: Path) -> None:
    shop = Shop(tmp_path, make_tiny_model(tmp_path / "tiny").name, steps=60)
    made = shop("export", "create", "standard", "--as", "merged", "--to", "out")
    assert (tmp_path / "out" / "model.safetensors").stat().st_size < made["num_bytes"]
    assert made["checks"]["logit_error"] < 0.05
    assert [one["ref"] for one in shop("export", "list")] == [made["ref"]]
    assert shop("export", "show", "standard-merged") == made
    merged = shop("export", "release", made["ref"], "support")
    report = shop("release", "evaluate", merged["ref"], "held-out")
    trained = exact_match_of_the_adapter(shop)
    assert report["metrics"]["exact_match"]["value"] == trained > 0.8


def exact_match_of_the_adapter(shop: Shop) -> float:
    """What the run's adapter on its base scores on the same suite, through the same engine."""
    with open_app(str(shop.folder / "modelyard.yaml"), Settings(tracking="none")) as app:
        release = release_of_run(app.tools, "apart", app.tools.records.runs.find("standard"))
    report = shop("release", "evaluate", release.ref, "held-out")
    return float(report["metrics"]["exact_match"]["value"])


@pytest.mark.exports
class TestWithTheToolsThemselves:
    """The shipped base, tuned a little, in every form."""

    @pytest.fixture(scope="class")
    def shop(self, tmp_path_factory: pytest.TempPathFactory) -> Shop:
        for name in (".venv-gguf", ".venv-quantize"):
            if not (ENVIRONMENTS / name / "installed.txt").is_file():
                pytest.skip(f"there is no {name}: make test-exports")
        return Shop(tmp_path_factory.mktemp("shop"), "dinghy-6m", steps=40)

    @pytest.mark.parametrize(
        ("quantization", "most_kl", "most_bytes"),
        [("f16", 1e-4, 13_000_000), ("q8_0", 0.01, 7_000_000), ("q4_k_m", 0.3, 5_000_000)],
    )
    def test_gguf(self, shop: Shop, quantization: str, most_kl: float, most_bytes: int) -> None:
        made = shop("export", "create", "standard", "--as", "gguf", "--quantization", quantization)
        assert made["checks"]["mean_kl"] < most_kl
        assert made["num_bytes"] < most_bytes
        assert made["parent"] == shop("export", "show", "standard-merged")["blob"]
        assert shop("export", "create", "standard", "--as", "gguf", "--quantization", quantization) == made

    def test_greedy_answers_of_llama_cpp_are_those_of_transformers(self, shop: Shop) -> None:
        gguf = shop("export", "create", "standard", "--as", "gguf", "--quantization", "f16", "--to", "gguf")
        shop("export", "copy", "standard-merged", "merged")
        code = (
            "import sys, torch\nfrom llama_cpp import Llama\n"
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
            "tokenizer = AutoTokenizer.from_pretrained('merged')\n"
            "model = AutoModelForCausalLM.from_pretrained('merged', dtype=torch.float32)\n"
            "llama = Llama('gguf/model.gguf', n_ctx=256, verbose=False)\n"
            "for text in sys.argv[1:]:\n"
            "    turns = [{'role': 'user', 'content': text}]\n"
            "    theirs = llama.create_chat_completion(turns, temperature=0.0, max_tokens=24)\n"
            "    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors='pt')\n"
            "    ours = model.generate(**ids, do_sample=False, max_new_tokens=24)[0, ids['input_ids'].shape[1]:]\n"
            "    mine = tokenizer.decode(ours, skip_special_tokens=True)\n"
            "    print(mine == theirs['choices'][0]['message']['content'])\n"
        )
        questions = ["give the money back, number 901", "where is my order, number 17", "Grüße, 42% naïve? 日本 🙂"]
        command = [str(ENVIRONMENTS / ".venv-gguf" / "bin" / "python"), "-c", code, *questions]
        done = subprocess.run(command, cwd=shop.folder, capture_output=True, text=True, check=False)
        assert done.stdout.split() == ["True"] * 3, done.stdout + done.stderr
        told = shop("release", "evaluate", shop("export", "release", gguf["ref"], "small")["ref"], "held-out", code=2)
        assert "packed as gguf" in told["error"]["seen"]

    @pytest.mark.parametrize(("format", "most_kl"), [("awq", 0.3), ("gptq", 0.3)])
    def test_four_bits(self, shop: Shop, format: str, most_kl: float) -> None:
        made = shop("export", "create", "standard", "--as", format, "--rows", "32", "--to", format)
        assert made["checks"]["mean_kl"] < most_kl
        config = json.loads((shop.folder / format / "config.json").read_bytes())["quantization_config"]
        weights = config["config_groups"]["group_0"]["weights"]
        assert (weights["num_bits"], weights["symmetric"]) == (4, format == "gptq")
        assert config["ignore"] == ["lm_head"]
        told = shop("release", "evaluate", shop("export", "release", made["ref"], "small")["ref"], "held-out", code=2)
        assert "packed as compressed-tensors" in told["error"]["seen"]
