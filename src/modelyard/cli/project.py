"""`modelyard check` and `modelyard schema`: the project file."""

import typer

from modelyard.cli.output import Json, ProjectFile, emit, print_json, say


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(check)
    app.command()(schema)


def check(project: ProjectFile = "", as_json: Json = False) -> None:
    """Read the project file and tell every mistake with its line and column."""
    from modelyard.app import find_project
    from modelyard.project.loading import load_project

    path = find_project(project)
    found = load_project(path)
    counts = {
        section: len(getattr(found, section))
        for section in ("datasets", "synthesis", "recipes", "suites", "policies", "rollouts", "services")
    }

    def text() -> None:
        say(f"{path}: good. " + ", ".join(f"{count} {section}" for section, count in counts.items()))

    emit({"path": str(path), "project": found.project, **counts}, as_json=as_json, text=text)


def schema(as_json: Json = False) -> None:
    """Print the JSON Schema of the project file, for editors. It is JSON with and without --json."""
    from modelyard.project.model import Project

    print_json(Project.model_json_schema())
