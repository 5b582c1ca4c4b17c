"""`modelyard keys` on a real project folder."""

import json
from pathlib import Path

import pytest

from tests.cli.inside import inside

PROJECT = """\
project: shop
hosted:
  embeddings: {url: "http://127.0.0.1:1", model: embed, price: {}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "modelyard.yaml").write_text(PROJECT)
    return tmp_path


def test_a_key_is_made_rotated_and_listed_with_its_rights(folder: Path) -> None:
    flags = ("--scope", "embeddings", "--service", "embeddings", "--rpm", "60", "--daily-usd", "2.50", "--days", "9")
    made = json.loads(inside(folder, "keys", "create", "acme", *flags, "--json").stdout)
    assert (made["scopes"], made["services"], made["requests_per_minute"]) == (["embeddings"], ["embeddings"], 60)
    assert made["daily_nanousd"] == 2_500_000_000
    new = json.loads(inside(folder, "keys", "rotate", made["id"], "--grace-hours", "1", "--json").stdout)
    assert new["key"] != made["key"]
    assert new["replaces"] == made["id"]
    listed = inside(folder, "keys", "list", "--json").stdout
    assert {one["id"]: one["daily_nanousd"] for one in json.loads(listed)} == {
        made["id"]: 2_500_000_000,
        new["id"]: 2_500_000_000,
    }
    assert new["key"] not in listed
    again = inside(folder, "keys", "rotate", made["id"])
    assert again.returncode != 0
    assert f"rotate key {new['id']}" in again.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--service", "nobody"), "no entry 'nobody' under 'services'"),
        (("--scope", "talk"), "there is no scope 'talk'"),
        (("--daily-usd", "5,50"), "'5,50' is no amount of dollars"),
    ],
)
def test_a_right_that_means_nothing_is_refused(folder: Path, flags: tuple[str, ...], said: str) -> None:
    done = inside(folder, "keys", "create", "acme", *flags)
    assert done.returncode != 0
    assert said in done.stderr
