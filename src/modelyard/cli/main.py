"""The entry point. Imports nothing heavy: each command loads what it needs when it runs."""

import errno
import os
import sys
from typing import Annotated, NoReturn

import typer

from modelyard import __version__
from modelyard.cli import (
    alarm,
    cost,
    data,
    demo,
    engine,
    export,
    gateway,
    interactions,
    keys,
    kill,
    label,
    lineage,
    project,
    release,
    reproduce,
    rollout,
    run,
    sweep,
    synthesis,
    up,
)
from modelyard.cli.output import note, report_error
from modelyard.core.errors import MissingExtra, ModelyardError, Unavailable

_INTERRUPTED = 130
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Which extra brings a package that a command may find missing.
_EXTRAS = {
    **dict.fromkeys(("alembic", "fsspec", "sqlalchemy"), "records"),
    **dict.fromkeys(("numba", "py3langid", "pyarrow", "tokenizers"), "data"),
    **dict.fromkeys(("accelerate", "datasets", "peft", "torch", "transformers", "trl"), "training"),
    **dict.fromkeys(("numpy", "scipy"), "rollout"),
    "dbos": "workflows",
    "mlflow": "tracking",
    "openai": "client",
    "opentelemetry": "otel",
    "optuna": "sweeps",
    "presidio_analyzer": "presidio",
    "psycopg": "postgres",
    "ray": "ray",
    "regex": "guards",
    "spacy": "presidio",
    "tensorboard": "tensorboard",
    "uvicorn": "engine",
    "wandb": "wandb",
}

# Plain help: the rich one would take half of the start-up time.
app = typer.Typer(
    name="modelyard",
    help="Take a language model through its whole working life. Start with `modelyard demo`.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 our own mistake, 2 wrong input, 3 refused by a policy, 4 not found, 5 conflict, "
    "6 a server or store is away, 7 damaged data, 8 a job failed, 130 interrupted.",
)
_DATA, _TRAINING = (data, label, synthesis), (run, sweep, reproduce, cost, export)
_SERVING = (keys, kill, alarm, gateway, engine, interactions)
for part in (demo, up, project, *_DATA, *_TRAINING, release, rollout, lineage, *_SERVING):
    part.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"modelyard {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take a language model through its whole working life. Start with `modelyard demo`."""


def main() -> None:
    """Run the command line and turn every error into words and an exit code."""
    try:
        app()
    except ModelyardError as error:
        report_error(error, as_json="--json" in sys.argv)
        sys.exit(error.exit_code)
    except SystemExit as end:
        # Typer turns Ctrl-C into this.
        if end.code == _INTERRUPTED:
            note("interrupted")
        raise
    except KeyboardInterrupt:
        note("interrupted")
        sys.exit(_INTERRUPTED)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        missing = MissingExtra(package, _EXTRAS[package])
        report_error(missing, as_json="--json" in sys.argv)
        sys.exit(missing.exit_code)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            _leave_quietly()
        told = _in_words(error)
        report_error(told, as_json="--json" in sys.argv)
        sys.exit(told.exit_code)


def _in_words(error: OSError) -> ModelyardError:
    """What the operating system refused: a full disk, a read-only folder, a file where a folder should be."""
    where = f": {error.filename}" if error.filename else ""
    if error.errno in _NO_ROOM:
        return Unavailable(
            f"the disk is full: {error.strerror}{where}",
            expected="room to write, beside the project file and where its state lies",
            fix="free some space and run the same command again; what was finished before is kept",
        )
    return Unavailable(
        f"{error.strerror or error}{where}",
        expected="a path that can be read or written",
        fix="correct the path or its permissions; where it is the state's, MODELYARD_STATE names another folder",
    )


def _leave_quietly() -> NoReturn:
    # The reader of our output left; Python would complain once more while flushing at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(141)
