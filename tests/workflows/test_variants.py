"""Variants beside champion and challenger: in the table where they can be had, and never in the way."""

import logging

import pytest

from modelyard.ports.routes import EXTERNAL, RouteTable
from modelyard.project.loading import parse_project
from modelyard.project.model import Project
from modelyard.workflows.rollouts import begin_rollout, settle_stages
from modelyard.workflows.tools import Tools
from tests.workflows.conftest import PROJECT
from tests.workflows.test_control import Stub, engine, make_control, stored_release  # noqa: F401 - a fixture

MORE = """\
    variants:
      vendor: {url: "https://api.example", model: large, credential: VENDOR_KEY, price: {input: "2", output: "8"}}
      second: {release: %s}
    rules:
      - {name: plan, variant: vendor, when: [{attribute: tenant, values: [acme]}]}
      - {name: try, variant: second, share: "10%%"}
    preference: {order: [second, champion]}
    fallbacks: [second, vendor]
hosted:
  embeddings: {url: "http://127.0.0.1:1", model: embed, price: {}}
tenants:
  acme: {limits: {daily_usd: "3"}}
"""


def with_more(ref: str) -> Project:
    return parse_project(PROJECT + MORE % ref)


def launched(tools: Tools, project: Project) -> None:
    release = stored_release(tools, project, "first")
    begin_rollout(tools, project, "support", release, project.rollouts["quick"].plan())


def test_the_table_holds_what_the_file_says(tools: Tools, engine: Stub) -> None:  # noqa: F811
    plain = parse_project(PROJECT)
    launched(tools, plain)
    second = stored_release(tools, plain, "second")
    project = with_more(second.ref)
    begin_rollout(tools, project, "support", second, project.rollouts["quick"].plan())
    settle_stages(tools, "support")
    table = make_control(tools, project, engine).tick()

    embeddings, support = table.services
    assert embeddings.name == "embeddings"
    assert embeddings.champion.release.startswith(EXTERNAL + "embeddings@")
    assert [one.name for one in support.variants] == ["vendor", "second"]
    vendor, ours = support.variants
    assert (vendor.model, vendor.credential, vendor.price.output_nanousd) == ("large", "VENDOR_KEY", 8_000_000_000)
    assert (ours.release, ours.ref, ours.model) == (second.digest, second.ref, second.engine_model)
    assert ours.price == support.champion.price
    assert second.engine_model in engine.loaded
    assert [rule.variant for rule in support.rules] == ["vendor", "second"]
    assert support.fallbacks == ("second", "vendor")
    assert [tenant.limits.daily_nanousd for tenant in table.tenants] == [3_000_000_000]


def assert_left_out(table: RouteTable) -> None:
    support = table.services[-1]
    assert support.name == "support"
    assert [one.name for one in support.variants] == ["vendor"]
    assert [rule.name for rule in support.rules] == ["plan"]
    assert support.fallbacks == ("vendor",)
    assert support.preference is not None
    assert support.preference.order == ("champion",)


def test_a_release_that_is_not_trusted_is_left_out_and_told(
    tools: Tools,
    engine: Stub,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = parse_project(PROJECT)
    launched(tools, plain)
    draft = stored_release(tools, plain, "draft")
    caplog.set_level(logging.WARNING)
    assert_left_out(make_control(tools, with_more(draft.ref), engine).tick())
    assert f"release {draft.ref} is in the stage draft" in caplog.text
    assert draft.engine_model not in engine.loaded


def test_a_release_that_is_not_there_holds_up_nothing(tools: Tools, engine: Stub) -> None:  # noqa: F811
    launched(tools, parse_project(PROJECT))
    assert_left_out(make_control(tools, with_more("nobody@123"), engine).tick())


def test_a_release_that_the_engine_refuses_holds_up_nothing(tools: Tools, engine: Stub) -> None:  # noqa: F811
    plain = parse_project(PROJECT)
    launched(tools, plain)
    second = stored_release(tools, plain, "second")
    begin_rollout(tools, plain, "support", second, plain.rollouts["quick"].plan())
    settle_stages(tools, "support")
    engine.refused.add(second.engine_model)
    control = make_control(tools, with_more(second.ref), engine)
    assert_left_out(control.tick())


def test_tenants_alone_make_a_new_table(tools: Tools, engine: Stub) -> None:  # noqa: F811
    launched(tools, parse_project(PROJECT))
    assert make_control(tools, parse_project(PROJECT), engine).tick().tenants == ()
    richer = parse_project(PROJECT + 'tenants: {acme: {limits: {daily_usd: "4"}}}\n')
    table = make_control(tools, richer, engine).tick()
    assert [tenant.name for tenant in table.tenants] == ["acme"]
