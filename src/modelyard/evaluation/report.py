"""Reports made from evaluations, and their rows as bytes for the blob store."""

from collections.abc import Sequence

import msgspec

from modelyard.core.clock import now_ms
from modelyard.core.ids import new_id
from modelyard.evaluation.evaluation import Evaluation
from modelyard.evaluation.suite import Suite
from modelyard.ports.release import Release
from modelyard.ports.report import Report, RowResult

_encoder = msgspec.json.Encoder()


def rows_jsonl(rows: Sequence[RowResult]) -> bytes:
    """One JSON object a line."""
    return _encoder.encode_lines(rows)


def build_report(
    evaluation: Evaluation,
    *,
    release: Release,
    suite_name: str,
    suite: Suite,
    dataset_digest: str,
    engine_name: str,
    rows_digest: str,
) -> Report:
    """The record of an evaluation. `rows_digest` is the digest of the stored `rows_jsonl`."""
    return Report(
        id=new_id(),
        release=release.digest,
        suite=suite_name,
        suite_digest=suite.digest,
        dataset_digest=dataset_digest,
        split=suite.split,
        engine=engine_name,
        created_ms=now_ms(),
        metrics=evaluation.metrics,
        slices=evaluation.slices,
        rows=rows_digest,
        seconds=evaluation.seconds,
    )
