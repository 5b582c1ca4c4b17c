"""The loop on real data: 10,003 customer questions of a bank, 77 intents (Casanueva et al. 2020, CC BY 4.0)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "banking77" / "train.csv"
STEPS = "300"

pytestmark = [
    pytest.mark.banking77,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not DATA.is_file(), reason=f"the data set is not there: {DATA.relative_to(ROOT.parent)}"),
]


def test_lora_on_the_shipped_base_learns_real_questions(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "modelyard", "demo", "--json", "--port", "0", "--folder", str(tmp_path / "demo")]
    own = ["--data", str(DATA), "--prompt", "{text}", "--answer", "{category}", "--steps", STEPS]
    done = subprocess.run([*command, *own], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    shown = ("majority_exact_match", "base_exact_match", "first_exact_match", "adapter_exact_match", "bad_exact_match",
             "train_seconds", "rollback_seconds", "rollback_requests", "failed_requests", "peak_memory_mb")  # fmt: skip
    with capfd.disabled():
        print("\n" + "\n".join(f"  {name:<22}{report[name]:.4g}" for name in shown))
    assert report["base_exact_match"] < 0.30
    assert report["adapter_exact_match"] >= 0.80
    assert report["adapter_exact_match"] > 10 * report["majority_exact_match"]
    assert report["promoted"]
    assert report["bad_release_blocked"]
    assert report["rolled_back"]
    assert report["failed_requests"] == 0
