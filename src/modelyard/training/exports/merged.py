"""Merged: the adapter added into the base's own weights, so that any engine serves it as a plain model."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from modelyard.core.errors import JobFailed, RecipeInvalid
from modelyard.ports.exporter import ExportSpec
from modelyard.training import device
from modelyard.training.bases import copy_readers, load_base
from modelyard.training.examples import read_examples
from modelyard.training.tokenization import ChatTokenizer
from modelyard.training.weights import num_parameters

Progress = Callable[[Mapping[str, Any]], None]
Logits = list[torch.Tensor]
# A weight in bfloat16 is rounded by up to 2^-9 of its size: this moved logits by 0.2% to 2% of their spread.
TOLERANCE = 0.05
# A merge that loses half of what the adapter changes is no longer the model that was trained.
EFFECT_TOLERANCE = 0.5
# The comparison is made in float32, where nothing but the merge differs, as long as such a model fits most machines.
_EXACT_BELOW = 16_000_000_000
_STEPS = 5


def merge(spec: ExportSpec, progress: Progress) -> dict[str, float]:
    """Write the base in bfloat16 with the adapter merged in, and return what the comparison with the two apart found.

    The base is read as it is, never in the four bits that it was perhaps trained on.
    Raises: RecipeInvalid where base and adapter do not fit; JobFailed where the merge broke weights, or answers
    otherwise than adapter and base do.
    """
    base, adapter, output = Path(spec.model), Path(spec.adapter), Path(spec.output)
    probes = _probes(spec, base)
    compared = torch.float32 if num_parameters(base) < _EXACT_BELOW else torch.bfloat16
    _tell(progress, 0, "loading the base")
    model = _adapted(base, adapter, compared)
    with model.disable_adapter():
        plain = _logits(model, probes)
    _tell(progress, 1, "asking base and adapter")
    apart = _logits(model, probes)
    del model
    _tell(progress, 2, "merging")
    _save(_merged(base, adapter), output, base)
    _tell(progress, 3, "asking the merged model")
    found = compare(_logits(load_base(output, compared, packed=False), probes), apart, plain)
    _tell(progress, 4, "comparing")
    require_faithful(found)
    return found


def compare(merged: Logits, apart: Logits, plain: Logits) -> dict[str, float]:
    """How far the merged model is from adapter on base. Shapes: one (tokens, vocabulary) a probe.

    `logit_error` is the root mean square of the difference over that of the logits' spread; `effect_error` the same
    over what the adapter changes; `top1_agreement` the share of tokens with the same likeliest next one.
    """
    differences = torch.cat([(one - other).flatten() for one, other in zip(merged, apart, strict=True)])
    changes = torch.cat([(one - other).flatten() for one, other in zip(apart, plain, strict=True)])
    spread = torch.cat([(one - one.mean(-1, keepdim=True)).flatten() for one in apart])
    same = torch.cat([one.argmax(-1) == other.argmax(-1) for one, other in zip(merged, apart, strict=True)])
    return {
        "logit_error": _rms(differences) / _rms(spread),
        "effect_error": _rms(differences) / max(_rms(changes), 1e-12),
        "largest_logit_difference": float(differences.abs().max()),
        "top1_agreement": float(same.float().mean()),
        "probes": len(apart),
        "probe_tokens": len(same),
    }


def require_faithful(found: Mapping[str, float]) -> None:
    """Raises: JobFailed where the comparison is out of tolerance."""
    limits = {"logit_error": TOLERANCE, "effect_error": EFFECT_TOLERANCE}
    for name, limit in limits.items():
        if not found[name] <= limit:
            raise JobFailed(
                f"the merged model answers otherwise than adapter and base do: {name} {found[name]:.3g}",
                expected=f"at most {limit:g}, which rounding to bfloat16 explains",
                fix="serve the adapter on its base instead; train longer, or with a higher rate, where what was learnt "
                "is too small for bfloat16",
            )


def _adapted(base: Path, adapter: Path, dtype: torch.dtype) -> Any:
    try:
        model = load_base(base, dtype, packed=False)
        return PeftModel.from_pretrained(model, str(adapter)).eval()
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        raise RecipeInvalid(
            f"the adapter does not fit the base in {base}: {error}", expected="the base that it was trained on"
        ) from error


def _merged(base: Path, adapter: Path) -> Any:
    model = _adapted(base, adapter, torch.bfloat16)
    try:
        return model.merge_and_unload(safe_merge=True)
    except (ValueError, NotImplementedError) as error:
        raise JobFailed(
            f"the adapter cannot be merged: {error}",
            expected="finite weights, and layers whose adapters add up",
            fix="look at the run's loss: modelyard run show",
        ) from error


def _save(model: Any, output: Path, base: Path) -> None:
    model.save_pretrained(str(output))
    # As the base has them, to the byte: a release of this tokenizes as it was trained.
    copy_readers(base, output)


def _probes(spec: ExportSpec, base: Path) -> list[list[int]]:
    rows = ChatTokenizer(base).encode(read_examples(Path(spec.probes)))
    if not rows:
        raise RecipeInvalid("there is no row to compare on", expected="at least one", fix="prepare the dataset again")
    return [row.input_ids for row in rows]


@torch.no_grad()
def _logits(model: Any, probes: Sequence[list[int]]) -> Logits:
    if device.is_cuda():
        model = model.to("cuda")
    model.eval()
    return [model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float().cpu() for ids in probes]


def _rms(values: torch.Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def _tell(progress: Progress, done: int, note: str) -> None:
    progress({"event": "progress", "done": done, "total": _STEPS, "note": note})
