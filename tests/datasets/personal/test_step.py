"""Personal data in a preparation: masked, dropped or counted, and never in the quarantine."""

from pathlib import Path

from modelyard.datasets.files import read_split
from modelyard.datasets.personal.masking import mask_raw
from tests.datasets.messages import labelled, prepare_file, quarantine, write_rows

TEXT = "write to anna@example.com about the kettle"


def test_mask_mode_counts_and_leaves_nothing_in_the_result(tmp_path: Path) -> None:
    rows = [*labelled((TEXT, "a"), ("clean", "b")), {"text": "x\ncall 07700 900123", "label": None}]
    prepared, out = prepare_file(write_rows(tmp_path / "rows.jsonl", rows))
    assert prepared.report["personal_data"] == {"mode": "mask", "found": {"email": 1}}
    assert "write to [EMAIL] about the kettle" in {row.prompt[0].content for row in read_split(out, "train")}
    assert "[PHONE]" in quarantine(out)[0]["raw"]
    assert not any(b"anna@" in path.read_bytes() or b"900123" in path.read_bytes() for path in out.iterdir())


def test_drop_mode_says_which_kind_and_keeps_the_quarantine_clean(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", labelled((TEXT, "a"), ("clean", "b")))
    _, out = prepare_file(path, personal_data="drop")
    (row,) = quarantine(out)
    assert (row["line"], row["reason"]) == (1, "personal data: an e-mail address")
    assert "[EMAIL]" in row["raw"]


def test_keep_mode_changes_nothing_but_counts(tmp_path: Path) -> None:
    prepared, out = prepare_file(write_rows(tmp_path / "rows.jsonl", labelled((TEXT, "a"))), personal_data="keep")
    assert [row.prompt[0].content for row in read_split(out, "train")] == [TEXT]
    assert prepared.report["personal_data"]["found"] == {"email": 1}


def test_id_that_is_an_address_goes(tmp_path: Path) -> None:
    rows = [{"id": "anna@example.com", "text": "hello", "label": "a"}, {"id": "7", "text": "bye", "label": "a"}]
    _, out = prepare_file(write_rows(tmp_path / "rows.jsonl", rows), id="id")
    first, second = read_split(out, "train")
    assert "@" not in first.id
    assert second.id == "7"


def test_raw_json_escapes_hide_no_number() -> None:
    assert mask_raw('{"text": "call\\n07700 900123\\tnow"}') == '{"text": "call\\n[PHONE]\\tnow"}'


def test_raw_json_escapes_hide_no_address() -> None:
    assert mask_raw('{"text": "anna\\u0040example.com"}') == '{"text": "[EMAIL]"}'
