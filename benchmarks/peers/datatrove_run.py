"""Personal data and near-duplicates with datatrove, on this machine's processes. Usage: FILE FOLDER WORKERS."""

import json
import logging
import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.logging import logger

CONFIG = MinhashConfig(n_grams=2, num_buckets=12, hashes_per_bucket=5)


def joined(self: JsonlReader, data: dict[str, str], path: str, id_in_file: int | str) -> dict[str, object]:
    """An instruction row as a document."""
    text = " ".join((data["instruction"], data["input"], data["output"]))
    return {"text": text, "id": f"{path}/{id_in_file}", "metadata": {}}


def main() -> None:
    """The four stages that its documentation names, with as many tasks as workers."""
    logger.remove()
    logging.disable()
    path, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    parts = split(path, out / "in", workers)
    reader = JsonlReader(str(parts), adapter=joined)
    run([reader, MinhashDedupSignature(str(out / "signatures"), config=CONFIG)], out / "1", workers)
    buckets = MinhashDedupBuckets(str(out / "signatures"), str(out / "buckets"), config=CONFIG)
    run([buckets], out / "2", CONFIG.num_buckets, workers)
    run([MinhashDedupCluster(str(out / "buckets"), str(out / "removed"), config=CONFIG)], out / "3", 1)
    kept = JsonlWriter(str(out / "kept"), compression=None)
    run([reader, MinhashDedupFilter(str(out / "removed")), PIIFormatter(), kept], out / "4", workers)
    rows = sum(file.read_bytes().count(b"\n") for file in (out / "kept").glob("*.jsonl"))
    print(json.dumps({"rows": rows}))


def run(pipeline: list[object], logs: Path, tasks: int, workers: int = -1) -> None:
    """One stage."""
    LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=workers, logging_dir=str(logs)).run()


def split(path: Path, folder: Path, num: int) -> Path:
    """The file as one file a task, which is how datatrove shares work; lines that are no JSON are left out for it."""
    folder.mkdir(parents=True)
    files = [(folder / f"{number}.jsonl").open("w") for number in range(num)]
    with path.open() as lines:
        for number, line in enumerate(lines):
            if line.endswith("}\n"):
                files[number % num].write(line)
    for file in files:
        file.close()
    return folder


if __name__ == "__main__":
    main()
