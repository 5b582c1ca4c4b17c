"""The second step: each row's fields put into the templates of prompt and answer."""

import polars as pl

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.outcome import Outcome, settle
from modelyard.datasets.raw_rows import RawRow
from modelyard.datasets.reading import Batch
from modelyard.datasets.template import FieldUnusable, Template, field_text, fill, parse_template

_SCHEMA = {
    "source": pl.String,
    "line": pl.Int64,
    "raw": pl.String,
    "id": pl.String,
    "prompt": pl.String,
    "answer": pl.String,
    "reason": pl.String,
}


def map_rows(batch: Batch, config: DatasetConfig) -> Outcome:
    """A frame of prompts and answers. Rejects a row that cannot fill a template, and names the field."""
    prompt, answer = parse_template(config.prompt), parse_template(config.answer)
    rows = [(batch.source, row.line, row.raw, *_map_row(row, prompt, answer, config.id)) for row in batch.rows]
    return settle(pl.DataFrame(rows, schema=_SCHEMA, orient="row"))


def _map_row(
    row: RawRow, prompt: Template, answer: Template, id_field: str | None
) -> tuple[str | None, str, str, str | None]:
    try:
        id = None if id_field is None else field_text(row.fields, id_field)
        return id, fill(prompt, row.fields), fill(answer, row.fields), None
    except FieldUnusable as error:
        return None, "", "", str(error)
