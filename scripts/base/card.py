"""The model card of the base: what it was made from, how, with what result, and what it is not for."""

from pathlib import Path

from base.corpus import Corpus
from base.pretrain import PROMPT_WEIGHT, Schedule

NAME = "dinghy-6m"

SOURCES = {
    "clinc150": (
        "CLINC150, training and validation files with labels, out-of-scope rows included",
        "Larson et al. 2019, *An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction*; "
        "github.com/clinc/oos-eval",
        "CC BY 3.0; reworded into tasks, with slips of the finger added",
    ),
    "banking77": (
        "Banking77, text only, without any label, and only the rows that the project's own split gives to training",
        "Casanueva et al. 2020, *Efficient Intent Detection with Dual Sentence Encoders*; PolyAI Limited, "
        "github.com/PolyAI-LDN/task-specific-datasets",
        "CC BY 4.0; reworded into tasks, with slips of the finger added",
    ),
    "messages": (
        "Customer messages from `modelyard.demo.messages`, with a seed of their own and without labels",
        "this project",
        "Apache-2.0",
    ),
    "gsm8k": (
        "GSM8K, training file, without the calculator's annotations",
        "Cobbe et al. 2021, *Training Verifiers to Solve Math Word Problems*; OpenAI, "
        "github.com/openai/grade-school-math",
        "MIT, Copyright (c) 2021 OpenAI",
    ),
    "wordnet": (
        "WordNet 3.0: words and definitions of the senses that occur in its tagged texts",
        "Princeton University, wordnet.princeton.edu",
        "WordNet 3.0 licence: WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved. THIS SOFTWARE "
        'AND DATABASE IS PROVIDED "AS IS" AND PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES, EXPRESS '
        "OR IMPLIED",
    ),
}


def write_card(
    folder: Path, corpus: Corpus, schedule: Schedule, figures: dict[str, float], num_workers: int, measured: str
) -> None:
    """Write README.md beside the weights; `measured` is a section in Markdown on what fine-tuning made of it."""
    sections = (
        _front_matter(),
        _introduction(),
        _data(corpus),
        _recipe(schedule, figures, num_workers),
        measured.strip(),
        _LIMITS,
    )
    (folder / "README.md").write_text("\n\n".join(section for section in sections if section) + "\n", "utf-8")


def _front_matter() -> str:
    return "---\nlicense: apache-2.0\nlanguage: en\nlibrary_name: transformers\npipeline_tag: text-generation\n---"


def _introduction() -> str:
    return f"""\
# {NAME}

A language model of 5.9 million parameters, small enough to ship with the project and to fine-tune in a minute on two
CPU cores, and good enough that the fine-tuning shows. It exists for the demonstration and the tests: it can be taught
to sort short customer messages, and not much else.

It is a plain Llama (hidden size 256, 6 layers, 4 heads, tied embeddings, 4,096 byte-level BPE tokens, bfloat16) and
loads in transformers and vLLM without custom code. `<|bos|>` opens a conversation once, each turn is
`<|system|>`, `<|user|>` or `<|assistant|>`, the text, `<|end|>`; the chat template alone writes them."""


def _data(corpus: Corpus) -> str:
    total = sum(task["characters"] for task in corpus.tasks.values())
    lines = ["## Data", "", "| source | share of the characters | from | licence |", "|---|---|---|---|"]
    for name, (what, origin, licence) in SOURCES.items():
        characters = sum(task["characters"] for key, task in corpus.tasks.items() if key.split()[0] == name)
        if name not in corpus.missing:
            lines.append(f"| {what} | {characters / total:.0%} | {origin} | {licence} |")
    if corpus.missing:
        lines += ["", f"Left out, because not found when this was made: {', '.join(corpus.missing)}."]
    lines += [
        "",
        "The labels of the demonstration and of Banking77 occur in no form, neither as text nor as pairs; rewordings "
        "of those texts are nearest neighbours by TF-IDF. CLINC150 has an intent of its own called `exchange_rate`, "
        "a name that Banking77 uses too.",
        "",
        "| task | documents written | characters |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {n['documents']:,} | {n['characters']:,} |" for name, n in corpus.tasks.items()]
    return "\n".join(lines)


def _recipe(schedule: Schedule, figures: dict[str, float], num_workers: int) -> str:
    share = figures["steps"] * schedule.batch_size / figures["windows"]
    ended = f"a time budget of {schedule.minutes:g} minutes" if schedule.minutes else "a fixed number of steps"
    repeatable = (
        "A run that ends by the clock is not\nreproducible bit by bit; one with `--steps` alone repeats on the same "
        "kind of CPU."
        if schedule.minutes
        else "The same command on the same kind of CPU with as many workers gives the same weights."
    )
    return f"""\
## Recipe

Made by `scripts/make_base.py` on {num_workers} CPU cores with {ended}. {repeatable}

- Documents packed into windows of {schedule.window} tokens; attention and loss stay inside a document; the tokens of a
  prompt weigh {PROMPT_WEIGHT:g} in the loss, those of an answer 1.
- {schedule.batch_size} windows per step. Muon (learning rate {schedule.muon_lr:g}, weight decay 0.05) for the matrices,
  AdamW ({schedule.adam_lr:g}) for embeddings and norms; linear warm-up over {schedule.warmup:.0%} of the run, linear
  decay over the last {schedule.decay:.0%}.
- bfloat16 matrix products under autocast with float32 weights, `torch.compile`.

| steps | tokens read | share of the corpus read | seconds | tokens per second | final training loss (nats, smoothed) |
|---|---|---|---|---|---|
| {figures["steps"]:,} | {figures["tokens"]:,} | {share:.0%} | {figures["seconds"]:,} | \
{figures["tokens"] / figures["seconds"]:,.0f} | {figures["loss"]} |"""


_LIMITS = """\
## Limits

- It has read some 30 MB of text in a narrow style. It knows few facts, cannot reason, and its free answers are fluent
  nonsense. Do not use it for anything that matters.
- Untuned it answers a message with an intent of CLINC150, whatever was asked.
- English only. It was trained on windows of 384 tokens; `max_position_embeddings` is 1,024, but
  beyond 384 it is untried.
- No personal data was put in on purpose; the sources are public and were not searched for it.
- No safety training of any kind."""
