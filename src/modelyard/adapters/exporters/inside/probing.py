"""What our scripts inside the tools' environments share: the spec, conversations, events, logits compared.

Knows nothing of Modelyard, which is not installed there.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Nothing is fetched and no usage is sent anywhere; threads that wait do not spin.
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

Spec = dict[str, Any]


class Failed(Exception):
    """What went wrong, for people: what was seen, what was expected, what to do next."""

    def __init__(self, code: str, seen: str, expected: str = "", fix: str = "") -> None:
        super().__init__(seen)
        self.told = {"code": code, "seen": seen, "expected": expected, "fix": fix}


def run(work: Callable[[Spec], dict[str, float]]) -> int:
    """Carry out the spec in the file that the command line names; events go to the true standard output alone."""
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries, those in C too, print where they like

    def tell(event: dict[str, Any]) -> None:
        print(json.dumps(event), file=events, flush=True)

    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    spec["progress"] = lambda done, total, note: tell({"event": "progress", "done": done, "total": total, "note": note})
    try:
        checks = work(spec)
    except Failed as error:
        tell({"event": "failed", "error": error.told})
        print(error.told["seen"], file=sys.stderr)
        return 8
    tell({"event": "finished", "checks": checks})
    return 0


def conversations(path: str) -> list[list[dict[str, str]]]:
    """The turns of each line."""
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line)["messages"] for line in file if line.strip()]
    return [[{"role": turn["role"], "content": turn["content"]} for turn in row] for row in rows]


def token_ids(tokenizer: Any, rows: list[list[dict[str, str]]]) -> list[list[int]]:
    """Whole conversations as the model saw them in training."""
    return [list(tokenizer.apply_chat_template(row, tokenize=True, return_dict=True)["input_ids"]) for row in rows]


def copy_readers(model: Path, output: Path) -> None:
    """Put tokenizer and template beside an export, as training had them, to the byte."""
    for pattern in ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_*"):
        for path in sorted(model.glob(pattern)):
            shutil.copyfile(path, output / path.name)


def compare(ours: list[Any], theirs: list[Any]) -> dict[str, float]:
    """Logits of a parent and of its export, one pair of tensors (tokens, vocabulary) a probe.

    `mean_kl` is the divergence of the export's next-token distribution from its parent's, in nats a token.
    """
    import torch

    divergences, same = [], []
    for one, other in zip(ours, theirs, strict=True):
        expected, found = one.float().log_softmax(-1), other.float().log_softmax(-1)
        divergences.append((expected.exp() * (expected - found)).sum(-1))
        same.append((one.argmax(-1) == other.argmax(-1)).float())
    return {
        "mean_kl": float(torch.cat(divergences).mean()),
        "top1_agreement": float(torch.cat(same).mean()),
        "probes": len(ours),
        "probe_tokens": len(torch.cat(same)),
    }


def require_close(checks: dict[str, float], limit: float) -> None:
    """Raises: Failed where the export is another model than its parent."""
    if not checks["mean_kl"] <= limit:
        raise Failed(
            "job_failed",
            f"the export answers otherwise than its parent: {checks['mean_kl']:.3g} nats a token apart, the likeliest "
            f"token the same in {checks['top1_agreement']:.0%}",
            f"at most {limit:g} nats a token",
            "take a quantization with more bits, or more rows for calibration",
        )
