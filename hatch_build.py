"""Build hook: compiles what every request passes through into the wheel, where MODELYARD_COMPILE=1 says so.

Nothing is written into the source tree, where a compiled module would hide the file that it was made of.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SWITCH = "MODELYARD_COMPILE"
PACKAGE = Path("src/modelyard")


class CompilingHook(BuildHookInterface[Any]):
    """Adds compiled modules to a wheel, beside their sources."""

    def dependencies(self) -> list[str]:
        """What compiling needs, where it is asked for."""
        return ["mypy[mypyc]>=1.18", "setuptools>=77", *self.metadata.core.dependencies] if self._is_wanted else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is put together."""
        if self.target_name != "wheel" or version == "editable" or not self._is_wanted:
            return
        self._folder = TemporaryDirectory()
        for path in _compile(_sources(Path(self.root), self.config["compiled"]), Path(self._folder.name)):
            build_data["force_include"][str(path)] = str(path.relative_to(Path(self._folder.name) / "made"))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    @property
    def _is_wanted(self) -> bool:
        return os.environ.get(SWITCH, "0") not in ("", "0")


def _sources(root: Path, patterns: list[str]) -> list[str]:
    found = [path for pattern in patterns for path in sorted((root / PACKAGE).glob(pattern))]
    return [str(path.relative_to(root)) for path in found if _can_be_compiled(path)]


def _can_be_compiled(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return path.name != "__init__.py" and "(msgspec.Struct" not in text and "__main__" not in text


def _compile(sources: list[str], folder: Path) -> list[Path]:
    # Imported late: only there where `dependencies` asked for them.
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    made = folder / "made"
    options = {"opt_level": "3", "debug_level": "0", "group_name": "modelyard", "target_dir": str(folder / "sources")}
    extensions = mypycify(sources, **options)
    command = build_ext(Distribution({"name": "modelyard", "ext_modules": extensions}))
    command.build_lib, command.build_temp = str(made), str(folder / "objects")
    command.ensure_finalized()
    command.run()
    return sorted(made.rglob("*.so")) + sorted(made.rglob("*.pyd"))
