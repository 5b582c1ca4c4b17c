"""Suite: which rows a release is measured on, and how an answer is scored."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from modelyard.core.digests import digest_json


class Suite(BaseModel):
    """A measurement. It names its dataset; the rows are handed over with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = Field(min_length=1, description="The dataset: its name (the newest) or name@digest.")
    split: Literal["train", "validation", "test"] = Field("test", description="Which split is measured on.")
    metric: Literal["exact_match"] = Field("exact_match", description="How an answer is scored.")
    fold_case: bool = Field(False, description="Whether upper and lower case count as the same.")
    max_rows: int | None = Field(None, ge=1, description="Measure on the first rows only. Default: all.")
    concurrency: int = Field(16, ge=1, le=1024, description="Requests to the engine at once.")
    max_tokens: int | None = Field(
        None, ge=1, description="Cut answers off sooner than the release does. Default: as the release does."
    )

    @property
    def digest(self) -> str:
        """The address: the digest over every field that changes a score."""
        return digest_json(self.model_dump(mode="json", exclude={"concurrency"}))
