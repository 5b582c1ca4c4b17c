"""Report: the result of evaluating a release on a suite."""

import msgspec


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A number with its 95% confidence interval and the rows behind it."""

    value: float
    low: float
    high: float
    num_rows: int


class RowResult(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a report: what was asked, expected and answered. `score` lies in [0, 1]."""

    example_id: str
    prompt: str
    expected: str
    answer: str
    score: float
    latency_ms: float
    error: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The record of an evaluation. The rows lie in the blob `rows` as JSON lines of `RowResult`.

    `slices` maps a slice name (`expected=refund_status`) to its metric.
    """

    id: str
    release: str
    suite: str
    suite_digest: str
    dataset_digest: str
    split: str
    engine: str
    created_ms: int
    metrics: dict[str, Metric]
    slices: dict[str, Metric] = {}
    rows: str
    seconds: float
