"""The expectations of the project file: what may stand there."""

import pytest
from pydantic import ValidationError

from modelyard.datasets.expectations import ExpectationsConfig


def test_nothing_is_expected_by_default() -> None:
    assert not ExpectationsConfig().is_on
    assert ExpectationsConfig(max_drift=0.1).is_on


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"min_rows": {"dev": 3}}, "unknown split 'dev', expected train, validation, test"),
        ({"min_rows": {"train": 0}}, "greater than or equal to 1"),
        ({"max_null_share": {"text": 1.2}}, "less than or equal to 1"),
        ({"max_drift": 1.5}, "less than or equal to 1"),
        ({"labels": []}, "at least 1 item"),
        ({"min_row": {"train": 3}}, "not permitted"),
    ],
)
def test_bounds_that_cannot_be_meant_are_refused(told: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ExpectationsConfig.model_validate(told)
