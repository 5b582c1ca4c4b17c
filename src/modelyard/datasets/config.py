"""What the project file says about a dataset. Knows nothing about how the rows are read."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from modelyard.datasets.splits import DEFAULT_FRACTIONS, SPLITS
from modelyard.datasets.template import parse_template

PersonalDataMode = Literal["mask", "drop", "keep"]


class DatasetConfig(BaseModel):
    """One entry under `datasets`: where the raw rows lie and what becomes of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[str, Field(min_length=1, description="The raw file, relative to the project file.")]
    prompt: Annotated[str, Field(description="The question, made of a row's fields.")] = "{text}"
    answer: Annotated[str, Field(description="The answer to learn, made of a row's fields.")] = "{label}"
    id: Annotated[str | None, Field(description="The field that names a row; without one the content does.")] = None
    min_chars: Annotated[int, Field(ge=1, description="Shorter prompts are dropped.")] = 1
    max_chars: Annotated[int, Field(ge=1, description="Longer prompts and answers are dropped.")] = 2000
    near_duplicates: Annotated[
        float | None,
        Field(ge=0.5, le=1.0, description="Jaccard similarity from which two prompts are one; null turns it off."),
    ] = 0.8
    personal_data: Annotated[PersonalDataMode, Field(description="What is done with personal data.")] = "mask"
    splits: Annotated[dict[str, float], Field(description="Shares of one.")] = dict(DEFAULT_FRACTIONS)
    salt: Annotated[str, Field(description="Another text gives other splits; empty is the project's own.")] = ""

    @field_validator("prompt", "answer")
    @classmethod
    def _check_template(cls, template: str) -> str:
        parse_template(template)
        return template

    @field_validator("splits")
    @classmethod
    def _check_splits(cls, splits: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(splits) - set(SPLITS))
        if unknown:
            raise ValueError(f"unknown split '{unknown[0]}', expected {', '.join(SPLITS)}")
        if any(not 0 <= share <= 1 for share in splits.values()) or abs(sum(splits.values()) - 1) > 1e-9:
            raise ValueError(f"the shares must lie in [0, 1] and sum to 1, they sum to {sum(splits.values()):g}")
        if not splits.get("train"):
            raise ValueError("'train' needs a share above 0")
        # The unit interval is cut in this order, so the order in which a person wrote them must not move a row.
        return {name: splits[name] for name in SPLITS if name in splits}

    @model_validator(mode="after")
    def _check_lengths(self) -> "DatasetConfig":
        if self.min_chars > self.max_chars:
            raise ValueError(f"min_chars ({self.min_chars}) is above max_chars ({self.max_chars})")
        return self
