"""Weights & Biases offline, for real: what it would send later is read back from its run folder."""

import json
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard.core.digests import digest_text
from modelyard.core.errors import Unavailable

pytest.importorskip("wandb")

from modelyard.adapters.tracking.wandb import WandbTracker


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb"))
    return tmp_path


def records_of(folder: Path):
    """What lies in the run folders, oldest first."""
    from wandb.proto import wandb_internal_pb2

    found = []
    for path in sorted(folder.rglob("*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        for data in chunks_of(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            found.append(record)
    return found


def records_at_the_end(folder: Path, *, num_runs: int):
    """The records once so many runs have ended on the disk: W&B's service writes after `finish` has returned."""
    for _ in range(100):
        records = records_of(folder)
        if sum(record.HasField("exit") for record in records) == num_runs:
            return records
        time.sleep(0.1)
    raise AssertionError("the runs have no end")


def chunks_of(log: bytes):
    """The records of a LevelDB log: blocks of 32 KiB, pieces of checksum, length, kind (whole, first, middle, last)."""
    assert log[:4] == b":W&B"
    at, parts = 7, b""
    while at + 7 <= len(log):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", log, at)
        parts += log[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def test_a_run_and_its_release_are_told_whole(offline):
    adapter = offline / "adapter"
    adapter.mkdir()
    (adapter / "weights.bin").write_bytes(b"weights")
    tracker = WandbTracker("shop", offline / "state")
    tracking_id = tracker.start("run-1", "first", {"rank": 16}, {"owner": "kim"})
    for step in (1, 2):
        tracker.log_metrics(tracking_id, {"loss": 3.0 - step, "system/cpu_utilization_percentage": 50.0}, step)
    tracker.log_dataset(tracking_id, "support", digest_text("rows"), "raw.jsonl")
    tracker.log_folder(tracking_id, adapter, "adapter")
    tracker.finish(tracking_id)
    tracker.mirror_release("shop-support", tracking_id, adapter, "champion")

    records = records_at_the_end(offline / "state", num_runs=2)
    runs = [record.run for record in records if record.HasField("run")]
    assert [(run.display_name, run.project) for run in runs] == [("first", "shop"), ("shop-support champion", "shop")]
    assert (runs[0].run_id, runs[1].run_group, runs[1].job_type) == ("run-1", "run-1", "release")
    config = {item.key: json.loads(item.value_json) for run in runs for item in run.config.update}
    config |= {item.key: json.loads(item.value_json) for one in records for item in one.config.update}
    assert (config["rank"], config["owner"]) == (16, "kim")
    assert config["dataset"]["digest"] == digest_text("rows")
    history = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in one.history.item}
        for one in records
        if one.HasField("history")
    ]
    assert [(row["step"], row["loss"], row["system/cpu_utilization_percentage"]) for row in history] == [
        (1, 2.0, 50.0),
        (2, 1.0, 50.0),
    ]
    artifacts = [one.artifact for one in records if one.HasField("artifact")]
    assert {(one.name, one.type, frozenset(one.aliases)) for one in artifacts} == {
        ("adapter-run-1", "adapter", frozenset({"latest"})),
        ("shop-support", "release", frozenset({"champion", "latest"})),
    }


def test_without_a_key_it_is_away(offline, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(offline))
    code = (
        "import sys\nfrom pathlib import Path\nfrom modelyard.adapters.tracking.wandb import WandbTracker\n"
        "from modelyard.core.errors import Unavailable\n"
        "try:\n    WandbTracker('shop', Path(sys.argv[1])).start('run-1', 'first', {}, {})\n"
        "except Unavailable as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(offline)], capture_output=True, text=True, check=True)
    assert "WANDB_MODE=offline" in done.stdout


def test_errors_of_theirs_are_ours(offline):
    import wandb

    with pytest.raises(Unavailable, match="refused: no such project"), WandbTracker("shop", offline)._translated():
        raise wandb.errors.CommError("no such project")
