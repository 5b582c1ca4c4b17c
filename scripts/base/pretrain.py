"""Pretraining: documents packed into windows, Muon for the matrices and AdamW for the rest, on the CPU in bfloat16.

One process per core, each with its own share of the batch: on a busy machine that is several times faster than one
process whose threads wait for each other in every matrix product. Knows nothing about where the documents come from.
"""

import json
import math
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import distributed, multiprocessing
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from base.vocabulary import ASSISTANT, BOS, END, MAX_LENGTH, PAD, SYSTEM, USER, VOCAB_SIZE, id_of

PROMPT_WEIGHT = 0.5  # of a prompt's token in the loss; an answer's or plain text's counts 1
IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast: the run ends at `num_steps` or, where given, after `minutes`, whichever is first.

    The learning rates rise linearly over `warmup` and fall linearly over `decay`, shares of the run.
    """

    num_steps: int
    minutes: float | None
    batch_size: int
    window: int
    muon_lr: float = 0.02
    adam_lr: float = 0.004
    warmup: float = 0.02
    decay: float = 0.5
    checkpoint_minutes: float = 4.0

    def progress(self, step: int, elapsed_s: float) -> float:
        """The share of the run that is over."""
        by_time = elapsed_s / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(step / self.num_steps, by_time))

    def lr_factor(self, progress: float) -> float:
        """What the learning rates are multiplied with."""
        return max(0.01, min(1.0, progress / self.warmup, (1 - progress) / self.decay))


# Packing


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Packed documents. Shapes: both (windows, length); `segments` numbers the documents of a window from 1, 0 pads."""

    ids: torch.Tensor
    segments: torch.Tensor


def pack(documents: list[str], tokenizer: Tokenizer, length: int) -> Windows:
    """Documents side by side in windows, none across an edge; one longer than a window is cut at its end.

    First fit over a short queue of documents that did not fit the window before them.
    """
    rows: list[list[int]] = [[]]
    marks: list[list[int]] = [[]]
    waiting: deque[list[int]] = deque()

    def place(ids: list[int]) -> None:
        marks[-1] += [marks[-1][-1] + 1 if marks[-1] else 1] * len(ids)
        rows[-1] += ids

    for start in range(0, len(documents), 4096):
        for encoding in tokenizer.encode_batch(documents[start : start + 4096], add_special_tokens=False):
            waiting.append(encoding.ids[:length])
            if len(waiting) > 24:
                room = length - len(rows[-1])
                fitting = next((i for i, ids in enumerate(waiting) if len(ids) <= room), None)
                if fitting is None:
                    rows.append([])
                    marks.append([])
                    fitting = 0
                place(waiting[fitting])
                del waiting[fitting]
    pad = id_of(tokenizer, PAD)
    return Windows(
        ids=torch.tensor([row + [pad] * (length - len(row)) for row in rows], dtype=torch.int16),
        segments=torch.tensor([row + [0] * (length - len(row)) for row in marks], dtype=torch.int16),
    )


def batch_of(windows: Windows, index: torch.Tensor, tokenizer: Tokenizer) -> tuple[torch.Tensor, ...]:
    """Ids, attention mask, targets and loss weights of some windows.

    Shapes: (batch, length), (batch, 1, length, length) to be added to the scores, and twice (batch, length).
    Attention and targets stay inside a document.
    """
    ids, segments = windows.ids[index].long(), windows.segments[index]
    length = ids.shape[1]
    same = segments[:, :, None] == segments[:, None, :]
    visible = same & torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.zeros(same.shape, dtype=torch.bfloat16).masked_fill(~visible, float("-inf")).unsqueeze(1)
    targets = torch.full_like(ids, IGNORED)
    inside = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)
    targets[:, :-1] = torch.where(inside, ids[:, 1:], IGNORED)
    return ids, mask, targets, _loss_weights(ids, tokenizer)


def _loss_weights(ids: torch.Tensor, tokenizer: Tokenizer) -> torch.Tensor:
    """1 where the role token last seen is the assistant's or none, `PROMPT_WEIGHT` in prompts."""
    roles = torch.tensor([id_of(tokenizer, token) for token in (BOS, SYSTEM, USER, ASSISTANT)])
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    last = torch.where(torch.isin(ids, roles), positions, 0).cummax(dim=1).values
    prompts = torch.isin(ids.gather(1, last), roles[1:3])
    return torch.where(prompts, PROMPT_WEIGHT, 1.0)


# Training


def new_model(seed: int, tokenizer: Tokenizer) -> LlamaForCausalLM:
    """A Llama of 5.9 million parameters with random weights in float32."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        pad_token_id=id_of(tokenizer, PAD),
        bos_token_id=id_of(tokenizer, BOS),
        eos_token_id=id_of(tokenizer, END),
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def save_model(model: LlamaForCausalLM, folder: Path) -> None:
    """Write config.json, generation_config.json and the weights in bfloat16."""
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    copy = LlamaForCausalLM(model.config).to(torch.bfloat16)
    copy.load_state_dict(weights)
    copy.config.use_cache = True
    copy.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
    )
    copy.save_pretrained(folder)


def pretrain(
    tokenizer: Tokenizer, windows: Windows, schedule: Schedule, seed: int, num_workers: int, folder: Path
) -> dict[str, float]:
    """Train from random weights and save to `folder`, every few minutes and at the end; returns the run's figures."""
    with tempfile.TemporaryDirectory() as meeting:
        multiprocessing.spawn(  # type: ignore[attr-defined, no-untyped-call]
            _work, (num_workers, meeting, tokenizer.to_str(), windows, schedule, seed, folder), nprocs=num_workers
        )
        figures: dict[str, float] = json.loads((Path(meeting) / "figures.json").read_text("utf-8"))
    return figures


def _work(
    rank: int,
    num_workers: int,
    meeting: str,
    tokenizer_json: str,
    windows: Windows,
    schedule: Schedule,
    seed: int,
    folder: Path,
) -> None:
    """One of the processes: its share of each batch, one thread."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{meeting}/rank", rank=rank, world_size=num_workers)
    tokenizer = Tokenizer.from_str(tokenizer_json)
    model = new_model(seed, tokenizer)
    optimizers = Optimizers(model, schedule)
    loss_of = torch.compile(_loss)
    order = torch.Generator().manual_seed(seed)
    queue = torch.empty(0, dtype=torch.int64)
    started = saved = time.monotonic()
    step, num_tokens, smooth, progress = 0, 0, math.nan, 0.0
    while progress < 1:
        if len(queue) < schedule.batch_size:
            queue = torch.randperm(len(windows.ids), generator=order)
        index, queue = queue[: schedule.batch_size], queue[schedule.batch_size :]
        mine = index[rank::num_workers]
        loss = loss_of(model, *batch_of(windows, mine, tokenizer))
        loss.backward()  # type: ignore[no-untyped-call]
        step += 1
        now = time.monotonic()
        # The workers' clocks differ: the mean of their progress steers all of them.
        loss_value, progress = optimizers.step(progress, loss.item(), schedule.progress(step, now - started))
        num_tokens += int((windows.segments[index] > 0).sum())
        smooth = loss_value if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss_value
        if rank == 0 and step % 20 == 0:
            _log(step, progress, smooth, num_tokens, now - started)
        if rank == 0 and now - saved > 60 * schedule.checkpoint_minutes:
            save_model(model, folder)
            saved = now
    if rank == 0:
        save_model(model, folder)
        figures = {"steps": step, "tokens": num_tokens, "seconds": round(now - started), "loss": round(smooth, 4)}
        (Path(meeting) / "figures.json").write_text(json.dumps(figures), "utf-8")
    distributed.barrier()
    distributed.destroy_process_group()


class Optimizers:
    """Muon for the matrices, split among the workers, and AdamW for embeddings and norms, done by each."""

    def __init__(self, model: LlamaForCausalLM, schedule: Schedule) -> None:
        self._schedule = schedule
        named = list(model.named_parameters())
        self._matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
        self._others = [p for name, p in named if p.ndim != 2 or "embed" in name]
        self._rank, self._num_workers = distributed.get_rank(), distributed.get_world_size()
        self._muon = torch.optim.Muon(
            self._matrices[self._rank :: self._num_workers], lr=schedule.muon_lr, weight_decay=0.05
        )
        self._adam = torch.optim.AdamW(
            self._others, lr=schedule.adam_lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True
        )

    def step(self, progress: float, *to_average: float) -> tuple[float, ...]:
        """Average gradients and the given numbers over the workers, and take a step; returns those averages."""
        parameters = self._matrices + self._others
        averages = self._average_gradients(parameters, to_average)
        factor = self._schedule.lr_factor(progress)
        self._muon.param_groups[0]["lr"] = self._schedule.muon_lr * factor
        self._adam.param_groups[0]["lr"] = self._schedule.adam_lr * factor
        torch.nn.utils.clip_grad_norm_(self._others, 1.0)
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adam.step()
        self._share_matrices()
        for parameter in parameters:
            parameter.grad = None
        return averages

    def _average_gradients(self, parameters: list[torch.nn.Parameter], extra: tuple[float, ...]) -> tuple[float, ...]:
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([torch.tensor(extra), *(gradient.flatten() for gradient in gradients)])
        distributed.all_reduce(flat)
        flat /= self._num_workers
        _fill(gradients, flat[len(extra) :])
        return tuple(flat[: len(extra)].tolist())

    @torch.no_grad()
    def _share_matrices(self) -> None:
        """Give every worker the matrices that the others have stepped."""
        for index, matrix in enumerate(self._matrices):
            if index % self._num_workers != self._rank:
                matrix.zero_()
        flat = torch.cat([matrix.flatten() for matrix in self._matrices])
        distributed.all_reduce(flat)
        _fill(self._matrices, flat)


def _fill(tensors: Sequence[torch.Tensor], flat: torch.Tensor) -> None:
    """Copy consecutive pieces of a flat tensor into tensors of any shape."""
    start = 0
    for tensor in tensors:
        tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
        start += tensor.numel()


def _loss(
    model: LlamaForCausalLM, ids: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Mean weighted cross entropy over the tokens that have a target, in nats."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        logits = functional.linear(hidden, model.lm_head.weight)
    losses = functional.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    # The weight belongs to the token that is predicted, one to the right of where it is predicted.
    weights = (weights.roll(-1, dims=1) * (targets != IGNORED)).flatten()
    return (losses * weights).sum() / weights.sum()


def _log(step: int, progress: float, loss: float, num_tokens: int, elapsed_s: float) -> None:
    line = {
        "step": step,
        "progress": round(progress, 4),
        "loss": round(loss, 4),
        "tokens": num_tokens,
        "tokens_per_s": round(num_tokens / elapsed_s),
        "minutes": round(elapsed_s / 60, 2),
    }
    print(json.dumps(line), flush=True)
