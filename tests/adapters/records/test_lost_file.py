"""A records file that is moved away is missed, not made anew; put back, it holds what it held."""

from pathlib import Path

import pytest

from modelyard.adapters.records.store import open_records
from modelyard.core.errors import Unavailable
from modelyard.ports.routes import Key


def test_no_empty_file_takes_the_place_of_a_lost_one(tmp_path: Path) -> None:
    folder, away = tmp_path / "a folder, 100% #1", tmp_path / "away"
    records = open_records(f"sqlite:///{folder / 'records.db'}")
    records.routes.add_key(Key(id="k", hash="h", tenant="t"))
    # Connections that are open still see the file: what is looked at is a new one.
    records.close()
    folder.rename(away)
    folder.mkdir()
    with pytest.raises(Unavailable, match="unable to open"):
        records.routes.keys()
    assert not list(folder.iterdir())
    folder.rmdir()
    away.rename(folder)
    assert [key.id for key in records.routes.keys()] == ["k"]  # noqa: SIM118 - no dict
    records.close()
