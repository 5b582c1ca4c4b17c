"""The suite's checks on the samples of engines that cannot run here: the same code reads every engine's shapes."""

import pytest

from modelyard.adapters.engines.conformance import check_engine
from modelyard.ports.sheets import SHEETS
from tests.engines.recorded import FOLDER, replaying

KINDS = sorted(kind for kind, sheet in SHEETS.items() if not sheet.live)
READ = ("models", "chat", "stream", "usage in streams")


def test_every_kind_that_is_not_run_has_samples() -> None:
    assert sorted(path.name for path in FOLDER.iterdir() if (path / "chat.json").is_file()) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_the_samples_pass_the_checks_that_apply(kind: str) -> None:
    with replaying(kind) as (url, _):
        findings = {finding.name: finding for finding in check_engine(url, kind, api_key="secret")}
    names = [*READ, *(["health"] if SHEETS[kind].health else []), *(["metrics"] if SHEETS[kind].metrics else [])]
    names += [path for path in ("bad-model", "messages") if (FOLDER / kind / f"{path}.json").is_file()]
    for name in (name.replace("-", " ") for name in names):
        assert findings[name].works, findings[name]


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_goes_where_the_sheet_says(kind: str) -> None:
    with replaying(kind) as (url, seen):
        check_engine(url, kind, api_key="secret")
    sheet = SHEETS[kind]
    assert all(headers["authorization"] == "Bearer secret" for headers in seen)
    assert sheet.auth == "bearer" or all(headers[sheet.auth] == "secret" for headers in seen)
    assert all(headers[name] == value for headers in seen for name, value in sheet.headers)


def test_an_engine_that_does_otherwise_differs() -> None:
    with replaying("triton") as (url, _):
        differing = {finding.name for finding in check_engine(url, "triton") if finding.differs}
    assert {"completions", "embeddings"} & differing == {"completions"}
    assert "one token" in differing, "the samples always end by stop"
