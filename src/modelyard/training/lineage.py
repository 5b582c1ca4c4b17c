"""Lineage: where a run comes from, captured before it starts."""

import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path

import msgspec

from modelyard.core.digests import digest_bytes, digest_file, digest_json, digest_text
from modelyard.core.errors import NotFound, RecipeInvalid
from modelyard.ports.release import ModelRef
from modelyard.ports.run import Lineage
from modelyard.training.hardware import available_cores, describe_hardware

TEMPLATE_FILE = "chat_template.jinja"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
_ANSWERING_FILES = (
    *("config.json", "generation_config.json"),
    *("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json"),
    "*.gguf",
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json"),
)


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """A base model as a release names it, with the digests of what turns conversations into token ids."""

    ref: ModelRef
    tokenizer_digest: str
    template_digest: str


def digest_base(folder: Path) -> str:
    """The digest of the files in a base's folder that change an answer; a card beside them does not.

    Files of weights are large, so each is read once in a process, and again when it was written anew.
    """
    paths = sorted({path for pattern in _ANSWERING_FILES for path in folder.glob(pattern) if path.is_file()})
    return digest_json({path.name: _digest_once(path, *_stamp(path)) for path in paths})


def describe_base(folder: Path, name: str = "") -> Base:
    """Digest a base's folder; it goes by the folder's name where none is given.

    Raises: NotFound without the folder; RecipeInvalid without its tokenizer or chat template.
    """
    if not folder.is_dir():
        raise NotFound(f"the base '{folder}' does not exist", expected="a folder with a model and its tokenizer")
    for needed in (*TOKENIZER_FILES, TEMPLATE_FILE):
        if not (folder / needed).is_file():
            raise RecipeInvalid(
                f"the base in {folder} has no {needed}",
                expected=", ".join((*TOKENIZER_FILES, TEMPLATE_FILE)),
                fix="save the tokenizer, with its chat template, into the folder",
            )
    return Base(
        ref=ModelRef(name=name or folder.resolve().name, digest=digest_base(folder)),
        tokenizer_digest=digest_json({file: digest_file(folder / file) for file in TOKENIZER_FILES}),
        template_digest=digest_text((folder / TEMPLATE_FILE).read_text()),
    )


def capture_lineage(
    project: Path, *, dataset_digest: str, base: Base, seed: int, threads: int | None = None
) -> Lineage:
    """The lineage of a run that starts now in a project's folder; on all cores where `threads` is None."""
    commit, dirty_digest = describe_checkout(project)
    environment = dict(installed_packages())
    return Lineage(
        commit=commit,
        dirty_digest=dirty_digest,
        dataset_digest=dataset_digest,
        base_name=base.ref.name,
        base_digest=base.ref.digest,
        template_digest=base.template_digest,
        tokenizer_digest=base.tokenizer_digest,
        environment_digest=digest_json(environment),
        environment=environment,
        hardware=describe_hardware(),
        seed=seed,
        python=platform.python_version(),
        threads=threads or available_cores(),
    )


def describe_checkout(folder: Path) -> tuple[str, str]:
    """The commit of a Git work tree, and a digest of its changes and of new files that Git does not ignore.

    Empty texts without Git, outside a work tree, before the first commit, or, for the digest, where nothing differs.
    """
    commit = _git(folder, "rev-parse", "--verify", "HEAD").decode().strip()
    top = _git(folder, "rev-parse", "--show-toplevel").decode().strip()
    if not commit or not top:
        return "", ""
    changes = _git(Path(top), "diff", "--binary", "--no-ext-diff", "HEAD")
    names = _git(Path(top), "ls-files", "--others", "--exclude-standard", "-z").decode(errors="surrogateescape")
    files = [Path(top, name) for name in names.split("\0") if name]
    new = {str(file.relative_to(top)): digest_file(file) for file in files if file.is_file()}
    return commit, digest_json({"changes": digest_bytes(changes), "new": new}) if changes or new else ""


@cache
def installed_packages() -> tuple[tuple[str, str], ...]:
    """Every installed distribution with its version, sorted by its normalised name."""
    found = {
        distribution.name.lower().replace("_", "-"): distribution.version
        for distribution in importlib.metadata.distributions()
    }
    return tuple(sorted(found.items()))


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


@cache
def _digest_once(path: Path, inode: int, num_bytes: int, written_ns: int) -> str:
    return digest_file(path)


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        answer = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return b""
    return answer.stdout if answer.returncode == 0 else b""
