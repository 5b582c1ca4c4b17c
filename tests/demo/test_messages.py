"""The generated raw data: the same bytes each time, and every fault that is announced is there."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import modelyard.demo
from modelyard.demo.messages import (
    LABELS,
    SHIPPED_ROWS,
    SHIPPED_SEED,
    generate_messages,
    iban_valid,
    luhn_valid,
    write_messy,
)

SHIPPED = Path(modelyard.demo.__file__).parent / "data" / "support_messages.jsonl"


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, int]]:
    path = tmp_path_factory.mktemp("messages") / "messages.jsonl"
    counts = write_messy(path, seed=3, num_rows=2000)
    return path.read_text("utf-8").split("\n")[:-1], counts


def rows_of(lines: list[str]) -> list[dict[str, Any]]:
    """The lines that are JSON objects."""
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def is_blank(text: str | None) -> bool:
    return not (text or "").replace("\u200b", "").strip()


def texts_of(lines: list[str]) -> list[str]:
    return [row["text"] for row in rows_of(lines) if not is_blank(row.get("text"))]


def test_shipped_file_is_what_the_generator_writes(tmp_path: Path) -> None:
    write_messy(tmp_path / "again.jsonl", SHIPPED_SEED, SHIPPED_ROWS)
    assert (tmp_path / "again.jsonl").read_bytes() == SHIPPED.read_bytes()
    assert SHIPPED.stat().st_size < 1_000_000


def test_clean_messages_are_distinct_even_and_repeatable() -> None:
    messages = generate_messages(seed=5, num_rows=3000)
    assert messages == generate_messages(seed=5, num_rows=3000)
    assert messages[:100] != generate_messages(seed=6, num_rows=100)
    assert len({" ".join(text.casefold().split()) for text, _ in messages}) == 3000
    per_label = Counter(label for _, label in messages)
    assert set(per_label) == set(LABELS)
    assert min(per_label.values()) > 70
    assert all(not re.search(r"[{}|()]", text.replace(":)", "")) for text, _ in messages)


def test_a_shorter_run_is_the_start_of_a_longer_one() -> None:
    assert generate_messages(seed=5, num_rows=50) == generate_messages(seed=5, num_rows=500)[:50]


def test_every_line_is_counted_and_every_fault_kind_is_there(messy: tuple[list[str], dict[str, int]]) -> None:
    lines, counts = messy
    assert sum(counts.values()) == len(lines) == 2000
    assert min(counts.values()) >= 1


def test_structural_faults_match_their_counts(messy: tuple[list[str], dict[str, int]]) -> None:
    lines, counts = messy
    rows = rows_of(lines)
    assert len(lines) - len(rows) == counts["broken_json"]
    assert sum("text" not in row or "intent" not in row for row in rows) == counts["missing_key"]
    blank = [row for row in rows if "text" in row and is_blank(row["text"])]
    assert len(blank) == counts["empty_text"]
    assert sum(len(text) >= 2500 for text in texts_of(lines)) == counts["overlong"]


def test_exact_duplicates_and_contradictions_match_their_counts(messy: tuple[list[str], dict[str, int]]) -> None:
    lines, counts = messy
    labels: dict[str, list[str]] = {}
    for row in rows_of(lines):
        if "intent" in row and not is_blank(row.get("text")):
            labels.setdefault(row["text"], []).append(row["intent"])
    repeated = [seen for seen in labels.values() if len(seen) > 1]
    assert sum(len(set(seen)) == 1 for seen in repeated) == counts["exact_duplicate"]
    assert sum(len(set(seen)) > 1 for seen in repeated) == counts["conflicting_label"]


def test_personal_data_matches_its_counts(messy: tuple[list[str], dict[str, int]]) -> None:
    lines, counts = messy
    texts = [text for text in texts_of(lines) if len(text) < 2500]
    iban = re.compile(r"\b(?:DE|FR|AT|BE)\d{2}[\d ]{11,}\d")
    assert sum("example." in text and "@" in text for text in texts) == counts["personal_email"]
    assert sum(bool(re.search(r"7700 900\d{3}|555-01\d\d", text)) for text in texts) == counts["personal_phone"]
    ibans = [match[0] for match in map(iban.search, texts) if match]
    assert sum(map(iban_valid, ibans)) == counts["personal_iban"]
    # Inside an IBAN sixteen digits can pass for a card by chance.
    grouped = [re.search(r"\b\d{4}([ -]?)\d{4}\1\d{4}\1\d{4}\b", iban.sub("", text)) for text in texts]
    cards = [re.sub(r"\D", "", match[0]) for match in grouped if match]
    assert sum(map(luhn_valid, cards)) == counts["personal_card"] < len(cards)


def test_check_digits_against_published_examples() -> None:
    assert luhn_valid("4111111111111111")
    assert not luhn_valid("4111111111111112")
    assert iban_valid("GB82 WEST 1234 5698 7654 32")
    assert not iban_valid("GB82 WEST 1234 5698 7654 33")


def test_odd_characters_are_there(messy: tuple[list[str], dict[str, int]]) -> None:
    lines, counts = messy
    odd = [text for text in texts_of(lines) if len(text) < 2500 and not re.fullmatch(r"[ -~£€]*", text)]
    assert len(odd) >= 0.9 * counts["odd_characters"]
    assert any("\ufeff" in text for text in odd)
    assert any("\x00" in text for text in odd)
