"""A synthesis against a real server: the same rows in any order of answers, nothing asked twice, no money passed."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.adapters.teachers.openai import OpenAITeacher
from modelyard.core.errors import Conflict, DataInvalid, EngineFailed, Unavailable
from modelyard.datasets.synthesis.config import SynthesisConfig
from modelyard.workflows.synthesis import foresee, make_plan, synthesise
from tests.teachers import Server, Told, chat, error, serving, turned_around

SEEDS = [{"text": f"question number {number}", "label": "ab"[number % 2]} for number in range(12)]
PRICE = {"input": "100", "output": "200"}  # 10 and 5 tokens: 2,000,000 nano-dollars an answer


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "seeds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SEEDS))
    return tmp_path


def config(server: Server, **settings: Any) -> SynthesisConfig:
    defaults = {"url": server.url, "model": "m", "from": "seeds.jsonl", "prompts": "Say {text}", "retries": 1}
    return SynthesisConfig.model_validate({**defaults, **settings})


def run(root: Path, server: Server, *, restart: bool = False, **settings: Any) -> dict[str, Any]:
    """The report of a synthesis called 'shop'."""
    chosen = config(server, **settings)
    teacher = OpenAITeacher(
        chosen.url, chosen.model, timeout_s=chosen.timeout_s, retries=chosen.retries, backoff_s=0.01
    )
    return synthesise(make_plan("shop", chosen, root), root, teacher, restart=restart)


def rows(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "synthetic" / "shop.jsonl").read_text().splitlines()]


def undated(root: Path) -> list[dict[str, Any]]:
    """The rows without what two runs cannot share: the time, and the configuration's digest."""
    found = rows(root)
    for row in found:
        del row["meta"]["at"], row["meta"]["config"]
    return found


def slow_and_fast(body: dict[str, Any], number: int) -> Told:
    """Answers come back in another order than they were asked."""
    return turned_around(body, number)._replace(wait_s=0.05 if number % 3 == 0 else 0.0)


def test_the_same_rows_in_the_same_order_whatever_the_concurrency(root: Path) -> None:
    with serving(slow_and_fast) as server:
        run(root, server, samples=2, concurrency=1)
        one_by_one = undated(root)
        report = run(root, server, samples=2, concurrency=9, restart=True)
    assert undated(root) == one_by_one
    assert (len(one_by_one), len(server.asked)) == (24, 48)
    assert len({row["meta"]["request_seed"] for row in one_by_one}) == 24
    assert report["requests"] == {"wanted": 24, "from_log": 0, "asked": 24, "left": 0}


def test_the_report_counts_what_was_paid(root: Path) -> None:
    with serving() as server:
        report = run(root, server, price=PRICE)
    assert report["tokens"] == {"prompt": 120, "completion": 60, "uncounted_answers": 0}
    assert (report["cost_nanousd"], report["unanswered_nanousd"]) == (24_000_000, 0)
    assert sum(row["meta"]["cost_nanousd"] for row in rows(root)) == 24_000_000
    assert report == json.loads((root / "synthetic" / "shop.report.json").read_text())


def test_a_server_that_counts_no_tokens_is_taken_at_the_most(root: Path) -> None:
    with serving(lambda body, number: chat("Yes", usage=None)) as server:
        report = run(root, server, rows=1, price=PRICE, max_tokens=50)
    assert report["tokens"]["uncounted_answers"] == 1
    assert report["tokens"]["completion"] == 50
    assert report["cost_nanousd"] == foreseen(root, server, rows=1, price=PRICE, max_tokens=50)["cost_nanousd_at_most"]


def foreseen(root: Path, server: Server, **settings: Any) -> dict[str, Any]:
    empty = root / "elsewhere"
    return foresee(make_plan("shop", config(server, **settings), root), empty)


def test_a_dry_run_asks_nobody_and_writes_nothing(root: Path) -> None:
    with serving() as server:
        told = foresee(make_plan("shop", config(server, samples=3, price=PRICE), root), root)
    assert (server.asked, (root / "synthetic").exists()) == ([], False)
    assert (told["prompts"], told["requests"], told["requests_missing"]) == (12, 36, 36)
    assert told["completion_tokens_at_most"] == 36 * 512
    assert told["example"][0]["content"].startswith("Say question number")


def test_nothing_is_asked_twice_and_more_is_asked_as_it_is_wanted(root: Path) -> None:
    with serving() as server:
        run(root, server, rows=4)
        assert run(root, server, rows=4)["requests"] == {"wanted": 4, "from_log": 4, "asked": 0, "left": 0}
        assert run(root, server, rows=4, samples=2)["requests"]["asked"] == 4
        assert run(root, server, samples=2, filters={"min_chars": 3})["requests"]["from_log"] == 8
        assert len(server.asked) == 24
        assert len(rows(root)) == 24


def test_other_requests_need_a_word_and_lose_no_answer(root: Path) -> None:
    with serving() as server:
        run(root, server, rows=2)
        with pytest.raises(Conflict, match=r"`temperature` \(0.7 to 0.1\)"):
            run(root, server, rows=2, temperature=0.1)
        (root / "seeds.jsonl").write_text('{"text": "another"}\n')
        with pytest.raises(Conflict, match="the seed rows"):
            run(root, server, rows=2)
        assert len(server.asked) == 2
        run(root, server, temperature=0.1, restart=True)
    answers = sorted((root / "synthetic").glob("shop.answers*.jsonl"))
    assert [path.read_text().count('"answered"') for path in answers] == [2, 1]


def test_money_is_never_passed_and_the_rest_goes_on_with_more(root: Path) -> None:
    settings = {"price": PRICE, "max_tokens": 5, "concurrency": 4}
    with serving(slow_and_fast) as server:
        each = foreseen(root, server, rows=1, **settings)["cost_nanousd_at_most"]
        limit = f"{(each + 3 * 2_000_000) / 1e9:.9f}"
        report = run(root, server, max_cost=limit, **settings)
        # Three are paid and the fourth may cost `each`; behind it, the fifth might pass the limit.
        assert (report["is_complete"], report["rows"], len(server.asked)) == (False, 4, 4)
        assert report["requests"]["left"] == 8
        again = run(root, server, max_cost=limit, **settings)
        assert (again["rows"], len(server.asked)) == (4, 4)
        done = run(root, server, max_cost="1", **settings)
    assert (done["is_complete"], done["rows"], len(server.asked)) == (True, 12, 12)


def test_attempts_that_broke_off_count_towards_the_limit(root: Path) -> None:
    settings = {"price": PRICE, "max_tokens": 5, "rows": 1, "retries": 5, "timeout_s": 0.2}
    with serving(lambda body, number: chat("late", wait_s=1)) as server:
        each = foreseen(root, server, **settings)["cost_nanousd_at_most"]
        with pytest.raises(DataInvalid, match="nothing was answered"):
            run(root, server, max_cost=f"{2.5 * each / 1e9:.9f}", **settings)
        assert len(server.asked) == 2
    report = json.loads((root / "synthetic" / "shop.report.json").read_text())
    assert (report["cost_nanousd"], report["unanswered_nanousd"]) == (0, 2 * each)


def test_what_was_answered_before_a_failure_is_kept(root: Path) -> None:
    with serving(
        lambda body, number: error(401, "who are you?") if number > 4 else turned_around(body, number)
    ) as server:
        with pytest.raises(EngineFailed, match=r"status 401: who are you\?"):
            run(root, server, concurrency=2)
        asked = len(server.asked)
        server.answer = turned_around
        report = run(root, server, concurrency=2)
    assert asked <= 7
    assert (report["requests"]["from_log"], report["requests"]["asked"], report["rows"]) == (5, 7, 12)
    assert report["unanswered_nanousd"] == 0


def test_a_server_that_stays_away_is_told(root: Path) -> None:
    with (
        serving(lambda body, number: error(503, "queue full")) as server,
        pytest.raises(Unavailable, match="queue full"),
    ):
        run(root, server, concurrency=1)
    assert len(server.asked) == 2


def too_long(body: dict[str, Any], number: int) -> Told:
    is_long = body["messages"][0]["content"].endswith(("number 3", "number 5"))
    return error(400, "too long") if is_long else turned_around(body, number)


def test_a_refused_prompt_stops_or_is_dropped(root: Path) -> None:
    with serving(too_long) as server:
        with pytest.raises(EngineFailed, match=r"refuses a prompt \(seeds.jsonl:[46]\): too long"):
            run(root, server)
        report = run(root, server, refused_prompts="drop")
    assert (report["rows"], report["is_complete"]) == (10, True)
    answers = next(step for step in report["steps"] if step["step"] == "answers")
    assert answers["causes"] == {"refused by the server": 2}


def test_where_every_prompt_is_refused_it_is_not_about_the_prompts(root: Path) -> None:
    with serving(lambda body, number: error(400, "no such field 'seed'")) as server:
        with pytest.raises(EngineFailed, match="no such field 'seed'"):
            run(root, server, samples=10, refused_prompts="drop", concurrency=1)
        assert len(server.asked) == 20


def good_at_last(body: dict[str, Any], number: int) -> Told:
    """The first two answers to each prompt break off."""
    text = body["messages"][0]["content"]
    seen[text] = seen.get(text, 0) + 1
    return chat(f"good {text}" if seen[text] > 2 else "bad", finish_reason="stop" if seen[text] > 2 else "length")


seen: dict[str, int] = {}


def test_the_first_good_answer_ends_the_asking(root: Path) -> None:
    seen.clear()
    with serving(good_at_last) as server:
        report = run(root, server, samples=6, keep="first")
        assert len(server.asked) == 36
        assert run(root, server, samples=6, keep="first")["requests"]["asked"] == 0
    assert (report["rows"], report["is_complete"]) == (12, True)
    assert {row["meta"]["sample"] for row in rows(root)} == {2}


def test_new_rows_are_written_and_personal_data_is_masked_before_it_is_kept(root: Path) -> None:
    def written(body: dict[str, Any], number: int) -> Told:
        about = ("late parcels", "a broken kettle in the green box", "my last invoice")[number]
        return chat(json.dumps([{"text": f"mail\nbob{number}@example.com about {about}", "label": "a"}, {"x": 1}]))

    with serving(written) as server:
        report = run(root, server, fields=["text", "label"], rows_each=2, rows=3, concurrency=1)
    found = rows(root)
    assert [sorted(row) for row in found] == [["label", "meta", "text"]] * 3
    assert found[0]["text"] == "mail\n[EMAIL] about late parcels"
    assert "bob" not in "".join(path.read_text() for path in (root / "synthetic").iterdir())
    reading = next(step for step in report["steps"] if step["step"] == "reading")
    assert (reading["rows_in"], reading["rows_out"]) == (6, 3)


def test_two_cannot_work_on_one_synthesis(root: Path) -> None:
    from modelyard.core.locks import hold

    (root / "synthetic").mkdir()
    with serving() as server, hold(root / "synthetic" / ".shop.lock", "taken"):
        with pytest.raises(Conflict, match="'shop' is being worked on by process"):
            run(root, server)
        assert server.asked == []
