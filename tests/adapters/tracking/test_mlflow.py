import subprocess
import sys

import pytest

from modelyard.core.digests import digest_text
from modelyard.core.errors import Unavailable

pytest.importorskip("mlflow")

from modelyard.adapters.tracking.mlflow import MlflowTracker


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def tracker(place):
    return MlflowTracker(f"sqlite:///{place}/state/mlflow.db", "demo", place / "artifacts")


@pytest.fixture
def client(tracker):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracker.uri, tracker.uri)


@pytest.fixture
def adapter(tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"weights")
    return folder


def test_a_run_is_told_whole(tracker, client, place, adapter):
    digest = digest_text("rows")
    tracking_id = tracker.start("run-1", "first", {"rank": 16, "prompt": "x" * 9000}, {"owner": "kim"})
    for step in range(3):
        tracker.log_metrics(tracking_id, {"loss": 3.0 - step}, step)
    tracker.log_dataset(tracking_id, "support", digest, "raw.jsonl")
    tracker.log_folder(tracking_id, adapter, "adapter")
    tracker.finish(tracking_id)

    run = client.get_run(tracking_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first"
    assert run.data.params["rank"] == "16"
    assert run.data.tags["owner"] == "kim"
    assert run.data.tags["modelyard.dataset_digest"] == digest
    assert [point.value for point in client.get_metric_history(tracking_id, "loss")] == [3.0, 2.0, 1.0]
    assert digest.removeprefix("sha256:").startswith(run.inputs.dataset_inputs[0].dataset.digest)
    assert [file.path for file in client.list_artifacts(tracking_id, "adapter")] == ["adapter/weights.bin"]
    assert len(list((place / "artifacts").rglob("weights.bin"))) == 1


def test_an_interrupted_run_is_taken_up_again(tracker, client):
    first = tracker.start("run-2", "interrupted", {"rank": 8}, {})
    tracker.finish(first, failed=True)
    assert client.get_run(first).info.status == "FAILED"
    again = MlflowTracker(tracker.uri, "demo").start("run-2", "interrupted", {"rank": 8}, {})
    assert again == first
    assert client.get_run(first).info.status == "RUNNING"
    assert tracker.start("run-3", "another", {}, {}) != first


def test_aliases_move_and_versions_are_made_once(tracker, client, adapter, tmp_path):
    tracking_id = tracker.start("run-4", "released", {}, {})
    tracker.mirror_release("support", tracking_id, adapter, "challenger")
    tracker.mirror_release("support", tracking_id, adapter, "champion")
    assert client.get_model_version_by_alias("support", "champion").version == 1
    other = tmp_path / "other"
    other.mkdir()
    (other / "weights.bin").write_bytes(b"other weights")
    tracker.mirror_release("support", "", other, "champion")
    champion = client.get_model_version_by_alias("support", "champion")
    assert champion.version == 2
    assert champion.source == other.as_uri()
    assert client.get_model_version_by_alias("support", "challenger").version == 1


def test_a_store_that_refuses_is_unavailable(tracker):
    with pytest.raises(Unavailable, match="MLflow at sqlite"):
        tracker.log_metrics("no-such-run", {"loss": 1.0}, 0)


def test_making_a_tracker_loads_nothing():
    code = (
        "import sys; from modelyard.adapters.tracking.mlflow import MlflowTracker;"
        "MlflowTracker('sqlite:///nowhere/m.db', 'demo'); sys.exit('mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("secret", ["hunter2", "p@ss/word", "a:b"])
def test_no_password_is_told(tracker, secret):
    from mlflow.exceptions import MlflowException

    uri = f"http://kim:{secret}@tracker.example.org:5000/mlflow"
    guarded = MlflowTracker(uri, "demo")
    with pytest.raises(Unavailable) as told, guarded._translated():
        raise MlflowException(f"API request to {uri}/api/2.0 failed with {uri}")
    assert secret not in str(told.value)
    assert "kim" not in str(told.value)
    assert told.value.seen == (
        "MLflow at http://tracker.example.org:5000/mlflow refused: API request to "
        "http://tracker.example.org:5000/mlflow/api/2.0 failed with http://tracker.example.org:5000/mlflow"
    )


def test_an_error_without_words_is_told(tracker):
    from mlflow.exceptions import MlflowException

    with pytest.raises(Unavailable, match="refused: MlflowException"), tracker._translated():
        raise MlflowException("")
