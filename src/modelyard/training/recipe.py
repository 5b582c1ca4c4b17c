"""Recipe: a complete, validated training configuration, saved whole with the run it made."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from modelyard.core.digests import digest_json
from modelyard.training import defaults

DEFAULT_EPOCHS = 3.0

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Recipe(BaseModel):
    """How to fine-tune a base on a dataset. Every field has a sane default but `base`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = Field(
        "lora",
        description=f"How weights are trained: {', '.join(defaults.METHODS)}. qlora needs a CUDA device.",
    )
    objective: str = Field(
        "sft",
        description="What is learnt: answers (sft), from pairs which answer is better (dpo), or from single answers "
        "whether they are good (kto).",
    )
    base: str = Field(description="The base model: a folder, or the name of a shipped base.", min_length=1)
    system_prompt: str = Field("", description="Put before every conversation, in training and in serving.")
    serve: bool = Field(
        True, description="The serving engine must be able to load what comes out. false for what is used elsewhere."
    )

    rank: int | None = Field(
        None, ge=1, le=512, description="Inner size of the adapter. Usual: 8 to 64. Default of lora: 16."
    )
    alpha: float | None = Field(
        None, gt=0, description="The adapter is scaled by alpha / rank. Usual: 1 to 2 times the rank. Default: 32."
    )
    dropout: float | None = Field(
        None, ge=0.0, lt=1.0, description="Dropout before the adapter. Usual: 0 to 0.1. Default: 0."
    )
    target_modules: str | tuple[str, ...] | None = Field(
        None, description="Which layers get an adapter: 'all-linear' (default), or names such as q_proj."
    )
    rslora: bool | None = Field(
        None, description="Scale by alpha / sqrt(rank): steadier at ranks above 64. Default: false."
    )
    dora: bool | None = Field(
        None, description="Train the length of weights apart from their direction; slower, few engines serve it."
    )
    virtual_tokens: int | None = Field(
        None, ge=1, le=1024, description="Learnt positions before every text. Usual: 8 to 64. Default of prefix: 16."
    )
    beta: float | None = Field(
        None, gt=0, description="How dear it is to leave the base, for dpo and kto. Usual: 0.05 to 0.5. Default: 0.1."
    )
    desirable_weight: float | None = Field(
        None, gt=0, description="Weight of good answers for kto; raise it where they are rare. Default: 1."
    )
    undesirable_weight: float | None = Field(
        None, gt=0, description="Weight of bad answers for kto; raise it where they are rare. Default: 1."
    )

    learning_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Peak rate. Default: by method, objective and size of the base, for example 2e-3 (10M parameters) "
        "to 2e-4 (10B) for lora.",
    )
    epochs: float | None = Field(None, gt=0, description="Passes over the rows. Usual: 1 to 5. Default 3.")
    max_steps: int | None = Field(None, ge=1, description="Optimizer steps, instead of epochs. Usual: 100 to 2,000.")
    batch_size: int = Field(4, ge=1, description="Sequences a step: packed ones, or rows. Usual: 4 to 64.")
    accumulation: int = Field(1, ge=1, description="Batches whose gradients make one step. Usual: 1 to 16.")
    sequence_length: int = Field(
        512, ge=8, description="Longest sequence in tokens; a longer row fails the preflight. Usual: 512 to 8,192."
    )
    packing: bool | None = Field(
        None,
        description="Several rows in one sequence; they do not see each other. Default: true for sft, but for prefix.",
    )
    warmup_share: Share = Field(0.05, description="Share of the steps over which the rate rises. Usual: 0.03 to 0.1.")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="How the rate falls. Usual: cosine."
    )
    weight_decay: float = Field(0.0, ge=0.0, lt=1.0, description="Pull of the adapter towards zero. Usual: 0 to 0.1.")
    gradient_clip: float = Field(1.0, gt=0, description="Longest gradient, by its norm. Usual: 0.5 to 1.")

    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="Number format of the frozen base. 'auto' is bfloat16 where the device computes in it."
    )
    gradient_checkpointing: bool | None = Field(
        None,
        description="Compute activations twice instead of keeping them: a third slower, far less memory. Default: from "
        "1B parameters on.",
    )
    accelerator: Literal["none", "unsloth"] = Field(
        "none", description="Kernels of another package, where it is installed and a CUDA device is there."
    )
    checkpoint_minutes: float = Field(
        5.0, ge=0, description="Minutes between checkpoints: at most so much work is lost. 0 writes one each step."
    )
    seed: int = Field(7, ge=0, lt=2**32, description="Decides the adapter's first weights and the order of the rows.")
    threads: int | None = Field(None, ge=1, description="CPU threads. Default: all cores this process may use.")
    max_train_rows: int | None = Field(None, ge=1, description="Train on the first rows only. Default: all.")
    validate_at_end: bool = Field(True, description="Measure the loss on the validation split after training.")
    validate_every: int | None = Field(
        None, ge=1, description="Steps between looks at the validation split; the best weights win. Usual: 20 to 500."
    )
    patience: int | None = Field(
        None, ge=1, description="End after so many looks without a better validation loss. Usual: 3 to 10."
    )

    @field_validator("method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        if value not in defaults.METHODS:
            raise ValueError(f"method '{value}' is not known; it must be one of: {', '.join(defaults.METHODS)}")
        return value

    @field_validator("objective")
    @classmethod
    def _known_objective(cls, value: str) -> str:
        if value not in defaults.OBJECTIVES:
            raise ValueError(f"objective '{value}' is not known; it must be one of: {', '.join(defaults.OBJECTIVES)}")
        return value

    @field_validator("target_modules")
    @classmethod
    def _some_modules(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if value is not None and (not value or (isinstance(value, str) and value != "all-linear")):
            raise ValueError(f"target_modules {value!r} must be 'all-linear' or a list of layer names")
        return value

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        value = defaults.fill(value)
        epochs, max_steps = value.get("epochs"), value.get("max_steps")
        if epochs is not None and max_steps is not None:
            raise ValueError(f"epochs ({epochs}) and max_steps ({max_steps}) contradict each other; give one of them")
        if epochs is None and max_steps is None:
            return {**value, "epochs": DEFAULT_EPOCHS}
        return value

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.patience is not None and self.validate_every is None:
            raise ValueError(f"patience ({self.patience}) needs validate_every: how many steps lie between two looks")
        if self.method == "prefix" and self.packing:
            raise ValueError("packing (true) does not work with method 'prefix': remove it")
        if self.method == "prefix" and self.objective != "sft":
            raise ValueError(f"objective '{self.objective}' does not work with method 'prefix': use lora or full")
        if self.method == "prefix" and self.gradient_checkpointing:
            raise ValueError("gradient_checkpointing (true) does not work with method 'prefix': remove it")
        if self.max_steps is not None and self.validate_every is not None and self.validate_every > self.max_steps:
            raise ValueError(f"validate_every ({self.validate_every}) lies beyond max_steps ({self.max_steps})")
        return self

    def for_base(self, num_parameters: int) -> Self:
        """The recipe with what depends on the size of its base decided."""
        rate = defaults.learning_rate(self.method, self.objective, num_parameters)
        recompute = num_parameters >= defaults.LARGE and self.method != "prefix"
        return self.model_copy(
            update={
                "learning_rate": self.learning_rate or rate,
                "gradient_checkpointing": recompute
                if self.gradient_checkpointing is None
                else self.gradient_checkpointing,
            }
        )

    @property
    def validates(self) -> bool:
        """Whether held-out rows are looked at."""
        return self.validate_at_end or self.validate_every is not None

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
