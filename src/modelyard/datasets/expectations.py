"""What a dataset must be before anything is trained on it."""

from typing import Annotated

from pydantic import Field, field_validator

from modelyard.datasets.section import Section
from modelyard.datasets.splits import SPLITS

Share = Annotated[float, Field(ge=0, le=1)]


class ExpectationsConfig(Section):
    """Bounds on a prepared dataset; each is checked where it is given."""

    min_rows: Annotated[
        dict[str, Annotated[int, Field(ge=1)]], Field(description="By split: the rows it has, at least.")
    ] = {}
    min_rows_per_label: Annotated[int | None, Field(ge=1, description="Training rows of each label, at least.")] = None
    labels: Annotated[
        tuple[str, ...] | None, Field(min_length=1, description="The labels that may occur, and must.")
    ] = None
    max_null_share: Annotated[
        dict[str, Share], Field(description="By field of the raw rows: the share that may be missing, null or empty.")
    ] = {}
    max_dropped_share: Annotated[Share | None, Field(description="Of the raw rows, over all steps.")] = None
    max_drift: Annotated[
        float | None, Field(gt=0, le=1, description="Against the previous version: total variation distance, 0 to 1.")
    ] = None

    @property
    def is_on(self) -> bool:
        """Whether anything is expected."""
        return self != ExpectationsConfig()

    @field_validator("min_rows")
    @classmethod
    def _check_splits(cls, bounds: dict[str, int]) -> dict[str, int]:
        unknown = sorted(set(bounds) - set(SPLITS))
        if unknown:
            raise ValueError(f"unknown split '{unknown[0]}', expected {', '.join(SPLITS)}")
        return bounds
