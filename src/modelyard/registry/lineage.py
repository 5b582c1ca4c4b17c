"""Lineage: from an answer back to the raw files, or the traffic, that it was learned from.

What cannot be found, or does not match its digest, is said.
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from modelyard.core.clock import iso
from modelyard.core.digests import digest_json, short
from modelyard.core.errors import NotFound
from modelyard.core.money import format_usd
from modelyard.ports.dataset import Dataset
from modelyard.ports.interaction import Interaction
from modelyard.ports.records import Records
from modelyard.ports.release import Release
from modelyard.ports.routes import EXTERNAL
from modelyard.ports.run import Run

Found = TypeVar("Found")


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One thing on the way back, with its address and what it came from.

    `missing` says what is wrong where the thing is not there or is not what its digest says; empty where all is well.
    """

    kind: str
    title: str
    digest: str = ""
    missing: str = ""
    facts: dict[str, str] = {}
    links: tuple["Link", ...] = ()


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """The whole way back from one answer. `missing` gathers what every link misses; empty where lineage is whole."""

    answer_id: str
    links: tuple[Link, ...]
    missing: tuple[str, ...] = ()


def trace(records: Records, answer_id: str) -> Trace:
    """Walk back from an answer: interaction, release, run, recipe, dataset, raw files, commit.

    Raises: NotFound where no such answer was recorded.
    """
    link = _interaction_link(records, records.interactions.get(answer_id))
    return Trace(answer_id=answer_id, links=(link,), missing=tuple(_collect_missing(link)))


def _interaction_link(records: Records, given: Interaction) -> Link:
    facts = {
        "at": iso(given.at_ms),
        "service": given.service,
        "role": f"{given.role}, with probability {given.propensity:g}",
        "route table": str(given.table_version),
        "tokens": f"{given.prompt_tokens} in, {given.completion_tokens} out, {format_usd(given.cost_nanousd)}",
        "request": given.request_hash,
        "answer": given.answer_hash,
        "rollout": given.rollout_id,
        "shadow of": given.shadow_of,
    }
    inner = _answerer_link(records, given)
    return Link(kind="interaction", title=f"interaction {given.id}", facts=_known(facts), links=(inner,))


def _answerer_link(records: Records, given: Interaction) -> Link:
    if given.release.startswith(EXTERNAL):
        return _external_link(records, given)
    release = _look_up(lambda: records.releases.get(given.release))
    return _lost("release", given.release) if release is None else _release_link(records, release, given.release)


def _external_link(records: Records, given: Interaction) -> Link:
    """A hosted model is not ours: what it was declared as is known, and nothing of what it was made from."""
    name = given.release.removeprefix(EXTERNAL)
    table = _look_up(lambda: records.routes.table(given.table_version))
    services = [one for one in table.services if one.name == given.service] if table else []
    variants = [one for service in services for one in (service.champion, *service.variants)]
    declared = next((one for one in variants if one.release == given.release), None)
    facts = {}
    if declared:
        facts = {"model": declared.model, "engine": declared.engine, "system prompt": declared.system_prompt}
    return Link(
        kind="external",
        title=f"external model {name}, no release of ours",
        digest=given.release,
        missing=f"{name} is no release of ours: its weights, and what made them, are known to whoever runs it",
        facts=_known(facts),
    )


def _release_link(records: Records, release: Release, digest: str) -> Link:
    facts = {
        "stage": records.releases.stage(digest),
        "adapter": release.adapter,
        "tokenizer": release.tokenizer_digest,
        "chat template": release.template_digest,
        "system prompt": release.system_prompt,
        "quantization": release.quantization,
        "index": release.index_version,
    }
    verdicts = tuple(
        Link(
            kind="verdict",
            title=f"verdict {verdict.id} ({'passed' if verdict.passed else 'failed'})",
            digest=verdict.policy_digest,
            facts={check.name: f"{check.seen}; {check.demanded}" for check in verdict.checks}
            | {f"{one.decision} by {one.person}": one.reason for one in records.verdicts.approvals(verdict.id)},
        )
        for verdict in records.verdicts.newest(digest)[:1]
    )
    return Link(
        kind="release",
        title=f"release {release.ref}",
        digest=digest,
        missing=_mismatch(f"release {release.ref}", digest, release.digest),
        facts=_known(facts),
        links=(*verdicts, _origin_link(records, release)),
    )


def _origin_link(records: Records, release: Release) -> Link:
    """The run behind a release, or the bare base where no run made it."""
    run_id = release.run_id
    if not run_id and not release.adapter:
        return Link(kind="base", title=f"base {release.base.name}, as it came", digest=release.base.digest)
    run = _look_up(lambda: records.runs.get(run_id)) if run_id else None
    if run is None:
        return _lost("run", run_id or "that made the adapter")
    return _run_link(records, run, release)


def _run_link(records: Records, run: Run, release: Release) -> Link:
    lineage = run.lineage
    facts = {
        "state": run.state,
        "owner": run.owner,
        "at": iso(run.started_ms),
        "training": f"{run.train_seconds:.1f} s, {format_usd(run.cost_nanousd)}",
        "seed": str(lineage.seed),
        "environment": lineage.environment_digest,
        "tracked as": run.tracking_id,
        **{f"artifact {name}": digest for name, digest in run.artifacts.items()},
    }
    is_maker = not release.adapter or release.adapter in run.artifacts.values()
    recipe = Link(
        kind="recipe",
        title=f"recipe {short(run.recipe_digest)}",
        digest=run.recipe_digest,
        missing=_mismatch("the recipe", run.recipe_digest, digest_json(run.recipe)),
        facts={name: str(value) for name, value in run.recipe.items()},
    )
    base = Link(kind="base", title=f"base {lineage.base_name}", digest=lineage.base_digest)
    return Link(
        kind="run",
        title=f"run {run.name} {run.id}",
        missing="" if is_maker else f"run {run.id} did not make the adapter {release.adapter}",
        facts=_known(facts),
        links=(recipe, _dataset_link(records, lineage.dataset_digest), base, _commit_link(run)),
    )


def _dataset_link(records: Records, digest: str) -> Link:
    dataset = _look_up(lambda: records.datasets.get(digest)) if digest else None
    if dataset is None:
        return _lost("dataset", digest or "of the run")
    facts = {"rows": ", ".join(f"{rows} {split}" for split, rows in dataset.rows.items()), "blob": dataset.blob}
    return Link(
        kind="dataset",
        title=f"dataset {dataset.ref}",
        digest=dataset.digest,
        missing="" if dataset.sources else f"dataset {dataset.ref} names no raw file",
        facts=_known(facts),
        links=_source_links(dataset),
    )


def _source_links(dataset: Dataset) -> tuple[Link, ...]:
    return tuple(
        Link(
            kind="window" if source.window else "file",
            title=source.title,
            digest=source.digest,
            facts={"bytes": str(source.num_bytes)},
        )
        for source in dataset.sources
    )


def _commit_link(run: Run) -> Link:
    lineage = run.lineage
    if not lineage.commit:
        return Link(kind="commit", title="commit: none recorded", missing=f"run {run.id} was made outside a commit")
    changes = {"with uncommitted changes": lineage.dirty_digest} if lineage.dirty_digest else {}
    return Link(kind="commit", title=f"commit {lineage.commit}", digest=lineage.commit, facts=changes)


def _look_up(get: Callable[[], Found]) -> Found | None:
    try:
        return get()
    except NotFound:
        return None


def _lost(kind: str, name: str) -> Link:
    sentence = f"the {kind} {name} is not in the records"
    return Link(
        kind=kind, title=f"{kind}: {sentence}", digest=name if name.startswith("sha256:") else "", missing=sentence
    )


def _mismatch(what: str, recorded: str, computed: str) -> str:
    return "" if recorded == computed else f"{what} has the digest {computed}, not {recorded} as recorded"


def _known(facts: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in facts.items() if value}


def _collect_missing(link: Link) -> list[str]:
    own = [link.missing] if link.missing else []
    return own + [missing for inner in link.links for missing in _collect_missing(inner)]
