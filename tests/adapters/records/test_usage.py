"""Interactions found by what they were for, summed exactly; what an older version wrote is found and summed too."""

import random

import msgspec
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from modelyard.adapters.records import schema
from modelyard.adapters.records.connections import Connections
from modelyard.adapters.records.store import SqlRecords, open_records
from modelyard.core.digests import digest_text
from modelyard.ports.interaction import Interaction
from modelyard.ports.records import InteractionQuery, JournalMark, Usage
from tests.adapters.records.values import NOW_MS, an_interaction

ALL = InteractionQuery()


def ingest(records: SqlRecords, *entries: Interaction) -> None:
    records.interactions.ingest(entries, JournalMark(segment="s-000001.jsonl", offset=1))


def some_traffic(num: int = 300) -> list[Interaction]:
    chance = random.Random(5)
    return [
        an_interaction(
            at_ms=NOW_MS + n,
            tenant=chance.choice(["acme", "bolt"]),
            key_id=chance.choice(["key-1", "key-2", "key-3"]),
            service=chance.choice(["support", "sales"]),
            user=chance.choice(["", "u1"]),
            status=chance.choice([200, 200, 200, 429, 500]),
            prompt_tokens=chance.randrange(4000),
            completion_tokens=chance.randrange(900),
            cost_nanousd=chance.randrange(2**55),
            saved_nanousd=chance.randrange(1000),
            shadow_of=chance.choice(["", "", "other"]),
        )
        for n in range(num)
    ]


@pytest.mark.parametrize(("by", "field"), [("tenant", "tenant"), ("key", "key_id"), ("service", "service")])
def test_sums_are_those_of_the_interactions_to_the_last_nano(records: SqlRecords, by: str, field: str) -> None:
    said = some_traffic()
    ingest(records, *said)
    found = records.interactions.usage(by, ALL)  # type: ignore[arg-type]
    counted = [one for one in said if not one.shadow_of]
    assert {one.key for one in found} == {getattr(one, field) for one in counted}
    for total in found:
        group = [one for one in counted if getattr(one, field) == total.key]
        sums = ("prompt_tokens", "completion_tokens", "cost_nanousd", "saved_nanousd")
        expected = Usage(
            key=total.key,
            requests=len(group),
            failures=sum(one.status >= 400 for one in group),
            **{name: sum(getattr(one, name) for one in group) for name in sums},
        )
        assert total == expected
    assert [one.cost_nanousd for one in found] == sorted((one.cost_nanousd for one in found), reverse=True)


def test_only_what_was_asked_for_is_found(records: SqlRecords) -> None:
    wanted = an_interaction(
        at_ms=NOW_MS + 5, tenant="bolt", key_id="k9", session="s1", trace_id="ab12-cd", status=503, release="sha256:z"
    )
    ingest(records, wanted, *(an_interaction(at_ms=NOW_MS + n) for n in range(4)))
    for query in (
        InteractionQuery(tenant="bolt"),
        InteractionQuery(key_id="k9"),
        InteractionQuery(session="s1"),
        InteractionQuery(trace="ab12"),
        InteractionQuery(trace="ab12-cd"),
        InteractionQuery(statuses=(500, 599)),
        InteractionQuery(release="sha256:z"),
        InteractionQuery(since_ms=NOW_MS + 5),
        InteractionQuery(tenant="bolt", service="support", statuses=(503, 503)),
    ):
        assert records.interactions.find(query) == [wanted], query
    assert records.interactions.find(InteractionQuery(tenant="bolt", statuses=(200, 200))) == []
    assert records.interactions.find(InteractionQuery(trace="ab1")) == []
    assert len(records.interactions.find(ALL, limit=3)) == 3
    assert records.interactions.usage("tenant", InteractionQuery(since_ms=NOW_MS + 6)) == []


def test_what_an_older_version_wrote_is_found_and_summed(empty_url: str) -> None:
    """Rows are written under migration 0002 as its version did: every field in the payload, no columns beside it."""
    connections = Connections(empty_url)
    said = [one for one in some_traffic(1200) if not one.shadow_of]
    with connections.write() as connection:
        _migrate(connection, "0002")
        for one in said:
            payload = msgspec.json.encode({"kind": "interaction", **msgspec.structs.asdict(one)}).decode()
            connection.execute(
                text(
                    "INSERT INTO interactions (id, at_ms, service, rollout_id, shadow_of, payload) "
                    "VALUES (:id, :at_ms, :service, '', '', :payload)"
                ),
                {
                    "id": one.id,
                    "at_ms": one.at_ms,
                    "service": one.service,
                    "payload": payload,
                },
            )
    connections.close()
    records = open_records(empty_url)
    try:
        assert sum(one.requests for one in records.interactions.usage("tenant", ALL)) == len(said)
        assert sum(one.cost_nanousd for one in records.interactions.usage("user", ALL)) == sum(
            one.cost_nanousd for one in said
        )
        assert records.interactions.get(said[0].id) == said[0]
    finally:
        records.close()


def _migrate(connection: object, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema._MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def test_marks_of_a_segment_that_is_gone_go_and_what_was_ingested_stays_counted(records: SqlRecords) -> None:
    store = records.interactions
    for segment, offset in (("a-000001.jsonl", 700), ("a-000002.jsonl", 50)):
        store.ingest([], JournalMark(segment=segment, offset=offset))
    store.move_told(JournalMark(segment="a-000001.jsonl", offset=600))
    assert (store.told("a-000001.jsonl"), store.mark("a-000001.jsonl"), store.ingested()) == (600, 700, 750)
    for _ in range(2):
        store.forget_marks("a-000001.jsonl")
        assert (store.told("a-000001.jsonl"), store.mark("a-000001.jsonl"), store.ingested()) == (0, 0, 750)
    store.ingest([], JournalMark(segment="a-000002.jsonl", offset=60))
    assert store.ingested() == 760


def test_a_payload_leaves_defaults_out_and_reads_back_equal(records: SqlRecords) -> None:
    said = an_interaction(request=digest_text("x"), status=200)
    ingest(records, said)
    assert records.interactions.get(said.id) == said
    assert b"saved_nanousd" not in msgspec.json.encode(said)
