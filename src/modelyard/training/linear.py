"""A linear layer with its adapter as one step of autograd, for CPUs.

The usual forward makes three passes over the layer's output and keeps the input twice; here the adapter is added in
place by the product itself. The arithmetic is that of PEFT: y = x W' + (alpha / r) (x A') B'.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft.tuners.lora.layer import Linear


class _AdaptedLinear(torch.autograd.Function):
    """Shapes: x (tokens, in), weight (out, in), down (r, in), up (out, r). The weight is frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, down: torch.Tensor, up: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        down_cast, up_cast = down.to(weight.dtype), (up * scaling).to(weight.dtype)
        inner = x @ down_cast.t()
        ctx.save_for_backward(x, weight, down_cast, up_cast, inner)
        ctx.scaling = scaling
        return (x @ weight.t()).addmm_(inner, up_cast.t())

    @staticmethod
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, None, torch.Tensor, torch.Tensor, None]:
        x, weight, down, up, inner = ctx.saved_tensors
        through = gradient @ up
        to_x = (gradient @ weight).addmm_(through, down) if ctx.needs_input_grad[0] else None
        to_down = (through.t() @ x).float()
        to_up = (gradient.t() @ inner).float() * ctx.scaling
        return to_x, None, to_down, to_up, None


def _forward(layer: Any, x: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
    (name,) = layer.active_adapters
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    arguments = (x.reshape(-1, x.shape[-1]), layer.base_layer.weight, down, up, layer.scaling[name])
    y: torch.Tensor = _AdaptedLinear.apply(*arguments)  # type: ignore[no-untyped-call]
    return y.view(*x.shape[:-1], -1)


def _is_plain(layer: Any) -> bool:
    """Whether a layer is LoRA with one adapter and nothing else: no bias, no dropout, no variant."""
    if type(layer) is not Linear or len(layer.active_adapters) != 1:
        return False
    (name,) = layer.active_adapters
    return (
        type(layer.base_layer) is torch.nn.Linear
        and layer.base_layer.bias is None
        and isinstance(layer.lora_dropout[name], torch.nn.Identity)
        and name not in layer.lora_variant
        and layer.lora_B[name].bias is None
    )


@contextmanager
def fused_adapters(model: torch.nn.Module) -> Iterator[int]:
    """Give every plain adapted layer of a model the fused forward while the block runs; yield how many got it.

    Within another such block nothing changes.
    """
    layers = [layer for layer in model.modules() if _is_plain(layer) and "forward" not in vars(layer)]
    for layer in layers:
        layer.forward = partial(_forward, layer)
    try:
        yield len(layers)
    finally:
        for layer in layers:
            del layer.forward
