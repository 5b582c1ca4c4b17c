"""One run of the demonstration: its project laid out, the loop run or taken up again, its report left behind."""

import errno
import glob
import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from modelyard.app import open_app
from modelyard.core.clock import iso, now_ms
from modelyard.core.errors import Conflict, DataInvalid, InvalidInput
from modelyard.core.files import write_atomically, write_json_atomically
from modelyard.core.ids import new_id
from modelyard.demo.loop import Loop
from modelyard.demo.report import build_report, render_html
from modelyard.demo.telling import Quiet, Terminal, tell_end, tell_start
from modelyard.project.loading import FILE_NAME
from modelyard.serving import held
from modelyard.settings import Places, Settings
from modelyard.workflows.durable import run_durably

_HERE = Path(__file__).parent
_SHIPPED_DATA = _HERE / "data" / "support_messages.jsonl"
_PROJECT = _HERE / "project" / FILE_NAME
_WISH = "wish.json"
_STATE = ".modelyard"
# More capacity and a gentler rate than the shipped messages need: real data is harder.
_OWN_RECIPE = {"base": "dinghy-6m", "rank": 32, "alpha": 64, "learning_rate": 2e-3}
_OWN_STEPS = 250
_SHORT = 4
_NEIGHBOUR = r"\.{name}\.[0-9a-f-]{{36}}\.(old|new)"
_LEFT_S = 600


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the demonstration shall run on: the shipped messages, or a file of one's own."""

    data: str = ""
    prompt: str = "{text}"
    answer: str = "{label}"
    steps: int = 0


def run_demo(folder: Path, wish: Wish, *, port: int | None, fresh: bool, quiet: bool) -> dict[str, Any]:
    """Run the loop in a project of its own and return its report.

    Raises: DataInvalid where the wished file is not there; InvalidInput where the folder holds something else; Conflict
    where the project is in use; what the steps raise. Run again, it goes on.
    """
    folder = folder.resolve()
    wish = _checked(wish, folder)
    # The project is one of its own, whatever place the environment names for another one's state.
    settings = replace(Settings.from_environment(), state="")
    with laid_out(folder, wish, fresh=fresh) as goes_on:
        if not quiet:
            tell_start(folder, goes_on=goes_on)
        teller = Quiet() if quiet else Terminal()
        with open_app(str(folder / FILE_NAME), settings) as app, Loop(app, teller, gateway_port=port) as loop:
            facts = run_durably(app.places.work, "demo", loop.run)
        report = build_report(facts, finished=iso(now_ms()))
        write_atomically(folder / "report.html", render_html(report).encode())
        # Last: with it, the demonstration is over.
        write_json_atomically(folder / "report.json", report)
    if not quiet:
        tell_end(report, folder)
    return report


def _checked(wish: Wish, folder: Path) -> Wish:
    if not wish.data:
        return wish
    data = Path(wish.data).resolve()
    if not data.is_file():
        raise DataInvalid(f"there is no file {wish.data}", expected="a JSONL or CSV file", fix="check --data")
    if data.is_relative_to(folder):
        raise InvalidInput(
            f"{wish.data} lies in the demonstration's own folder, which is cleared when it begins anew",
            fix="put it elsewhere, or choose another --folder",
        )
    return replace(wish, data=str(data))


@contextmanager
def laid_out(folder: Path, wish: Wish, *, fresh: bool) -> Iterator[bool]:
    """Hold the project of a demonstration: the one that an interrupted run for the same wish left, else a new one.

    Yields whether it is an old one. The folder is there whole or not at all, and an old one is cleared only while
    nobody uses it.
    """
    with ExitStack() as stack:
        if _is_demonstration(folder):
            with ExitStack() as old:
                old.enter_context(held(_places(folder)))
                if not fresh and _is_interrupted(folder, wish):
                    stack.push(old.pop_all())
                    yield True
                    return
                _clear(folder)
        elif folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise InvalidInput(
                f"{folder} is not empty and holds no earlier demonstration",
                expected="an empty folder, or that of an earlier demonstration",
                fix="choose another one with --folder",
            )
        _remove_left(folder)
        _lay_out(stack, folder, wish)
        yield False


def _clear(folder: Path) -> None:
    """Move an old demonstration away at once; `_remove_left` deletes it."""
    try:
        folder.rename(_neighbour(folder, "old"))
    except OSError as error:
        raise InvalidInput(
            f"{folder} cannot be cleared: {error.strerror}", fix="choose another one with --folder"
        ) from error


def _lay_out(stack: ExitStack, folder: Path, wish: Wish) -> None:
    """Make the project beside its place, hold it, and move it there."""
    scratch = _neighbour(folder, "new")
    try:
        scratch.mkdir(parents=True)
        # The lock moves with the folder: nobody sees the project without it.
        stack.enter_context(held(_places(scratch)))
        _write_project(scratch, wish)
        scratch.rename(folder)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise Conflict(f"another demonstration has begun in {folder}", fix="wait for it, or use it") from error
        raise InvalidInput(
            f"{folder} cannot be made: {error.strerror}", fix="choose another one with --folder"
        ) from error


def _write_project(folder: Path, wish: Wish) -> None:
    if wish.data:
        write_atomically(folder / FILE_NAME, _own_project(wish).encode())
    else:
        shutil.copyfile(_SHIPPED_DATA, folder / _SHIPPED_DATA.name)
        write_atomically(folder / FILE_NAME, _PROJECT.read_bytes())
    write_atomically(folder / ".gitignore", b"*\n")
    write_json_atomically(folder / _WISH, asdict(wish))


def _is_demonstration(folder: Path) -> bool:
    """Whether we laid the folder out: it holds our marker. Anything else is somebody's work."""
    return _wish_in(folder) is not None


def _is_interrupted(folder: Path, wish: Wish) -> bool:
    return _wish_in(folder) == wish and not (folder / "report.json").is_file()


def _wish_in(folder: Path) -> Wish | None:
    try:
        return Wish(**json.loads((folder / _WISH).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _places(folder: Path) -> Places:
    return Places(root=folder, state=folder / _STATE)


def _neighbour(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{new_id()}.{kind}")


def _remove_left(folder: Path) -> None:
    """Remove the neighbours that are no longer in use: what we cleared, and what killed runs left half laid out."""
    pattern = re.compile(_NEIGHBOUR.format(name=re.escape(folder.name)))
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*"):
        found = pattern.fullmatch(path.name)
        if found and (found[1] == "old" or time.time() - path.stat().st_mtime > _LEFT_S):
            shutil.rmtree(path, ignore_errors=True)


def _own_project(wish: Wish) -> str:
    """The demonstration's project file for somebody's own data."""
    from io import StringIO

    from ruamel.yaml import YAML

    yaml = YAML()
    project = yaml.load(_PROJECT.read_text(encoding="utf-8"))
    own = {"path": wish.data, "prompt": wish.prompt, "answer": wish.answer}
    project["datasets"]["support"].update(own)
    # Nobody knows how hard the data is: ask only that no release falls behind the champion.
    project["policies"]["careful"]["min"] = {"exact_match": 0.01}
    for name, share in (("first", _SHORT), ("standard", 1), ("hasty", _SHORT)):
        steps = max(1, (wish.steps or _OWN_STEPS) // share)
        project["recipes"][name] = {**_OWN_RECIPE, "max_steps": steps}
    text = StringIO()
    yaml.dump(project, text)
    return text.getvalue()
