"""All checks on one engine, each outcome beside what its sheet says."""

from collections.abc import Callable
from typing import Any

import msgspec

from modelyard.adapters.engines.conformance.checks import CHECKS, DEPENDS, Outcome
from modelyard.adapters.engines.conformance.probe import Probe
from modelyard.core.errors import EngineFailed, InvalidInput, Unavailable
from modelyard.ports.engine import Finding
from modelyard.ports.sheets import PATHS, SHEETS, Sheet

Progress = Callable[[float, float, str], Any]


def check_engine(
    url: str, kind: str = "openai", *, model: str = "", api_key: str = "", progress: Progress | None = None
) -> list[Finding]:
    """Every check in order. Raises: InvalidInput for an unknown kind or no model, Unavailable where nothing answers."""
    if kind not in SHEETS:
        raise InvalidInput(f"'{kind}' is no kind of engine", expected=f"one of {', '.join(SHEETS)}")
    sheet = SHEETS[kind]
    probe = Probe(url, sheet, model=model, api_key=api_key)
    try:
        return _run(probe, sheet, progress or (lambda done, total, note: None))
    finally:
        probe.close()


def _run(probe: Probe, sheet: Sheet, progress: Progress) -> list[Finding]:
    findings: list[Finding] = []
    for number, (name, check) in enumerate(CHECKS.items()):
        progress(number, len(CHECKS), name)
        works, seen = _outcome(check, probe) if findings else check(probe)
        findings.append(Finding(name=name, works=works, expected=expected(sheet, name), seen=seen))
        if name == "models" and not probe.model:
            raise InvalidInput(f"the engine at {probe.url} lists no model: {seen}", fix="name one with --model")
    return findings


def _outcome(check: Callable[[Probe], Outcome], probe: Probe) -> Outcome:
    """An answer of a shape that no check foresaw is a finding too."""
    try:
        return check(probe)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, msgspec.MsgspecError) as error:
        return False, f"an answer of another shape: {type(error).__name__} {error}"
    except (Unavailable, EngineFailed) as error:
        return False, error.seen


def expected(sheet: Sheet, name: str) -> bool | None:
    """What a sheet says of a check; None where it promises nothing."""
    if name in sheet.fails:
        return False
    if name in DEPENDS:
        return None
    return name in sheet.endpoints if name in PATHS and name != "models" else True
