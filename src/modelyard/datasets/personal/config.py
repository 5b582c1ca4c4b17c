"""What the project file says about personal data."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from modelyard.datasets.section import Section

PersonalDataMode = Literal["mask", "drop", "keep"]
Kind = Literal["email", "phone", "card", "iban", "ip", "key", "national_id"]
KINDS: tuple[Kind, ...] = ("email", "phone", "card", "iban", "ip", "key", "national_id")


class PresidioConfig(Section):
    """What Microsoft Presidio looks for. `model` is a spaCy pipeline: an installed package, or a folder."""

    model: str
    language: str = "en"
    entities: Annotated[tuple[str, ...], Field(min_length=1)] = ("PERSON", "LOCATION")
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.5


class PersonalDataConfig(Section):
    """What is looked for, and what becomes of it."""

    mode: Annotated[PersonalDataMode, Field(description="Mask what is found, drop its row, or only count.")] = "mask"
    kinds: Annotated[tuple[Kind, ...], Field(description="The kinds to look for.")] = KINDS
    presidio: Annotated[
        PresidioConfig | None, Field(description="Names and places too; a spaCy pipeline alone, or its settings. Slow.")
    ] = None

    @field_validator("presidio", mode="before")
    @classmethod
    def _model_alone(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value
