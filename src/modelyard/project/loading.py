"""Reading a project file: every mistake is told with its line, its column and the nearest right word."""

import difflib
import re
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from modelyard.core.errors import NotFound, ProjectInvalid
from modelyard.project.model import Project
from modelyard.project.references import Location, references
from modelyard.training.defaults import LORA_METHODS

FILE_NAME = "modelyard.yaml"
_SECRET = ("credential", "redis")
_URL_WITH_SECRET = re.compile(r"://[^/\s]*@")


def load_project(path: Path) -> Project:
    """Read and check a project file. Raises: NotFound, ProjectInvalid."""
    return parse_project(_read(path), str(path))


def parse_project(text: str, name: str = FILE_NAME) -> Project:
    """Check the text of a project file. `name` stands in messages. Raises: ProjectInvalid with every mistake."""
    from pydantic import ValidationError

    tree = _parse_yaml(text, name)
    try:
        project = Project.model_validate(_plain(tree))
    except ValidationError as error:
        problems = [_problem(tree, dict(detail), name) for detail in error.errors(include_url=False)]
    else:
        problems = [*_dangling(project, tree, name), *_unserved(project, tree, name), *_twice(project, tree, name)]
    if problems:
        raise ProjectInvalid("\n".join(problems), fix=f"mend {name}; `modelyard schema` prints what it may say")
    return project


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(
            f"there is no project file at {path}",
            fix="name one with --project, or try `modelyard demo`, which makes one",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectInvalid(f"{path} cannot be read: {error}", expected="a YAML file in UTF-8") from error


def _parse_yaml(text: str, name: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        tree = YAML(typ="rt").load(text)
    except ReaderError as error:
        where = f"{name}:{_place(text, error.position)}"
        raise ProjectInvalid(
            f"{where}: not YAML: the character {chr(error.character)!a} may not stand here", fix=f"mend {name}"
        ) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        problem = " ".join(str(error.problem).split())
        raise ProjectInvalid(f"{where}: not YAML: {problem}", fix=f"mend {name}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise ProjectInvalid(f"{name}: not YAML: {error}", fix=f"mend {name}") from error
    if not isinstance(tree, dict):
        raise ProjectInvalid(f"{name}: the file holds no keys", expected="sections such as `services:`")
    return tree


def _place(text: str, position: int) -> str:
    """Line and column, from 1, of a position in a text."""
    before = text[:position]
    return f"{before.count(chr(10)) + 1}:{position - before.rfind(chr(10))}"


def _plain(node: Any) -> Any:
    """The tree without positions: pydantic's strictness wants plain types."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _problem(tree: Any, detail: dict[str, Any], name: str) -> str:
    location: tuple[str | int, ...] = detail["loc"]
    where = f"{name}:{_position(tree, location)}"
    dotted = ".".join(str(part) for part in location)
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown key '{location[-1]}'{_nearest(location)}"
    if detail["type"] == "missing":
        return f"{where}: '{dotted}' is missing"
    message = detail["msg"].removeprefix("Value error, ")
    if location[-1] in _SECRET or _URL_WITH_SECRET.search(str(detail["input"])):
        return f"{where}: '{dotted}': {message}"
    return f"{where}: '{dotted}' is {_short(detail['input'])}: {message}"


def _short(value: Any) -> str:
    """A wrong value for people: its beginning. A few aliases in YAML can stand for gigabytes."""
    shown = reprlib.Repr()
    shown.maxstring = shown.maxother = 120
    shown.maxlevel = 3
    return shown.repr(value)


def _position(tree: Any, location: Sequence[str | int]) -> str:
    """Line and column, from 1, of the deepest part of a location that the file holds."""
    line, column = 1, 1
    node: Any = tree
    for part in location:
        if isinstance(node, dict) and part in node:
            line, column = _from_one(node, "key", part) or (line, column)
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            line, column = _from_one(node, "item", part) or (line, column)
        else:
            break
        node = node[part]
    return f"{line}:{column}"


def _from_one(node: Any, kind: str, part: str | int) -> tuple[int, int] | None:
    """Where the parser saw a key or an item; it counts from 0. None for what a merge (`<<`) brought in."""
    try:
        line, column = getattr(node.lc, kind)(part)
    except (AttributeError, LookupError, TypeError):
        return None
    return line + 1, column + 1


def _nearest(location: Sequence[str | int]) -> str:
    known = _keys_at(location[:-1])
    near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known here: {', '.join(known)}" if known else ""


def _keys_at(location: Sequence[str | int]) -> list[str]:
    """The keys that may stand at a location, found by walking the JSON Schema of the project."""
    schema = Project.model_json_schema()
    node: dict[str, Any] = schema
    for part in location:
        node = _child(node, part, schema)
    return sorted(_resolve(node, schema).get("properties", {}))


def _child(node: dict[str, Any], part: str | int, schema: dict[str, Any]) -> dict[str, Any]:
    node = _resolve(node, schema)
    named = next(iter(node.get("patternProperties", {}).values()), node.get("additionalProperties"))
    inner = node.get("properties", {}).get(part, named)
    if isinstance(part, int):
        inner = node.get("items")
    return inner if isinstance(inner, dict) else {}


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while True:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        elif "anyOf" in node:
            node = next((option for option in node["anyOf"] if "$ref" in option or "properties" in option), {})
        else:
            return node


def _unserved(project: Project, tree: Any, name: str) -> Iterator[str]:
    """The services whose recipe makes nothing that an engine loads beside its base."""
    for service_name, service in project.services.items():
        recipe = project.recipes.get(service.recipe)
        if recipe and not (recipe.method in LORA_METHODS and recipe.serve and not recipe.dora):
            location = ("services", service_name, "recipe")
            what = f"method {recipe.method}{', dora' if recipe.dora else ''}{'' if recipe.serve else ', serve: false'}"
            yield (
                f"{name}:{_position(tree, location)}: '{'.'.join(location)}' names '{service.recipe}' ({what}); "
                "a service needs LoRA adapters, which its engine loads beside the base"
            )


def _dangling(project: Project, tree: Any, name: str) -> Iterator[str]:
    """The references that lead nowhere."""
    for location, target, known in references(project):
        if target not in known:
            yield _dangling_problem(tree, name, location, target, known)


def _twice(project: Project, tree: Any, name: str) -> Iterator[str]:
    """Callers know `services` and `hosted` by one name each."""
    for hosted in project.hosted.keys() & project.services.keys():
        location = ("hosted", hosted)
        yield f"{name}:{_position(tree, location)}: 'hosted.{hosted}' is a service too: rename one of the two"


def _dangling_problem(tree: Any, name: str, location: Location, target: str, known: list[str]) -> str:
    near = difflib.get_close_matches(target, known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; there are: {', '.join(known) or 'none'}"
    dotted = ".".join(map(str, location))
    return f"{name}:{_position(tree, location)}: '{dotted}' names '{target}', which is not there{hint}"
