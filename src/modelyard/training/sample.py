"""A few rows as they are trained on, token by token: what is learnt, what is only read, what is a special token."""

from collections.abc import Sequence
from itertools import groupby

import msgspec

from modelyard.training.tokenization import IGNORED, ChatTokenizer, Row

NUM_ROWS = 3
# So much of a row is shown from its beginning and from its end.
_MAX_TOKENS = 400


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Neighbouring tokens of one kind, as text."""

    text: str
    learnt: bool
    special: bool


class SampleRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `num_left_out` tokens of its middle are not shown."""

    example_id: str
    pieces: tuple[Piece, ...]
    num_left_out: int = 0


def sample(rows: Sequence[Row], chat: ChatTokenizer) -> list[SampleRow]:
    """The first row, the last, and one between them."""
    places = sorted({0, len(rows) // 2, len(rows) - 1}) if rows else []
    return [_shown(rows[place], chat) for place in places[:NUM_ROWS]]


def _shown(row: Row, chat: ChatTokenizer) -> SampleRow:
    tokens = list(zip(row.input_ids, row.labels, strict=True))
    left_out = max(0, len(tokens) - 2 * _MAX_TOKENS)
    if left_out:
        tokens = tokens[:_MAX_TOKENS] + tokens[-_MAX_TOKENS:]
    special = frozenset(chat.tokenizer.all_special_ids) | frozenset(chat.tokenizer.added_tokens_decoder)
    pieces = tuple(
        Piece(text=chat.decode([[id for id, _ in group]])[0], learnt=learnt, special=is_special)
        for (learnt, is_special), group in groupby(tokens, lambda token: (token[1] != IGNORED, token[0] in special))
    )
    return SampleRow(example_id=row.example_id, pieces=pieces, num_left_out=left_out)
