"""What the project file says about the gateway: taken over whole, and every mistake told where it stands."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.ports.limits import Caps, Limits, SpendAlarm
from modelyard.ports.routes import EXTERNAL, RouteTable, Service, Variant, decode_route_table, encode_route_table
from modelyard.ports.serving import Cache, Condition, Filter, Rule, SemanticCache, Timeouts
from modelyard.project.gateway import GatewayConfig
from modelyard.project.loading import parse_project
from modelyard.project.model import Project
from modelyard.project.serving import ServingConfig
from tests.project.test_loading import GOOD, problem_of

CHAMPION = Variant(release="sha256:1", ref="support@1", engine_url="http://127.0.0.1:1", model="m")
PAGE = Path(__file__).parents[2] / "docs" / "gateway" / "configuration.md"


def page_project() -> Project:
    """All that the page on the configuration shows, as one file."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return parse_project(GOOD[: GOOD.index("services:")] + "".join(blocks))


def support(fields: str) -> str:
    """The good file with more said of its service."""
    return GOOD + "".join(f"    {line}\n" for line in fields.splitlines())


def test_the_page_is_a_good_file_and_becomes_the_route_table() -> None:
    project = page_project()
    service = project.services["support"].service("support", CHAMPION)
    assert service.timeouts == Timeouts(connect_s=2, first_token_s=30, between_tokens_s=20, total_s=300)
    assert service.filters == (Filter(kind="secrets", on="answer", action="mask"),)
    assert service.cache == Cache(
        ttl_s=3600, max_bytes=64 << 20, semantic=SemanticCache(service="embeddings", threshold=0.97)
    )
    conditions = (
        Condition(attribute="header:x-plan", values=("beta",)),
        Condition(attribute="prompt_chars", op="above", values=("4000",)),
    )
    assert service.rules == (Rule(name="beta", variant="vendor", when=conditions, share_bp=5000),)
    assert service.preference is not None
    assert service.preference.order == ("champion", "vendor")
    assert (service.body_policy, service.body_share, service.fallbacks) == ("masked", 0.1, ("previous", "vendor"))
    tenant = project.tenants["acme"].tenant("acme")
    assert tenant.limits.daily_nanousd == 20_000_000_000
    assert tenant.session_caps == Caps(calls=200, tokens=500000, cost_nanousd=2_000_000_000, repeats=5)
    assert tenant.spend_alarm == SpendAlarm(nanousd_per_minute=200_000_000, action="stop")
    assert tenant.user_limits == Limits(requests_per_minute=30)
    table = RouteTable(version=1, created_ms=1, services=(service,), tenants=(tenant,))
    assert decode_route_table(encode_route_table(table)) == table


def test_what_is_not_said_is_as_the_route_table_has_it() -> None:
    assert ServingConfig().service("support", CHAMPION) == Service(
        name="support", champion=CHAMPION, body_policy="hash"
    )


def test_a_hosted_model_is_addressed_by_what_was_declared_and_is_none_of_ours() -> None:
    hosted = page_project().services["support"].variants["vendor"].hosted()
    variant = hosted.variant("vendor")
    assert re.fullmatch(EXTERNAL + r"vendor@[0-9a-f]{12}", variant.release)
    assert (variant.name, variant.credential, variant.quality) == ("vendor", "VENDOR_API_KEY", 0.93)
    assert variant.price.output_nanousd == 10_000_000_000
    dearer = hosted.model_copy(update={"price": hosted.price.model_copy(update={"input": "9"})})
    assert dearer.variant("vendor").release == variant.release
    other = hosted.model_copy(update={"model": "large-3"})
    assert other.variant("vendor").release != variant.release


def test_a_gateway_is_told_only_what_is_not_as_by_default() -> None:
    assert GatewayConfig().flags(Path("/yard")) == []
    assert page_project().gateway.flags(Path("/yard")) == [
        "--workers", "2", "--tls-certificate", "/yard/tls/chain.pem", "--tls-key", "/yard/tls/key.pem",
        "--cors", "https://app.example.com", "--redis", "GATEWAY_REDIS_URL", "--on-redis-down", "local",
    ]  # fmt: skip


VENDOR = 'variants: {big: {url: "https://x.example", model: m, price: {input: "1"}}}\n'


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (VENDOR + "fallbacks: [bog]", "20:17: 'services.support.fallbacks.0' names 'bog', which is not there; did you"),
        (VENDOR + "fallbacks: [challenger]", "'services.support.fallbacks.0' names 'challenger', which is not there"),
        (VENDOR + "preference: {order: [big, bog]}", "20:31: 'services.support.preference.order.1' names 'bog'"),
        ("rules: [{name: a, variant: bog}]", "19:23: 'services.support.rules.0.variant' names 'bog', which is not"),
        ("rules: [{name: a, variant: champion}, {name: a, variant: champion}]", "two rules are called 'a'"),
        ("cache: {semantic: {service: embed}}", "19:24: 'services.support.cache.semantic.service' names 'embed'"),
        ('variants: {champion: {release: "a@1"}}', "no variant may be called 'champion'"),
        (
            'variants: {big: {url: "https://x.example", model: m}}',
            "a hosted model needs `url`, `model` and `price` (pr",
        ),
        ('variants: {big: {release: "a@1", system_prompt: x}}', "system_prompt belong to the release itself"),
        ('variants: {big: {release: "a@1", model: x}}', "model belong to an engine of its own: add its `url`"),
        ('variants: {big: {release: "a@1", url: "https://me:pw@x.example"}}', "without a name or password in it"),
        ("limits: {daily_usd: 5.5}", "19:14: 'services.support.limits.daily_usd' is 5.5"),
        ("limits: {requests_per_minut: 5}", "unknown key 'requests_per_minut'; did you mean 'requests_per_minute'?"),
        ("variants: {big: {relase: x}}", "unknown key 'relase'; did you mean 'release'?"),
        ("max_output_tokens: -1", "greater than or equal to 0"),
        ("record: some", "'services.support.record' is 'some'"),
        ("rules: [{name: a, variant: champion, when: [{attribute: colour, values: [x]}]}]", "when.0.attribute"),
        ("rules: [{name: a, variant: champion, when: [{attribute: user}]}]", "'in' compares with something"),
        ("rules: [{name: a, variant: champion, when: [{attribute: user, op: above, values: [3]}]}]", "`prompt_chars`"),
        ('rules: [{name: a, variant: champion, when: [{attribute: user, op: matches, values: ["("]}]}]', "no regular"),
        ("filters: [{kind: a b}]", "'services.support.filters.0.kind' is 'a b'"),
    ],
)
def test_a_mistake_in_a_service_is_told_with_its_place(fields: str, said: str) -> None:
    parse_project(support(VENDOR + "fallbacks: [big]"))
    assert said in problem_of(support(fields))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gateway: {on_redis_down: open}", "on_redis_down needs a Redis"),
        ("gateway: {workers: 0}", "'gateway.workers' is 0"),
        ('gateway: {cors: {origins: ["https://a.example/path"]}}', "an origin is '*'"),
        ("gateway: {tls: {certificate: a.pem}}", "'gateway.tls.key' is missing"),
        ('tenants: {acme: {spend_alarm: {action: "stop"}}}', "'tenants.acme.spend_alarm.usd_per_minute' is missing"),
        ('hosted: {embed: {url: "http://x.example", model: m}}', "'hosted.embed.price' is missing"),
        ('hosted: {support: {url: "http://x.example", model: m, price: {}}}', "'hosted.support' is a service too"),
    ],
)
def test_a_mistake_elsewhere_is_told_with_its_place(text: str, said: str) -> None:
    assert said in problem_of(GOOD + text + "\n")


def test_a_secret_that_stands_where_its_name_should_is_not_repeated() -> None:
    vendor = 'variants: {big: {url: "https://x.example", model: m, price: {}, credential: "sk-live-123"}}'
    said = problem_of(support(vendor))
    assert "the name of an environment variable" in said
    assert "sk-live-123" not in said
    said = problem_of(GOOD + 'gateway: {redis: "redis://:hunter2@cache"}\n')
    assert "hunter2" not in said
    said = problem_of(support('variants: {big: {release: "a@1", url: "https://me:hunter2@x.example"}}'))
    assert "without a name or password in it" in said
    assert "hunter2" not in said


def test_every_struct_a_service_is_made_of_can_be_said() -> None:
    """A field that the route table gains must be sayable, or stand here with the reason."""
    unsaid: dict[str, Any] = {"champion": 0, "name": 0, "challenger": 0, "weight_bp": 0, "shadow": 0, "salt": 0}
    unsaid |= {"rollout_id": "the rollout's", "body_policy": "`record`", "body_share": "`record_share`"}
    fields = {field.name for field in msgspec.structs.fields(Service)} - unsaid.keys()
    assert fields <= ServingConfig.model_fields.keys()
