"""Settings from the environment: the only place that reads it, once."""

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where a project keeps its state. Empty texts mean the default under the state folder.

    MODELYARD_PROJECT   the project file
    MODELYARD_STATE     the state folder (`.modelyard` beside the project file)
    MODELYARD_RECORDS   the records as an SQLAlchemy URL (`sqlite:///<state>/records.db`)
    MODELYARD_BLOBS     the blobs as an fsspec URL (`<state>/blobs`)
    MODELYARD_TRACKING  `mlflow` (on `sqlite:///<state>/mlflow.db`) or an MLflow tracking URI, `wandb:PROJECT`,
                        `tensorboard:FOLDER`, several of them separated by commas, or `none`
    MODELYARD_ENVIRONMENTS  the folder with the environments of export tools (beside the project file, or above it)
    MODELYARD_USER      who acts, in approvals and runs (the login name)
    """

    project: str = ""
    state: str = ""
    records: str = ""
    blobs: str = ""
    tracking: str = ""
    environments: str = ""
    user: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the variables named above."""
        names = ("project", "state", "records", "blobs", "tracking", "environments", "user")
        values = {name: environment.get(f"MODELYARD_{name.upper()}", "") for name in names}
        values["user"] = values["user"] or _login_name()
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Places:
    """The files and folders of one project's state."""

    root: Path
    state: Path

    @property
    def blobs(self) -> Path:
        return self.state / "blobs"

    @property
    def cache(self) -> Path:
        return self.state / "cache"

    @property
    def journal(self) -> Path:
        return self.state / "journal"

    @property
    def route_table(self) -> Path:
        return self.state / "routes.json"

    @property
    def work(self) -> Path:
        return self.state / "work"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def lock(self) -> Path:
        return self.state / "lock"


def secret(variable: str, environment: Mapping[str, str] = os.environ) -> str:
    """The key in the variable that a project file names; empty for no name. It is handed on and kept nowhere.

    Raises: InvalidInput where the variable is empty or holds what no header can.
    """
    value = environment.get(variable, "").strip() if variable else ""
    if variable and not (value and value.isascii() and value.isprintable()):
        raise InvalidInput(
            f"the environment variable {variable} " + ("holds what is no key" if value else "is not set"),
            expected="a key in plain letters",
            fix=f"export {variable}=..., or correct its name in the project file",
        )
    return value


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
