"""Durable work: a body of named steps that goes on, after a kill or a failure, at the step it had reached.

A thin wrapper over DBOS, so that workflows need not know it. Imported late: DBOS takes a second to import.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from modelyard.core.errors import JobFailed
from modelyard.core.locks import hold

T = TypeVar("T")

# DBOS recovers only the work of its own version and executor. Its default version is a hash of sources, its own
# included, so that an upgrade would orphan the work in flight.
_APPLICATION_VERSION = "1"
_EXECUTOR_ID = "local"


class Step(Protocol):
    """Runs one step, or hands back what it returned the last time. Results must be JSON values."""

    def __call__(self, name: str, work: Callable[[], T]) -> T: ...


class _Failure:
    """The exception of the step that failed, which the store keeps only as text."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def guard(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except BaseException as error:
            self.error = error
            raise


def run_durably(folder: Path, work_id: str, body: Callable[[Step], Any]) -> Any:
    """Run a body to its end and return its result; take it up again where an earlier process left it.

    The steps are kept in `folder/<work_id>.db`: a file for each work, since a launch takes up everything that its file
    holds. One process at a time runs a work: it holds `folder/<work_id>.lock`. A step that was killed runs again from
    its start, so a step leaves either all of its traces or none. A body that had failed goes on at the step that
    failed. A body that had ended returns its old result.

    Raises: Conflict where another process runs the work; what a step raised; JobFailed where the body itself failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fix = "wait for that one, or end it"
    with hold(folder / f"{work_id}.lock", f"the work '{work_id}' is being done", fix=fix):
        return _run(folder / f"{work_id}.db", work_id, body)


def _run(database: Path, work_id: str, body: Callable[[Step], Any]) -> Any:
    from dbos import DBOS

    failure = _Failure()

    def durable() -> Any:
        return body(lambda name, work: DBOS.run_step({"name": name}, failure.guard, work))

    _configure(database)
    try:
        workflow = DBOS.workflow(name="durable")(durable)
        DBOS.launch()
        return _begin_or_resume(workflow, work_id).get_result(polling_interval_sec=0.1)
    except Exception as error:
        if failure.error is not None:
            raise failure.error from None
        raise JobFailed(f"the work '{work_id}' failed: {error}", fix="run the same command again") from error
    finally:
        DBOS.destroy(destroy_registry=True)


def _configure(database: Path) -> None:
    from dbos import DBOS
    from dbos._serialization import DBOSPortableJSONSerializer

    DBOS(
        config={
            "name": "modelyard",
            "system_database_url": f"sqlite:///{database}",
            "application_version": _APPLICATION_VERSION,
            "executor_id": _EXECUTOR_ID,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "CRITICAL",
        }
    )


def _begin_or_resume(workflow: Callable[[], Any], work_id: str) -> Any:
    """A handle on the newest attempt at the work: begun, recovered by the launch, or forked from the failed step."""
    from dbos import DBOS, SetWorkflowID

    attempts = DBOS.list_workflows()
    if not attempts:
        with SetWorkflowID(work_id):
            return DBOS.start_workflow(workflow)
    last = attempts[-1]
    if last.status in ("PENDING", "ENQUEUED", "SUCCESS"):
        return DBOS.retrieve_workflow(last.workflow_id)
    steps = DBOS.list_workflow_steps(last.workflow_id)
    failed = [step["function_id"] for step in steps if step["error"] is not None]
    with SetWorkflowID(f"{work_id}#{len(attempts) + 1}"):
        return DBOS.fork_workflow(last.workflow_id, failed[0] if failed else len(steps) + 1)
