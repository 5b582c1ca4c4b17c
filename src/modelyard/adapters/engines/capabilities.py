"""What our engines can do, from their sheets. An empty `lora_ranks` means any rank up to the greatest."""

from modelyard.ports.engine import Capabilities
from modelyard.ports.sheets import SHEETS

BUILTIN = SHEETS["builtin"].capabilities()


def vllm(max_lora_rank: int) -> Capabilities:
    """vLLM as started with `--enable-lora --max-lora-rank N`; without the flag its limit is 16."""
    return SHEETS["vllm"].capabilities(max_lora_rank)


VLLM = vllm(64)
