"""One run of the demonstration: its project laid out, the loop run or taken up again, its report left behind."""

import json
import resource
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelyard.app import open_app
from modelyard.core.clock import iso, now_ms
from modelyard.core.errors import DataInvalid, InvalidInput
from modelyard.core.files import write_atomically, write_json_atomically
from modelyard.demo.loop import Loop
from modelyard.demo.report import build_report, render_html
from modelyard.demo.telling import Quiet, Terminal, tell_end
from modelyard.project.loading import FILE_NAME
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


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the demonstration shall run on: the shipped messages, or a file of one's own."""

    data: str = ""
    prompt: str = "{text}"
    answer: str = "{label}"
    steps: int = 0


def run_demo(folder: Path, wish: Wish, *, port: int | None, fresh: bool, quiet: bool) -> dict[str, Any]:
    """Run the loop in a project of its own and return its report.

    Raises: DataInvalid where the wished file is not there; what the steps raise. Run again, it goes on.
    """
    if wish.data and not Path(wish.data).is_file():
        raise DataInvalid(f"there is no file {wish.data}", expected="a JSONL or CSV file", fix="check --data")
    folder = folder.absolute()
    _lay_out(folder, wish, fresh=fresh)
    teller = Quiet() if quiet else Terminal()
    with open_app(str(folder / FILE_NAME)) as app, Loop(app, teller, gateway_port=port) as loop:
        facts = run_durably(app.places.work, "demo", loop.run)
    report = build_report(facts, finished=iso(now_ms()), peak_memory_mb=_peak_memory_mb())
    write_atomically(folder / "report.html", render_html(report).encode())
    write_json_atomically(folder / "report.json", report)
    if not quiet:
        tell_end(report, folder)
    return report


def _lay_out(folder: Path, wish: Wish, *, fresh: bool) -> None:
    """Make the project, or keep the one that an interrupted run for the same wish left."""
    marker = folder / _WISH
    interrupted = marker.is_file() and not (folder / "report.json").is_file()
    if interrupted and not fresh and json.loads(marker.read_text()) == asdict(wish):
        return
    _clear(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if wish.data:
        write_atomically(folder / FILE_NAME, _own_project(wish).encode())
    else:
        shutil.copyfile(_SHIPPED_DATA, folder / _SHIPPED_DATA.name)
        write_atomically(folder / FILE_NAME, _PROJECT.read_bytes())
    write_atomically(folder / ".gitignore", b"*\n")
    # Last: with it, the project is complete.
    write_json_atomically(marker, asdict(wish))


def _clear(folder: Path) -> None:
    """Remove an earlier demonstration, and nothing that is not one."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / _WISH).is_file() and not (folder / _STATE).is_dir():
        raise InvalidInput(
            f"{folder} is not empty and holds no earlier demonstration",
            expected="an empty folder, or that of an earlier demonstration",
            fix="choose another one with --folder",
        )
    shutil.rmtree(folder)


def _own_project(wish: Wish) -> str:
    """The demonstration's project file for somebody's own data."""
    from io import StringIO

    from ruamel.yaml import YAML

    yaml = YAML()
    project = yaml.load(_PROJECT.read_text(encoding="utf-8"))
    own = {"path": str(Path(wish.data).absolute()), "prompt": wish.prompt, "answer": wish.answer}
    project["datasets"]["support"].update(own)
    # Nobody knows how hard the data is: ask only that no release falls behind the champion.
    project["policies"]["careful"]["min"] = {"exact_match": 0.01}
    for name, share in (("first", _SHORT), ("standard", 1), ("hasty", _SHORT)):
        steps = max(1, (wish.steps or _OWN_STEPS) // share)
        project["recipes"][name] = {**_OWN_RECIPE, "max_steps": steps}
    text = StringIO()
    yaml.dump(project, text)
    return text.getvalue()


def _peak_memory_mb() -> float:
    """The largest resident memory of this process or any of its ended children."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024
