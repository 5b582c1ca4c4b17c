"""Releases into engines."""

from modelyard.ports.engine import Engine
from modelyard.ports.release import Release
from modelyard.workflows.tools import Tools


async def load_release(tools: Tools, engine: Engine, release: Release) -> None:
    """Make an engine serve a release under its immutable name. Loaded twice is no error."""
    if release.adapter:
        await engine.load_adapter(release.engine_model, tools.blobs.get_folder(release.adapter))
