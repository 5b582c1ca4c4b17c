import shutil
import subprocess

import pytest

from modelyard.core.errors import NotFound, RecipeInvalid
from modelyard.training.hardware import describe_hardware
from modelyard.training.lineage import capture_lineage, describe_base, describe_checkout

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "kept.txt").write_text("one")
    (folder / ".gitignore").write_text("ignored.txt\n")
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "first")):
        subprocess.run([*GIT, "-C", str(folder), *command], check=True)
    return folder


def test_a_clean_checkout_has_a_commit_and_no_dirt(checkout):
    commit, dirt = describe_checkout(checkout)
    assert len(commit) == 40
    assert dirt == ""
    (checkout / "ignored.txt").write_text("x")
    assert describe_checkout(checkout) == (commit, "")


def test_every_kind_of_change_changes_the_digest(checkout):
    commit, clean = describe_checkout(checkout)
    seen = {clean}
    for name, text in (("kept.txt", "two"), ("new.txt", "a"), ("new.txt", "b"), ("kept.txt", "three")):
        (checkout / name).write_text(text)
        seen.add(describe_checkout(checkout)[1])
    assert len(seen) == 5
    assert describe_checkout(checkout)[0] == commit


def test_changes_outside_the_project_folder_count(checkout):
    (checkout / "project").mkdir()
    (checkout / "kept.txt").write_text("two")
    assert describe_checkout(checkout / "project") == describe_checkout(checkout)


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    assert describe_checkout(tmp_path) == ("", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_checkout(tmp_path) == ("", "")


def test_a_changed_template_is_another_base(base, tmp_path):
    before = describe_base(base)
    shutil.copytree(base, tmp_path / "tiny")
    assert describe_base(tmp_path / "tiny") == before
    with (tmp_path / "tiny" / "chat_template.jinja").open("a") as template:
        template.write("\n")
    after = describe_base(tmp_path / "tiny", "other")
    assert after.ref.name == "other"
    assert after.template_digest != before.template_digest
    assert after.ref.digest != before.ref.digest
    assert after.tokenizer_digest == before.tokenizer_digest


def test_incomplete_bases_are_refused(tmp_path):
    with pytest.raises(NotFound):
        describe_base(tmp_path / "nowhere")
    with pytest.raises(RecipeInvalid, match=r"has no tokenizer\.json"):
        describe_base(tmp_path)


def test_lineage_holds_the_environment_and_the_machine(base, checkout):
    seen = capture_lineage(checkout, dataset_digest="sha256:0", base=describe_base(base), seed=3)
    assert seen.environment["msgspec"]
    assert list(seen.environment) == sorted(seen.environment)
    assert seen.hardware["cores"] >= 1
    assert seen.hardware["memory_bytes"] > 0
    assert seen.seed == 3
    assert seen == capture_lineage(checkout, dataset_digest="sha256:0", base=describe_base(base), seed=3)


def test_hardware_without_a_gpu_tool(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_hardware()["gpus"] == []


def test_a_failing_gpu_tool_is_no_gpu(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nexit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_hardware()["gpus"] == []
    tool.write_text("#!/bin/sh\necho Some GPU\necho Some GPU\n")
    assert describe_hardware()["gpus"] == ["Some GPU", "Some GPU"]


def test_what_changes_no_answer_is_not_in_the_base(base, tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(base, folder)
    before = describe_base(folder)
    (folder / "README.md").write_text("words")
    (folder / "training_log.json").write_text("{}")
    assert describe_base(folder) == before
    for name in ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json"):
        with (folder / name).open("ab") as file:
            file.write(b" ")
        after = describe_base(folder)
        assert after.ref.digest != before.ref.digest
        before = after
