"""Gates: a policy's demands against the evidence, check by check. What is missing has not passed."""

from collections.abc import Iterable, Sequence

from modelyard.core.clock import now_ms
from modelyard.core.ids import new_id
from modelyard.ports.release import Release
from modelyard.ports.report import Metric, Report
from modelyard.ports.verdict import Check, Verdict
from modelyard.registry.policy import Policy


def judge(
    policy: Policy,
    release: Release,
    reports: Iterable[Report],
    champion_reports: Sequence[Report] | None,
    parity_passed: bool | None,
) -> Verdict:
    """The verdict on a release: one check for each demand on each report that answers it.

    Only the newest report of each suite and split counts, and only the release's own. `champion_reports` of None says
    that there is no champion to fall behind; an empty sequence, that the champion was never evaluated, which fails.
    `parity_passed` of None says that parity was never checked, which fails too.
    """
    own = newest_each(report for report in reports if report.release == release.digest)
    checks = [
        *_limit_checks(policy, own),
        *_regression_checks(policy, own, champion_reports),
        *_row_checks(policy, own),
    ]
    if policy.parity:
        checks.append(_parity_check(parity_passed))
    return Verdict(
        id=new_id(),
        release=release.digest,
        policy=policy.name,
        policy_digest=policy.digest,
        passed=all(check.passed for check in checks),
        checks=tuple(checks),
        reports=tuple(report.id for report in own),
        created_ms=now_ms(),
    )


def _limit_checks(policy: Policy, reports: Sequence[Report]) -> list[Check]:
    checks = []
    for metric, floor in policy.min.items():
        for name, found in _find(metric, reports):
            seen = _unfavourable(policy, found, smaller_is_better=False)
            passed = seen is not None and seen >= floor
            checks.append(Check(name=name, passed=passed, seen=_show(policy, found), demanded=f"at least {floor:g}"))
    for metric, ceiling in policy.max.items():
        for name, found in _find(metric, reports):
            seen = _unfavourable(policy, found, smaller_is_better=True)
            passed = seen is not None and seen <= ceiling
            checks.append(Check(name=name, passed=passed, seen=_show(policy, found), demanded=f"at most {ceiling:g}"))
    return checks


def _regression_checks(
    policy: Policy, reports: Sequence[Report], champion_reports: Sequence[Report] | None
) -> list[Check]:
    checks = []
    for metric, allowed in policy.max_regression.items():
        found = [report for report in reports if metric in report.metrics]
        if not found:
            checks.append(_regression_check(policy, metric, allowed, None, None))
        for report in found:
            if champion_reports is None:
                checks.append(_unrivalled_check(policy, metric, report))
                continue
            rivals = [one for one in newest_each(champion_reports) if _same_exam(one, report)]
            rival = rivals[0].metrics.get(metric) if rivals else None
            checks.append(_regression_check(policy, metric, allowed, report, rival))
    return checks


def _regression_check(
    policy: Policy, metric: str, allowed: float, report: Report | None, rival: Metric | None
) -> Check:
    name = f"{metric} against the champion" + (f" ({report.suite}/{report.split})" if report else "")
    mine = report.metrics[metric] if report else None
    if mine is None or rival is None:
        whose = "of the release" if mine is None else "of the champion on the same suite and split"
        return Check(name=name, passed=False, seen=f"missing: no {metric} {whose}", demanded=f"within {allowed:g}")
    smaller = policy.smaller_is_better(metric)
    seen = _unfavourable(policy, mine, smaller_is_better=smaller)
    limit = rival.value + allowed if smaller else rival.value - allowed
    passed = seen is not None and (seen <= limit if smaller else seen >= limit)
    demanded = f"at {'most' if smaller else 'least'} {limit:g} (champion {rival.value:g}, {allowed:g} allowed)"
    return Check(name=name, passed=passed, seen=_show(policy, mine), demanded=demanded)


def _unrivalled_check(policy: Policy, metric: str, report: Report) -> Check:
    name = f"{metric} against the champion ({report.suite}/{report.split})"
    seen = _show(policy, report.metrics[metric])
    return Check(name=name, passed=True, seen=seen, demanded="anything: there is no champion yet")


def _row_checks(policy: Policy, reports: Sequence[Report]) -> list[Check]:
    """One check a report: the fewest rows behind any metric that is asked of it."""
    asked = {*policy.min, *policy.max, *policy.max_regression}
    demanded = f"at least {policy.min_rows}"
    checks = []
    for report in reports:
        rows = [metric.num_rows for name, metric in report.metrics.items() if name in asked]
        if rows:
            name = f"rows ({report.suite}/{report.split})"
            checks.append(Check(name=name, passed=min(rows) >= policy.min_rows, seen=str(min(rows)), demanded=demanded))
    return checks


def _parity_check(passed: bool | None) -> Check:
    seen = {True: "they agree", False: "they differ", None: "missing: never checked"}[passed]
    return Check(name="parity", passed=passed is True, seen=seen, demanded="training and serving agree")


def _find(metric: str, reports: Sequence[Report]) -> list[tuple[str, Metric | None]]:
    """A metric in every report that has it, each with the name of its check; one entry of None where none has."""
    found: list[tuple[str, Metric | None]] = [
        (f"{metric} ({report.suite}/{report.split})", report.metrics[metric])
        for report in reports
        if metric in report.metrics
    ]
    return found or [(metric, None)]


def _unfavourable(policy: Policy, metric: Metric | None, *, smaller_is_better: bool) -> float | None:
    """The number to compare: the value, or where the policy says `low`, the interval's end that speaks against it."""
    if metric is None or policy.use == "value":
        return metric.value if metric else None
    return metric.high if smaller_is_better else metric.low


def _show(policy: Policy, metric: Metric | None) -> str:
    if metric is None:
        return "missing: no report has it"
    interval = f" (interval {metric.low:g} to {metric.high:g})" if policy.use == "low" else ""
    return f"{metric.value:g}{interval}"


def newest_each(reports: Iterable[Report]) -> list[Report]:
    """The newest report of each suite and split, oldest suite first."""
    newest: dict[tuple[str, str], Report] = {}
    for report in sorted(reports, key=lambda one: (one.created_ms, one.id)):
        newest[report.suite_digest, report.split] = report
    return list(newest.values())


def _same_exam(one: Report, other: Report) -> bool:
    return (one.suite_digest, one.split, one.dataset_digest) == (other.suite_digest, other.split, other.dataset_digest)
