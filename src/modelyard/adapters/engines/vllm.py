"""The command that runs vLLM with adapters, in the environment that `scripts/vllm_env.sh` makes."""

from pathlib import Path

VLLM_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
"""What its process needs around it to load adapters while it runs, offline, with 1 GiB of cache on CPU."""


def vllm_command(
    python: Path, model: Path, name: str, *, port: int, host: str = "127.0.0.1", max_lora_rank: int = 64
) -> list[str]:
    """Its words, for `subprocess`. `python` is the interpreter of vLLM's own environment."""
    options = {
        "model": model,
        "served-model-name": name,
        "host": host,
        "port": port,
        "max-lora-rank": max_lora_rank,
    }
    flags = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    # The `vllm` command needs package metadata that the CPU wheel lacks; the module does not.
    return [str(python), "-m", "vllm.entrypoints.openai.api_server", "--enable-lora", *flags]
