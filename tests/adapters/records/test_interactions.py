import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from modelyard.adapters.records import interactions as sql_interactions
from modelyard.adapters.records.store import SqlRecords
from modelyard.core.digests import digest_text
from modelyard.core.errors import InvalidInput, NotFound
from modelyard.core.ids import new_id
from modelyard.ports.interaction import Feedback, Interaction, JournalEntry
from modelyard.ports.records import JournalMark, ReviewedInteraction
from tests.adapters.records.values import NOW_MS, a_feedback, an_interaction

RIGHT, WRONG = digest_text("right"), digest_text("wrong")


def mark(offset: int = 100, segment: str = "s-000001.jsonl") -> JournalMark:
    return JournalMark(segment=segment, offset=offset)


def ingest(records: SqlRecords, *entries: JournalEntry) -> int:
    return records.interactions.ingest(entries, mark())


def scores(records: SqlRecords, service: str = "support", **question: object) -> dict[str, float]:
    asked = {"since_ms": 0, "rollout_id": "r1", "metric": "quality"} | question
    return {row.interaction.id: row.score for row in records.interactions.scored(service, **asked)}


class TestIngest:
    def test_entries_come_back_equal(self, records: SqlRecords) -> None:
        said = an_interaction(request="\x00 ' \U0001f6a2", latency_ms=12.25, cost_nanousd=2**53 + 1)
        judged = a_feedback(said.id, score=0.75, comment="good")
        assert ingest(records, said, judged) == 2
        assert records.interactions.get(said.id) == said
        assert records.interactions.feedback(said.id) == [judged]
        with pytest.raises(NotFound):
            records.interactions.get("absent")

    def test_a_batch_sent_twice_is_counted_once(self, records: SqlRecords) -> None:
        said = [an_interaction() for _ in range(5)]
        batch = [*said, *(a_feedback(one.id, score=1.0) for one in said)]
        assert ingest(records, *batch) == 10
        assert ingest(records, *batch) == 0
        assert ingest(records, *batch, an_interaction()) == 1
        assert records.interactions.count() == 6

    def test_an_entry_twice_in_one_batch_is_counted_once(self, records: SqlRecords) -> None:
        said = an_interaction()
        assert ingest(records, said, said) == 1

    def test_the_mark_moves_forward_only(self, records: SqlRecords) -> None:
        assert records.interactions.mark("s-000001.jsonl") == 0
        for offset, expected in [(100, 100), (250, 250), (100, 250), (250, 250)]:
            records.interactions.ingest([], mark(offset))
            assert records.interactions.mark("s-000001.jsonl") == expected
        assert records.interactions.mark("s-000002.jsonl") == 0

    @pytest.mark.parametrize("poison", [{"at_ms": 2**63}, {"at_ms": 10**30}, {"service": "\ud800"}])
    def test_entries_and_mark_go_together_or_not_at_all(self, records: SqlRecords, poison: dict[str, object]) -> None:
        with pytest.raises(InvalidInput):
            ingest(records, an_interaction(), an_interaction(**poison))
        assert records.interactions.count() == 0
        assert records.interactions.mark("s-000001.jsonl") == 0

    def test_whatever_comes_in_can_be_told(self, records: SqlRecords) -> None:
        seen = [records.interactions.ingested()]
        for entries, offset in [((an_interaction(),), 100), ((a_feedback("any", score=1.0),), 200)]:
            records.interactions.ingest(entries, mark(offset))
            seen.append(records.interactions.ingested())
        records.interactions.ingest([an_interaction()], mark(10, "s-000002.jsonl"))
        seen.append(records.interactions.ingested())
        assert seen == sorted(set(seen))
        assert records.interactions.ingested() == seen[-1]

    def test_nothing_to_ingest(self, records: SqlRecords) -> None:
        assert ingest(records) == 0

    def test_feedback_may_come_before_its_interaction(self, records: SqlRecords) -> None:
        said = an_interaction(rollout_id="r1")
        assert ingest(records, a_feedback(said.id, score=1.0)) == 1
        assert ingest(records, said) == 1
        assert scores(records) == {said.id: 1.0}

    def test_newest_and_count_by_service(self, records: SqlRecords) -> None:
        said = [an_interaction(at_ms=NOW_MS + n, service="support" if n % 2 else "sales") for n in range(6)]
        ingest(records, *random.sample(said, 6))
        assert records.interactions.newest() == said[::-1]
        assert records.interactions.newest("sales", limit=2) == [said[4], said[2]]
        assert records.interactions.count("sales") == 3
        assert records.interactions.count("absent") == 0


class TestScored:
    def test_only_those_of_the_rollout_service_and_time_oldest_first(self, records: SqlRecords) -> None:
        wanted = [an_interaction(rollout_id="r1", at_ms=NOW_MS + n) for n in range(3)]
        others = [
            an_interaction(rollout_id="r1", at_ms=NOW_MS - 1),
            an_interaction(rollout_id="r2"),
            an_interaction(),
            an_interaction(rollout_id="r1", service="sales"),
        ]
        ingest(records, *random.sample(wanted + others, 7))
        assert scores(records, since_ms=NOW_MS) == {one.id: -1.0 for one in wanted}
        assert list(scores(records, since_ms=NOW_MS)) == [one.id for one in wanted]
        assert set(scores(records, rollout_id="")) == {others[2].id}

    def test_the_newest_feedback_on_the_metric_counts(self, records: SqlRecords) -> None:
        said = an_interaction(rollout_id="r1")
        ingest(
            records,
            said,
            a_feedback(said.id, score=0.2, at_ms=NOW_MS + 5),
            a_feedback(said.id, score=0.9, at_ms=NOW_MS + 1),
            a_feedback(said.id, score=0.5, at_ms=NOW_MS + 9, metric="tone"),
        )
        assert scores(records) == {said.id: 0.2}
        assert scores(records, metric="tone") == {said.id: 0.5}
        assert scores(records, metric="absent") == {said.id: -1.0}

    def test_a_comment_alone_changes_no_score(self, records: SqlRecords) -> None:
        said = an_interaction(rollout_id="r1")
        remark = a_feedback(said.id, comment="hm", at_ms=NOW_MS + 5)
        ingest(records, said, a_feedback(said.id, score=1.0), remark)
        assert scores(records) == {said.id: 1.0}

    @pytest.mark.parametrize(("answer", "score"), [(RIGHT, 1.0), (WRONG, 0.0), ("", -1.0)])
    def test_a_right_answer_scores_the_answer(self, records: SqlRecords, answer: str, score: float) -> None:
        said = an_interaction(rollout_id="r1", answer_hash=answer)
        ingest(records, said, a_feedback(said.id, expected_hash=RIGHT))
        assert scores(records) == {said.id: score}

    @pytest.mark.parametrize(("answer", "score"), [(RIGHT, 1.0), (WRONG, 0.0), ("", -1.0)])
    def test_a_shadow_is_compared_with_the_right_answer(self, records: SqlRecords, answer: str, score: float) -> None:
        said = an_interaction(rollout_id="r1", answer_hash=WRONG)
        shadow = an_interaction(rollout_id="r1", shadow_of=said.id, role="shadow", answer_hash=answer)
        ingest(records, said, shadow, a_feedback(said.id, score=0.25, expected_hash=RIGHT))
        assert scores(records) == {said.id: 0.25, shadow.id: score}

    def test_a_shadow_does_not_inherit_a_bare_score(self, records: SqlRecords) -> None:
        said = an_interaction(rollout_id="r1", answer_hash=RIGHT)
        shadow = an_interaction(rollout_id="r1", shadow_of=said.id, answer_hash=RIGHT)
        ingest(records, said, shadow, a_feedback(said.id, score=1.0))
        assert scores(records) == {said.id: 1.0, shadow.id: -1.0}

    def test_a_corrected_right_answer_wins(self, records: SqlRecords) -> None:
        shadow = an_interaction(rollout_id="r1", shadow_of="said", answer_hash=RIGHT)
        ingest(
            records,
            shadow,
            a_feedback("said", expected_hash=WRONG, at_ms=NOW_MS),
            a_feedback("said", expected_hash=RIGHT, at_ms=NOW_MS + 1),
            a_feedback("said", score=0.0, at_ms=NOW_MS + 2),
        )
        assert scores(records) == {shadow.id: 1.0}

    def test_feedback_on_the_shadow_itself_comes_first(self, records: SqlRecords) -> None:
        shadow = an_interaction(rollout_id="r1", shadow_of="said", answer_hash=WRONG)
        ingest(records, shadow, a_feedback("said", expected_hash=RIGHT), a_feedback(shadow.id, score=0.5))
        assert scores(records) == {shadow.id: 0.5}

    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(data=st.data())
    def test_it_agrees_with_the_plain_definition(self, records: SqlRecords, data: st.DataObject) -> None:
        rollout_id = new_id()
        said = [an_interaction(rollout_id=rollout_id, answer_hash=data.draw(_hashes)) for _ in range(3)]
        shadows = [
            an_interaction(rollout_id=rollout_id, answer_hash=data.draw(_hashes), shadow_of=data.draw(_one_of(said)).id)
            for _ in range(3)
        ]
        judged = [
            a_feedback(
                data.draw(_one_of(said + shadows)).id,
                at_ms=NOW_MS + moment,
                score=data.draw(st.sampled_from([-1.0, 0.0, 0.5, 1.0])),
                expected_hash=data.draw(_hashes),
                metric=data.draw(st.sampled_from(["quality", "tone"])),
            )
            for moment in data.draw(st.permutations(range(5)))
        ]
        ingest(records, *data.draw(st.permutations([*said, *shadows, *judged])))
        expected = {one.id: _plain_score(one, judged) for one in said + shadows}
        assert scores(records, rollout_id=rollout_id) == expected


_hashes = st.sampled_from(["", RIGHT, WRONG])


def _one_of(values: list[Interaction]) -> st.SearchStrategy[Interaction]:
    return st.sampled_from(values)


def _plain_score(one: Interaction, judged: list[Feedback]) -> float:
    quality = sorted((entry for entry in judged if entry.metric == "quality"), key=lambda entry: -entry.at_ms)
    own = [entry for entry in quality if entry.interaction_id == one.id and (entry.score >= 0 or entry.expected_hash)]
    if own and own[0].score >= 0:
        return own[0].score
    twin = [entry for entry in quality if one.shadow_of and entry.interaction_id == one.shadow_of]
    answers = [entry.expected_hash for entry in [*own[:1], *twin] if entry.expected_hash]
    if not answers or not one.answer_hash:
        return -1.0
    return float(one.answer_hash == answers[0])


def between(records: SqlRecords, since_ms: int, until_ms: int, service: str = "support") -> list[ReviewedInteraction]:
    return list(records.interactions.between(service, since_ms=since_ms, until_ms=until_ms))


class TestBetween:
    def test_the_first_moment_is_inside_and_the_last_one_outside(self, records: SqlRecords) -> None:
        said = [an_interaction(at_ms=NOW_MS + n) for n in range(4)]
        other = an_interaction(at_ms=NOW_MS + 1, service="sales")
        ingest(records, *random.sample([*said, other], 5))
        assert [one.interaction for one in between(records, NOW_MS + 1, NOW_MS + 3)] == said[1:3]
        assert between(records, NOW_MS + 4, NOW_MS + 9) == []
        assert [one.interaction for one in between(records, 0, NOW_MS + 9, "sales")] == [other]

    @pytest.mark.parametrize("page_rows", [1, 3, 7, 200])
    def test_pages_lose_and_repeat_nothing_also_within_a_moment(
        self, records: SqlRecords, monkeypatch: pytest.MonkeyPatch, page_rows: int
    ) -> None:
        monkeypatch.setattr(sql_interactions, "_PAGE_ROWS", page_rows)
        said = [an_interaction(at_ms=NOW_MS + n // 5) for n in range(14)]
        ingest(records, *random.sample(said, len(said)))
        found = [one.interaction for one in between(records, NOW_MS, NOW_MS + 9)]
        assert found == sorted(said, key=lambda one: (one.at_ms, one.id))

    def test_each_brings_its_feedback_oldest_first(self, records: SqlRecords) -> None:
        said = [an_interaction(at_ms=NOW_MS + n) for n in range(3)]
        later = a_feedback(said[1].id, score=1.0, at_ms=NOW_MS + 9)
        earlier = a_feedback(said[1].id, expected="right", expected_hash=RIGHT, at_ms=NOW_MS + 5)
        ingest(records, *said, later, earlier, a_feedback("absent", score=0.0))
        assert [one.feedback for one in between(records, 0, NOW_MS + 9)] == [(), (earlier, later), ()]

    def test_a_shadow_brings_the_feedback_on_what_it_shadows_too(self, records: SqlRecords) -> None:
        first = an_interaction()
        copy = an_interaction(role="shadow", shadow_of=first.id, at_ms=NOW_MS + 1)
        on_first, on_copy = (a_feedback(one.id, score=1.0) for one in (first, copy))
        ingest(records, first, copy, on_first, on_copy)
        assert [one.feedback for one in between(records, 0, NOW_MS + 9)] == [(on_first,), (on_first, on_copy)]

    def test_what_is_read_meanwhile_holds_up_nobody_who_writes(self, records: SqlRecords) -> None:
        ingest(records, *(an_interaction(at_ms=NOW_MS + n) for n in range(3)))
        reading = records.interactions.between("support", since_ms=0, until_ms=NOW_MS + 9)
        next(reading)
        assert ingest(records, an_interaction(at_ms=NOW_MS + 5)) == 1
        reading.close()

    def test_a_window_is_found_by_an_index(self, records: SqlRecords, records_url: str) -> None:
        ingest(records, *(an_interaction(at_ms=NOW_MS + n) for n in range(500)))
        asked: list[tuple[str, Any]] = []
        engine = records._connections._engine
        event.listen(engine, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
        between(records, NOW_MS, NOW_MS + 300)
        statement, parameters = next(one for one in asked if "interactions" in one[0])
        with engine.connect() as connection:
            if records_url.startswith("sqlite"):
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            else:
                connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
                plan = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).all()
        assert "ix_interactions_service_at_ms" in str(plan)
