"""From an answer back to the raw file, whole or with every gap named."""

import re
from typing import Any

import msgspec
import pytest

from modelyard.adapters.records.store import SqlRecords
from modelyard.core.digests import digest_json, digest_text
from modelyard.core.errors import NotFound
from modelyard.ports.dataset import Source, Window
from modelyard.ports.interaction import Interaction
from modelyard.ports.records import JournalMark
from modelyard.ports.release import Release
from modelyard.ports.routes import EXTERNAL, RouteTable, Service, Variant
from modelyard.registry.lineage import Link, trace
from tests.adapters.records.values import NOW_MS, a_dataset, a_release, a_run, a_verdict, an_approval, an_interaction

RECIPE = {"rank": 32, "lr": 0.002, "targets": ["q_proj", "v_proj"]}


def add_run(records: SqlRecords, **fields: Any):
    made = {"recipe": RECIPE, "recipe_digest": digest_json(RECIPE), "artifacts": {"adapter": digest_text("weights")}}
    run = a_run(**(made | fields))
    records.runs.put(run)
    return run


def ask(records: SqlRecords, release: Release | str) -> Interaction:
    digest = release if isinstance(release, str) else release.digest
    interaction = an_interaction(release=digest)
    records.interactions.ingest([interaction], JournalMark(segment="one", offset=1))
    return interaction


def kinds(link: Link) -> dict[str, Link]:
    found = {link.kind: link}
    for inner in link.links:
        found |= kinds(inner)
    return found


def test_the_whole_way_back(records: SqlRecords) -> None:
    dataset = a_dataset()
    records.datasets.add(dataset)
    run = add_run(records)
    release = a_release(run_id=run.id)
    records.releases.add(release)
    verdict = a_verdict(release.digest)
    records.verdicts.add(verdict)
    records.verdicts.approve(an_approval(verdict, decision="override", reason="we want to see"))
    interaction = ask(records, release)

    found = trace(records, interaction.id)
    assert found.missing == ()
    links = kinds(found.links[0])
    assert list(links) == ["interaction", "release", "verdict", "run", "recipe", "dataset", "file", "base", "commit"]
    assert links["release"].digest == release.digest
    assert links["recipe"].digest == digest_json(RECIPE)
    assert links["dataset"].digest == dataset.digest
    assert (links["file"].title, links["file"].digest) == ("raw.jsonl", dataset.sources[0].digest)
    assert links["commit"].digest == "c0ffee"
    assert links["release"].facts["stage"] == "draft"
    assert links["verdict"].facts["override by grace"] == "we want to see"
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


def test_a_dataset_from_production_leads_back_to_its_window(records: SqlRecords) -> None:
    window = Window(service="support", since_ms=NOW_MS, until_ms=NOW_MS + 1000, num_interactions=812)
    source = Source(path="production:support", digest=digest_text("traffic"), num_bytes=9, window=window)
    records.datasets.add(a_dataset(sources=(source,)))
    release = a_release(run_id=add_run(records).id)
    records.releases.add(release)
    found = trace(records, ask(records, release).id)
    assert found.missing == ()
    link = kinds(found.links[0])["window"]
    assert link.digest == source.digest
    assert link.title == "production:support, 812 from 2025-06-15T15:06:40.000Z to 2025-06-15T15:06:41.000Z"


def test_an_unknown_answer_is_not_found(records: SqlRecords) -> None:
    with pytest.raises(NotFound):
        trace(records, "no such answer")


def test_a_bare_base_needs_no_run(records: SqlRecords) -> None:
    release = msgspec.structs.replace(a_release(), adapter="")
    records.releases.add(release)
    found = trace(records, ask(records, release).id)
    assert found.missing == ()
    assert kinds(found.links[0])["base"].digest == release.base.digest


def test_a_release_that_is_gone_is_said(records: SqlRecords) -> None:
    found = trace(records, ask(records, "sha256:gone").id)
    assert found.missing == ("the release sha256:gone is not in the records",)
    assert found.missing[0] in found.links[0].links[0].title


@pytest.mark.parametrize("run_id", ["", "a run that is gone"])
def test_a_run_that_is_gone_is_said(records: SqlRecords, run_id: str) -> None:
    release = a_release(run_id=run_id)
    records.releases.add(release)
    (missing,) = trace(records, ask(records, release).id).missing
    assert missing.startswith("the run ")
    assert missing.endswith("is not in the records")


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({}, "the dataset .* is not in the records"),
        ({"recipe_digest": digest_text("another recipe")}, "the recipe has the digest"),
        ({"artifacts": {"adapter": digest_text("other weights")}}, "did not make the adapter"),
        ({"artifacts": {}}, "did not make the adapter"),
    ],
)
def test_each_gap_is_said(records: SqlRecords, fields: dict, missing: str) -> None:
    if fields:
        records.datasets.add(a_dataset())
    release = a_release(run_id=add_run(records, **fields).id)
    records.releases.add(release)
    found = trace(records, ask(records, release).id)
    assert len(found.missing) == 1
    assert re.search(missing, found.missing[0])


def test_a_run_outside_a_commit_is_said(records: SqlRecords) -> None:
    records.datasets.add(a_dataset())
    lineage = msgspec.structs.replace(a_run().lineage, commit="", dirty_digest="")
    release = a_release(run_id=add_run(records, lineage=lineage).id)
    records.releases.add(release)
    (missing,) = trace(records, ask(records, release).id).missing
    assert missing.endswith("was made outside a commit")


def test_a_dataset_without_raw_files_is_said(records: SqlRecords) -> None:
    records.datasets.add(a_dataset(sources=()))
    release = a_release(run_id=add_run(records).id)
    records.releases.add(release)
    (missing,) = trace(records, ask(records, release).id).missing
    assert "names no raw file" in missing


def test_the_way_back_from_a_hosted_model_ends_and_says_so(records: SqlRecords) -> None:
    release = f"{EXTERNAL}vendor@0123456789ab"
    vendor = Variant(
        release=release, ref="vendor@0123456789ab", engine_url="https://secret.example", model="large", name="vendor"
    )
    champion = Variant(release="sha256:1", ref="support@1", engine_url="http://127.0.0.1:1", model="m")
    given = ask(records, release)
    service = Service(name=given.service, champion=champion, variants=(vendor,))
    records.routes.add_table(RouteTable(version=given.table_version, created_ms=1, services=(service,)))
    found = trace(records, given.id)
    link = kinds(found.links[0])["external"]
    assert link.title == "external model vendor@0123456789ab, no release of ours"
    assert link.facts == {"model": "large", "engine": "openai"}
    assert found.missing == (
        "vendor@0123456789ab is no release of ours: its weights, and what made them, are known to whoever runs it",
    )
    assert b"secret.example" not in msgspec.json.encode(found)
