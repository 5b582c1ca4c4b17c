"""A release is loaded on the base that it was made for, and on no other."""

import asyncio
import os
import time

import msgspec
import pytest

from modelyard.core.errors import Conflict
from modelyard.ports.release import ModelRef, Release
from modelyard.project.model import Project
from modelyard.training.lineage import digest_base
from modelyard.workflows.engines import load_release
from modelyard.workflows.tools import Tools
from tests.workflows.stand_ins import ScriptedEngine, make_base
from tests.workflows.yard import make_release


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(lambda model, question: "")


@pytest.fixture
def release(tools: Tools, project: Project) -> Release:
    (tools.root / "adapter").mkdir()
    (tools.root / "adapter" / "weights").write_text("weights")
    digest = digest_base(make_base(tools.root / "base"))
    base = ModelRef(name="base", digest=digest)
    made = make_release(tools, project, "made")
    return msgspec.structs.replace(made, base=base, adapter=tools.blobs.put_folder(tools.root / "adapter"))


def test_a_changed_base_is_refused(tools: Tools, release: Release, engine: ScriptedEngine) -> None:
    asyncio.run(load_release(tools, engine, release))
    make_base(tools.root / "base", weights="WEIGHTS")
    with pytest.raises(Conflict, match="has changed") as refusal:
        asyncio.run(load_release(tools, engine, release))
    assert release.ref in refusal.value.expected
    assert "modelyard tune" in refusal.value.fix
    assert engine.loaded == [release.engine_model]
    make_base(tools.root / "base")
    asyncio.run(load_release(tools, engine, release))


def test_the_bare_base_is_compared_too(tools: Tools, release: Release, engine: ScriptedEngine) -> None:
    make_base(tools.root / "base", weights="WEIGHTS")
    with pytest.raises(Conflict, match="has changed"):
        asyncio.run(load_release(tools, engine, msgspec.structs.replace(release, adapter="")))


def test_a_new_card_beside_the_base_changes_nothing(tools: Tools, release: Release, engine: ScriptedEngine) -> None:
    (tools.root / "base" / "README.md").write_text("better words")
    (tools.root / "base" / "training_log.json").write_text("{}")
    asyncio.run(load_release(tools, engine, release))


def test_a_base_that_lies_elsewhere_cannot_be_compared(tools: Tools, release: Release, engine: ScriptedEngine) -> None:
    elsewhere = msgspec.structs.replace(release, base=ModelRef(name="elsewhere", digest="sha256:1"))
    asyncio.run(load_release(tools, engine, elsewhere))
    assert engine.loaded == [elsewhere.engine_model]


def test_weights_are_read_once(tools: Tools, release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    import modelyard.training.lineage as lineage

    read: list[str] = []
    digest_file = lineage.digest_file
    monkeypatch.setattr(lineage, "digest_file", lambda path: (read.append(path.name), digest_file(path))[1])
    folder = make_base(tools.root / "fresh")
    digests = {digest_base(folder) for _ in range(3)}
    assert len(digests) == 1
    assert read.count("model.safetensors") == 1
    os.utime(folder / "model.safetensors", (time.time() + 5, time.time() + 5))
    assert {digest_base(folder)} == digests
    assert read.count("model.safetensors") == 2
