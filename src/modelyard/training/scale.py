"""How training spreads over devices: processes of one host, or the workers of a Ray cluster."""

from typing import Literal

from modelyard.core.errors import RecipeInvalid
from modelyard.training.recipe import Recipe

Sharding = Literal["ddp", "fsdp"]


def require_shareable(recipe: Recipe, devices: int, sharding: Sharding) -> None:
    """Raises: RecipeInvalid where several devices would not do what the recipe means on one."""
    if devices == 1:
        return
    _require_even(recipe, devices)
    if recipe.objective == "kto":
        raise RecipeInvalid(
            f"objective 'kto' compares the rows of a batch with each other, which {devices} devices would cut apart",
            expected="one device, so that the same recipe is the same training",
            fix="set compute.devices to 1, or learn from pairs with objective: dpo",
        )
    if sharding == "fsdp" and recipe.method != "full":
        raise RecipeInvalid(
            f"method '{recipe.method}' with compute.sharding 'fsdp'",
            expected="method: full, whose weights and optimizer are what fills a device",
            fix="set compute.sharding to ddp, or the recipe's method to full",
        )


def _require_even(recipe: Recipe, devices: int) -> None:
    size = recipe.batch_size
    if size % devices == 0:
        return
    near = sorted({max(1, size // devices) * devices, (size // devices + 1) * devices})
    fewer = next(number for number in range(min(size, devices), 0, -1) if size % number == 0)
    raise RecipeInvalid(
        f"batch_size is {size}, which does not divide over {devices} devices",
        expected="a multiple of compute.devices: the batch is that of all devices together",
        fix=f"set batch_size to {' or '.join(map(str, near))}, or compute.devices to {fewer}",
    )
