"""Reports and quarantines read back, whole or damaged."""

from pathlib import Path

import pytest

from modelyard.core.errors import Corrupt, NotFound
from modelyard.datasets.ledger import quarantine_line
from modelyard.datasets.outcome import Rejection
from modelyard.datasets.report.expecting import version_before
from modelyard.datasets.report.reading import read_quarantine, read_report
from modelyard.ports.dataset import Dataset
from tests.datasets.report.made import Made, report_of, write_dataset


def test_the_report_reads_back_as_it_was_built(tmp_path: Path) -> None:
    rows = {"train": [Made("a question", "x", label="é")]}
    assert read_report(write_dataset(tmp_path / "made", rows)) == report_of(rows)


def test_rejected_rows_read_back_by_step(tmp_path: Path) -> None:
    lost = [Rejection(source="a.csv", line=n, reason="empty prompt", raw=f"row {n}\n") for n in range(4)]
    lines = [quarantine_line("length" if n % 2 else "mapping", one) for n, one in enumerate(lost)]
    (tmp_path / "quarantine.jsonl").write_bytes(b"".join(lines))
    assert [row["line"] for row in read_quarantine(tmp_path)] == [0, 1, 2, 3]
    assert list(read_quarantine(tmp_path, "length")) == [
        {"source": "a.csv", "line": n, "step": "length", "reason": "empty prompt", "raw": f"row {n}\n"} for n in (1, 3)
    ]


def test_a_damaged_or_missing_quarantine_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no quarantine\.jsonl"):
        next(read_quarantine(tmp_path))
    (tmp_path / "quarantine.jsonl").write_bytes(b'{"line": 1}\n{"line": \n')
    with pytest.raises(Corrupt, match="line 2 of quarantine"):
        list(read_quarantine(tmp_path))


def test_the_version_before_is_the_one_behind() -> None:
    made = [
        Dataset(name="a", digest=digest, created_ms=9 - n, blob="", rows={}, sources=(), config={})
        for n, digest in enumerate(("newest", "older", "oldest"))
    ]
    assert version_before(made[0], made) is made[1]
    assert version_before(made[2], made) is None
    assert version_before(made[0], made[1:]) is made[1]
