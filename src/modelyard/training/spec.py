"""What a training process is given, and what it hands back."""

from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.errors import Corrupt, NotFound
from modelyard.ports.engine import Capabilities
from modelyard.training.checkpoints import Validation
from modelyard.training.preflight.finding import Finding
from modelyard.training.recipe import Recipe
from modelyard.training.scale import Sharding

ADAPTER = "adapter"
MODEL = "model"
CURVE = "curve"
RESULT = "metrics.json"


def artifact_of(recipe: Recipe) -> str:
    """The name of what a run of a recipe makes: `adapter`, or `model` where every weight is trained."""
    return MODEL if recipe.method == "full" else ADAPTER


class TrainingSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One training job. All paths are absolute; `output` is a folder that appears whole when the job ends well.

    `recipe` is a validated Recipe as JSON, `train` and `validation` are files of examples, one JSON object a line.
    `checkpoints` is a folder that outlives the job; without one nothing is kept of a run that is cut off. `identity`
    names by digest what the run is made of, so that no other run goes on from its checkpoints. `sharding` says what
    each of several processes holds: the whole model (ddp), or a part of it (fsdp).
    """

    recipe: dict[str, Any]
    base_folder: str
    train: str
    validation: str = ""
    output: str
    engine: Capabilities | None = None
    checkpoints: str = ""
    identity: dict[str, str] = {}
    sharding: Sharding = "ddp"


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """The losses of a run: of each step, and of each look at held-out rows, in nats a learnt token or a pair."""

    losses: list[float] = []
    validations: list[Validation] = []


class TrainingResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it, as it lies in `metrics.json` beside the folder `adapter` or `model`.

    `precision` is the number format of the frozen base. Metrics: losses in nats a token, times in seconds.
    """

    precision: str
    metrics: dict[str, float]
    findings: tuple[Finding, ...]
    curve: Curve = Curve()


def read_result(output: Path) -> TrainingResult:
    """The result of a finished job. Raises: NotFound, Corrupt."""
    path = output / RESULT
    if not path.is_file():
        raise NotFound(f"{output} holds no finished training", expected=RESULT)
    try:
        return msgspec.json.decode(path.read_bytes(), type=TrainingResult)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"{path} is not a training result: {error}") from error
