"""Preflight: what can be known to be wrong before the first step, each check with its evidence and a fix.

Knows nothing of torch: it looks at token ids, labels, the recipe, the heads of the base's files, and what the serving
engine can do. What needs the model itself is tried in `training/probing.py`.
"""

from collections.abc import Callable

from modelyard.training.preflight import disk, engine, preferences, rows, template
from modelyard.training.preflight.finding import Finding, Severity, require
from modelyard.training.preflight.inspection import Inspection

__all__ = ["CHECKS", "Finding", "Inspection", "Severity", "inspect", "require"]

CHECKS: tuple[Callable[[Inspection], Finding], ...] = (
    template.marks_answers,
    template.is_one_template,
    template.pads_apart,
    template.instructs_once,
    template.knows_its_tokens,
    rows.learns_something,
    rows.learns_to_stop,
    rows.ends_once,
    rows.learns_the_answers,
    rows.fits,
    rows.begins_once,
    rows.prompts_are_prefixes,
    rows.earlier_prompts_are_prefixes,
    rows.is_not_held_out,
    preferences.answers_differ,
    preferences.lengths_are_alike,
    preferences.verdicts_are_balanced,
    engine.targets_exist,
    engine.can_be_served,
    disk.has_room,
)


def inspect(inspection: Inspection) -> list[Finding]:
    """Every check, in order."""
    return [check(inspection) for check in CHECKS]
