"""The step: personal data in the rows masked, or its rows dropped, or merely counted."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from modelyard.core.personal.spans import Span, beside, mask
from modelyard.datasets.outcome import Outcome
from modelyard.datasets.personal.config import PersonalDataConfig
from modelyard.datasets.personal.finding import LABELS, find_in_all
from modelyard.datasets.personal.masking import mask_raw
from modelyard.datasets.personal.presidio import Presidio
from modelyard.datasets.rows import Rows
from modelyard.datasets.texts import Texts


def handle_personal_data(rows: Rows, config: PersonalDataConfig, presidio: Presidio | None = None) -> Outcome:
    """Does what `config.mode` says and counts what was found by its kind.

    An id that is an e-mail address goes; the row is then named by its content. Other kinds are not looked for in ids,
    which are numbers as often as not. What rows carry as JSON (tools, calls, provenance) is masked too.
    """
    in_turns = find_in_all(rows.turns, config.kinds)
    if presidio:
        for turn, spans in enumerate(presidio.find(rows.turns.to_list())):
            if apart := beside(in_turns.get(turn, []), spans):
                in_turns[turn] = apart
    in_ids = _in_ids(rows) if "email" in config.kinds else {}
    findings = Counter(kind for spans in (*in_turns.values(), *in_ids.values()) for _, _, kind in spans)
    row_of_turn = rows.row_of_turn
    by_row: dict[int, set[str]] = {}
    for turn, spans in in_turns.items():
        by_row.setdefault(int(row_of_turn[turn]), set()).update(kind for _, _, kind in spans)
    for row, spans in in_ids.items():
        by_row.setdefault(row, set()).update(kind for _, _, kind in spans)
    if config.mode == "keep":
        return Outcome(rows=rows, findings=findings)
    if config.mode == "drop":
        return Outcome(rows=rows, rejected={row: _reason(kinds) for row, kinds in by_row.items()}, findings=findings)
    masked = replace(
        rows,
        turns=rows.turns.replaced({turn: mask(rows.turns[turn], spans) for turn, spans in in_turns.items()}),
        ids=[None if row in in_ids else id for row, id in enumerate(rows.ids)] if in_ids else rows.ids,
        extras=_masked(rows.extras, presidio),
        tools=_masked(rows.tools, presidio),
        meta=rows.meta and [value and mask_raw(value, presidio) for value in rows.meta],
    )
    return Outcome(rows=masked, changed=len(by_row), findings=findings)


def _in_ids(rows: Rows) -> dict[int, list[Span]]:
    if not any(id and "@" in id for id in rows.ids):
        return {}
    return find_in_all(Texts.of([id or "" for id in rows.ids]), ("email",))


def _masked(texts: Mapping[int, str], presidio: Presidio | None) -> dict[int, str]:
    return {place: mask_raw(text, presidio) for place, text in texts.items()}


def _reason(kinds: set[str]) -> str:
    return f"personal data: {', '.join(LABELS.get(kind, kind) for kind in sorted(kinds))}"
