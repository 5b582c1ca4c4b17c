"""Each limit through a live gateway, as the openai package sees it."""

import threading
from typing import Any

import msgspec
import openai
import pytest

from modelyard.ports.limits import Caps, Limits
from modelyard.ports.routes import Price, Service
from tests.gateway.accounts.harness import AMPLE, WHOLE, Accounts, acme, alarm, key, named
from tests.gateway.harness import KEY, eventually, variant
from tests.gateway.upstream import Engine

FIVE = Limits(requests_per_minute=5, burst=2)


def client(live: Accounts, text: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key=text, max_retries=0)


def create(live: Accounts, text: str = KEY, **changes: Any) -> Any:
    asked: Any = {"model": "support", "messages": [{"role": "user", "content": "hello"}], **changes}
    return client(live, text).chat.completions.with_raw_response.create(**asked)


def refused(live: Accounts, **changes: Any) -> openai.RateLimitError:
    with pytest.raises(openai.RateLimitError) as told:
        create(live, **changes)
    return told.value


def offer(live: Accounts, url: str, scope: str, limits: Limits) -> None:
    """A table with the same limits on one kind of subject."""
    service = Service(name="support", champion=variant("champ", url), limits=limits if scope == "service" else Limits())
    tenant = acme(limits=limits if scope == "tenant" else Limits(), user_limits=limits if scope == "user" else Limits())
    live.offer(service, tenants=(tenant,), keys=(key(limits=limits if scope == "key" else Limits()),))


@pytest.mark.parametrize("scope", ["tenant", "key", "user", "service"])
def test_requests_a_minute(live: Accounts, engine_url: str, scope: str) -> None:
    offer(live, engine_url, scope, FIVE)
    heads = [create(live, user="ann").headers for _ in range(2)]
    assert [head["x-ratelimit-remaining-requests"] for head in heads] == ["1", "0"]
    error = refused(live, user="ann")
    assert error.code == "rate_limit_exceeded"
    assert error.type == "rate_limit_error"
    assert error.response.headers["x-ratelimit-limit-requests"] == "5"
    assert error.response.headers["x-ratelimit-remaining-requests"] == "0"
    assert 10 <= int(error.response.headers["retry-after"]) <= 12
    assert error.response.headers["x-request-id"]
    assert len(live.interactions()) == 2
    assert live.metric(f'limited_total{{scope="{scope}",limit="requests"}}') == 1
    if scope == "user":
        assert create(live, user="bob").status_code == 200


@pytest.mark.parametrize("scope", ["tenant", "key", "user", "service"])
def test_a_day_s_money(live: Accounts, engine_url: str, scope: str) -> None:
    offer(live, engine_url, scope, Limits(daily_nanousd=10 * WHOLE, monthly_nanousd=11 * WHOLE))
    number = 0
    while number < 20:
        try:
            create(live, user="ann", max_tokens=3)
        except openai.RateLimitError as error:
            told = error
            break
        number += 1
    assert told.code == "insufficient_quota"
    assert int(told.response.headers["retry-after"]) > 0
    # A request may cost a little more than it will, so the last one or two are refused before the money is gone.
    assert 8 <= number <= 10
    assert sum(entry.cost_nanousd for entry in live.interactions()) == number * WHOLE
    assert live.metric(f'limited_total{{scope="{scope}",limit="money_day"}}') == 1


def test_a_month_s_money_outlasts_the_day_s(live: Accounts, engine_url: str) -> None:
    offer(live, engine_url, "tenant", Limits(daily_nanousd=10**12, monthly_nanousd=2 * WHOLE))
    create(live, max_tokens=3)
    assert "a month" in refused(live, max_tokens=50).message


def test_tokens_are_reserved_and_given_back(live: Accounts, engine: Engine, engine_url: str) -> None:
    offer(live, engine_url, "tenant", Limits(tokens_per_minute=200))
    engine.delay_s = 0.5
    thread = threading.Thread(target=create, args=(live,), kwargs={"max_tokens": 120})
    thread.start()
    eventually(lambda: engine.requests)
    held = live.account()
    assert 120 < held["tokens"] < 160
    assert held["in_flight"] == 1
    error = refused(live, max_tokens=120)
    assert error.response.headers["x-ratelimit-limit-tokens"] == "200"
    assert int(error.response.headers["x-ratelimit-remaining-tokens"]) < 80
    assert live.account() == held
    thread.join()
    assert live.account()["tokens"] == 14
    assert create(live, max_tokens=120).headers["x-ratelimit-limit-tokens"] == "200"


def test_what_can_never_pass_says_so(live: Accounts, engine_url: str) -> None:
    offer(live, engine_url, "tenant", Limits(tokens_per_minute=200))
    error = refused(live, max_tokens=1000)
    assert error.param == "max_tokens"
    assert "retry-after" not in error.response.headers
    assert "never" in error.message


def test_requests_at_once(live: Accounts, engine: Engine, engine_url: str) -> None:
    offer(live, engine_url, "tenant", Limits(concurrency=1))
    engine.delay_s = 0.4
    thread = threading.Thread(target=create, args=(live,))
    thread.start()
    eventually(lambda: engine.requests)
    assert "at once" in refused(live).message
    thread.join()
    assert create(live).status_code == 200


def test_the_release_s_own_prompt_is_reserved_too(live: Accounts, engine: Engine, engine_url: str) -> None:
    """It is paid for like the caller's words."""
    champion = variant("champ", engine_url, system_prompt="Answer kindly. " * 200)
    live.offer(Service(name="support", champion=champion), tenants=(acme(limits=AMPLE),))
    engine.delay_s = 0.3
    thread = threading.Thread(target=create, args=(live,), kwargs={"max_tokens": 1})
    thread.start()
    eventually(lambda: engine.requests)
    assert live.account()["tokens"] > 700
    thread.join()


def test_a_dearer_fallback_never_costs_more_than_was_reserved(live: Accounts, engine: Engine, engine_url: str) -> None:
    dear = Price(input_nanousd=50_000_000_000, output_nanousd=90_000_000_000)
    spare = msgspec.structs.replace(named("spare", engine_url), price=dear)
    service = Service(name="support", champion=variant("champ", engine_url), variants=(spare,), fallbacks=("spare",))
    live.offer(service, tenants=(acme(limits=Limits(daily_nanousd=20 * WHOLE)),))
    engine.fault["champ"] = "500"
    refused(live, max_tokens=20)
    assert live.interactions() == []


def test_a_rotated_key_shares_what_its_forerunner_may(live: Accounts, engine_url: str) -> None:
    service = Service(name="support", champion=variant("champ", engine_url))
    old = key(limits=FIVE)
    new = key("sk-new", "key-2", limits=FIVE, replaces="key-1")
    newest = key("sk-newest", "key-3", limits=FIVE, replaces="key-2")
    live.offer(service, tenants=(acme(),), keys=(old,))
    create(live)
    live.offer(service, tenants=(acme(),), keys=(old, new, newest))
    create(live, text="sk-newest")
    refused(live)
    refused(live, text="sk-new")
    assert "key 'key-3'" in refused(live, text="sk-newest").message
    live.offer(service, tenants=(acme(),), keys=(new,))
    refused(live, text="sk-new")


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (lambda n: {"x-modelyard-session": f"s{n}"}, "session"),
        (lambda n: {"traceparent": f"00-{n:032x}-{7:016x}-01"}, "trace"),
    ],
)
@pytest.mark.parametrize(
    ("caps", "passed", "limit"),
    [
        (Caps(calls=2), 2, "calls"),
        (Caps(tokens=80), 2, "tokens"),
        (Caps(cost_nanousd=5 * WHOLE), 2, "money"),
        (Caps(repeats=3), 3, "repeats"),
    ],
)
def test_caps_of_an_agent(
    live: Accounts, engine_url: str, header: Any, what: str, caps: Caps, passed: int, limit: str
) -> None:
    tenant = acme(session_caps=caps) if what == "session" else acme(trace_caps=caps)
    live.offer(Service(name="support", champion=variant("champ", engine_url)), tenants=(tenant,))
    asked: Any = {"max_tokens": 20, "extra_headers": header(1)}
    found = 0
    while found < 10:
        try:
            create(live, **asked)
        except openai.RateLimitError as error:
            told = error
            break
        found += 1
    assert told.code == ("repeated_call" if limit == "repeats" else f"{what}_cap_reached")
    assert found >= passed
    assert create(live, **{**asked, "extra_headers": header(2)}).status_code == 200
    assert create(live, max_tokens=20).status_code == 200
    assert live.metric(f'limited_total{{scope="{what}",limit="{limit}"}}') == 1
    if limit == "repeats":
        other: Any = [{"role": "user", "content": "something else"}]
        assert create(live, **asked, messages=other).status_code == 200


@pytest.mark.parametrize("action", ["alarm", "stop"])
def test_a_tenant_that_spends_too_fast(live: Accounts, engine_url: str, action: str) -> None:
    live.offer(
        Service(name="support", champion=variant("champ", engine_url)),
        tenants=(acme(spend_alarm=alarm(2 * WHOLE, action)),),
    )
    for _ in range(3):
        create(live)
    if action == "alarm":
        create(live)
    else:
        error = refused(live)
        assert error.code == "spend_alarm"
        assert 50 <= int(error.response.headers["retry-after"]) <= 60
    assert live.metric('spend_alarms_total{tenant="acme"}') == 1
