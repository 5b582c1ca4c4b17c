"""What is compiled: the list in pyproject.toml. `make test-compiled` tests what comes of it."""

import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_modules_that_are_compiled_can_be(hook: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    config = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    sources = hook.find_sources(ROOT, config["compiled"], config["interpreted"])
    for path in ("http/inbound", "exchange/exchange", "exchange/attempt", "limits/local", "upstream/connection"):
        assert f"src/modelyard/gateway/{path}.py" in sources
    assert not any(path.endswith(("__init__.py", "shapes.py")) for path in sources)


def test_what_cannot_be_compiled_is_told_with_what_to_do(hook: ModuleType, tmp_path: Path) -> None:
    package = tmp_path / "src" / "modelyard" / "gateway"
    package.mkdir(parents=True)
    (package / "one.py").write_text("import msgspec\n\n\nclass One(msgspec.Struct):\n    number: int\n")
    with pytest.raises(ValueError, match=r"one.py is to be compiled and holds .* shapes.py beside it"):
        hook.find_sources(tmp_path, ["gateway/*.py"], [])
    assert hook.find_sources(tmp_path, ["gateway/*.py"], ["gateway/one.py"]) == []
    with pytest.raises(ValueError, match=r"'gateway/two.py', which is to be compiled, names no file"):
        hook.find_sources(tmp_path, ["gateway/two.py"], [])
