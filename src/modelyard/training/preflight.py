"""Preflight: what can be known to be wrong before the first step, each check with its evidence and a fix.

Knows nothing about models: it looks at token ids, labels, the recipe and what the serving engine can do.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from modelyard.core.errors import RecipeInvalid
from modelyard.ports.engine import Capabilities
from modelyard.training.defaults import LORA_METHODS
from modelyard.training.recipe import Recipe
from modelyard.training.tokenization import IGNORED, ChatTokenizer, Row

MAX_TRUNCATED_SHARE = 0.0
_GENERATION_MARKER = re.compile(r"\{%-?\s*generation\b")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check saw. `fix` says what to do about it, and is empty where it passed."""

    name: str
    passed: bool
    seen: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """All that the checks look at. `engine` is None where no serving engine is known yet."""

    rows: Sequence[Row]
    chat: ChatTokenizer
    recipe: Recipe
    engine: Capabilities | None = None


def inspect(inspection: Inspection) -> list[Finding]:
    """Every check, in order."""
    return [check(inspection) for check in CHECKS]


def require(findings: Sequence[Finding]) -> None:
    """Raises: RecipeInvalid that lists every finding that did not pass."""
    failed = [finding for finding in findings if not finding.passed]
    if failed:
        raise RecipeInvalid(
            "preflight failed:\n" + "\n".join(f"- {finding.name}: {finding.seen}" for finding in failed),
            fix="; ".join(finding.fix for finding in failed),
        )


def marks_answers(inspection: Inspection) -> Finding:
    """The chat template says which words are the assistant's."""
    return _finding(
        "template marks answers",
        bool(_GENERATION_MARKER.search(inspection.chat.template)),
        "markers found" if _GENERATION_MARKER.search(inspection.chat.template) else "no {% generation %} marker",
        "put {% generation %} and {% endgeneration %} around the assistant's words in the chat template",
    )


def learns_something(inspection: Inspection) -> Finding:
    """Every row has at least one token to learn."""
    return _share(
        "every row has labels",
        inspection.rows,
        lambda row: any(label != IGNORED for label in row.labels),
        "drop the rows without an answer, or mend the chat template's {% generation %} markers",
    )


def learns_to_stop(inspection: Inspection) -> Finding:
    """The last learnt token of each answer is the end-of-turn token, or the model never learns to stop."""
    end = inspection.chat.end_of_turn
    return _share(
        "every answer ends its turn",
        inspection.rows,
        lambda row: all(span[-1] == end for span in answer_spans(row)),
        f"end the {{% generation %}} block after the end-of-turn token {inspection.chat.tokenizer.eos_token!r}, "
        "and make that token the tokenizer's eos_token",
    )


def learns_the_answers(inspection: Inspection) -> Finding:
    """The learnt tokens, decoded, are the assistant's text and the end of turn: nothing more, nothing less."""
    tokenizer = inspection.chat.tokenizer
    end = tokenizer.eos_token or ""

    def faithful(row: Row) -> bool:
        spans = list(answer_spans(row))
        texts = tokenizer.batch_decode(spans, clean_up_tokenization_spaces=False) if spans else []
        return len(texts) == len(row.answers) and all(
            text in (answer + end, answer.strip() + end) for text, answer in zip(texts, row.answers, strict=True)
        )

    return _share(
        "labels are the answers",
        inspection.rows,
        faithful,
        "let the {% generation %} block hold message['content'] and the end-of-turn token alone",
    )


def fits(inspection: Inspection) -> Finding:
    """No row is longer than a sequence, nor than the base can read: what is cut off is not learnt."""
    context = inspection.chat.tokenizer.model_max_length
    limit = min(inspection.recipe.sequence_length, context)
    finding = _share(
        "no row is truncated",
        inspection.rows,
        lambda row: len(row.input_ids) <= limit,
        "",
        tolerated=MAX_TRUNCATED_SHARE,
    )
    longest = max((len(row.input_ids) for row in inspection.rows), default=0)
    fix = f"raise sequence_length from {limit} to {longest}, or drop the long rows"
    if longest > context:
        fix = f"drop or shorten the rows over {context} tokens: the base reads no further"
    fix = "" if finding.passed else fix
    return msgspec.structs.replace(finding, seen=f"{finding.seen}; longest {longest} of {limit} tokens", fix=fix)


def pads_apart(inspection: Inspection) -> Finding:
    """Padding is not the end-of-turn token, or masking the one masks the other."""
    tokenizer = inspection.chat.tokenizer
    return _finding(
        "padding differs from end of turn",
        tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id,
        f"pad {tokenizer.pad_token!r}, end of turn {tokenizer.eos_token!r}",
        "give the tokenizer a pad_token of its own",
    )


def begins_once(inspection: Inspection) -> Finding:
    """A row begins with one beginning-of-text token, not two: template and tokenizer both like to add it."""
    begin = inspection.chat.tokenizer.bos_token_id
    return _share(
        "text begins once",
        inspection.rows,
        lambda row: begin is None or row.input_ids[:2] != [begin, begin],
        "let either the chat template or the tokenizer add the beginning-of-text token, not both",
    )


def prompts_are_prefixes(inspection: Inspection) -> Finding:
    """What a server is fed for the prompt is exactly how the trained row begins."""
    return _share(
        "prompts are prefixes",
        inspection.rows,
        lambda row: row.input_ids[: len(row.prompt_ids)] == row.prompt_ids,
        "make the chat template end a generation prompt exactly where the answer begins, on a token of its own",
    )


def can_be_served(inspection: Inspection) -> Finding:
    """The engine that will serve what comes out can load it."""
    name, recipe, engine = "the engine can serve it", inspection.recipe, inspection.engine
    rank = recipe.rank or 0
    if engine is None or not recipe.serve:
        return Finding(name=name, passed=True, seen="no engine known yet" if engine is None else "not to be served")
    if recipe.method not in LORA_METHODS or recipe.dora:
        return _finding(
            name,
            False,
            f"{'DoRA' if recipe.dora else f'method {recipe.method!r}'}; {engine.name} loads LoRA adapters alone",
            "set method: lora without dora; or serve: false, where it is used elsewhere",
        )
    ranks = tuple(allowed for allowed in engine.lora_ranks if allowed <= engine.max_lora_rank)
    allowed = rank in ranks if engine.lora_ranks else rank <= engine.max_lora_rank
    spoken = f"one of {', '.join(map(str, ranks))}" if engine.lora_ranks else f"at most {engine.max_lora_rank}"
    return _finding(
        name,
        engine.adapters and allowed,
        f"rank {rank}; {engine.name} takes {spoken if engine.adapters else 'no adapters'}",
        f"set rank to {spoken}" if engine.adapters else "choose an engine that serves adapters",
    )


CHECKS: tuple[Callable[[Inspection], Finding], ...] = (
    marks_answers,
    learns_something,
    learns_to_stop,
    learns_the_answers,
    fits,
    pads_apart,
    begins_once,
    prompts_are_prefixes,
    can_be_served,
)


def answer_spans(row: Row) -> Iterator[list[int]]:
    """The runs of learnt tokens, one an answer."""
    span: list[int] = []
    for label in row.labels:
        if label != IGNORED:
            span.append(label)
        elif span:
            yield span
            span = []
    if span:
        yield span


def _finding(name: str, passed: bool, seen: str, fix: str) -> Finding:
    return Finding(name=name, passed=passed, seen=seen, fix="" if passed else fix)


def _share(
    name: str, rows: Sequence[Row], holds: Callable[[Row], bool], fix: str, *, tolerated: float = 0.0
) -> Finding:
    """A check that every row must pass, but for a tolerated share; without rows nothing was shown, so it fails."""
    failing = [row.example_id for row in rows if not holds(row)]
    passed = bool(rows) and len(failing) <= tolerated * len(rows)
    seen = f"{len(failing)} of {len(rows)} rows fail" if failing or not rows else f"all {len(rows)} rows"
    if failing:
        seen += f", the first is {failing[0]}"
    return _finding(name, passed, seen, fix)
