"""Speed and memory of data preparation, beside its peers on the same file in the same run.

    python benchmarks/preparation.py [--sizes 50,100,1000] [--json]

Ours does all of its default steps: strict parsing, normalisation, lengths, splits, personal data, exact duplicates,
near-duplicates over whole conversations, Parquet, report. Peers do what they have (the table says what), each on the
files that it gets through in some ten minutes. They live in `.venv-peers`, which benchmarks/peers/setup.sh makes; those
that are not there are left out. CPU time counts all processes; memory is the sum of the proportional set sizes of the
process tree, sampled five times a second.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from instructions import write_rows

HERE = Path(__file__).resolve().parent
PEERS_PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
WORKERS = 2
# What a peer does, and the largest file it is given, in megabytes.
PEERS = {
    "datasketch": ("JSON, MinHash near-duplicates", 1000),
    "datatrove": ("JSON, personal data (e-mail, IP), MinHash near-duplicates, JSONL", 50),
}
_SAMPLE_S = 0.2
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="50,100,1000", help="megabytes of the files")
    parser.add_argument("--folder", type=Path, help="where files are kept for the next time; default: nowhere")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--ours", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        _prepare(*options.ours)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        found = list(_run_all(folder, Path(scratch), [int(size) for size in options.sizes.split(",")]))
    print(json.dumps(found, indent=2) if options.json else _table(found))


def _run_all(folder: Path, scratch: Path, sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    # Once before, so that kernels are compiled and nobody waits for the disk.
    _measured("modelyard", _ours(_file(folder, sizes[0]), scratch), sizes[0])
    for size in sizes:
        path = _file(folder, size)
        yield _measured("modelyard", _ours(path, scratch), size)
        for peer, (_, largest) in PEERS.items() if PEERS_PYTHON.exists() else ():
            if size <= largest:
                yield _measured(peer, _peer(peer, path, scratch), size)


def _file(folder: Path, size: int) -> Path:
    path = folder / f"instructions-{size}.jsonl"
    if not path.exists():
        print(f"making {path.name} ...", file=sys.stderr)
        write_rows(path, size * 1_000_000)
    return path


def _ours(path: Path, scratch: Path) -> list[str]:
    out = scratch / "ours"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return [sys.executable, __file__, "--ours", str(path), str(out)]


def _peer(name: str, path: Path, scratch: Path) -> list[str]:
    out = scratch / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return [
        str(PEERS_PYTHON),
        str(HERE / "peers" / f"{name}_run.py"),
        str(path),
        str(out),
        str(WORKERS),
    ]


def _prepare(path: Path, out: Path) -> None:
    from modelyard.adapters.compute.pool import ProcessWorkers
    from modelyard.datasets.config import DatasetConfig
    from modelyard.datasets.preparation import prepare

    config = DatasetConfig(path=path.name, near_duplicates={"on": "conversation", "threshold": 0.8})
    workers = ProcessWorkers(WORKERS, preload=["modelyard.datasets.pipeline.preloading"])
    prepared = prepare("bench", config, root=path.parent, out=out, workers=workers)
    dropped = {count["step"]: count["dropped"] for count in prepared.steps}
    print(json.dumps({"rows": sum(prepared.rows.values()), "dropped": dropped}))


def _measured(name: str, command: list[str], megabytes: int) -> dict[str, Any]:
    """Run a command to its end; CPU time and memory of its whole process tree, and its wall time."""
    print(f"{name}, {megabytes} MB ...", file=sys.stderr)
    began = time.monotonic()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors)
        peak_mb = 0.0
        cpu_s: dict[int, float] = {}
        while process.poll() is None:
            tree = [process.pid, *_below(process.pid)]
            peak_mb = max(peak_mb, sum(map(_memory_mb, tree)))
            cpu_s.update({pid: used for pid in tree if (used := _cpu_s(pid))})
            time.sleep(_SAMPLE_S)
        wall_s = time.monotonic() - began
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{name} ended with {process.returncode}\n{errors.read().decode()[-2000:]}")
        last = (output.read().decode().splitlines() or ["{}"])[-1]
    total_s = sum(cpu_s.values())
    return {
        "name": name,
        "steps": PEERS.get(name, ("all",))[0],
        "megabytes": megabytes,
        "wall_s": round(wall_s, 2),
        "cpu_s": round(total_s, 2),
        "mb_per_s": round(megabytes / wall_s, 2),
        "mb_per_cpu_s": round(megabytes / total_s, 2),
        "peak_mb": round(peak_mb),
        **json.loads(last if last.startswith("{") else "{}"),
    }


def _cpu_s(pid: int) -> float:
    """What a process itself used so far; 0 where it is gone. The last fifth of a second of each is missed."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _memory_mb(pid: int) -> float:
    """The proportional set size of a process; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _below(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [one for child in map(int, children) for one in (child, *_below(child))]


def _table(found: Sequence[dict[str, Any]]) -> str:
    lines = [f"{'':<14}{'MB':>6}{'wall s':>9}{'CPU s':>9}{'MB/s':>8}{'MB/CPU-s':>10}{'peak MB':>9}{'rows':>10}  steps"]
    lines += [
        f"{one['name']:<14}{one['megabytes']:>6}{one['wall_s']:>9.1f}{one['cpu_s']:>9.1f}{one['mb_per_s']:>8.1f}"
        f"{one['mb_per_cpu_s']:>10.1f}{one['peak_mb']:>9}{one.get('rows', 0):>10,}  {one['steps']}"
        for one in found
    ]
    for ours in (one for one in found if one["name"] not in PEERS):
        peers = [one for one in found if one["name"] in PEERS and one["megabytes"] == ours["megabytes"]]
        if peers:
            best = max(peers, key=lambda one: one["mb_per_cpu_s"])
            times = ours["mb_per_cpu_s"] / best["mb_per_cpu_s"]
            lines.append(f"{ours['megabytes']} MB: {times:.1f} times as much in a CPU-second as {best['name']}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
