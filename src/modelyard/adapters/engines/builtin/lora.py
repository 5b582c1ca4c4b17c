"""LoRA adapters beside the base weights, so that each row of a batch may use another one.

The A and B matrices of all adapters lie side by side in one pair of matrices per layer. Neighbouring rows with one
adapter are multiplied by its columns alone: the least arithmetic, for prompts. A batch in any order is multiplied by
all columns that its rows use, and a mask keeps each row to its own: the fewest operations, for steps of one token.
Knows nothing of tokens.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import cast

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from modelyard.core.errors import InvalidInput

_PREFIX = "base_model.model."
_TENSOR = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_UNSUPPORTED = (
    "alora_invocation_tokens",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
)
_BASE_CHANGING_INITS = ("pissa", "olora", "loftq", "corda", "lora_ga")


class AdapterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The part of PEFT's `adapter_config.json` that scales the weights."""

    peft_type: str
    lora_alpha: float
    bias: str = "none"
    use_rslora: bool = False
    alpha_pattern: dict[str, float] = {}
    init_lora_weights: bool | str | None = True

    def scaling(self, module: str, rank: int) -> float:
        """What B's output is multiplied with in a module."""
        matching = (key for key in self.alpha_pattern if re.match(rf"(.*\.)?({key})$", module))
        alpha = self.alpha_pattern.get(next(matching, ""), self.lora_alpha)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapter:
    """An adapter's weights by module: A of shape (rank, in) and B of shape (rank, out), B already scaled."""

    name: str
    folder: Path
    rank: int
    weights: dict[str, tuple[Tensor, Tensor]]


def read_adapter(name: str, folder: Path, model: nn.Module, dtype: torch.dtype) -> Adapter:
    """Read an adapter that PEFT wrote, checked against the base model. Raises: InvalidInput."""
    config = _read_config(folder)
    tensors = _read_tensors(folder)
    modules = {match["module"] for key in tensors if (match := _TENSOR.fullmatch(key))}
    linears = dict(model.named_modules())
    weights = {}
    for module in sorted(modules):
        down, up = _pair(folder, module, tensors)
        path = module.removeprefix(_PREFIX)
        _check_shapes(folder, path, linears.get(path), down, up)
        scaled = up.float() * config.scaling(path, down.shape[0])
        weights[path] = (down.to(dtype).contiguous(), scaled.to(dtype).t().contiguous())
    rank = max(down.shape[0] for down, _ in weights.values())
    return Adapter(name=name, folder=folder, rank=rank, weights=weights)


def _read_config(folder: Path) -> AdapterConfig:
    path = folder / "adapter_config.json"
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"cannot read {path}: {error.strerror}", expected="a folder that PEFT's save_pretrained wrote"
        ) from error
    try:
        fields = msgspec.json.decode(text, type=dict[str, object])
        config = msgspec.convert(fields, AdapterConfig)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{path} is not an adapter's configuration: {error}") from error
    if config.peft_type != "LORA":
        raise InvalidInput(f"{path} has peft_type {config.peft_type}", expected="LORA")
    used = [key for key in _UNSUPPORTED if fields.get(key)]
    if config.bias != "none":
        used.append(f"bias={config.bias}")
    if str(config.init_lora_weights).startswith(_BASE_CHANGING_INITS):
        used.append(f"init_lora_weights={config.init_lora_weights}")
    if used:
        raise InvalidInput(f"{path} uses {', '.join(used)}", expected="plain LoRA on linear layers")
    return config


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / "adapter_model.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InvalidInput(f"cannot read {path}: {error}", expected="the adapter's weights in safetensors") from error
    strange = [key for key in tensors if not _TENSOR.fullmatch(key)]
    if strange or not tensors:
        seen = f"the tensor {strange[0]}" if strange else "no tensors"
        raise InvalidInput(f"{path} holds {seen}", expected="lora_A and lora_B weights only")
    for key, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise InvalidInput(f"{path}: {key} holds numbers that are not finite")
    return tensors


def _pair(folder: Path, module: str, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    pair = [tensors.get(f"{module}.lora_{side}.weight") for side in "AB"]
    if pair[0] is None or pair[1] is None:
        raise InvalidInput(f"{folder}: {module} has only one of lora_A and lora_B")
    return pair[0], pair[1]


def _check_shapes(folder: Path, path: str, module: nn.Module | None, down: Tensor, up: Tensor) -> None:
    linear = module.linear if isinstance(module, AdaptedLinear) else module
    if not isinstance(linear, nn.Linear):
        kind = "nothing" if module is None else type(module).__name__
        raise InvalidInput(
            f"{folder} adapts {path}, where the base model has {kind}",
            expected="a linear layer of this base model",
            fix="load adapters that were trained on the base model this engine serves",
        )
    seen, expected = (up.shape[0], down.shape[1]), tuple(linear.weight.shape)
    if seen != expected:
        raise InvalidInput(
            f"{folder} adapts {path} with the shape {seen}, the base model has {expected}",
            fix="load adapters that were trained on the base model this engine serves",
        )


class Selection:
    """Which columns of the stacked matrices the rows of the next forward pass use; shared by all layers.

    Each of the `runs` is some neighbouring rows and the columns they use. With a `mask` of shape (rows, 1, columns)
    there is one run, and a row uses those of its columns where the mask is 1.
    """

    runs: tuple[tuple[slice, slice], ...] = ()
    mask: Tensor | None = None


class AdaptedLinear(nn.Module):
    """A linear layer of the base, and the stacked A (columns, in) and B (columns, out) of every adapter."""

    down: Tensor
    up: Tensor

    def __init__(self, linear: nn.Linear, selection: Selection) -> None:
        super().__init__()
        self.linear = linear
        self._selection = selection

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: x is (rows, tokens, in); the answer is (rows, tokens, out)."""
        y: Tensor = self.linear(x)
        mask = self._selection.mask
        for rows, columns in self._selection.runs:
            hidden = functional.linear(x[rows], self.down[columns])
            if mask is not None:
                hidden *= mask
            y[rows].flatten(0, 1).addmm_(hidden.flatten(0, 1), self.up[columns])
        return y


class AdapterBank:
    """The adapters placed in a model. Used by one thread, between forward passes."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._selection = Selection()
        self._columns: dict[Adapter, tuple[int, int]] = {}
        self._adapted: dict[str, AdaptedLinear] = {}

    @property
    def placed(self) -> set[Adapter]:
        """The adapters that rows may use."""
        return set(self._columns)

    @torch.inference_mode()
    def place(self, adapters: Sequence[Adapter]) -> None:
        """Stack exactly these adapters. A module an adapter leaves alone gets zeros in its columns."""
        self._columns, end = {}, 0
        for adapter in adapters:
            self._columns[adapter] = (end, end + adapter.rank)
            end += adapter.rank
        for path in {path for adapter in adapters for path in adapter.weights}:
            if path not in self._adapted:
                self._adapted[path] = self._adapt(path)
        for path, layer in self._adapted.items():
            weight = layer.linear.weight
            layer.down = weight.new_zeros(end, weight.shape[1])
            layer.up = weight.new_zeros(end, weight.shape[0])
            for adapter, (start, _) in self._columns.items():
                if path in adapter.weights:
                    down, up = adapter.weights[path]
                    used = slice(start, start + down.shape[0])
                    layer.down[used], layer.up[used] = down, up

    def select(self, rows: Sequence[Adapter | None]) -> None:
        """Say which adapter each row of the next forward pass uses; None is the bare base."""
        used = {self._columns[row] for row in rows if row is not None}
        runs = tuple(self._runs(rows))
        if len(runs) <= len(used):
            self._selection.runs, self._selection.mask = runs, None
            return
        start, stop = min(start for start, _ in used), max(stop for _, stop in used)
        weight = next(iter(self._adapted.values())).linear.weight
        mask = torch.zeros(len(rows), 1, stop - start, dtype=weight.dtype)
        for row, adapter in enumerate(rows):
            if adapter is not None:
                first, end = self._columns[adapter]
                mask[row, 0, first - start : end - start] = 1
        self._selection.runs, self._selection.mask = ((slice(0, len(rows)), slice(start, stop)),), mask

    def _runs(self, rows: Sequence[Adapter | None]) -> Iterator[tuple[slice, slice]]:
        """Neighbouring rows with the same adapter, and its columns."""
        first = 0
        for adapter, group in groupby(rows):
            end = first + sum(1 for _ in group)
            if adapter is not None:
                yield slice(first, end), slice(*self._columns[adapter])
            first = end

    def _adapt(self, path: str) -> AdaptedLinear:
        parent, _, leaf = path.rpartition(".")
        layer = AdaptedLinear(cast(nn.Linear, self._model.get_submodule(path)), self._selection)
        setattr(self._model.get_submodule(parent), leaf, layer)
        return layer
