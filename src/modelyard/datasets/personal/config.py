"""What the project file says about personal data."""

from typing import Annotated, Literal

from pydantic import Field

from modelyard.datasets.section import Section

PersonalDataMode = Literal["mask", "drop", "keep"]
Kind = Literal["email", "phone", "card", "iban", "ip", "key", "national_id"]
KINDS: tuple[Kind, ...] = ("email", "phone", "card", "iban", "ip", "key", "national_id")


class PersonalDataConfig(Section):
    """What is looked for, and what becomes of it."""

    mode: Annotated[PersonalDataMode, Field(description="Mask what is found, drop its row, or only count.")] = "mask"
    kinds: Annotated[tuple[Kind, ...], Field(description="The kinds to look for.")] = KINDS
    presidio: Annotated[bool, Field(description="Names and places too, by Microsoft Presidio (an extra; slow).")] = (
        False
    )
    presidio_language: str = "en"
