"""Export: what a run trained, in another form: merged into its base, or quantized. A new artifact with its parent."""

from typing import Any, Literal

import msgspec

from modelyard.core.digests import digest_json, short

Format = Literal["merged", "gguf", "awq", "gptq"]
_IDENTITY = ("format", "quantization", "parent", "base_digest", "tool", "tool_version", "settings")


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """The record of an export. `blob` is the digest of its folder, `parent` that of the folder it was made from.

    The parent is the run's adapter for `merged`, and a whole model, merged or fully trained, for the others. `checks`
    is what was measured on the export itself, against its parent. `num_bytes` is the size of all its files.
    """

    name: str
    format: Format
    quantization: str = ""
    run_id: str
    parent: str
    base_digest: str
    tool: str
    tool_version: str
    settings: dict[str, Any] = {}
    blob: str
    num_bytes: int
    checks: dict[str, float] = {}
    seconds: float = 0.0
    created_ms: int

    @property
    def digest(self) -> str:
        """The address: the digest over all that it was made of, so that the same export is made once."""
        return digest_export(**{name: getattr(self, name) for name in _IDENTITY})

    @property
    def ref(self) -> str:
        """`name@digest`, short; also the name that an engine serves it under."""
        return f"{self.name}@{short(self.digest)}"


def digest_export(
    *,
    format: Format,
    quantization: str,
    parent: str,
    base_digest: str,
    tool: str,
    tool_version: str,
    settings: dict[str, Any],
) -> str:
    """The digest of an export that may not have been made yet."""
    return digest_json(
        {
            "format": format,
            "quantization": quantization,
            "parent": parent,
            "base_digest": base_digest,
            "tool": tool,
            "tool_version": tool_version,
            "settings": settings,
        }
    )
