"""Units into batches: what TRL's collator makes, with what DPO and KTO need besides."""

from typing import Any

import torch
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling


class Collator(DataCollatorForLanguageModeling):  # type: ignore[misc]
    """Adds `reference` (documents,), in nats, `desirable` (units,) and `filler` where the rows have them."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch of tensors."""
        batch: dict[str, Any] = super().torch_call(examples)
        if "reference" in examples[0]:
            batch["reference"] = torch.tensor([value for one in examples for value in one["reference"]])
        if "desirable" in examples[0]:
            batch["desirable"] = torch.tensor([one["desirable"] for one in examples])
        if "filler" in examples[0]:
            batch["filler"] = True
        return batch
