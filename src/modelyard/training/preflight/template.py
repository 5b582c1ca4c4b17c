"""What can be wrong with the chat template and the tokenizer it stands in."""

import re

import numpy as np

from modelyard.training.preflight.finding import Finding, by_row, found
from modelyard.training.preflight.inspection import Inspection

_GENERATION_MARKER = re.compile(r"\{%-?\s*generation\b")


def marks_answers(inspection: Inspection) -> Finding:
    """The chat template says which words are the assistant's."""
    marked = bool(_GENERATION_MARKER.search(inspection.chat.template))
    return found(
        "template marks answers",
        marked,
        "markers found" if marked else "no {% generation %} marker",
        "put {% generation %} and {% endgeneration %} around the assistant's words in the chat template",
    )


def is_one_template(inspection: Inspection) -> Finding:
    """The base's folder holds one chat template: of two files, training may read the one and a server the other."""
    texts = inspection.chat.template_files()
    others = [name for name, text in texts.items() if text != inspection.chat.template]
    return found(
        "one chat template",
        not others,
        f"{', '.join(others)} says something else than what is trained with"
        if others
        else f"{', '.join(texts) or 'the tokenizer alone'} holds it",
        "keep chat_template.jinja, and remove 'chat_template' from tokenizer_config.json",
    )


def pads_apart(inspection: Inspection) -> Finding:
    """Padding is not the end-of-turn token, or masking the one masks the other."""
    tokenizer = inspection.chat.tokenizer
    return found(
        "padding differs from end of turn",
        tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id,
        f"pad {tokenizer.pad_token!r}, end of turn {tokenizer.eos_token!r}",
        "give the tokenizer a pad_token of its own",
    )


def instructs_once(inspection: Inspection) -> Finding:
    """A conversation has one system prompt: the recipe's, or its own."""
    prompt = bool(inspection.recipe.system_prompt)
    twice = [
        place
        for place, example in enumerate(inspection.examples)
        if prompt + sum(message.role == "system" for message in example.messages) > 1
    ]
    name = "one system prompt"
    if not inspection.examples:
        return found(name, True, "no texts to look at", "")
    fix = "remove system_prompt from the recipe, or the system turns from the dataset"
    return by_row(
        name, inspection.own_rows, twice, fix if prompt else "merge the system turns of a row into its first one"
    )


def knows_its_tokens(inspection: Inspection) -> Finding:
    """Every token id has a row in the base's embedding: an index beyond it ends the process, on a GPU without words."""
    name, sizes = "tokens fit the embedding", inspection.sizes
    num_tokens = sizes.embedding_rows if sizes else 0
    if not num_tokens:
        return found(name, sizes is None, "no base known yet" if sizes is None else "no embedding found", "", "warning")
    columns = inspection.columns
    greatest = int(columns.ids.max(initial=0))
    vocabulary = len(inspection.chat.tokenizer)
    return found(
        name,
        greatest < num_tokens,
        f"greatest id {greatest:,}; the tokenizer has {vocabulary:,} tokens, the embedding {num_tokens:,} rows"
        + (
            ""
            if greatest < num_tokens
            else f"; {len(columns.rows_of(np.flatnonzero(columns.ids >= num_tokens))):,} rows fail"
        ),
        "use the tokenizer that came with the base, without added tokens; or resize the base's embedding first",
    )
