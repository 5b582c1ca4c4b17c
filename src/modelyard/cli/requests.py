"""What a person wants of the labeller: a label, or one of a few commands; as a key, or as a line."""

import string
from collections.abc import Sequence
from typing import Literal

import msgspec

from modelyard.datasets.labelling.tasks import folded, label_meant

Command = Literal["skip", "undo", "note", "quit", "help"]
COMMANDS: dict[str, Command] = {"s": "skip", "u": "undo", "n": "note", "q": "quit", "?": "help"}
_KEYS = "123456789" + string.ascii_lowercase
_MOST_SHOWN = 12


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted: to give the label `text`, a command with its words, or nothing, and then `text` says why."""

    kind: Literal["label", "nothing"] | Command
    text: str = ""


def keys_of(labels: Sequence[str]) -> dict[str, str]:
    """The labels by their keys: 1 to 9, then a to z; a label of one letter or digit is its own key.

    Empty where there are more labels than keys, or none.
    """
    if len(labels) > len(_KEYS):
        return {}
    own = {label.casefold(): label for label in labels if len(label) == 1 and label.casefold() in _KEYS + "0"}
    free = (key for key in _KEYS if key not in own)
    keys = {label: key for key, label in own.items()}
    return {keys.get(label) or next(free): label for label in labels}


def of_key(key: str, keys: dict[str, str]) -> Request:
    """What a key means. Commands are capital letters too, as their small ones may be keys of labels."""
    if key in keys:
        return Request(kind="label", text=keys[key])
    if key.casefold() in COMMANDS:
        return Request(kind=COMMANDS[key.casefold()])
    shown = f"'{key}'" if key.isprintable() and key else "that key"
    return Request(kind="nothing", text=f"{shown} means nothing here; ? helps")


def of_line(line: str, labels: tuple[str, ...], keys: dict[str, str]) -> Request:
    """What a line means: a key, a command behind a colon, a label or its beginning; of free text, the text itself."""
    line = line.strip()
    if not line:
        return Request(kind="nothing", text="an empty line says nothing; :skip leaves the task for later, ? helps")
    if line == "?":
        return Request(kind="help")
    if line.startswith(":") and not line.startswith("::"):
        return _command(line[1:])
    line = line[1:] if line.startswith("::") else line
    if not labels:
        return Request(kind="label", text=line)
    if meant := label_meant(line, labels):
        return Request(kind="label", text=meant)
    pressed = of_key(line, keys) if len(line) == 1 and keys else None
    return pressed if pressed and pressed.kind != "nothing" else _beginning(line, labels)


def _command(words: str) -> Request:
    name, _, rest = words.strip().partition(" ")
    for command in COMMANDS.values():
        if name and command.startswith(name.casefold()):
            return Request(kind=command, text=rest.strip())
    known = ", ".join(f":{command}" for command in COMMANDS.values())
    return Request(kind="nothing", text=f":{name} is no command; there are {known}; a text that begins with : has two")


def _beginning(line: str, labels: tuple[str, ...]) -> Request:
    found = [label for label in labels if folded(label).startswith(folded(line))]
    if len(found) == 1:
        return Request(kind="label", text=found[0])
    if not found:
        return Request(kind="nothing", text=f"no label begins with '{line}'; ? shows them all")
    more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
    return Request(kind="nothing", text=f"{len(found)} labels begin so: {', '.join(found[:_MOST_SHOWN])}{more}")
