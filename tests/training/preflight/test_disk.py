"""A disk that will be full is seen before training."""

import shutil
from collections import namedtuple

import pytest

from modelyard.training.preflight import Inspection
from modelyard.training.preflight.disk import has_room
from modelyard.training.sizes import num_trainable, read_sizes
from tests.training.conftest import make_examples
from tests.training.preflight.planted import RECIPE

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def inspection(base, chat, tmp_path):
    return Inspection(
        rows=chat.encode(make_examples(2)),
        chat=chat,
        recipe=RECIPE,
        sizes=read_sizes(base),
        checkpoints=tmp_path / "state" / "checkpoints" / "run",
        output=tmp_path / "out",
    )


def test_what_is_needed_is_told_by_the_byte(inspection, monkeypatch):
    learnt = num_trainable(RECIPE, inspection.sizes)
    needed = learnt * 16 * 3 + learnt * 4
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or Usage(1e12, 0, needed))
    assert has_room(inspection).passed
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1e12, 0, needed - 1))
    finding = has_room(inspection)
    assert finding.stops
    assert "MODELYARD_STATE" in finding.fix
    # Nothing is there yet: the nearest folder above is asked, once where both lie on one disk.
    assert asked == [inspection.output.parent]
