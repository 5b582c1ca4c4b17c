"""Whether what training writes fits on the disk: known before the first step, not at the last one."""

import shutil
from pathlib import Path

from modelyard.training.preflight.finding import Finding, found
from modelyard.training.preflight.inspection import Inspection
from modelyard.training.sizes import checkpoints_bytes, num_trainable, output_bytes


def has_room(inspection: Inspection) -> Finding:
    """Checkpoints and the output fit where they go, together where they share a disk."""
    name, sizes = "room on the disk", inspection.sizes
    if sizes is None:
        return found(name, True, "no base known yet", "")
    learnt = num_trainable(inspection.recipe, sizes)
    wanted = [
        (inspection.checkpoints, checkpoints_bytes(learnt)),
        (inspection.output, output_bytes(inspection.recipe, learnt)),
    ]
    needs: dict[int, tuple[Path, int]] = {}
    for place, num_bytes in wanted:
        if place is None:
            continue
        folder = _existing(place)
        disk = folder.stat().st_dev
        first, before = needs.get(disk, (folder, 0))
        needs[disk] = (first, before + num_bytes)
    rooms = [(folder, need, shutil.disk_usage(folder).free) for folder, need in needs.values()]
    short = [room for room in rooms if room[1] > room[2]]
    return found(
        name,
        not short,
        "; ".join(
            f"{_spoken(need)} needed of {_spoken(free)} free in {folder}" for folder, need, free in short or rooms
        )
        or "nothing is written yet",
        "free space there, or name another folder with MODELYARD_STATE",
    )


def _existing(path: Path) -> Path:
    """The nearest folder that is there already."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _spoken(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.2f} GB"
