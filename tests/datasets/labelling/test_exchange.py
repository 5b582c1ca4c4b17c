"""Tasks out, answers in: spreadsheets and their ways, and all or nothing."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import DataInvalid, InvalidInput
from modelyard.datasets.labelling.exchange import export_tasks, guarded, import_answers, unguarded
from modelyard.datasets.labelling.storage import LabellingFolder
from modelyard.datasets.labelling.tasks import Task
from tests.datasets.labelling.jobs import make_job, say

NASTY = ['=HYPERLINK("http://x")', "+1", "-1", "@sum", "'=1", "''-", 'say "hi", twice', "two\nlines", "; , \t", "plain"]


@pytest.fixture
def folder(tmp_path: Path) -> LabellingFolder:
    return make_job(tmp_path / "tone")


def labels(folder: LabellingFolder, person: str) -> dict[str, str]:
    return {task: answer.label for task, answer in folder.answers().get(person, {}).items()}


def sheet(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@given(st.text() | st.sampled_from(NASTY))
def test_no_cell_is_a_formula_and_every_cell_comes_back(cell: str) -> None:
    assert unguarded(guarded(cell)) == cell
    assert not guarded(cell).startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))  # noqa: RUF001


def test_an_exported_sheet_is_opened_by_spreadsheets_and_comes_back(tmp_path: Path) -> None:
    tasks = [Task(id=f"={number}", text=text, context=text) for number, text in enumerate(NASTY)]
    folder = make_job(tmp_path / "tone", tasks=tasks, labels=("-1", "0", "+1"))
    say(folder, "ada", {task.id: "-1" for task in tasks}, note="=really?")
    export_tasks(folder, tmp_path / "out.csv", "ada")
    data = (tmp_path / "out.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbfid,text,context,label,note\r\n")
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert [[unguarded(cell) for cell in row[:3]] for row in rows[1:]] == [[t.id, t.text, t.context] for t in tasks]
    assert all(cell[0] not in "=+-@" for row in rows for cell in row if cell)
    told = import_answers(folder, tmp_path / "out.csv", "ada")
    assert (told.num_new, told.num_same) == (0, len(NASTY))
    assert import_answers(folder, tmp_path / "out.csv", "bob").num_new == len(NASTY)
    assert labels(folder, "bob") == labels(folder, "ada")
    assert folder.answers()["bob"]["=0"].note == "=really?"


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_for_one_person_nothing_shows_what_others_said(folder: LabellingFolder, tmp_path: Path, ending: str) -> None:
    say(folder, "ada", {"t0": "good"})
    say(folder, "bob", {"t0": "mixed"})
    assert export_tasks(folder, tmp_path / f"bob.{ending}", "bob") == 4
    text = (tmp_path / f"bob.{ending}").read_text()
    assert ("mixed" in text, "good" in text) == (True, False)
    export_tasks(folder, tmp_path / f"all.{ending}")
    assert all(said in (tmp_path / f"all.{ending}").read_text() for said in ("mixed", "good", "label of ada"))


def test_an_ending_that_is_no_format(folder: LabellingFolder, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"neither \.jsonl nor \.csv"):
        export_tasks(folder, tmp_path / "out.xlsx")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("id,label\nt0,good\nt1,BAD \n", "utf-8"),
        ("id,label\r\nt0,good\r\nt1,bad\r\n", "utf-8-sig"),
        ("id;label;more\r\nt0;good;x\r\nt1;bad;y", "utf-8"),
        ("id\tlabel\nt0\tgood\nt1\tbad\n", "utf-16"),
        ('"label","id"\n"good","t0"\n"bad","t1"\n', "utf-8"),
        ("id,label,note\nt2,,\nt0,good,\nt3,,\nt1,bad,\n", "utf-8"),
    ],
)
def test_sheets_as_spreadsheets_save_them(folder: LabellingFolder, tmp_path: Path, text: str, encoding: str) -> None:
    path = sheet(tmp_path / "answers.csv", text, encoding)
    assert import_answers(folder, path, "ada").num_new == 2
    assert labels(folder, "ada") == {"t0": "good", "t1": "bad"}
    assert {answer.via for answer in folder.answers()["ada"].values()} == {"answers.csv"}


def test_the_same_file_again_changes_nothing(folder: LabellingFolder, tmp_path: Path) -> None:
    path = sheet(tmp_path / "answers.csv", "id,label,note\nt0,good,sure\nt1,,no idea\nt2,bad,\n")
    first = import_answers(folder, path, "ada")
    assert (first.num_new, first.num_same, first.num_blank) == (3, 0, 1)
    before = folder.log_of("ada").path.read_bytes()
    again = import_answers(folder, path, "ada")
    assert (again.num_new, again.num_same, again.num_blank) == (0, 3, 1)
    assert folder.log_of("ada").path.read_bytes() == before
    sheet(path, "id,label\nt0,bad\n")
    assert import_answers(folder, path, "ada").num_new == 1
    assert labels(folder, "ada") == {"t0": "bad", "t2": "bad"}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("t1,goood", r"answers\.csv:3: unknown label 'goood': did you mean 'good'\?"),
        ("t1,x", r"answers\.csv:3: unknown label 'x': expected good, bad, mixed"),
        ("t9,good", r"answers\.csv:3: unknown id 't9': the job 'tone' has no such task"),
        ("t0,good", r"answers\.csv:3: repeated id 't0': line 2 has it as well"),
        ("t1", r"answers\.csv:3: wrong number of cells"),
        ('t1,"goo', r"answers\.csv:3: stray quote"),
    ],
)
def test_one_bad_row_and_nothing_is_taken(folder: LabellingFolder, tmp_path: Path, row: str, told: str) -> None:
    say(folder, "ada", {"t3": "good"})
    path = sheet(tmp_path / "answers.csv", f"id,label\nt0,good\n{row}\nt2,bad\n")
    with pytest.raises(DataInvalid, match=told) as caught:
        import_answers(folder, path, "ada")
    assert "nothing of it was taken" in caught.value.fix
    assert labels(folder, "ada") == {"t3": "good"}


def test_a_column_of_texts_that_was_sorted_by_itself_is_no_answer(folder: LabellingFolder, tmp_path: Path) -> None:
    rows = "t0,text number 1,good\nt1,Text  number 1,bad\nt2,,bad\n"
    with pytest.raises(DataInvalid, match=r"answers\.csv:2: changed text: .*'t0' than 'text number 1'"):
        import_answers(folder, sheet(tmp_path / "answers.csv", "id,text,label\n" + rows), "ada")
    assert labels(folder, "ada") == {}
    rows = rows.replace("number 1,good", "number 0,good")
    assert import_answers(folder, sheet(tmp_path / "answers.csv", "id,text,label\n" + rows), "ada").num_new == 3


def test_a_note_without_a_label_takes_no_label_back(folder: LabellingFolder, tmp_path: Path) -> None:
    say(folder, "ada", {"t0": "good"})
    path = sheet(tmp_path / "answers.csv", "id,label,note\nt0,,on second thoughts\nt1,,no idea\n")
    assert import_answers(folder, path, "ada").num_new == 2
    assert import_answers(folder, path, "ada").num_same == 2
    assert labels(folder, "ada") == {"t0": "good"}
    assert folder.answers()["ada"]["t0"].note == "on second thoughts"


def test_many_bad_rows_are_counted(folder: LabellingFolder, tmp_path: Path) -> None:
    rows = "".join(f"x{number},good\n" for number in range(50))
    with pytest.raises(DataInvalid, match="and 30 more"):
        import_answers(folder, sheet(tmp_path / "answers.csv", "id,label\n" + rows), "ada")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("key,label\nt0,good\n", "has no column 'id', but key, label"),
        ("id,answer\nt0,good\n", "has no column 'label'"),
        ("id,label\n", "holds no rows"),
    ],
)
def test_a_file_without_what_is_needed(folder: LabellingFolder, tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DataInvalid, match=told):
        import_answers(folder, sheet(tmp_path / "answers.csv", text), "ada")


def test_a_file_that_is_not_there(folder: LabellingFolder, tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="is no file"):
        import_answers(folder, tmp_path / "nowhere.csv", "ada")


def test_jsonl_and_json_take_apostrophes_as_they_are(tmp_path: Path) -> None:
    folder = make_job(tmp_path / "tone", labels=())
    rows = [{"id": "t0", "label": "'=1"}, {"id": "t1", "label": None}, {"id": "t2", "label": 7, "more": [1]}]
    path = sheet(tmp_path / "answers.json", json.dumps(rows))
    assert import_answers(folder, path, "ada").num_new == 2
    assert labels(folder, "ada") == {"t0": "'=1", "t2": "7"}
    path = sheet(tmp_path / "again.json", json.dumps([rows[0], rows[0]]))
    with pytest.raises(DataInvalid, match="repeated id 't0'"):
        import_answers(folder, path, "ada")
    path = sheet(tmp_path / "nested.jsonl", '{"id": "t0", "label": ["a"]}\n{"id": "t0"\n')
    with pytest.raises(DataInvalid, match=r"(?s)nested\.jsonl:1: nested field 'label'.*nested\.jsonl:2: broken JSON"):
        import_answers(folder, path, "ada")


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1).filter(str.strip))
def test_any_free_text_comes_through_a_sheet(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.mktemp("sheets")
    folder = make_job(root / "tone", labels=(), num_tasks=1)
    path = sheet(root / "answers.jsonl", json.dumps({"id": "t0", "label": text}))
    assert import_answers(folder, path, "ada").num_new == 1
    export_tasks(folder, root / "out.csv", "ada")
    import_answers(folder, root / "out.csv", "bob")
    assert labels(folder, "bob") == labels(folder, "ada")
