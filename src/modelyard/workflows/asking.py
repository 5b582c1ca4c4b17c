"""Questions to a teacher: in order, so many at once, never for more money than there is, each answer kept at once."""

import asyncio
from collections.abc import Iterable, Iterator

from modelyard.core.clock import iso, now_ms
from modelyard.core.errors import EngineFailed, Unavailable
from modelyard.core.money import format_usd, nanousd
from modelyard.datasets.synthesis.log import Answered, AnswerLog, Asked, Failed, Lost
from modelyard.datasets.synthesis.making import Refusal, answered_well
from modelyard.datasets.synthesis.plan import Plan
from modelyard.datasets.synthesis.price import Budget, most_prompt_tokens
from modelyard.datasets.synthesis.prompts import Request
from modelyard.ports.teacher import Reply, Teacher
from modelyard.workflows.tools import Progress

# Where the server takes this many prompts for wrong and has answered none, it is not about the prompts.
_MOST_REFUSALS = 20


class _Spent(Exception):
    """The next attempt might pass `max_cost`."""


class Asking:
    """The questions of a plan that its log has no answer to.

    `wanted` are all that were looked at, `missing` those without an answer, `settled` those that have one now or were
    refused. What stops it is raised once nothing is on its way any more.
    """

    def __init__(self, plan: Plan, log: AnswerLog, progress: Progress) -> None:
        self._plan = plan
        self._config = plan.config
        self._log = log
        self._progress = progress
        most = None if self._config.max_cost is None else nanousd(self._config.max_cost)
        self._budget = Budget(most, log.account.cost_nanousd + log.account.unanswered_nanousd)
        self._running: set[asyncio.Task[None]] = set()
        self._stop: Unavailable | _Spent | None = None
        self.refusals: dict[str, Refusal] = {}
        self.wanted = 0
        self.missing = 0
        self.settled = 0

    async def run(self, teacher: Teacher) -> None:
        """Ask until all is answered or the money is spent, then close. Raises: EngineFailed, Unavailable."""
        try:
            for requests in self._rounds():
                await self._ask_all(teacher, requests)
                if self._stop:
                    break
        finally:
            for task in self._running:
                task.cancel()
            await teacher.close()
        if isinstance(self._stop, Unavailable):
            raise self._stop

    def _rounds(self) -> Iterator[list[Request]]:
        """All questions at once; where the first good answer is wanted, sample after sample for prompts without one."""
        samples = range(self._config.samples)
        if self._config.keep != "first":
            yield self._missing(self._plan.requests(samples))
            return
        for sample in samples:
            good = answered_well(self._config, self._plan.answers(self._log.account))
            yield self._missing(one for one in self._plan.requests([sample]) if one.prompt not in good)

    def _missing(self, requests: Iterable[Request]) -> list[Request]:
        wanted = list(requests)
        missing = [one for one in wanted if one.key not in self._log.account.answers]
        self.wanted += len(wanted)
        self.missing += len(missing)
        return missing

    async def _ask_all(self, teacher: Teacher, requests: list[Request]) -> None:
        self._tell()
        for request in requests:
            at_most = self._config.price.cost_at_most(request.question)
            if not await self._may_go(at_most):
                break
            self._log.write(Asked(key=request.key, cost_at_most_nanousd=at_most))
            task = asyncio.create_task(self._ask(teacher, request, at_most))
            self._running.add(task)
        while self._running and not self._stop:
            await self._one_came_back()
        if self._running:
            # They were paid for, most likely; but nobody waits for their next attempts.
            await asyncio.wait(self._running, timeout=self._config.timeout_s)

    async def _may_go(self, at_most: int) -> bool:
        """Wait for a place and for money. False where something stopped, or what is left does not suffice."""
        while len(self._running) >= self._config.concurrency:
            await self._one_came_back()
        while not self._stop and not self._budget.promise(at_most):
            if not self._running:
                self._stop = _Spent()
                break
            await self._one_came_back()
        return self._stop is None

    async def _one_came_back(self) -> None:
        done, self._running = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        self._tell()

    async def _ask(self, teacher: Teacher, request: Request, at_most: int) -> None:
        promised, paid = at_most, 0

        def lost() -> None:
            nonlocal promised
            self._log.write(Lost(key=request.key, cost_at_most_nanousd=at_most))
            self._budget.settle(promised, at_most)
            promised = 0
            if not self._budget.promise(at_most):
                raise _Spent
            promised = at_most

        try:
            reply = await teacher.ask(request.question, lost)
            paid = self._take(request, reply)
            self.settled += 1
        except (Unavailable, _Spent) as error:
            self._log.write(Failed(key=request.key))
            self._stop = self._stop or error
        finally:
            self._budget.settle(promised, paid)

    def _take(self, request: Request, reply: Reply) -> int:
        """Keep what came back, and tell what it cost. Raises: EngineFailed for a refusal that stops all."""
        if reply.finish_reason != "refused":
            answer = self._answered(request, reply)
            self._log.write(answer)
            return answer.cost_nanousd
        prompt = self._plan.prompts.rows[request.prompt]
        is_hopeless = len(self.refusals) + 1 >= _MOST_REFUSALS and not self._log.account.answers
        if self._config.refused_prompts == "stop" or is_hopeless:
            raise EngineFailed(
                f"the teacher at {self._config.url} refuses a prompt ({prompt.seed.place or 'no seed'}): {reply.text}",
                fix="correct what it names; where it is about this prompt alone, `refused_prompts: drop` goes on"
                " without it. The answers so far are kept",
            )
        self._log.write(Failed(key=request.key))
        self.refusals[request.key] = Refusal(prompt=prompt, words=reply.text)
        return 0

    def _answered(self, request: Request, reply: Reply) -> Answered:
        told_in, told_out = reply.prompt_tokens, reply.completion_tokens
        tokens_in = most_prompt_tokens(request.question.messages) if told_in is None else told_in
        tokens_out = request.question.sampling.max_tokens if told_out is None else told_out
        text, kinds = self._plan.privacy.without(reply.text, is_json=bool(self._config.fields))
        return Answered(
            key=request.key,
            prompt=request.prompt,
            sample=request.sample,
            request_seed=request.question.seed,
            text=text,
            finish_reason=reply.finish_reason,
            model=reply.model,
            prompt_tokens=tokens_in,
            completion_tokens=tokens_out,
            is_counted=told_in is not None and told_out is not None,
            cost_nanousd=self._config.price.cost(tokens_in, tokens_out),
            at=iso(now_ms()),
            personal=kinds,
        )

    def _tell(self) -> None:
        done = self.wanted - self.missing + self.settled
        cost = self._log.account.cost_nanousd
        note = f"{done:,} of {self.wanted:,} answers" + (f", {format_usd(cost)}" if cost else "")
        self._progress(done, self.wanted, note)
