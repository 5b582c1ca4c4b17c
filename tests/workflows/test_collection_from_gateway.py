"""The whole way: a real gateway answers and takes feedback, its journal is ingested, the traffic becomes a dataset."""
# ruff: noqa: F811 - a test names the fixtures that are imported here

import dataclasses
import hashlib
import json
from pathlib import Path

import httpx
import pytest

from modelyard.adapters.records.store import SqlRecords
from modelyard.core.errors import DataInvalid
from modelyard.datasets.config import DatasetConfig
from modelyard.ports.routes import BodyPolicy, Key, Service
from modelyard.workflows.collection import Collection
from modelyard.workflows.datasets import examples_of, prepare_dataset
from modelyard.workflows.ingest import Ingester
from modelyard.workflows.tools import Tools
from tests.adapters.records.conftest import records, records_url  # noqa: F401
from tests.gateway.conftest import engine, engine_url  # noqa: F401
from tests.gateway.harness import Yard, variant
from tests.gateway.upstream import Engine

TENANTS = ("acme", "globex")
EMAIL = "ada.lovelace@example.com"
CONFIG = DatasetConfig(
    collect={"service": "support", "since": "1h", "tenants": ["acme"]}, splits={"train": 1.0}, near_duplicates=None
)


class Shop:
    """A gateway with two tenants, and the records that its journal goes into."""

    def __init__(self, yard: Yard, tools: Tools) -> None:
        self._yard = yard
        self.tools = tools

    def ask(self, tenant: str, question: str, *, stream: bool = False) -> str:
        """The id of the answer."""
        body = {"model": "support", "messages": [{"role": "user", "content": question}], "user": "u1", "stream": stream}
        answer = self._post(tenant, "/v1/chat/completions", body)
        if stream:
            answer = answer.split("data: ")[1]
        return str(json.loads(answer)["id"])

    def tell(self, tenant: str, **feedback: object) -> None:
        self._post(tenant, "/v1/feedback", feedback)

    def ingest(self) -> None:
        Ingester(self.tools.records, self._yard.journal).ingest_once()

    def taught(self, config: DatasetConfig = CONFIG) -> dict[str, str]:
        """What a dataset of the traffic teaches: the answer to each question."""
        dataset = prepare_dataset(self.tools, "traffic", config)
        return {one.prompt[0].content: one.answer for one in examples_of(self.tools, dataset, "train")}

    def _post(self, tenant: str, path: str, body: object) -> str:
        answer = httpx.post(self._yard.url + path, json=body, headers={"authorization": f"Bearer sk-{tenant}"})
        assert answer.status_code in (200, 202), answer.text
        return answer.text


def open_shop(yard: Yard, engine: Engine, engine_url: str, tools: Tools, policy: BodyPolicy) -> Shop:
    keys = tuple(Key(id=one, hash=hashlib.sha256(f"sk-{one}".encode()).hexdigest(), tenant=one) for one in TENANTS)
    engine.say["champ"] = f"Write to {EMAIL}"
    yard.publish(Service(name="support", champion=variant("champ", engine_url), body_policy=policy), keys=keys)
    return Shop(yard, tools)


def test_what_was_asked_answered_and_corrected_is_what_is_taught(
    tmp_path: Path, engine: Engine, engine_url: str, tools: Tools, records: SqlRecords
) -> None:
    with Yard(tmp_path / "gateway").open() as yard:
        shop = open_shop(yard, engine, engine_url, dataclasses.replace(tools, records=records), "full")
        liked = shop.ask("acme", f"I am {EMAIL}, where is it?")
        wrong = shop.ask("acme", "where is the refund?", stream=True)
        shop.ask("acme", "who are you?", stream=True)
        foreign = shop.ask("globex", "what is secret here?")
        shop.tell("acme", id=liked, score=1.0)
        shop.tell("acme", id=wrong, expected="It was paid on Monday.")
        shop.tell("acme", id=foreign, expected="Nothing is.")
        shop.tell("globex", id=liked, expected="Send us money.")
        yard.interactions(4)
        shop.ingest()
        assert shop.taught() == {
            "I am [EMAIL], where is it?": "Write to [EMAIL]",
            "where is the refund?": "It was paid on Monday.",
            "who are you?": "Write to [EMAIL]",
        }
        assert CONFIG.collect is not None
        survey = Collection(records, CONFIG.collect).survey()
        assert survey.passed_over == {"no consent of the tenant": 1}
        for answers, questions in (
            ("liked", ["I am [EMAIL], where is it?"]),
            ("corrected", ["where is the refund?"]),
        ):
            collect = CONFIG.collect.model_copy(update={"answers": answers})
            assert list(shop.taught(CONFIG.model_copy(update={"collect": collect}))) == questions


@pytest.mark.parametrize("policy", ["hash", "none"])
def test_where_texts_are_not_recorded_it_says_how_to_record_them(
    tmp_path: Path, engine: Engine, engine_url: str, tools: Tools, policy: BodyPolicy
) -> None:
    with Yard(tmp_path / "gateway").open() as yard:
        shop = open_shop(yard, engine, engine_url, tools, policy)
        shop.tell("acme", id=shop.ask("acme", "where is it?"), expected="Here.")
        shop.ingest()
        with pytest.raises(DataInvalid, match="1 no text recorded") as error:
            shop.taught()
        assert "set `record: full` for the service" in error.value.fix
