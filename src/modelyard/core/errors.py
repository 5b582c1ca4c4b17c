"""Every error that Modelyard raises on purpose, in one tree.

    ModelyardError
    ├── InvalidInput         what was handed over is wrong; the person can mend it       exit 2
    │   ├── ProjectInvalid   the project file
    │   ├── DataInvalid      a raw file, a row, a dataset
    │   ├── RecipeInvalid    a training recipe
    │   ├── MissingExtra     an optional package is not installed
    │   └── MissingEnvironment  a tool's own environment is not there
    ├── Refused              a policy or a stage rule says no                            exit 3
    ├── NotFound             the named thing is not there                                exit 4
    ├── Conflict             it is there already, or someone else changed it             exit 5
    │   └── PortBusy         another process listens on the port
    ├── Unavailable          a server or store does not answer                           exit 6
    │   └── EngineFailed     an engine answered with an error
    ├── Corrupt              bytes do not match their digest                             exit 7
    ├── JobFailed            a child process ended badly                                 exit 8
    └── Interrupted          work was told to end, and can go on later                   exit 130
        └── Pruned           a trial of a sweep was ended, because others are better

A message has up to three parts: what was seen, what was expected, what to do next. The `code` is stable and goes into
JSON output; the exit code is what the command line returns. HTTP status codes are chosen at the surface, never here.
"""

from collections.abc import Iterator, Mapping


class ModelyardError(Exception):
    """The root: one sentence of what was seen, and what to do next."""

    code = "error"
    exit_code = 1

    def __init__(self, seen: str, *, expected: str = "", fix: str = "") -> None:
        super().__init__(seen)
        self.seen = seen
        self.expected = expected
        self.fix = fix

    def __str__(self) -> str:
        parts = [self.seen]
        if self.expected:
            parts.append(f"Expected: {self.expected}")
        if self.fix:
            parts.append(f"Fix: {self.fix}")
        return "\n".join(parts)

    def as_dict(self) -> dict[str, str]:
        """The error as it appears under `error` in JSON output."""
        return {"code": self.code, "seen": self.seen, "expected": self.expected, "fix": self.fix}


class InvalidInput(ModelyardError):
    """What was handed over is wrong and the person can mend it."""

    code = "invalid_input"
    exit_code = 2


class ProjectInvalid(InvalidInput):
    """The project file cannot be read or says something it may not."""

    code = "project_invalid"


class DataInvalid(InvalidInput):
    """A raw file, a row or a dataset cannot be used."""

    code = "data_invalid"


class RecipeInvalid(InvalidInput):
    """A training recipe contradicts itself, its dataset or its engine."""

    code = "recipe_invalid"


class MissingExtra(InvalidInput):
    """An optional package is not installed."""

    code = "missing_extra"

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the package '{package}' is not installed",
            expected=f"the extra '{extra}'",
            fix=f"pip install 'modelyard[{extra}]', or 'modelyard[all]' for everything",
        )


class MissingEnvironment(InvalidInput):
    """A tool that runs in an environment of its own is not there."""

    code = "missing_environment"

    def __init__(self, tool: str, environment: str, script: str) -> None:
        super().__init__(
            f"{tool} is not installed: no folder {environment} lies beside the project or above it",
            expected=f"an environment of its own in {environment}, as its pins conflict with ours",
            fix=f"bash {script} makes it; MODELYARD_ENVIRONMENTS names the folder where it lies, if elsewhere",
        )


class Refused(ModelyardError):
    """A policy, a gate or a stage rule says no."""

    code = "refused"
    exit_code = 3


class NotFound(ModelyardError):
    """The named thing is not there."""

    code = "not_found"
    exit_code = 4


class Conflict(ModelyardError):
    """It exists already in another form, or it changed under our hands."""

    code = "conflict"
    exit_code = 5


class PortBusy(Conflict):
    """Another process listens on the port."""

    code = "port_busy"


class Unavailable(ModelyardError):
    """A server or a store does not answer."""

    code = "unavailable"
    exit_code = 6


class EngineFailed(Unavailable):
    """An engine answered with an error, or with something that is not an answer."""

    code = "engine_failed"


class Corrupt(ModelyardError):
    """Bytes do not match their digest."""

    code = "corrupt"
    exit_code = 7


class JobFailed(ModelyardError):
    """A child process ended badly."""

    code = "job_failed"
    exit_code = 8


class Interrupted(ModelyardError):
    """Work was told to end. What it had done is kept, and it can go on from there."""

    code = "interrupted"
    exit_code = 130


class Pruned(Interrupted):
    """A trial of a sweep is not worth going on with."""

    code = "pruned"


def error_from_dict(told: Mapping[str, str]) -> ModelyardError:
    """The error that another process told of by `as_dict`, with its own class, so that its exit code survives."""
    kinds = {kind.code: kind for kind in _kinds_below(ModelyardError)}
    error = ModelyardError.__new__(kinds.get(told.get("code", ""), ModelyardError))
    ModelyardError.__init__(error, told.get("seen", ""), expected=told.get("expected", ""), fix=told.get("fix", ""))
    return error


def _kinds_below(kind: type[ModelyardError]) -> Iterator[type[ModelyardError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds_below(below)
