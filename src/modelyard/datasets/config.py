"""What the project file says about a dataset. Knows nothing about how the rows are read."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from modelyard.datasets.collection.config import CollectConfig
from modelyard.datasets.duplicates.config import ConflictMode, NearDuplicatesConfig, SemanticDuplicatesConfig
from modelyard.datasets.expectations import ExpectationsConfig
from modelyard.datasets.overlap.config import OverlapConfig
from modelyard.datasets.personal.config import PersonalDataConfig
from modelyard.datasets.quality.config import BalanceConfig, QualityConfig, TokensConfig
from modelyard.datasets.section import Section
from modelyard.datasets.splits import DEFAULT_FRACTIONS, SPLITS
from modelyard.datasets.template import parse_template

Format = Literal["auto", "jsonl", "json", "csv", "tsv", "parquet", "text"]
ShapeName = Literal[
    "auto", "template", "alpaca", "sharegpt", "chat", "prompt_completion", "preference", "kto", "text"
]  # fmt: skip
Paths = tuple[str, ...]
# How collected rows are made; the same words may stand in the file, no others.
_COLLECTED: dict[str, Any] = {
    "format": "auto",
    "shape": "chat",
    "fields": {},
    "id": "id",
    "group": "unit",
    "label": None,
    "meta": "meta",
}


class DatasetConfig(Section):
    """One entry under `datasets`: where the raw rows lie and what becomes of them, step by step."""

    path: Annotated[
        str | Paths, Field(description="Files, folders, globs or addresses (s3://...), relative to the project file.")
    ] = ()
    collect: Annotated[CollectConfig | None, Field(description="Rows from production, in place of `path`.")] = None
    format: Annotated[Format, Field(description="auto looks at the content, and reports what it found.")] = "auto"
    shape: Annotated[ShapeName, Field(description="auto looks at the fields, and reports what it found.")] = "auto"
    fields: Annotated[dict[str, str], Field(description="A shape's field: the row's own name for it.")] = {}
    prompt: Annotated[str | None, Field(description="The question, made of a row's fields: '{text}'.")] = None
    answer: Annotated[str | None, Field(description="The answer to learn, made of a row's fields: '{label}'.")] = None
    system: Annotated[str | None, Field(description="A system turn before every row that has none.")] = None
    id: Annotated[str | None, Field(description="The field that names a row; without one the content does.")] = None
    group: Annotated[str | None, Field(description="The field whose rows stay in one split: a customer, a page.")] = (
        None
    )
    label: Annotated[str | None, Field(description="The field that `stratify` and the report look at.")] = None
    meta: Annotated[str | None, Field(description="The field that is carried along unread: provenance.")] = None
    min_chars: Annotated[int, Field(ge=1, description="Shorter prompts are dropped.")] = 1
    max_chars: Annotated[int, Field(ge=1, description="Longer prompts and answers are dropped.")] = 100_000
    unicode: Annotated[Literal["NFC", "NFKC", "keep"], Field(description="The Unicode form of all text.")] = "NFC"
    tokens: TokensConfig | None = None
    quality: QualityConfig = QualityConfig()
    personal_data: PersonalDataConfig = PersonalDataConfig()
    decontaminate: Annotated[OverlapConfig | None, Field(description="Texts of suites that no row may repeat.")] = None
    exclude: Annotated[OverlapConfig | None, Field(description="Datasets whose rows are not wanted again.")] = None
    conflicts: Annotated[
        ConflictMode,
        Field(
            description="Same prompt, different answers: majority stays, none does, all do; auto: majority of labels."
        ),
    ] = "auto"
    near_duplicates: NearDuplicatesConfig | None = NearDuplicatesConfig()
    semantic_duplicates: SemanticDuplicatesConfig | None = None
    balance: BalanceConfig | None = None
    splits: Annotated[dict[str, float], Field(description="Shares of one.")] = dict(DEFAULT_FRACTIONS)
    stratify: Annotated[
        bool, Field(description="Give every label its share of each split; then only rows at the end move no old one.")
    ] = False
    salt: Annotated[str, Field(description="Another text gives other splits; empty is the project's own.")] = ""
    expectations: ExpectationsConfig = ExpectationsConfig()

    @property
    def paths(self) -> Paths:
        """`path` as a list."""
        return (self.path,) if isinstance(self.path, str) else self.path

    @model_validator(mode="before")
    @classmethod
    def _complete_templates(cls, values: Any) -> Any:
        """Who writes one template means the usual other one."""
        if isinstance(values, dict) and (values.get("prompt") is not None or values.get("answer") is not None):
            return {**values, "prompt": values.get("prompt") or "{text}", "answer": values.get("answer") or "{label}"}
        return values

    @model_validator(mode="before")
    @classmethod
    def _complete_collected(cls, values: Any) -> Any:
        """Collected rows have one shape."""
        return {**_COLLECTED, **values} if isinstance(values, dict) and values.get("collect") else values

    @field_validator("prompt", "answer")
    @classmethod
    def _check_template(cls, template: str | None) -> str | None:
        if template is not None:
            parse_template(template)
        return template

    @field_validator("near_duplicates", mode="before")
    @classmethod
    def _threshold_alone(cls, value: Any) -> Any:
        return {"threshold": value} if isinstance(value, float | int) and not isinstance(value, bool) else value

    @field_validator("personal_data", mode="before")
    @classmethod
    def _mode_alone(cls, value: Any) -> Any:
        return {"mode": value} if isinstance(value, str) else value

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
    def _check_whole(self) -> "DatasetConfig":
        if self.min_chars > self.max_chars:
            raise ValueError(f"min_chars ({self.min_chars}) is above max_chars ({self.max_chars})")
        if bool(self.paths) == bool(self.collect):
            raise ValueError("a dataset needs a `path`, or `collect`, and not both")
        if self.collect:
            self._check_collected()
        if self.prompt is not None and self.shape not in ("auto", "template"):
            raise ValueError(f"the shape '{self.shape}' has no templates: leave `prompt` and `answer` out")
        if self.stratify and not self.label and self.prompt is None:
            raise ValueError("`stratify` needs `label`, the field to stratify by")
        return self

    def _check_collected(self) -> None:
        for name, value in _COLLECTED.items():
            if getattr(self, name) != value:
                raise ValueError(f"`{name}` cannot be chosen for collected rows: leave it out")
        if self.personal_data.mode == "keep" or not self.personal_data.kinds:
            raise ValueError("rows from production never keep personal data: set `personal_data` to mask or drop")
