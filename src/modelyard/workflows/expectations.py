"""Whether a dataset is what the project expects of it. Training on one that is not is refused."""

from modelyard.core.errors import DataInvalid
from modelyard.datasets.expectations import ExpectationsConfig
from modelyard.datasets.report.expecting import Finding, check_expectations, version_before
from modelyard.datasets.report.reading import read_report
from modelyard.ports.dataset import Dataset
from modelyard.workflows.folders import folder_of
from modelyard.workflows.tools import Tools


def findings_of(tools: Tools, dataset: Dataset, expectations: ExpectationsConfig | None = None) -> list[Finding]:
    """What each expectation finds: those given, or those that the dataset was prepared with.

    Drift is measured from the version before, by the order in which they were prepared.
    """
    expectations = expectations or ExpectationsConfig.model_validate(dataset.config.get("expectations", {}))
    if not expectations.is_on:
        return []
    before = None
    if expectations.max_drift is not None:
        before = version_before(dataset, tools.records.datasets.newest(dataset.name))
    return check_expectations(
        expectations,
        read_report(folder_of(tools, dataset)),
        read_report(folder_of(tools, before)) if before else None,
    )


def demand_expectations(tools: Tools, dataset: Dataset) -> None:
    """Raises: DataInvalid with the list of those that fail."""
    failed = [one for one in findings_of(tools, dataset) if not one["passed"]]
    if failed:
        listed = "; ".join(
            f"{one['expectation']}: {one['seen']}, expected {one['bound']} ({one['detail']})" for one in failed
        )
        raise DataInvalid(
            f"{dataset.ref} does not meet {len(failed)} of its expectations: {listed}",
            fix=f"mend the raw rows or the expectations, then `modelyard data prepare {dataset.name}`",
        )
