"""What the engine that will serve the outcome cannot load: told before training, not after it."""

from modelyard.training.defaults import LORA_METHODS
from modelyard.training.preflight.finding import Finding, found
from modelyard.training.preflight.inspection import Inspection

_NAME = "the engine can serve it"


def can_be_served(inspection: Inspection) -> Finding:
    """The engine's limits on adapters: method, variant, rank. Biases and `modules_to_save` are never made here."""
    recipe, engine = inspection.recipe, inspection.engine
    rank = recipe.rank or 0
    if engine is None or not recipe.serve:
        return found(_NAME, True, "no engine known yet" if engine is None else "not to be served", "")
    if recipe.method not in LORA_METHODS or recipe.dora:
        return found(
            _NAME,
            False,
            f"{'DoRA' if recipe.dora else f'method {recipe.method!r}'}; {engine.name} loads LoRA adapters alone",
            "set method: lora without dora; or serve: false, where it is used elsewhere",
        )
    ranks = tuple(allowed for allowed in engine.lora_ranks if allowed <= engine.max_lora_rank)
    allowed = rank in ranks if engine.lora_ranks else rank <= engine.max_lora_rank
    spoken = f"one of {', '.join(map(str, ranks))}" if engine.lora_ranks else f"at most {engine.max_lora_rank}"
    return found(
        _NAME,
        engine.adapters and allowed,
        f"rank {rank}; {engine.name} takes {spoken if engine.adapters else 'no adapters'}",
        f"set rank to {spoken}" if engine.adapters else "choose an engine that serves adapters",
    )


def targets_exist(inspection: Inspection) -> Finding:
    """Each layer that the recipe names is in the base: an adapter on no layer learns nothing."""
    recipe, sizes, name = inspection.recipe, inspection.sizes, "target modules are in the base"
    targets = recipe.target_modules
    if sizes is None or not sizes.linear or not isinstance(targets, tuple):
        return found(name, True, "every linear layer" if targets == "all-linear" else "nothing named", "")
    missing = [target for target in targets if not sizes.targeted((target,))]
    known = sorted({layer.rpartition(".")[2] for layer in sizes.linear})
    return found(
        name,
        not missing,
        f"not in the base: {', '.join(missing)}" if missing else f"{', '.join(targets)}",
        f"choose from {', '.join(known)}, or 'all-linear'",
    )
