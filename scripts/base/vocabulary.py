"""The tokenizer of the base model: byte-level BPE, its special tokens and its chat template.

Knows nothing about what the documents say.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, BOS, END = "<|pad|>", "<|bos|>", "<|end|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (PAD, BOS, END, SYSTEM, USER, ASSISTANT)
VOCAB_SIZE = 4096
MAX_LENGTH = 1024

CHAT_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{{- '<|assistant|>' }}{% generation %}{{- message.content + '<|end|>' }}{% endgeneration %}
{%- elif message.role in ('system', 'user') %}
{{- '<|' + message.role + '|>' + message.content + '<|end|>' }}
{%- else %}
{{- raise_exception('Role ' + message.role + ' is unknown: use system, user or assistant.') }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|assistant|>' }}
{%- endif %}
"""


def train_tokenizer(documents: Iterable[str]) -> Tokenizer:
    """A byte-level BPE of `VOCAB_SIZE` tokens; digits stand alone, special tokens have the lowest ids, in order."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        model_max_length=MAX_LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    # The names of transformers 5 are unknown to the releases before it, the older ones are known to both.
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config["additional_special_tokens"] = config.pop("extra_special_tokens")
    del config["backend"]
    path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def id_of(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that is known to exist."""
    found = tokenizer.token_to_id(token)
    assert found is not None, token
    return found
