"""Releases: made from a run or from a bare base, moved from stage to stage by the registry's rules."""

import logging
from pathlib import Path

from modelyard.core.clock import now_ms
from modelyard.core.errors import NotFound, Unavailable
from modelyard.ports.release import Release, Stage, StageMove
from modelyard.ports.run import Run
from modelyard.project.model import Project
from modelyard.registry.cards import render_card
from modelyard.registry.policy import Policy
from modelyard.registry.stages import archive, promote
from modelyard.training.lineage import describe_base
from modelyard.training.recipe import Recipe
from modelyard.training.spec import ADAPTER
from modelyard.workflows.tools import Tools

log = logging.getLogger(__name__)


def release_of_run(tools: Tools, name: str, run: Run) -> Release:
    """The release that serves a run's adapter with the prompt it was trained under; recorded as a draft."""
    recipe = Recipe.model_validate(run.recipe)
    return _add(tools, _release(tools, name, recipe, adapter=run.artifacts[ADAPTER], run_id=run.id))


def release_of_base(tools: Tools, name: str, recipe: Recipe) -> Release:
    """The release of the untuned base, to compare with; recorded as a draft."""
    return _add(tools, _release(tools, name, recipe))


def move_release(
    tools: Tools, project: Project, service: str, release: Release, stage: Stage, reason: str
) -> StageMove:
    """Move a release to a stage under the service's policy. Raises: Refused with every unmet demand."""
    policy = policy_of(project, service)
    return promote(tools.records, release, stage, tools.actor, reason, policy=policy, service=service)


def archive_release(tools: Tools, release: Release, reason: str) -> StageMove:
    """Put a release away; one that is away already stays so, and its last move is returned."""
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
    """The policy of a service, under its name in the project file."""
    name = project.services[service].policy
    return project.policies[name].model_copy(update={"name": name})


def model_card(tools: Tools, release: Release) -> str:
    """The release's model card, in Markdown, from what is recorded now."""
    return render_card(tools.records, release)


def _release(tools: Tools, name: str, recipe: Recipe, *, adapter: str = "", run_id: str = "") -> Release:
    base = describe_base(tools.base_folder(recipe.base), Path(recipe.base).name)
    return Release(
        name=name,
        base=base.ref,
        adapter=adapter,
        tokenizer_digest=base.tokenizer_digest,
        template_digest=base.template_digest,
        system_prompt=recipe.system_prompt,
        run_id=run_id,
        created_ms=now_ms(),
    )


def _add(tools: Tools, release: Release) -> Release:
    """Record a release, or hand back the recorded one that answers exactly alike."""
    try:
        return tools.records.releases.get(release.digest)
    except NotFound:
        tools.records.releases.add(release)
        return release
