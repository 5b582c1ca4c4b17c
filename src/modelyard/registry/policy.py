"""Policy: what a gate demands, as the project file says it."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelyard.core.digests import digest_json

_SMALLER_IS_BETTER = ("_ms", "_seconds", "_nanousd")
"""Metrics with these units are times and costs."""


class Policy(BaseModel):
    """What a release must show before it may go on.

    `name` is its key in the project file. It says nothing about the demands, so it is no part of the digest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("", description="For people; the key in the project file by default.")
    min: dict[str, float] = Field({}, description="The least value of each metric, such as {exact_match: 0.85}.")
    max: dict[str, float] = Field({}, description="The greatest value of each metric, such as {latency_p95_ms: 500}.")
    max_regression: dict[str, float] = Field(
        {}, description="How far each metric may be worse than the champion's on the same suite and split."
    )
    min_rows: int = Field(100, ge=1, description="The rows that each demanded metric must rest on.")
    use: Literal["value", "low"] = Field(
        "value", description="Compare the value itself, or the unfavourable end of its 95% interval."
    )
    parity: bool = Field(True, description="Whether training and serving must have been shown to agree.")
    approvals: int = Field(0, ge=0, description="How many people must approve before production.")
    owner_may_approve: bool = Field(False, description="Whether the owner of the run may be one of them.")

    @model_validator(mode="after")
    def _check_demands(self) -> Self:
        if not (self.min or self.max or self.max_regression):
            raise ValueError("a policy demands at least one metric, by 'min', 'max' or 'max_regression'")
        for metric, allowed in self.max_regression.items():
            if not allowed >= 0:
                raise ValueError(f"max_regression.{metric} is {allowed}; a loss that is allowed is 0 or more")
        return self

    @property
    def digest(self) -> str:
        """The address of the demands: two policies that demand the same have the same."""
        return digest_json(self.model_dump(mode="json", exclude={"name"}))

    def smaller_is_better(self, metric: str) -> bool:
        """Whether a metric is one to keep down: it has a `max`, or its unit is one of time or money."""
        return metric in self.max or metric.endswith(_SMALLER_IS_BETTER)
