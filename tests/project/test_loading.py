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


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("method: full", "names 'standard' (method full); a service needs LoRA adapters"),
        ("method: prefix", "names 'standard' (method prefix)"),
        ("dora: true", "names 'standard' (method lora, dora)"),
        ("serve: false", "names 'standard' (method lora, serve: false)"),
    ],
)
def test_a_service_needs_what_an_engine_loads(fields: str, said: str) -> None:
    text = GOOD.replace("{base: dinghy-6m}", f"{{base: dinghy-6m, {fields}}}")
    assert problem_of(text).startswith("modelyard.yaml:15:5: 'services.support.recipe'")
    assert said in problem_of(text)
    parse_project(text[: text.index("services:")])


def test_a_contradiction_in_a_recipe_names_the_field_its_value_and_the_fix() -> None:
    said = problem_of(GOOD.replace("{base: dinghy-6m}", "{base: dinghy-6m, method: full, rank: 8}"))
    assert said == (
        "modelyard.yaml:5:3: 'recipes.standard' is {'base': 'dinghy-6m', 'method': 'full', 'rank': 8}: rank (8) does "
        "nothing with method 'full'; it belongs to lora and qlora: remove it, or change the method"
    )


COLLECTED = GOOD.replace(
    "recipes:", "  traffic: {collect: {service: support, since: 2026-11-01, tenants: [acme]}}\nrecipes:", 1
)


def test_a_dataset_from_production_is_taken_with_a_date_as_yaml_has_it() -> None:
    collect = parse_project(COLLECTED).datasets["traffic"].collect
    assert collect is not None
    assert (collect.since, collect.until) == ("2026-11-01", None)
    moment = COLLECTED.replace("2026-11-01", "2026-11-01T10:00:00+02:00")
    moved = parse_project(moment).datasets["traffic"].collect
    assert moved is not None
    assert moved.since == "2026-11-01T10:00:00+02:00"


def test_mistakes_in_a_dataset_from_production_are_told_where_they_stand() -> None:
    assert problem_of(COLLECTED.replace("{service: support,", "{service: suport,")) == (
        "modelyard.yaml:4:23: 'datasets.traffic.collect.service' names 'suport', which is not there;"
        " did you mean 'support'?"
    )
    assert "'datasets.traffic.collect.tenants' is missing" in problem_of(COLLECTED.replace(", tenants: [acme]", ""))
    assert "unknown key 'tenant'; did you mean 'tenants'?" in problem_of(COLLECTED.replace("tenants", "tenant"))
    assert "needs a `path`, or `collect`" in problem_of(GOOD.replace("path: raw.jsonl, ", ""))


@pytest.mark.parametrize("number", [0, 1])
def test_what_the_page_on_synthesis_shows_is_good(number: int) -> None:
    page = Path(__file__).parents[2] / "docs" / "synthesis.md"
    block = page.read_text().split("```yaml\n")[number + 1].split("```")[0]
    assert parse_project(f"project: shop\n{block}").synthesis


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


def test_a_name_that_could_not_be_a_file_name_is_refused() -> None:
    assert "services" in problem_of(GOOD.replace("  support:", "  ../../esc:", 1))


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
        ("project: shop\nowner: \x07bell\n", r"modelyard.yaml:2:8: not YAML: the character '\x07' may not stand here"),
        ("project: shop\nproject: yard\n", 'modelyard.yaml:2:1: not YAML: found duplicate key "project"'),
        ("project: shop\nsuites:\n\theld-out: {}\n", "modelyard.yaml:3:1: not YAML: found character '\\t'"),
        ("project: &all [*all]\n", "modelyard.yaml"),
        ("project: 2024-99-99\n", "modelyard.yaml"),
        ("project: shop\nengine: {kind: vllm}\n", "modelyard.yaml:2:1: 'engine' is {'kind': 'vllm'}"),
        ("project: shop\nengine: {kind: vllm}\n", "add the address of a running one"),
        ('project: shop\ngateway: {host: "::1"}\n', "IPv6 addresses such as '::1' are not supported yet"),
        ('project: shop\nengine: {host: "::1"}\n', "modelyard.yaml:2:10: 'engine.host' is '::1'"),
    ],
)
def test_what_is_no_project_file_is_refused_in_words(text: str, said: str) -> None:
    assert said in problem_of(text)


def test_a_wrong_value_is_told_by_its_beginning() -> None:
    # 20,000 values by aliases: the message stays one that people can read.
    text = "a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [" + "*a, " * 2000 + "]\nproject: *b\n"
    told = problem_of(text)
    assert "modelyard.yaml:3:1: 'project' is [['x', 'x'" in told
    assert len(told) < 2000


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


def test_a_mistake_that_a_merge_brought_in_is_told_where_it_was_merged() -> None:
    text = GOOD.replace("standard: {base: dinghy-6m}", "standard: &s {base: dinghy-6m}\n  bad: {<<: *s, rnk: 4}")
    assert "modelyard.yaml:6:17: unknown key 'rnk'; did you mean 'rank'?" in problem_of(text)
    merged = GOOD.replace("standard: {base: dinghy-6m}", "standard: &s {base: dinghy-6m, rank: x}\n  bad: {<<: *s}")
    told = problem_of(merged)
    assert "modelyard.yaml:6:3: 'recipes.bad.rank' is 'x'" in told
    assert "modelyard.yaml:5:34: 'recipes.standard.rank' is 'x'" in told


def test_a_merge_counts() -> None:
    text = GOOD.replace("standard: {base: dinghy-6m}", "big: &s {base: dinghy-6m, rank: 64}\n  standard: {<<: *s}")
    assert parse_project(text).recipes["standard"].rank == 64


def test_a_suite_may_name_one_dataset_for_good() -> None:
    project = parse_project(GOOD.replace("{dataset: messages}", "{dataset: messages@1a2b3c4d5e6f}"))
    assert project.suites["held-out"].dataset == "messages@1a2b3c4d5e6f"
    assert "names 'massages@1a2b'" in problem_of(GOOD.replace("{dataset: messages}", "{dataset: massages@1a2b}"))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost", "gateway-1.example.org"])
def test_names_and_ipv4_addresses_are_hosts(host: str) -> None:
    assert parse_project(f"project: shop\ngateway: {{host: {host}}}\n").gateway.host == host
