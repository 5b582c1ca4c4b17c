"""The names in a project file that must be found elsewhere in it: where they stand, what they name, what there is."""

from collections.abc import Iterator

from modelyard.project.model import Project
from modelyard.project.serving import RESERVED, ServingConfig

Location = tuple[str | int, ...]
Reference = tuple[Location, str, list[str]]

_SECTION_OF = {
    "dataset": "datasets",
    "recipe": "recipes",
    "suite": "suites",
    "policy": "policies",
    "rollout": "rollouts",
}


def references(project: Project) -> Iterator[Reference]:
    """Every reference: its location, its target, and the names that it may have."""
    for name, service in project.services.items():
        for field, section in _SECTION_OF.items():
            yield ("services", name, field), getattr(service, field), list(getattr(project, section))
        yield from _serving_references(project, ("services", name), service, RESERVED)
    for name, hosted in project.hosted.items():
        yield from _serving_references(project, ("hosted", name), hosted, RESERVED[:1])
    for name, dataset in project.datasets.items():
        if dataset.collect:
            yield ("datasets", name, "collect", "service"), dataset.collect.service, list(project.services)
    for name, sweep in project.sweeps.items():
        yield ("sweeps", name, "recipe"), sweep.recipe, list(project.recipes)
    for name, suite in project.suites.items():
        # `name@digest` pins one that was prepared; which there are, the records know.
        named = suite.dataset.partition("@")[0]
        target = named if named in project.datasets else suite.dataset
        yield ("suites", name, "dataset"), target, list(project.datasets)


def _serving_references(
    project: Project, location: Location, serving: ServingConfig, taken: tuple[str, ...]
) -> Iterator[Reference]:
    variants = [*taken, *serving.variants]
    # A challenger answers by its rollout or a rule, never because another cannot: it is on trial.
    proven = [name for name in variants if name != "challenger"]
    for number, rule in enumerate(serving.rules):
        yield (*location, "rules", number, "variant"), rule.variant, variants
    for number, name in enumerate(serving.fallbacks):
        yield (*location, "fallbacks", number), name, proven
    for number, name in enumerate(serving.preference.order if serving.preference else ()):
        yield (*location, "preference", "order", number), name, proven
    if serving.cache and serving.cache.semantic:
        known = [*project.services, *project.hosted]
        yield (*location, "cache", "semantic", "service"), serving.cache.semantic.service, known
