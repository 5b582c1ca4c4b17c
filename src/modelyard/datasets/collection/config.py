"""What the project file says about rows from production. Knows nothing about where interactions are kept."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from modelyard.datasets.collection.moments import moment_ms
from modelyard.datasets.section import Section
from modelyard.ports.routes import Role

ALL = "all"


def _as_text(value: Any) -> Any:
    """YAML reads an unquoted date as one."""
    return value.isoformat() if isinstance(value, date) else value


Moment = Annotated[str, BeforeValidator(_as_text)]


class FeedbackConfig(Section):
    """The score that an answer must have reached."""

    metric: Annotated[str, Field(min_length=1, description="The metric that callers scored.")] = "quality"
    at_least: Annotated[float, Field(ge=0, le=1, description="Lower scores, and answers without one, are out.")] = 0.5


class CollectConfig(Section):
    """Which interactions of a service become rows, and with which answer."""

    service: Annotated[str, Field(description="The service whose traffic is collected.")]
    since: Annotated[Moment, Field(description="A time before now (7d), a date in UTC, or a moment with its zone.")]
    until: Annotated[Moment | None, Field(description="The first moment outside; now by default.")] = None
    tenants: Annotated[
        str | tuple[str, ...],
        Field(description="The tenants that agreed; of no other one anything is taken. `all` must be written out."),
    ]
    roles: Annotated[
        tuple[Role, ...],
        Field(min_length=1, description="Whose answers; those of a shadow, which no caller saw, only where named."),
    ] = ("champion", "challenger")
    releases: Annotated[
        tuple[str, ...], Field(description="Only answers of these: name@digest, or a digest's beginning.")
    ] = ()
    feedback: Annotated[FeedbackConfig | None, Field(description="Only answers with a score as good as this.")] = None
    answers: Annotated[
        Literal["any", "liked", "corrected"],
        Field(
            description="any: the right answer where a caller gave one, else the given answer. liked: given answers"
            " with a good score (`feedback`). corrected: right answers that a caller gave."
        ),
    ] = "any"
    sample: Annotated[float, Field(gt=0, le=1, description="The share to take, by a hash of each interaction.")] = 1.0
    max_per_unit: Annotated[int | None, Field(ge=1, description="At most so many rows of one user.")] = None
    max_rows: Annotated[int | None, Field(ge=1, description="At most so many rows in all.")] = None
    salt: Annotated[str, Field(description="Another text takes another sample.")] = ""

    @property
    def demanded(self) -> FeedbackConfig | None:
        """What is demanded of a given answer's score."""
        return self.feedback or (FeedbackConfig() if self.answers == "liked" else None)

    @property
    def metric(self) -> str:
        """The metric whose score a row tells."""
        return (self.feedback or FeedbackConfig()).metric

    def agreed(self, tenant: str) -> bool:
        """Whether a tenant's interactions may be taken."""
        return self.tenants == ALL or tenant in self.tenants

    @field_validator("since", "until")
    @classmethod
    def _check_moment(cls, text: str | None) -> str | None:
        if text is not None:
            moment_ms(text, now_ms=0)
        return text

    @field_validator("tenants")
    @classmethod
    def _check_tenants(cls, tenants: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(tenants, str) and tenants != ALL:
            raise ValueError(f"name the tenants that agreed as a list: [{tenants}]")
        if not tenants or (tenants != ALL and ALL in tenants):
            raise ValueError("name each tenant that agreed, or write `tenants: all`")
        return tenants
