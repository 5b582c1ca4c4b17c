"""What the project file says about rows from a teacher. Knows nothing about how it is asked."""

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from modelyard.core.digests import digest_json
from modelyard.core.money import nanousd
from modelyard.datasets.config import DatasetConfig, Format, Paths, ShapeName
from modelyard.datasets.personal.config import PersonalDataConfig
from modelyard.datasets.quality.config import QualityConfig
from modelyard.datasets.section import Section
from modelyard.datasets.synthesis.price import Dollars, PriceConfig
from modelyard.datasets.template import fields_of, parse_template
from modelyard.ports.release import Sampling

Keep = Literal["all", "first", "majority"]
# What decides which requests are sent. Rows and samples may grow, and all else may change, at no new cost.
_ASKING = (
    "url", "model", "from", "prompts", "system", "fields", "rows_each", "temperature", "top_p", "max_tokens", "seed",
    "limit_field", "extra", "personal_data",
)  # fmt: skip
_OURS = ("model", "messages", "n", "stream", "max_tokens", "max_completion_tokens")


class SeedsConfig(Section):
    """Where the seed rows lie, as a dataset's rows do."""

    path: Annotated[str | Paths, Field(description="Files, folders, globs or addresses.")]
    format: Annotated[Format, Field(description="auto looks at the content.")] = "auto"
    shape: Annotated[ShapeName, Field(description="Of rows that are conversations; auto looks at the fields.")] = "auto"
    fields: Annotated[dict[str, str], Field(description="A shape's field: the row's own name for it.")] = {}

    def as_dataset(self) -> DatasetConfig:
        """The same for the readers of raw rows."""
        return DatasetConfig(path=self.path, format=self.format, shape=self.shape, fields=self.fields)


class PatternConfig(Section):
    """An expression that is searched in a row, or in one of its fields."""

    pattern: str
    field: Annotated[str, Field(description="Of a new row; empty is its whole text, a field a line.")] = ""

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, pattern: str) -> str:
        return _checked_pattern(pattern)


class CopiesConfig(Section):
    """Which rows repeat others. Copies but for case and white space always go."""

    threshold: Annotated[
        float | None, Field(ge=0.5, le=1, description="Jaccard similarity from which two are one.")
    ] = 0.8
    of_seeds: Annotated[bool, Field(description="Drop what repeats its prompt or, of new rows, any seed.")] = True


class FiltersConfig(Section):
    """What an answer, or a new row, must be. A truncated or empty answer is always dropped."""

    min_chars: Annotated[int, Field(ge=1)] = 1
    max_chars: Annotated[int, Field(ge=1)] = 100_000
    must_match: tuple[PatternConfig, ...] = ()
    must_not_match: tuple[PatternConfig, ...] = ()
    quality: QualityConfig = QualityConfig(refusals=True, placeholders=True)
    copies: CopiesConfig = CopiesConfig()

    @field_validator("must_match", "must_not_match", mode="before")
    @classmethod
    def _pattern_alone(cls, value: Any) -> Any:
        listed = value if isinstance(value, list | tuple) else [value]
        return [{"pattern": one} if isinstance(one, str) else one for one in listed]

    @field_validator("copies", mode="before")
    @classmethod
    def _threshold_alone(cls, value: Any) -> Any:
        return {"threshold": value} if isinstance(value, float | int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.min_chars > self.max_chars:
            raise ValueError(f"min_chars ({self.min_chars}) is above max_chars ({self.max_chars})")
        return self


class SynthesisConfig(Section):
    """One entry under `synthesis`: which teacher is asked what, and which of its answers become rows."""

    url: Annotated[str, Field(description="An OpenAI-compatible base URL, such as https://HOST/v1.")]
    model: Annotated[str, Field(min_length=1)]
    key_env: Annotated[
        str, Field(pattern="^([A-Za-z_][A-Za-z0-9_]*)?$", description="The environment variable that holds the key.")
    ] = ""
    from_: Annotated[SeedsConfig | None, Field(alias="from", description="Seed rows.")] = None
    prompts: Annotated[
        tuple[str, ...], Field(description="Templates over a seed's fields, in turn; none asks the seed's own prompt.")
    ] = ()
    question: Annotated[
        str | None, Field(description="What a row asks instead of the prompt, made of a seed's fields: '{text}'.")
    ] = None
    system: Annotated[str | None, Field(description="A system turn for the teacher; rows do not have it.")] = None
    fields: Annotated[tuple[str, ...], Field(description="The teacher writes new rows with these fields.")] = ()
    rows_each: Annotated[int, Field(ge=1, le=100, description="New rows that one answer is to hold.")] = 1
    rows: Annotated[int | None, Field(ge=1, description="How many prompts; one for each seed by default.")] = None
    samples: Annotated[int, Field(ge=1, le=1000, description="Answers to each prompt.")] = 1
    keep: Annotated[Keep, Field(description="All good answers, the first, or the one that most agree on.")] = "all"
    vote: Annotated[
        str | None, Field(description="What majority counts: the last match in an answer, its first group.")
    ] = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, description="Of one answer.")] = 512
    seed: Annotated[int, Field(ge=0, description="Decides the order of seeds and the draw of each answer.")] = 0
    limit_field: Annotated[
        Literal["max_tokens", "max_completion_tokens"], Field(description="How the server calls `max_tokens`.")
    ] = "max_tokens"
    extra: Annotated[
        dict[str, Any], Field(description="More fields of each request; null leaves out one of ours, such as `seed`.")
    ] = {}
    filters: FiltersConfig = FiltersConfig()
    personal_data: PersonalDataConfig = PersonalDataConfig()
    price: PriceConfig = PriceConfig()
    max_cost: Annotated[Dollars | None, Field(description="Dollars; asking stops before they would be passed.")] = None
    refused_prompts: Annotated[
        Literal["stop", "drop"], Field(description="What follows where the server takes a prompt for wrong.")
    ] = "stop"
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 8
    timeout_s: Annotated[float, Field(gt=0, description="Of one attempt.")] = 120.0
    retries: Annotated[int, Field(ge=0, le=100)] = 6

    @property
    def sampling(self) -> Sampling:
        """How answers are drawn."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)

    @property
    def asking(self) -> dict[str, Any]:
        """What decides which requests are sent."""
        told = self.model_dump(mode="json", by_alias=True)
        return {name: told[name] for name in _ASKING}

    @property
    def digest(self) -> str:
        """The digest of all of it."""
        return digest_json(self.model_dump(mode="json", by_alias=True))

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected http:// or https:// and a host")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(
                "it may hold no name, password or query: put the key into a variable and name it `key_env`"
            )
        return url.rstrip("/")

    @field_validator("from_", mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str | list | tuple) else value

    @field_validator("prompts", mode="before")
    @classmethod
    def _prompt_alone(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("personal_data", mode="before")
    @classmethod
    def _mode_alone(cls, value: Any) -> Any:
        return {"mode": value} if isinstance(value, str) else value

    @field_validator("vote")
    @classmethod
    def _check_vote(cls, vote: str | None) -> str | None:
        return vote and _checked_pattern(vote)

    @field_validator("fields")
    @classmethod
    def _check_fields(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(fields)) < len(fields) or "" in fields or "meta" in fields:
            raise ValueError("each needs a name of its own, and 'meta' is the provenance's")
        return fields

    @field_validator("extra")
    @classmethod
    def _check_extra(cls, extra: dict[str, Any]) -> dict[str, Any]:
        for name in _OURS:
            if name in extra:
                raise ValueError(f"'{name}' may not be changed here")
        return extra

    @model_validator(mode="after")
    def _check_seeds(self) -> Self:
        templates = [parse_template(text, needs_field=False) for text in (*self.prompts, self.question or "")]
        if self.from_ is None and not self.prompts:
            raise ValueError("needs `from`, the seed rows, or `prompts`, or both")
        if self.from_ is None and any(map(fields_of, templates)):
            raise ValueError("a template names a field, but there is no `from`, so no seed has fields")
        if self.from_ is None and self.rows is None:
            raise ValueError("`prompts` without `from` need `rows`: how many prompts")
        if self.from_ is None and not self.fields and self.rows and self.rows > len(self.prompts):
            raise ValueError("`rows` asks for more prompts than there are: `samples` asks each several times")
        return self

    @model_validator(mode="after")
    def _check_mode(self) -> Self:
        if self.fields and (self.keep == "majority" or self.question is not None):
            raise ValueError("new rows (`fields`) have no majority and no `question`")
        if not self.fields and self.rows_each > 1:
            raise ValueError("`rows_each` needs `fields`, the names of a new row's fields")
        if self.vote is not None and self.keep != "majority":
            raise ValueError("`vote` needs `keep: majority`")
        unknown = [one.field for one in (*self.filters.must_match, *self.filters.must_not_match) if one.field]
        for name in unknown:
            if name not in self.fields:
                raise ValueError(f"a pattern names the field '{name}', which new rows do not have")
        return self

    @model_validator(mode="after")
    def _check_limit(self) -> Self:
        if self.max_cost is not None and not (nanousd(self.price.input) or nanousd(self.price.output)):
            raise ValueError("`max_cost` needs `price`, or nothing would count")
        return self


def _checked_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not an expression: {error}") from error
    return pattern
