"""Environments: where a tool whose pins conflict with ours is installed."""

from collections.abc import Sequence
from pathlib import Path

from modelyard.core.errors import MissingEnvironment

_SCRIPTS = Path(__file__).parent / "inside"


class Environment:
    """One environment, made by a script of the repository, with the tool's package in it."""

    def __init__(self, places: Sequence[Path], name: str, *, package: str, script: str) -> None:
        """`places` are the folders that it may lie in, the nearest first; `package` is the tool's distribution."""
        self._places = places
        self._name = name
        self._package = package
        self._script = script

    @property
    def folder(self) -> Path:
        """Where it lies. Raises: MissingEnvironment."""
        for place in self._places:
            # The script writes this file last: without it the environment is half made.
            if (place / self._name / "installed.txt").is_file():
                return place / self._name
        raise MissingEnvironment(self._package, self._name, self._script)

    def version(self) -> str:
        """The version of the tool, from what is installed. Raises: MissingEnvironment."""
        pattern = f"lib/python*/site-packages/{self._package.replace('-', '_')}-*.dist-info"
        for found in self.folder.glob(pattern):
            return found.name.removesuffix(".dist-info").rpartition("-")[2]
        raise MissingEnvironment(self._package, self._name, self._script)

    def command(self, script: str, spec: Path) -> list[str]:
        """The words that run one of our scripts inside."""
        return [str(self.folder / "bin" / "python"), "-E", "-s", str(_SCRIPTS / script), str(spec)]
