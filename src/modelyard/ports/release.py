"""Release: the atomic, content-addressed thing that can answer requests, and the stages it goes through."""

from typing import Any, Literal

import msgspec

from modelyard.core.digests import digest_json, short

_BOOKKEEPING = ("name", "run_id", "created_ms")

Stage = Literal["draft", "staging", "production", "archived"]


class ModelRef(msgspec.Struct, frozen=True, kw_only=True):
    """A base model: the name engines know it by, and the digest of its folder."""

    name: str
    digest: str


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine does where the caller asks for nothing."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 256


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that changes an answer. A changed prompt is a new release, exactly like changed weights.

    `adapter` is the digest of the adapter's blob folder, empty for the bare base. `run_id` says who made the
    weights; it is not part of the digest, as it changes no answer.
    """

    name: str
    base: ModelRef
    adapter: str = ""
    quantization: str = ""
    tokenizer_digest: str
    template_digest: str
    system_prompt: str = ""
    index_version: str = ""
    sampling: Sampling = Sampling()
    run_id: str = ""
    created_ms: int

    @property
    def digest(self) -> str:
        """The address: the digest over every field that changes an answer.

        Defaults are left out, inside the parts too, so that a field added later leaves the address of an old release
        as it was.
        """
        return digest_json({name: value for name, value in _said(self).items() if name not in _BOOKKEEPING})

    @property
    def ref(self) -> str:
        """`name@digest`, short: unique, and never reused for other weights."""
        return f"{self.name}@{short(self.digest)}"

    @property
    def engine_model(self) -> str:
        """The immutable model name that an engine serves this release under."""
        return f"{self.name}@{short(self.adapter)}" if self.adapter else self.base.name


def _said(value: msgspec.Struct) -> dict[str, Any]:
    """The fields of a struct that differ from their defaults."""
    said: dict[str, Any] = {}
    for field in msgspec.structs.fields(value):
        found = getattr(value, field.name)
        if found != field.default:
            said[field.name] = _said(found) if isinstance(found, msgspec.Struct) else found
    return said


class StageMove(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a release from stage to stage, kept for ever. `verdict_id` names the evidence."""

    id: str
    release: str
    from_stage: Stage
    to_stage: Stage
    actor: str
    reason: str
    at_ms: int
    verdict_id: str = ""
