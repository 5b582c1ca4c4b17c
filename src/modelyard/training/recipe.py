"""Recipe: a complete, validated training configuration, saved whole with the run it made."""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from modelyard.core.digests import digest_json

METHODS = ("lora",)
DEFAULT_EPOCHS = 3.0

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Recipe(BaseModel):
    """How to fine-tune a base on a dataset. Every field has a sane default but `base`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = Field("lora", description="How weights are trained. One of: lora.")
    base: str = Field(description="The base model: a folder, or the name of a shipped base.", min_length=1)
    system_prompt: str = Field("", description="Put before every conversation, in training and in serving.")

    rank: int = Field(16, ge=1, le=512, description="Inner size of the adapter. Usual: 8 to 64.")
    alpha: float = Field(32.0, gt=0, description="The adapter is scaled by alpha / rank. Usual: 1 to 2 times the rank.")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout before the adapter. Usual: 0 to 0.1.")
    target_modules: str | tuple[str, ...] = Field(
        "all-linear", description="Which layers get an adapter: 'all-linear' (usual), or names such as q_proj."
    )

    learning_rate: float = Field(
        2e-3,
        gt=0,
        lt=1,
        description="Peak rate. Usual: 1e-3 to 3e-3 for a small base, 1e-4 to 3e-4 above 1B parameters.",
    )
    epochs: float | None = Field(None, gt=0, description="Passes over the rows. Usual: 1 to 5. Default 3.")
    max_steps: int | None = Field(None, ge=1, description="Optimizer steps, instead of epochs. Usual: 100 to 2,000.")
    batch_size: int = Field(4, ge=1, description="Sequences a step: packed ones, or rows. Usual: 4 to 64.")
    accumulation: int = Field(1, ge=1, description="Batches whose gradients make one step. Usual: 1 to 16.")
    sequence_length: int = Field(
        512, ge=8, description="Longest sequence in tokens; a longer row fails the preflight. Usual: 512 to 8,192."
    )
    packing: bool = Field(True, description="Put several rows into one sequence; they do not see each other.")
    warmup_share: Share = Field(0.05, description="Share of the steps over which the rate rises. Usual: 0.03 to 0.1.")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="How the rate falls. Usual: cosine."
    )
    weight_decay: float = Field(0.0, ge=0.0, lt=1.0, description="Pull of the adapter towards zero. Usual: 0 to 0.1.")
    gradient_clip: float = Field(1.0, gt=0, description="Longest gradient, by its norm. Usual: 0.5 to 1.")

    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="Number format of the frozen base. 'auto' is bfloat16 where the device computes in it."
    )
    checkpoint_minutes: float = Field(
        5.0, ge=0, description="Minutes between checkpoints: at most so much work is lost. 0 writes one each step."
    )
    seed: int = Field(7, ge=0, lt=2**32, description="Decides the adapter's first weights and the order of the rows.")
    threads: int | None = Field(None, ge=1, description="CPU threads. Default: all cores this process may use.")
    max_train_rows: int | None = Field(None, ge=1, description="Train on the first rows only. Default: all.")
    validate_at_end: bool = Field(True, description="Measure the loss on the validation split after training.")

    @field_validator("method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        if value not in METHODS:
            raise ValueError(f"method '{value}' is not known; it must be one of: {', '.join(METHODS)}")
        return value

    @field_validator("target_modules")
    @classmethod
    def _some_modules(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value or (isinstance(value, str) and value != "all-linear"):
            raise ValueError(f"target_modules {value!r} must be 'all-linear' or a list of layer names")
        return value

    @model_validator(mode="before")
    @classmethod
    def _one_length(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        epochs, max_steps = value.get("epochs"), value.get("max_steps")
        if epochs is not None and max_steps is not None:
            raise ValueError(f"epochs ({epochs}) and max_steps ({max_steps}) contradict each other; give one of them")
        if epochs is None and max_steps is None:
            return {**value, "epochs": DEFAULT_EPOCHS}
        return value

    @property
    def digest(self) -> str:
        """The address: the digest over every field."""
        return digest_json(self.model_dump(mode="json"))

    def num_steps(self, num_sequences: int) -> int:
        """Optimizer steps over that many sequences."""
        if self.max_steps is not None:
            return self.max_steps
        assert self.epochs is not None, "the validator fills it in"  # noqa: S101
        return max(1, math.ceil(self.epochs * math.ceil(num_sequences / (self.batch_size * self.accumulation))))
