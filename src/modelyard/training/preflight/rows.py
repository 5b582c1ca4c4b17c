"""What can be wrong with rows: their labels, their ends, their lengths, their prompts."""

from collections.abc import Iterator

import msgspec
import numpy as np

from modelyard.training.preflight.finding import Finding, by_row, found
from modelyard.training.preflight.inspection import Inspection

# Of conversations with several answers so many are looked at turn by turn: what is wrong comes from the template.
MAX_CONVERSATIONS = 1000


def learns_something(inspection: Inspection) -> Finding:
    """Every row has at least one token to learn."""
    return by_row(
        "every row has labels",
        inspection.rows,
        np.flatnonzero(inspection.columns.num_learnt == 0),
        "drop the rows without an answer, or mend the chat template's {% generation %} markers",
    )


def learns_to_stop(inspection: Inspection) -> Finding:
    """The last learnt token of each answer is the end-of-turn token, or the model never learns to stop."""
    columns = inspection.columns
    _, ends = columns.spans
    token = inspection.chat.tokenizer.eos_token
    return by_row(
        "every answer ends its turn",
        inspection.rows,
        columns.rows_of(ends[columns.labels[ends - 1] != inspection.chat.end_of_turn] - 1),
        f"end the {{% generation %}} block after the end-of-turn token {token!r}, and make that token the tokenizer's "
        "eos_token",
    )


def ends_once(inspection: Inspection) -> Finding:
    """An answer holds its end-of-turn token once, and no two stand together: texts or templates may bring their own."""
    columns, token = inspection.columns, inspection.chat.tokenizer.eos_token
    is_end = columns.ids == inspection.chat.end_of_turn
    goes_on = np.concatenate((columns.is_learnt[1:] & ~columns.starts_row[1:], [False]))[: len(is_end)]
    doubled = is_end & np.concatenate(([False], is_end[:-1]))[: len(is_end)] & ~columns.starts_row
    return by_row(
        "a turn ends once",
        inspection.rows,
        columns.rows_of((is_end & columns.is_learnt & goes_on) | doubled),
        f"remove {token!r} from the texts: the chat template adds it",
    )


def learns_the_answers(inspection: Inspection) -> Finding:
    """The learnt tokens, decoded, are the assistant's text and the end of turn: nothing more, nothing less."""
    end = inspection.chat.tokenizer.eos_token or ""
    texts = _decoded_answers(inspection)
    failing = [
        place
        for place, (row, said) in enumerate(zip(inspection.rows, texts, strict=True))
        if len(said) != len(row.answers)
        or any(text not in (answer + end, answer.strip() + end) for text, answer in zip(said, row.answers, strict=True))
        or not said
    ]
    return by_row(
        "labels are the answers",
        inspection.rows,
        failing,
        "let the {% generation %} block hold message['content'] and the end-of-turn token alone",
    )


def _decoded_answers(inspection: Inspection) -> Iterator[list[str]]:
    """The text of each run of learnt tokens, row by row."""
    columns = inspection.columns
    begins, ends = columns.spans
    spans = [columns.labels[begin:end].tolist() for begin, end in zip(begins, ends, strict=True)]
    texts = iter(inspection.chat.decode(spans))
    for count in np.bincount(columns.row[begins], minlength=len(inspection.rows)):
        yield [next(texts) for _ in range(count)]


def fits(inspection: Inspection) -> Finding:
    """No row is longer than a sequence, nor than the base can read: what is cut off is not learnt."""
    recipe, lengths = inspection.recipe, inspection.columns.lengths
    context = inspection.chat.tokenizer.model_max_length
    if inspection.sizes and inspection.sizes.context:
        context = min(context, inspection.sizes.context)
    context -= recipe.virtual_tokens or 0
    limit = min(recipe.sequence_length, context)
    longest = int(lengths.max(initial=0))
    fix = f"raise sequence_length from {limit} to {longest}, or drop the long rows"
    if longest > context:
        fix = f"drop or shorten the rows over {context} tokens: the base reads no further"
    finding = by_row("no row is truncated", inspection.rows, np.flatnonzero(lengths > limit), fix)
    return msgspec.structs.replace(finding, seen=f"{finding.seen}; longest {longest:,} of {limit:,} tokens")


def begins_once(inspection: Inspection) -> Finding:
    """Text begins once: a second beginning stands only where a turn has ended, as some templates have it."""
    columns, tokenizer = inspection.columns, inspection.chat.tokenizer
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    inside = np.zeros_like(columns.starts_row)
    if begin is not None and begin != end:
        after_end = np.concatenate(([False], columns.ids[:-1] == end))[: len(columns.ids)]
        inside = (columns.ids == begin) & ~columns.starts_row & ~after_end
    return by_row(
        "text begins once",
        inspection.rows,
        columns.rows_of(inside),
        f"let either the chat template or the tokenizer add {tokenizer.bos_token!r}, not both; and remove it from "
        "the texts",
    )


def prompts_are_prefixes(inspection: Inspection) -> Finding:
    """What a server is fed for the prompt is exactly how the trained row begins."""
    return by_row(
        "prompts are prefixes",
        inspection.rows,
        [
            place
            for place, row in enumerate(inspection.rows)
            if row.input_ids[: len(row.prompt_ids)] != row.prompt_ids or len(row.prompt_ids) >= len(row.input_ids)
        ],
        "make the chat template end a generation prompt exactly where the answer begins, on a token of its own",
    )


def earlier_prompts_are_prefixes(inspection: Inspection) -> Finding:
    """The same for each earlier answer of a conversation: templates like to rewrite turns that lie behind."""
    name = "every turn's prompt is a prefix"
    several = [
        (example, row)
        for example, row in zip(inspection.examples, inspection.own_rows, strict=False)
        if sum(message.role == "assistant" for message in example.messages) > 1
    ]
    chosen = several[:: max(1, -(-len(several) // MAX_CONVERSATIONS))]
    turns = [
        (example.messages[:place], number)
        for number, (example, _) in enumerate(chosen)
        for place, message in enumerate(example.messages[:-1])
        if message.role == "assistant"
    ]
    prompts = inspection.chat.prompts([messages for messages, _ in turns])
    failing = sorted(
        {
            number
            for (_, number), prompt in zip(turns, prompts, strict=True)
            if chosen[number][1].input_ids[: len(prompt)] != prompt
        }
    )
    seen = f"{len(chosen):,} of {len(several):,} conversations with several answers looked at: "
    seen += f"{len(failing):,} fail, the first is {chosen[failing[0]][0].id}" if failing else "all are"
    return found(
        name,
        not failing,
        seen if several else "no conversation has several answers",
        "make the chat template render earlier turns as it renders the last one, reasoning included; or split each "
        "conversation into one row an answer",
    )


def is_not_held_out(inspection: Inspection) -> Finding:
    """No validation row is a training row, by its token ids: its loss would tell of memory, not of learning."""
    name = "validation rows are new"
    known = {tuple(row.input_ids) for row in inspection.rows}
    seen = [row.example_id for row in inspection.held_out if tuple(row.input_ids) in known]
    return found(
        name,
        not seen,
        f"{len(seen):,} of {len(inspection.held_out):,} validation rows are training rows too"
        + (f", the first is {seen[0]}" if seen else ""),
        "prepare the dataset again, with `group` naming what belongs together: its steps keep copies out of two splits",
        "warning",
    )
