"""The command line on a real project folder: what it prints, how it ends, what it leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.cli.inside import inside


def modelyard(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HOME": str(folder), "MODELYARD_TRACKING": "none", **environment}
    command = [sys.executable, "-m", "modelyard", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_the_commands_and_their_flags_are_frozen() -> None:
    from modelyard.cli.main import app

    group = typer.main.get_command(app)
    found = {}
    for name, command in sorted(group.commands.items()):  # type: ignore[attr-defined]
        inside = dict(getattr(command, "commands", {"": command}))
        if getattr(command, "invoke_without_command", False):
            inside[""] = command
        for inner_name, inner in sorted(inside.items()):
            flags = [flag for parameter in inner.params for flag in parameter.opts if flag.startswith("--")]
            found[f"{name} {inner_name}".strip()] = sorted(flags)
    frozen = json.loads((Path(__file__).parent / "commands.json").read_text())
    assert found == frozen, "the command line changed: if it was meant, write it into tests/cli/commands.json"


def test_every_command_that_shows_something_has_json() -> None:
    frozen = json.loads((Path(__file__).parent / "commands.json").read_text())
    assert [name for name, flags in frozen.items() if "--json" not in flags] == ["gateway"]


def test_a_dataset_is_prepared_and_shown(folder: Path) -> None:
    done = modelyard(folder, "data", "prepare", "messages", "--json")
    assert done.returncode == 0, done.stderr
    dataset = json.loads(done.stdout)
    assert sum(dataset["rows"].values()) > 0
    listed = json.loads(modelyard(folder, "data", "list", "--json").stdout)
    assert [one["digest"] for one in listed] == [dataset["digest"]]
    assert "messages@" in inside(folder, "data", "show", "messages").stdout
    assert "assistant" in inside(folder, "data", "head", "messages").stdout


def test_a_split_that_is_none_and_files_that_are_lost_are_told_in_words(folder: Path) -> None:
    inside(folder, "data", "prepare", "messages")
    done = inside(folder, "data", "head", "messages", "--split", "nonsense")
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "error: 'nonsense' is no split of a dataset")
    blobs = [path for path in (folder / ".modelyard" / "blobs").rglob("*") if path.is_file()]
    for path in blobs:
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    damaged = inside(folder, "data", "head", "messages")
    assert (damaged.returncode, "Traceback" in damaged.stderr) == (7, False)
    for path in blobs:
        path.unlink()
    lost = inside(folder, "data", "head", "messages")
    assert lost.returncode == 4
    assert "are lost" in lost.stderr
    assert "modelyard data prepare messages" in lost.stderr


def test_preparing_twice_gives_the_same_dataset(folder: Path) -> None:
    first, second = (json.loads(inside(folder, "data", "prepare", "messages", "--json").stdout) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("data", "prepare", "mesages"), 4, "did you mean 'messages'?"),
        (("data", "prepare", "missing"), 2, "nowhere.jsonl"),
        (("data", "show", "nothing"), 4, "nothing"),
        (("data", "head", "nothing"), 4, "nothing"),
        (("train", "standard", "messages"), 4, "no entry 'standard' under 'recipes'"),
        (("release", "show", "nothing"), 4, "nothing"),
        (("rollout", "show", "nothing"), 4, "nothing"),
        (("lineage", "nothing"), 4, "nothing"),
        (("keys", "revoke", "nothing"), 4, "nothing"),
        (("check", "--project", "elsewhere.yaml"), 4, "there is no project file"),
        (("demo", "--data", "nowhere.csv"), 2, "there is no file nowhere.csv"),
        (("demo", "--folder", "."), 2, "holds no earlier demonstration"),
    ],
)
def test_a_mistake_is_told_in_words_with_its_exit_code(
    folder: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = inside(folder, *arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    as_json = inside(folder, *arguments, "--json")
    assert as_json.returncode == code
    assert said in json.dumps(json.loads(as_json.stdout)["error"], ensure_ascii=False)


def test_an_unknown_key_is_told_with_line_and_column(folder: Path) -> None:
    project = folder / "modelyard.yaml"
    project.write_text(project.read_text() + "servces: {}\n")
    done = modelyard(folder, "check")
    assert done.returncode == 2
    assert "modelyard.yaml:5:1: unknown key 'servces'; did you mean 'services'?" in done.stderr


@pytest.mark.parametrize("state", ["/proc/modelyard", "raw.jsonl"])
def test_a_state_folder_that_cannot_be_is_told_in_words(folder: Path, state: str) -> None:
    done = modelyard(folder, "data", "list", "--json", MODELYARD_STATE=state)
    assert done.returncode in (2, 6)
    assert json.loads(done.stdout)["error"]["seen"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("sqlalchemy", ["data", "list"], "records"),
        ("pyarrow", ["data", "prepare", "messages"], "data"),
        ("numpy", ["demo", "--folder", "trial"], "rollout"),
        ("dbos", ["demo", "--folder", "trial"], "workflows"),
    ],
)
def test_a_missing_package_is_told_with_its_install_command(
    folder: Path, package: str, arguments: list[str], extra: str
) -> None:
    code = f"import sys\nsys.modules[{package!r}] = None\nfrom modelyard.cli.main import main\nmain()"
    env = {**os.environ, "HOME": str(folder), "MODELYARD_TRACKING": "none"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert f"modelyard[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr


def test_outside_of_any_project_one_is_told_what_to_do(tmp_path: Path) -> None:
    done = modelyard(tmp_path, "data", "list")
    assert done.returncode == 4
    assert "modelyard demo" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_failed_preparation_leaves_nothing_behind(folder: Path) -> None:
    (folder / "raw.jsonl").write_text("")
    assert modelyard(folder, "data", "prepare", "messages").returncode == 2
    assert json.loads(inside(folder, "data", "list", "--json").stdout) == []
    state = folder / ".modelyard"
    assert not list((state / "scratch").iterdir())
    assert not [path for path in (state / "blobs").rglob("*") if path.is_file()]


def test_a_key_is_shown_once(folder: Path) -> None:
    made = json.loads(modelyard(folder, "keys", "create", "acme", "--days", "1", "--json").stdout)
    listed = inside(folder, "keys", "list", "--json").stdout
    assert made["id"] in listed
    assert made["key"] not in listed
    assert inside(folder, "keys", "revoke", made["id"]).returncode == 0
    assert json.loads(inside(folder, "keys", "list", "--json").stdout) == []


def test_the_schema_is_json_schema() -> None:
    done = modelyard(Path.cwd(), "schema")
    assert "services" in json.loads(done.stdout)["properties"]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom modelyard.cli import main\n"
        "heavy = {'torch', 'transformers', 'sqlalchemy', 'pyarrow', 'numba', 'mlflow', 'dbos', 'pydantic', 'httpx'}\n"
        "heavy.add('rich')\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_reader_that_leaves_is_no_error(folder: Path) -> None:
    command = f"{sys.executable} -m modelyard schema | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
