"""What the pages show can be typed: commands, flags, make targets and links exist."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMANDS: dict[str, list[str]] = json.loads((ROOT / "tests" / "cli" / "commands.json").read_text())
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
GLOBAL_FLAGS = {"--help", "--version"}


def shown(page: Path) -> Iterator[str]:
    """Every command line of a page: in console blocks, and in the code spans of its text."""
    text = page.read_text().replace("\\\n", " ")
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        yield from (line[2:] for line in block.splitlines() if line.startswith("$ "))
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def lines_of(program: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for line in shown(page):
            if match := re.match(rf"(?:\S*/)?{program} ([^#]+)", line.strip()):
                found.append((page.name, match[1].strip()))
    return sorted(set(found))


@pytest.mark.parametrize(("page", "line"), lines_of("modelyard"))
def test_a_command_that_is_shown_exists_with_its_flags(page: str, line: str) -> None:
    words = line.split()
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    groups = {command.split()[0] for command in COMMANDS}
    assert name in COMMANDS or words[0] in groups or words[0] in GLOBAL_FLAGS, f"{page}: no command '{line}'"
    flags = {word.split("=")[0] for word in words if word.startswith("--")} - GLOBAL_FLAGS
    assert flags <= set(COMMANDS.get(name, [])), f"{page}: '{line}'"


@pytest.mark.parametrize(("page", "line"), lines_of("make"))
def test_a_make_target_that_is_shown_exists(page: str, line: str) -> None:
    target = line.split()[0]
    if re.fullmatch(r"[a-z0-9-]+", target):
        assert target in TARGETS, f"{page}: make {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def named_in(pattern: str) -> set[str]:
    """What the gateway's source holds of a pattern."""
    sources = (ROOT / "src" / "modelyard" / "gateway").rglob("*.py")
    return {found for path in sources for found in re.findall(pattern, path.read_text())}


def test_every_error_code_of_the_gateway_is_on_its_page() -> None:
    codes = named_in(r'(?:(?:Refusal|UpstreamFailed)\(\s*\d{3}, |raise _refusal\(\s*)"([a-z_]*[a-z])"')
    page = (ROOT / "docs" / "gateway.md").read_text()
    assert len(codes) > 30
    assert {code for code in codes if f"`{code}`" not in page} == set()


def test_every_header_of_the_gateway_is_on_its_page() -> None:
    headers = named_in(r"\b(x-(?:modelyard|request)-[a-z-]+)\b")
    page = (ROOT / "docs" / "gateway.md").read_text()
    assert len(headers) > 6
    assert {header for header in headers if header not in page} == set()


def test_the_pages_show_something() -> None:
    assert len(lines_of("modelyard")) > 10
    assert len(lines_of("make")) > 5
