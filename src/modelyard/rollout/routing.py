"""Routing: the services and route tables that a rollout asks for. Every change is one new table.

A rollout that is over asks for nothing: a rollback is the next table, without the trial.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from modelyard.core.errors import Conflict, InvalidInput
from modelyard.ports.rollout import Rollout
from modelyard.ports.routes import Key, RouteTable, Service, Tenant, Variant


def trial_service(service: Service, champion: Variant, challenger: Variant, rollout: Rollout) -> Service:
    """The service while a rollout is at its current step.

    Raises: Conflict where the rollout is over or a variant is not of the release it tries.
    """
    if rollout.state != "running":
        raise Conflict(f"rollout {rollout.id} is {rollout.state}", expected="a running rollout")
    _check_release("champion", champion, rollout.champion)
    _check_release("challenger", challenger, rollout.challenger)
    step = rollout.plan.steps[rollout.step]
    return msgspec.structs.replace(
        service,
        champion=champion,
        challenger=challenger,
        weight_bp=step.weight_bp if step.kind == "canary" else 0,
        shadow=step.kind == "shadow",
        salt=rollout.salt,
        rollout_id=rollout.id,
    )


def plain_service(service: Service) -> Service:
    """The service without its trial: the champion answers everyone."""
    return msgspec.structs.replace(service, challenger=None, weight_bp=0, shadow=False, salt="", rollout_id="")


def next_table(
    previous: RouteTable | None,
    services: Iterable[Service],
    keys: Iterable[Key],
    now_ms: int,
    tenants: Iterable[Tenant] = (),
) -> RouteTable:
    """The next route table: all of them, one version up. Raises: InvalidInput for a service given twice."""
    ordered = tuple(sorted(services, key=lambda service: service.name))
    twice = [name for name, count in Counter(service.name for service in ordered).items() if count > 1]
    if twice:
        raise InvalidInput(f"service '{twice[0]}' is given twice", expected="one entry for each service")
    return RouteTable(
        version=previous.version + 1 if previous else 1,
        created_ms=now_ms,
        services=ordered,
        keys=tuple(keys),
        tenants=tuple(tenants),
    )


def _check_release(role: str, variant: Variant, release: str) -> None:
    if variant.release != release:
        raise Conflict(f"the {role} variant is of the release {variant.release}", expected=f"the release {release}")
