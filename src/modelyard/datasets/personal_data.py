"""The sixth step: personal data in prompts and answers masked, or its rows dropped, or merely counted."""

from collections import Counter

import polars as pl

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.outcome import Outcome, settle
from modelyard.datasets.personal_patterns import LABELS, Span, find_personal_data, mask, may_hold_personal_data

_COLUMNS = ("prompt", "answer", "id")
_RowSpans = tuple[list[Span], list[Span], list[Span]]


def handle_personal_data(frame: pl.DataFrame, config: DatasetConfig) -> Outcome:
    """Does what `config.personal_data` says and reports occurrences by kind.

    A given id that is an e-mail address goes; the row is then named by its content. Other kinds are not looked for in
    ids, which are numbers as often as not.
    """
    spans = _spans_by_row(frame)
    findings = dict(Counter(kind for found in spans.values() for part in found for _, _, kind in part))
    if config.personal_data == "keep":
        return Outcome(kept=frame, rejected=frame.clear(), findings=findings)
    if config.personal_data == "drop":
        reasons = [_reason(spans[index]) if index in spans else None for index in range(frame.height)]
        return settle(frame.with_columns(pl.Series("reason", reasons, dtype=pl.String)), findings=findings)
    return Outcome(kept=_masked(frame, spans), rejected=frame.clear(), changed=len(spans), findings=findings)


def mask_raw(raw: str) -> str:
    """A raw line for the quarantine, with its personal data masked whatever the dataset does with its own."""
    # In a raw JSON line `\n` stands for a line feed; seen as letters it would hide the number that follows.
    view = raw
    for escape in ("\\n", "\\r", "\\t"):
        view = view.replace(escape, "  ")
    return mask(raw, find_personal_data(view))


def _spans_by_row(frame: pl.DataFrame) -> dict[int, _RowSpans]:
    suspects = pl.any_horizontal(may_hold_personal_data(pl.col(name)) for name in _COLUMNS)
    spans: dict[int, _RowSpans] = {}
    for index, prompt, answer, id in frame.select(*_COLUMNS).with_row_index("index").filter(suspects).iter_rows():
        in_id = [span for span in find_personal_data(id or "") if span[2] == "email"]
        found = (find_personal_data(prompt), find_personal_data(answer), in_id)
        if any(found):
            spans[index] = found
    return spans


def _masked(frame: pl.DataFrame, spans: dict[int, _RowSpans]) -> pl.DataFrame:
    prompts, answers, ids = (frame[name].to_list() for name in _COLUMNS)
    for index, (in_prompt, in_answer, in_id) in spans.items():
        prompts[index] = mask(prompts[index], in_prompt)
        answers[index] = mask(answers[index], in_answer)
        ids[index] = None if in_id else ids[index]
    columns = zip(_COLUMNS, (prompts, answers, ids), strict=True)
    return frame.with_columns(pl.Series(name, values, dtype=pl.String) for name, values in columns)


def _reason(found: _RowSpans) -> str:
    kinds = sorted({LABELS[kind] for part in found for _, _, kind in part})
    return f"personal data: {', '.join(kinds)}"
