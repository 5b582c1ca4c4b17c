"""What the project file says about the quality of rows."""

from typing import Annotated

from pydantic import Field

from modelyard.datasets.section import Section

_Code = Annotated[str, Field(pattern="^[a-z]{2}$")]


class QualityConfig(Section):
    """Filters on the quality of rows; each is off until it is asked for."""

    languages: Annotated[tuple[_Code, ...], Field(description="ISO 639-1 codes to keep; empty keeps all.")] = ()
    repetition: Annotated[
        float | None, Field(gt=0, le=1, description="Drop rows in which repeated n-grams cover more than this share.")
    ] = None
    gibberish: Annotated[bool, Field(description="Drop rows that are no language: mashed keys, binary, mojibake.")] = (
        False
    )
    boilerplate: Annotated[bool, Field(description="Drop cookie banners, navigation, licence texts, lorem ipsum.")] = (
        False
    )
    refusals: Annotated[bool, Field(description="Drop answers that refuse ('As an AI language model ...').")] = False
    placeholders: Annotated[bool, Field(description="Drop answers that only hold a place: 'N/A', 'null', '...'.")] = (
        False
    )
    boilerplate_phrases: Annotated[tuple[str, ...], Field(description="More phrases that mark boilerplate.")] = ()
    refusal_phrases: Annotated[tuple[str, ...], Field(description="More phrases that mark a refusal.")] = ()

    @property
    def is_on(self) -> bool:
        """Whether any filter is asked for."""
        flags = (self.gibberish, self.boilerplate, self.refusals, self.placeholders)
        return bool(self.languages) or self.repetition is not None or any(flags)


class TokensConfig(Section):
    """Length limits in tokens of the chosen tokenizer."""

    tokenizer: Annotated[str, Field(min_length=1, description="A tokenizer.json, or a folder that holds one.")]
    min: Annotated[int, Field(ge=0, description="Tokens of a whole row, at least.")] = 0
    max: Annotated[int, Field(ge=1, description="Tokens of a whole row, at most.")] = 4096


class BalanceConfig(Section):
    """Length balancing: no length bucket may hold more than a share of the training rows."""

    max_share: Annotated[float, Field(gt=0, le=1, description="Of the training rows, in any one bucket.")] = 0.5
    bounds: Annotated[tuple[int, ...], Field(description="Where buckets begin, in characters of a whole row.")] = (
        64, 256, 1024, 4096,
    )  # fmt: skip
