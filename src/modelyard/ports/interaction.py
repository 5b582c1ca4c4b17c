"""Interaction and feedback: what the gateway's journal holds, one JSON object a line. Defaults are left out of it."""

import msgspec

from modelyard.ports.routes import Role


class Interaction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="interaction"):
    """One recorded request and its answer.

    `id` is the gateway's own answer id, the one the caller sees. `unit` is the digest of the assignment unit.
    `shadow_of` names the interaction whose request was copied. `answer_hash` is the digest of the answer's text with
    white space trimmed, so that a later label can be compared without keeping the text; `request` and `answer` hold
    texts only where the service's body policy is `full` or `masked`.

    `reason` says why this release answered (`rollout`, `rule NAME`, `preferred`, `fallback after CODE`, ...), `replica`
    which address. `session` is the digest of the agent's session, `trace_id` that of the caller's trace. `cache` is
    `exact` or `semantic` where no engine was asked, and `saved_nanousd` what asking would have cost.
    """

    id: str
    at_ms: int
    service: str
    tenant: str
    key_id: str
    unit: str
    release: str
    role: Role
    propensity: float
    table_version: int
    rollout_id: str = ""
    shadow_of: str = ""
    stream: bool = False
    status: int = 200
    error: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nanousd: int = 0
    first_token_ms: float = 0.0
    latency_ms: float = 0.0
    overhead_us: int = 0
    request_hash: str = ""
    answer_hash: str = ""
    request: str = ""
    answer: str = ""
    request_id: str = ""
    endpoint: str = "chat"
    reason: str = ""
    replica: str = ""
    user: str = ""
    session: str = ""
    trace_id: str = ""
    queued_ms: float = 0.0
    cache: str = ""
    saved_nanousd: int = 0


class Feedback(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="feedback"):
    """A score in [0, 1] or the right answer for an interaction, possibly days later.

    `score` is -1 where only the right answer was given. `expected_hash` is hashed as `Interaction.answer_hash` is;
    `expected` holds the right answer's text only where every service of the gateway records texts.
    """

    id: str
    interaction_id: str
    at_ms: int
    tenant: str
    metric: str = "quality"
    score: float = -1.0
    expected_hash: str = ""
    expected: str = ""
    comment: str = ""


JournalEntry = Interaction | Feedback
