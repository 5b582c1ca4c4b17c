"""The batcher: answers in company equal answers alone, places are freed, a full queue says no."""

import asyncio
import random
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from modelyard.adapters.engines.builtin.batcher import Batcher, Chunk, Ticket
from modelyard.adapters.engines.builtin.lora import Adapter
from modelyard.adapters.engines.builtin.model import Model
from modelyard.adapters.engines.builtin.sampling import Decoding
from modelyard.adapters.engines.builtin.text import Tokenizer
from modelyard.core.errors import Unavailable

GREEDY = Decoding(temperature=0, max_tokens=24)


class Alone:
    """The oracle: transformers' own generate, one request at a time, the adapter run by PEFT."""

    def __init__(self, base: Path, folders: list[Path]) -> None:
        self._plain = AutoModelForCausalLM.from_pretrained(base).eval()
        model = AutoModelForCausalLM.from_pretrained(base)
        self._adapted = PeftModel.from_pretrained(model, folders[0], adapter_name=folders[0].name).eval()
        for folder in folders[1:]:
            self._adapted.load_adapter(folder, folder.name)

    def answer(self, prompt: list[int], adapter: str | None, max_tokens: int) -> list[int]:
        model = self._plain
        if adapter:
            model = self._adapted
            model.set_adapter(adapter)
        with torch.inference_mode():
            tokens = model.generate(
                input_ids=torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=max_tokens,
                do_sample=False,
            )
        return tokens[0, len(prompt) :].tolist()


async def collect(ticket: Ticket) -> tuple[list[int], str, str]:
    """Tokens, text and finish reason."""
    tokens: list[int] = []
    text = ""
    while True:
        chunk: Chunk = await asyncio.wait_for(ticket.next_chunk(), 60)
        tokens += [token.id for token in chunk.tokens]
        text += chunk.text
        if chunk.finish_reason:
            return tokens, text, chunk.finish_reason


async def ask(batcher: Batcher, prompt: list[int], adapter: Adapter | None, decoding: Decoding) -> list[int]:
    ticket = Ticket(prompt, adapter, decoding)
    batcher.submit(ticket)
    return (await collect(ticket))[0]


def random_prompt(chance: random.Random, longest: int = 60) -> list[int]:
    return [1, *(chance.randrange(6, 380) for _ in range(chance.randrange(1, longest))), 5]


@pytest.mark.parametrize("seed", range(4))
def test_answers_in_company_equal_answers_alone(
    seed: int, base: Path, batcher: Batcher, adapters: list[Adapter], adapter_folders: list[Path]
) -> None:
    chance = random.Random(seed)
    requests = [
        (random_prompt(chance), chance.choice([None, *adapters]), chance.randrange(1, 25), chance.random() * 0.15)
        for _ in range(25)
    ]

    async def arrive(prompt: list[int], adapter: Adapter | None, max_tokens: int, delay_s: float) -> list[int]:
        await asyncio.sleep(delay_s)
        return await ask(batcher, prompt, adapter, Decoding(temperature=0, max_tokens=max_tokens))

    async def all_arrive() -> list[list[int]]:
        return await asyncio.gather(*(arrive(*request) for request in requests))

    batcher.use_adapters(adapters)
    answers = asyncio.run(all_arrive())
    alone = Alone(base, adapter_folders)
    for (prompt, adapter, max_tokens, _), answer in zip(requests, answers, strict=True):
        assert answer == alone.answer(prompt, adapter.name if adapter else None, max_tokens)


def test_a_seeded_draw_does_not_depend_on_the_company(batcher: Batcher) -> None:
    drawn = Decoding(temperature=1.0, top_p=0.9, seed=7, max_tokens=20)
    prompt = [1, 50, 60, 70, 5]

    async def alone_then_crowded() -> tuple[list[int], list[int], list[int]]:
        alone = await ask(batcher, prompt, None, drawn)
        others = [ask(batcher, [1, 80 + index, 5], None, Decoding(seed=index, max_tokens=30)) for index in range(4)]
        crowded, *_ = await asyncio.gather(ask(batcher, prompt, None, drawn), *others)
        other_seed = await ask(batcher, prompt, None, Decoding(temperature=1.0, top_p=0.9, seed=8, max_tokens=20))
        return alone, crowded, other_seed

    alone, crowded, other_seed = asyncio.run(alone_then_crowded())
    assert alone == crowded
    assert alone != other_seed


def test_an_answer_ends_at_the_context_s_end(model: Model, batcher: Batcher) -> None:
    async def fill() -> list[tuple[list[int], str, str]]:
        tickets = [Ticket([1] + [40] * length, None, Decoding(temperature=0, max_tokens=999)) for length in (254, 200)]
        for ticket in tickets:
            batcher.submit(ticket)
        return [await collect(ticket) for ticket in tickets]

    for (tokens, _, reason), length in zip(asyncio.run(fill()), (255, 201), strict=True):
        assert reason == "stop" or length + len(tokens) == model.context_length


def test_a_stop_string_ends_the_answer(batcher: Batcher, tokenizer: Tokenizer) -> None:
    async def stopped() -> tuple[str, str, str]:
        whole = await ask(batcher, [1, 77, 5], None, GREEDY)
        text = tokenizer.decode(whole)
        stop = text[len(text) // 2 : len(text) // 2 + 2]
        ticket = Ticket([1, 77, 5], None, Decoding(temperature=0, max_tokens=24, stops=(stop,)))
        batcher.submit(ticket)
        _, cut, reason = await collect(ticket)
        return text[: text.find(stop)], cut, reason

    expected, cut, reason = asyncio.run(stopped())
    assert (cut, reason) == (expected, "stop")


def test_a_cancelled_request_frees_its_place(batcher: Batcher) -> None:
    async def cancel_some() -> tuple[str, list[int]]:
        long = [Ticket([1, 60 + index, 5], None, Decoding(temperature=0, max_tokens=200)) for index in range(6)]
        for ticket in long:
            batcher.submit(ticket)
        await long[0].next_chunk()
        for ticket in long:
            batcher.cancel(ticket)
        answer = await ask(batcher, [1, 60, 5], None, Decoding(temperature=0, max_tokens=3))
        _, _, reason = await collect(long[1])
        return reason, answer

    reason, answer = asyncio.run(cancel_some())
    assert reason == "abort"
    assert len(answer) <= 3
    assert batcher.num_running == 0


def test_a_full_queue_says_no(model: Model, tokenizer: Tokenizer) -> None:
    batcher = Batcher(model, tokenizer, max_batch=1, max_waiting=2)

    async def overfill() -> list[list[int]]:
        tickets = [Ticket([1, 60, 5], None, GREEDY) for _ in range(20)]
        taken = []
        with pytest.raises(Unavailable, match="2 requests are waiting"):  # noqa: PT012
            for ticket in tickets:
                batcher.submit(ticket)
                taken.append(ticket)
        return [(await collect(ticket))[0] for ticket in taken]

    answers = asyncio.run(overfill())
    batcher.close()
    assert len(answers) >= 2
    assert all(answer == answers[0] for answer in answers)


def test_an_unloaded_adapter_answers_what_it_began(batcher: Batcher, adapters: list[Adapter]) -> None:
    async def unload_meanwhile() -> tuple[list[int], list[int]]:
        batcher.use_adapters(adapters)
        before = await ask(batcher, [1, 60, 5], adapters[0], GREEDY)
        ticket = Ticket([1, 60, 5], adapters[0], GREEDY)
        batcher.submit(ticket)
        first = await ticket.next_chunk()
        batcher.use_adapters(adapters[1:])
        rest, _, _ = await collect(ticket) if first.finish_reason is None else ([], "", "")
        return before, [first.tokens[0].id, *rest]

    before, during = asyncio.run(unload_meanwhile())
    assert before == during


def test_a_failing_batch_ends_its_requests_and_the_next_ones_are_served(
    model: Model, batcher: Batcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = model.step

    def fail_once(*args: object) -> torch.Tensor:
        monkeypatch.setattr(model, "step", step)
        raise RuntimeError("out of memory")

    async def fail_then_go_on() -> tuple[str, list[int]]:
        monkeypatch.setattr(model, "step", fail_once)
        ticket = Ticket([1, 60, 5], None, GREEDY)
        batcher.submit(ticket)
        _, _, reason = await collect(ticket)
        return reason, await ask(batcher, [1, 60, 5], None, GREEDY)

    reason, answer = asyncio.run(fail_then_go_on())
    assert reason == "error"
    assert answer
