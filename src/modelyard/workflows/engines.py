"""Releases into engines."""

from modelyard.core.digests import short
from modelyard.core.errors import Conflict
from modelyard.ports.engine import Engine
from modelyard.ports.release import Release
from modelyard.training.lineage import digest_base
from modelyard.workflows.tools import Tools


async def load_release(tools: Tools, engine: Engine, release: Release) -> None:
    """Make an engine serve a release under its immutable name. Loaded twice is no error.

    Raises: Conflict where the base on this machine is no longer the one that the release was made for.
    """
    _check_base(tools, release)
    if release.adapter:
        await engine.load_adapter(release.engine_model, tools.blobs.get_folder(release.adapter))


def _check_base(tools: Tools, release: Release) -> None:
    """An adapter on another base answers nonsense. A base that lies only where the engine runs cannot be compared."""
    folder = tools.base_folder(release.base.name)
    if folder.is_dir() and (digest := digest_base(folder)) != release.base.digest:
        raise Conflict(
            f"the base in {folder} has changed: its digest is {short(digest)}",
            expected=f"{short(release.base.digest)}, which {release.ref} was made for",
            fix="put the old base back, or make a new release with `modelyard tune`",
        )
