"""Which fields of a recipe belong to which method and objective, and what they are where nothing is said."""

import math
from collections.abc import Mapping
from typing import Any

LORA_METHODS = ("lora", "qlora")
METHODS = (*LORA_METHODS, "prefix", "full")
OBJECTIVES = ("sft", "dpo", "kto")
PREFERENCES = ("dpo", "kto")

# From here on a base counts as large: smaller rates, and activations computed twice instead of kept.
LARGE = 1_000_000_000

# Field: who it belongs to, and its default there.
OF_METHOD: Mapping[str, tuple[tuple[str, ...], Any]] = {
    "rank": (LORA_METHODS, 16),
    "alpha": (LORA_METHODS, 32.0),
    "dropout": (LORA_METHODS, 0.0),
    "target_modules": (LORA_METHODS, "all-linear"),
    "rslora": (LORA_METHODS, False),
    "dora": (LORA_METHODS, False),
    "virtual_tokens": (("prefix",), 16),
}
OF_OBJECTIVE: Mapping[str, tuple[tuple[str, ...], Any]] = {
    "packing": (("sft",), True),
    "beta": (PREFERENCES, 0.1),
    "desirable_weight": (("kto",), 1.0),
    "undesirable_weight": (("kto",), 1.0),
}

# Peak learning rates for a base of a million and of ten billion parameters, between which the logarithm is followed.
# Large: QLoRA (Dettmers 2023) used 2e-4 at 7B and 1e-4 at 33B, Alpaca 2e-5 in full, Zephyr's DPO 5e-7 in full; ten
# times that for adapters. Small: found on the shipped base.
_RATES = {
    ("lora", "sft"): (2e-3, 2e-4),
    ("prefix", "sft"): (3e-2, 1e-3),
    ("full", "sft"): (1e-3, 1e-5),
    ("lora", "preference"): (2e-4, 5e-6),
    ("prefix", "preference"): (3e-3, 1e-4),
    ("full", "preference"): (2e-5, 5e-7),
}
_SMALL, _LARGE = 1e7, 1e10


def fill(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe with those its method and objective take, and without the others.

    Raises: ValueError that names a field which does nothing here.
    """
    filled = dict(fields)
    if fields.get("method") == "prefix" and fields.get("packing") is None:
        # Documents of one sequence would have to share one prefix.
        filled["packing"] = False
    for owner, known, options in (("method", METHODS, OF_METHOD), ("objective", OBJECTIVES, OF_OBJECTIVE)):
        chosen = fields.get(owner, known[0])
        if chosen not in known:
            continue
        for name, (takers, default) in options.items():
            if chosen in takers:
                if filled.get(name) is None:
                    filled[name] = default
            elif filled.get(name) is not None:
                raise ValueError(
                    f"{name} ({filled[name]!r}) does nothing with {owner} '{chosen}'; it belongs to "
                    f"{' and '.join(takers)}: remove it, or change the {owner}"
                )
    return filled


def learning_rate(method: str, objective: str, num_parameters: int) -> float:
    """A sane peak rate, to two digits, for a base of that many parameters."""
    family = "lora" if method in LORA_METHODS else method
    small, large = _RATES[family, "sft" if objective == "sft" else "preference"]
    share = (math.log(max(num_parameters, 1)) - math.log(_SMALL)) / (math.log(_LARGE) - math.log(_SMALL))
    rate = small * (large / small) ** min(1.0, max(0.0, share))
    return float(f"{rate:.1e}")
