"""What the project file says about rows that must not be learned."""

from typing import Annotated

from pydantic import Field

from modelyard.datasets.section import Section


class OverlapConfig(Section):
    """Texts that no row may repeat: those of suites and files (decontamination), or of earlier datasets."""

    against: Annotated[
        tuple[str, ...],
        Field(min_length=1, description="Suites and datasets by name, or files of rows or plain lines."),
    ]
    ngram: Annotated[int, Field(ge=5, le=50, description="A shared run of this many words is a leak.")] = 12
    threshold: Annotated[float | None, Field(ge=0.5, le=1.0, description="Near-duplicates too; null turns it off.")] = (
        0.8
    )
