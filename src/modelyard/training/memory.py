"""What training takes of a device's memory, part by part: an estimate from shapes alone.

Knows nothing of allocators, kernels' scratch space and frameworks, which take some more.
"""

from modelyard.training.recipe import Recipe
from modelyard.training.sizes import Sizes, num_trainable

_FLOAT32 = 4
# NF4 with its scales quantized too (Dettmers 2023): 4.127 bits a weight.
_QUANTIZED = 4.127 / 8


def estimate(recipe: Recipe, sizes: Sizes, *, width: int, num_tokens: int, num_learnt: int) -> dict[str, int]:
    """Bytes by part.

    `width` is that of a number of the base. `num_tokens` go through the device at once; of these `num_learnt` are
    learnt.
    """
    learnt = num_trainable(recipe, sizes)
    is_full = recipe.method == "full"
    parts = {
        "base weights": sizes.num_parameters * (_FLOAT32 if is_full else width),
        "learnt weights": 0 if is_full else learnt * _FLOAT32,
        "gradients": learnt * _FLOAT32,
        "optimizer": learnt * 2 * _FLOAT32,
        "activations": _activations(recipe, sizes, _FLOAT32 if is_full else width, num_tokens),
        # As they come, in float32, and their gradient.
        "logits": num_learnt * sizes.vocabulary * (width + 2 * _FLOAT32),
    }
    if recipe.method == "qlora":
        quantized = sum(rows * columns for rows, columns in sizes.linear.values())
        parts["base weights"] = int(quantized * _QUANTIZED) + (sizes.num_parameters - quantized) * width
    return parts


def _activations(recipe: Recipe, sizes: Sizes, width: int, num_tokens: int) -> int:
    """What is kept of every block for the way back; with checkpointing its input alone, and one block's whole."""
    block = num_tokens * _kept_of_a_token(sizes, width)
    if recipe.gradient_checkpointing:
        return sizes.layers * num_tokens * sizes.hidden * width + block
    return sizes.layers * block


def _kept_of_a_token(sizes: Sizes, width: int) -> int:
    """Bytes that one block keeps of a token.

    Two norms keep their input in float32 and its scaled form; attention keeps queries, keys and values before and after
    their rotation, and its outcome; the feed-forward part its two products, their activation and what goes down.
    """
    norms = 2 * sizes.hidden * (_FLOAT32 + 2 * width)
    attention = (3 * sizes.hidden + 3 * sizes.key_width) * width
    return norms + attention + 4 * sizes.inner * width
