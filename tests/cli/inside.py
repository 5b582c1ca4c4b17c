"""The command line without a process of its own, whose start takes longer than most commands."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from modelyard.cli.main import main


def inside(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, in this process. What the command line does not turn into words is raised."""
    env = {"HOME": str(folder), "MODELYARD_TRACKING": "none", **environment}
    out, complaints, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, env),
        mock.patch.object(sys, "argv", ["modelyard", *arguments]),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(complaints),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), complaints.getvalue())
