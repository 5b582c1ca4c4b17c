"""What the project file says about duplicates."""

from typing import Annotated, Literal

from pydantic import Field

from modelyard.datasets.section import Section

ConflictMode = Literal["auto", "majority", "drop", "keep"]


class NearDuplicatesConfig(Section):
    """When two rows are near-duplicates."""

    threshold: Annotated[float, Field(ge=0.5, le=1.0, description="Jaccard similarity from which two are one.")] = 0.8
    on: Annotated[
        Literal["prompt", "conversation"], Field(description="What is compared: the prompt, or prompt and answer.")
    ] = "prompt"
    words: Annotated[int, Field(ge=1, le=13, description="Shingles are runs of 1 to this many words.")] = 2


class SemanticDuplicatesConfig(Section):
    """Rows that mean the same, by the cosine of their embeddings."""

    threshold: Annotated[float, Field(gt=0, le=1, description="Cosine similarity from which two are one.")] = 0.95
    url: Annotated[str, Field(description="An OpenAI-compatible address, such as http://HOST:8000/v1.")] = ""
    model: Annotated[str, Field(description="The embedding model: at the address, or a local folder.")]
    api_key_env: Annotated[str, Field(description="The environment variable that holds the key of the address.")] = ""
