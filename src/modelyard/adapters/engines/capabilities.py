"""What each engine can do. An empty `lora_ranks` means any rank up to the greatest."""

from modelyard.ports.engine import Capabilities

BUILTIN = Capabilities(name="builtin", adapters=True, max_lora_rank=512, lora_ranks=(), tokenize=True)

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def vllm(max_lora_rank: int) -> Capabilities:
    """vLLM as started with `--enable-lora --max-lora-rank N`; without the flag its limit is 16."""
    ranks = tuple(rank for rank in VLLM_RANKS if rank <= max_lora_rank)
    return Capabilities(name="vllm", adapters=True, max_lora_rank=max_lora_rank, lora_ranks=ranks, tokenize=True)


VLLM = vllm(64)
