"""Rows from a teacher: asked once, kept at once, made into rows as often as one likes.

First the answers: each question that the log has no answer to is asked, and its answer is on the disk before anything
else happens with it. Then the rows, from the log alone: changed filters cost nothing.
"""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from modelyard.core.locks import hold
from modelyard.datasets.synthesis.config import SynthesisConfig
from modelyard.datasets.synthesis.log import Account, check_same, open_log, put_aside, read_log
from modelyard.datasets.synthesis.making import make_rows
from modelyard.datasets.synthesis.plan import Plan
from modelyard.datasets.synthesis.price import most_prompt_tokens
from modelyard.datasets.synthesis.privacy import Privacy
from modelyard.datasets.synthesis.prompts import make_prompts
from modelyard.datasets.synthesis.report import Files, Requests, build_report, write_out
from modelyard.datasets.synthesis.seeds import read_seeds
from modelyard.ports.teacher import Teacher
from modelyard.workflows.asking import Asking
from modelyard.workflows.tools import Progress, silent


def make_plan(name: str, config: SynthesisConfig, root: Path) -> Plan:
    """Read the seeds and make the prompts. Raises: DataInvalid, MissingExtra."""
    privacy = Privacy.load(config.personal_data, root)
    seeds = read_seeds(config, root, privacy)
    prompts = make_prompts(config, seeds, privacy)
    return Plan(name=name, config=config, seeds=seeds, prompts=prompts, privacy=privacy)


def foresee(plan: Plan, root: Path, *, restart: bool = False) -> dict[str, Any]:
    """What a synthesis would ask and cost at most. Asks nobody and writes nothing. Raises: Conflict, see `open_log`."""
    files = Files(root, plan.name)
    account = Account() if restart else read_log(files.answers)
    check_same(files.answers, account.started, plan.started)
    requests = list(plan.requests(range(plan.config.samples)))
    missing = [request.question for request in requests if request.key not in account.answers]
    first = plan.prompts.rows[0]
    return {
        "synthesis": plan.name,
        "model": plan.config.model,
        "url": plan.config.url,
        "seeds": plan.seeds.count.rows_out,
        "prompts": len(plan.prompts.rows),
        "requests": len(requests),
        "requests_missing": len(missing),
        "prompt_tokens_at_most": sum(most_prompt_tokens(one.messages) for one in missing),
        "completion_tokens_at_most": plan.config.max_tokens * len(missing),
        "cost_nanousd_at_most": sum(map(plan.config.price.cost_at_most, missing)),
        "spent_nanousd": account.cost_nanousd + account.unanswered_nanousd,
        "max_cost": plan.config.max_cost,
        "example": [{"role": turn.role, "content": turn.content} for turn in first.messages],
        "steps": [plan.seeds.count.as_dict(), plan.prompts.count.as_dict()],
    }


def synthesise(
    plan: Plan, root: Path, teacher: Teacher, progress: Progress = silent, *, restart: bool = False
) -> dict[str, Any]:
    """Ask what is not answered yet, and write the rows; the report tells all of it.

    Killed at any line, the next call goes on from the answers there are. Raises: Conflict where the log holds answers
    to other requests, or another process works on it; EngineFailed and Unavailable from the teacher, all answers kept;
    DataInvalid where no row is left.
    """
    files = Files(root, plan.name)
    files.lock.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(hold(files.lock, f"the synthesis '{plan.name}' is being worked on", fix="wait for its end"))
        if restart:
            put_aside(files.answers)
        log = stack.enter_context(open_log(files.answers, plan.started))
        asking = Asking(plan, log, progress)
        asyncio.run(asking.run(teacher))
        refusals = list(asking.refusals.values())
        made = make_rows(plan.name, plan.config, plan.seeds.rows, plan.answers(log.account), refusals)
        requests = Requests(
            wanted=asking.wanted,
            from_log=asking.wanted - asking.missing,
            asked=asking.settled,
            left=asking.missing - asking.settled,
        )
        counts = (plan.seeds.count, plan.prompts.count)
        report = build_report(plan.name, plan.config, counts, made, log.account, requests)
        write_out(files, made, report)
    return report
