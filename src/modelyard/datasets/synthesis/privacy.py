"""Personal data on its way out to a teacher and back: patterns, and names and places where Presidio is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec

from modelyard.datasets.outcome import Rejection
from modelyard.datasets.personal.config import PersonalDataConfig
from modelyard.datasets.personal.finding import LABELS
from modelyard.datasets.personal.masking import find_raw, find_text, mask, mask_raw
from modelyard.datasets.personal.presidio import Presidio
from modelyard.datasets.template import FieldUnusable


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """What is looked for, with its finder of names. Where the configuration keeps personal data, nothing is found."""

    config: PersonalDataConfig
    presidio: Presidio | None = None

    @classmethod
    def load(cls, config: PersonalDataConfig, root: Path) -> Self:
        """Raises: MissingExtra and DataInvalid, see `Presidio.load`."""
        wanted = config.presidio if config.mode != "keep" else None
        return cls(config=config, presidio=Presidio.load(wanted, root) if wanted else None)

    @property
    def digest(self) -> str:
        """The digest of the finder of names; empty without one."""
        return self.presidio.digest if self.presidio else ""

    def clean(self, text: str) -> str:
        """A text masked. Raises: FieldUnusable where texts with personal data are to be dropped."""
        if self.config.mode == "keep":
            return text
        spans = find_text(text, self.config.kinds, self.presidio)
        if spans and self.config.mode == "drop":
            raise FieldUnusable(named(tuple(sorted({kind for _, _, kind in spans}))))
        return mask(text, spans)

    def clean_fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """A row's texts masked, each by itself: what stands beside it in a template hides nothing."""
        return {name: self.clean(value) if isinstance(value, str) else value for name, value in fields.items()}

    def without(self, text: str, *, is_json: bool) -> tuple[str, tuple[str, ...]]:
        """An answer as it may be kept, and the kinds of personal data it had. JSON has its escapes."""
        if self.config.mode == "keep":
            return text, ()
        spans = (find_raw if is_json else find_text)(text, self.config.kinds, self.presidio)
        return mask(text, spans), tuple(sorted({kind for _, _, kind in spans}))

    def covered(self, rejection: Rejection) -> Rejection:
        """A rejection without names; what patterns find, the count of a step masks itself."""
        if self.presidio is None:
            return rejection
        return msgspec.structs.replace(
            rejection,
            reason=mask_raw(rejection.reason, self.presidio),
            raw=mask_raw(rejection.raw, self.presidio),
        )


def named(kinds: tuple[str, ...]) -> str:
    """The reason of whatever goes for its personal data."""
    return f"personal data: {', '.join(LABELS.get(kind, kind) for kind in kinds)}"
