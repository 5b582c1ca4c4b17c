"""Releases: made from a run or from a bare base, moved from stage to stage by the registry's rules."""

import logging
from pathlib import Path

from modelyard.core.clock import now_ms
from modelyard.core.errors import Conflict, NotFound, Unavailable
from modelyard.ports.export import Export
from modelyard.ports.release import ModelRef, Release, StageMove
from modelyard.ports.run import Run
from modelyard.project.model import Project
from modelyard.registry.cards import render_card
from modelyard.registry.policy import Policy
from modelyard.registry.stages import archive
from modelyard.training.lineage import describe_base
from modelyard.training.recipe import Recipe
from modelyard.training.spec import ADAPTER
from modelyard.workflows.routes import services_of
from modelyard.workflows.tools import Tools

log = logging.getLogger(__name__)


def release_of_run(tools: Tools, name: str, run: Run) -> Release:
    """The release that serves a run's adapter with the base and the prompt it was trained with; recorded as a draft.

    Raises: Conflict where the run has no adapter.
    """
    if ADAPTER not in run.artifacts:
        raise Conflict(
            f"the run {run.id} made {' and '.join(run.artifacts) or 'nothing'}, no adapter",
            expected="a run with an adapter, which the engine loads beside its base",
            fix="use the model as a base of its own (`base:` in a recipe), or train with method: lora",
        )
    lineage = run.lineage
    release = Release(
        name=name,
        base=ModelRef(name=lineage.base_name, digest=lineage.base_digest),
        adapter=run.artifacts[ADAPTER],
        tokenizer_digest=lineage.tokenizer_digest,
        template_digest=lineage.template_digest,
        system_prompt=Recipe.model_validate(run.recipe).system_prompt,
        run_id=run.id,
        created_ms=now_ms(),
    )
    return _add(tools, release)


def release_of_export(tools: Tools, name: str, export: Export) -> Release:
    """The release of the very files of an export, to be evaluated and gated as such; recorded as a draft."""
    base = describe_base(tools.blobs.get_folder(export.blob), export.ref)
    run = tools.records.runs.get(export.run_id)
    release = Release(
        name=name,
        base=base.ref,
        quantization="-".join(part for part in (export.format, export.quantization) if export.quantization),
        tokenizer_digest=base.tokenizer_digest,
        template_digest=base.template_digest,
        system_prompt=Recipe.model_validate(run.recipe).system_prompt,
        run_id=run.id,
        created_ms=now_ms(),
    )
    return _add(tools, release)


def release_of_base(tools: Tools, name: str, recipe: Recipe) -> Release:
    """The release of the untuned base, to compare with; recorded as a draft."""
    base = describe_base(tools.base_folder(recipe.base), Path(recipe.base).name)
    release = Release(
        name=name,
        base=base.ref,
        tokenizer_digest=base.tokenizer_digest,
        template_digest=base.template_digest,
        system_prompt=recipe.system_prompt,
        created_ms=now_ms(),
    )
    return _add(tools, release)


def archive_release(tools: Tools, release: Release, reason: str) -> StageMove:
    """Put a release away; one that is away already stays so, and its last move is returned.

    Raises: Conflict where it serves or is being tried.
    """
    if services := services_of(tools.records, release.digest):
        raise Conflict(
            f"{release.ref} has traffic of {', '.join(services)}",
            expected="a release without traffic",
            fix="end its rollout (modelyard rollout cancel), or bring another one back (modelyard rollout back)",
        )
    if tools.records.releases.stage(release.digest) == "archived":
        return tools.records.releases.moves(release.digest)[-1]
    return archive(tools.records, release, tools.actor, reason)


def mirror_release(tools: Tools, project: Project, service: str, digest: str, alias: str) -> None:
    """Show a release in the tracker's registry under an alias. The records decide; a tracker that is away only logs."""
    release = tools.records.releases.get(digest)
    if not release.adapter or not release.run_id:
        return
    try:
        tracking_id = tools.records.runs.get(release.run_id).tracking_id
        folder = tools.blobs.get_folder(release.adapter)
        tools.tracker.mirror_release(f"{project.project}-{service}", tracking_id, folder, alias)
    except Unavailable as error:
        log.warning("%s is not mirrored as %s: %s", release.ref, alias, error.seen)


def policy_of(project: Project, service: str) -> Policy:
    """The policy of a service, under its name in the project file. Raises: NotFound."""
    config = project.services.get(service)
    if config is None:
        raise NotFound(
            f"the project file has no service '{service}'",
            expected=", ".join(project.services) or "a service",
            fix="put it back under `services:`",
        )
    return project.policies[config.policy].model_copy(update={"name": config.policy})


def model_card(tools: Tools, release: Release) -> str:
    """The release's model card, in Markdown, from what is recorded now."""
    return render_card(tools.records, release)


def _add(tools: Tools, release: Release) -> Release:
    """Record a release, or hand back the recorded one that answers exactly alike."""
    try:
        return tools.records.releases.get(release.digest)
    except NotFound:
        tools.records.releases.add(release)
        return release
