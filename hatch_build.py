"""Build hook: compiles what every request passes through into the wheel, where MODELYARD_COMPILE=1 says so.

Which modules those are is said in pyproject.toml. Nothing is written into the source tree, where a compiled module
would hide the file that it was made of.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SWITCH = "MODELYARD_COMPILE"
PACKAGE = Path("src/modelyard")
# `make types` is where types are checked. Here packages that only extras bring may be missing.
_MYPY = ("--config-file=", "--ignore-missing-imports", "--follow-imports=silent")


class CompilingHook(BuildHookInterface[Any]):
    """Adds compiled modules to a wheel, beside their sources."""

    def dependencies(self) -> list[str]:
        """What compiling needs, where it is asked for: types are looked up in the packages that are used."""
        return ["mypy[mypyc]>=1.18", "setuptools>=77", *self.metadata.core.dependencies] if self._is_wanted else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is put together. An editable installation is its sources, and is left alone."""
        if version == "editable" or not self._is_wanted:
            return
        self._folder = TemporaryDirectory()
        sources = find_sources(Path(self.root), self.config["compiled"], self.config["interpreted"])
        made = _compile(sources, Path(self._folder.name))
        for pattern in ("*.so", "*.pyd"):
            build_data["force_include"] |= {str(path): str(path.relative_to(made)) for path in made.rglob(pattern)}
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    @property
    def _is_wanted(self) -> bool:
        return os.environ.get(SWITCH, "0") not in ("", "0")


def find_sources(root: Path, compiled: Sequence[str], interpreted: Sequence[str]) -> list[str]:
    """The files that patterns below the package name, relative to the root.

    Raises: ValueError for a pattern that names none, and for a file that holds a class of msgspec's: it reads the
    annotations of its classes, which a compiled module does not keep.
    """
    found: set[Path] = set()
    for pattern in compiled:
        paths = set((root / PACKAGE).glob(pattern))
        if not paths:
            raise ValueError(f"'{pattern}', which is to be compiled, names no file in {PACKAGE}")
        found |= paths
    for pattern in interpreted:
        found -= set((root / PACKAGE).glob(pattern))
    for path in found:
        if "(msgspec.Struct" in path.read_text(encoding="utf-8"):
            raise ValueError(
                f"{path.relative_to(root)} is to be compiled and holds a class of msgspec's, which works interpreted "
                "alone: move it into a shapes.py beside it, or name the file under 'interpreted' in pyproject.toml"
            )
    return sorted(str(path.relative_to(root)) for path in found)


def _compile(sources: list[str], folder: Path) -> Path:
    # Imported late: they are there only where `dependencies` asked for them.
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    extensions = mypycify(
        [*_MYPY, *sources],
        opt_level="3",
        debug_level="0",
        group_name="modelyard",
        target_dir=str(folder / "sources"),
    )
    command = build_ext(Distribution({"name": "modelyard", "ext_modules": extensions}))
    command.build_lib, command.build_temp = str(folder / "made"), str(folder / "objects")
    command.ensure_finalized()
    command.run()
    return folder / "made"
