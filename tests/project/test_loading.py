"""The project file: what it says is checked, and every mistake is told where it stands."""

from pathlib import Path

import pytest

from modelyard.core.errors import NotFound, ProjectInvalid
from modelyard.project.loading import load_project, parse_project

GOOD = """\
project: shop
datasets:
  messages: {path: raw.jsonl, answer: "{intent}"}
recipes:
  standard: {base: dinghy-6m}
suites:
  held-out: {dataset: messages}
policies:
  careful: {min: {exact_match: 0.8}}
rollouts:
  slowly: {strategy: canary}
services:
  support:
    dataset: messages
    recipe: standard
    suite: held-out
    policy: careful
    rollout: slowly
"""


def problem_of(text: str) -> str:
    with pytest.raises(ProjectInvalid) as caught:
        parse_project(text)
    return caught.value.seen


def test_a_good_file_is_taken_as_it_is() -> None:
    project = parse_project(GOOD)
    assert project.services["support"].policy == "careful"
    assert project.gateway.host == "127.0.0.1"


def test_the_shipped_demonstration_is_a_good_file() -> None:
    import modelyard.demo as demo

    load_project(Path(demo.__file__).parent / "project" / "modelyard.yaml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("recipes:", "recipies:", "modelyard.yaml:4:1: unknown key 'recipies'; did you mean 'recipes'?"),
        ("{base: dinghy-6m}", "{base: dinghy-6m, learning_rat: 0.1}", "'learning_rat'; did you mean 'learning_rate'?"),
        ("{base: dinghy-6m}", "{base: dinghy-6m, learning_rat: 0.1}", "modelyard.yaml:5:31: "),
        ("policy: careful", "polcy: careful", "modelyard.yaml:17:5: unknown key 'polcy'; did you mean 'policy'?"),
        ("policy: careful", "polcy: careful", "'services.support.policy' is missing"),
        ("recipe: standard", "recipe: standart", "names 'standart', which is not there; did you mean 'standard'?"),
        ("dataset: messages}", "dataset: massages}", "modelyard.yaml:7:14: 'suites.held-out.dataset' names 'massages'"),
        (
            "{exact_match: 0.8}",
            "{exact_match: high}",
            ":9:19: 'policies.careful.min.exact_match' is 'high'",
        ),
        ("project: shop", "project: My Shop", "'project' is 'My Shop'"),
        ("project: shop\n", "", "'project' is missing"),
        ("strategy: canary", "strategy: canry", "'canry'"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_the_nearest_word(old: str, new: str, said: str) -> None:
    assert old in GOOD
    assert said in problem_of(GOOD.replace(old, new, 1))


def test_all_mistakes_are_told_at_once() -> None:
    text = GOOD.replace("recipes:", "recipies:").replace("rollouts:", "rollout:")
    assert len([line for line in problem_of(text).splitlines() if "unknown key" in line]) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("project: [", "not YAML"),
        ("a: 1\na: 2\n", "not YAML"),
        ("", "the file holds no keys"),
        ("- 1\n", "the file holds no keys"),
        ("just words", "the file holds no keys"),
        ("project: shop\nservices: 3\n", "modelyard.yaml:2:1: 'services' is 3"),
        ("project: shop\ngateway: {port: 70000}\n", "modelyard.yaml:2:11: 'gateway.port' is 70000"),
    ],
)
def test_what_is_no_project_file_is_refused_in_words(text: str, said: str) -> None:
    assert said in problem_of(text)


def test_a_file_that_cannot_be_read_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no project file"):
        load_project(tmp_path / "modelyard.yaml")
    (tmp_path / "latin.yaml").write_bytes("project: caf\xe9".encode("latin-1"))
    with pytest.raises(ProjectInvalid, match="UTF-8"):
        load_project(tmp_path / "latin.yaml")
    with pytest.raises(ProjectInvalid, match="cannot be read"):
        load_project(tmp_path)


def test_a_price_is_exact_text() -> None:
    project = parse_project(GOOD + '    price: {input: "0.15"}\n')
    assert project.services["support"].price.input == "0.15"
    assert "'services.support.price.input'" in problem_of(GOOD + "    price: {input: cheap}\n")
