"""The record of an attempt, as the journal keeps it."""

from time import monotonic

from modelyard.core.money import tokens_cost
from modelyard.gateway.exchange.attempt import Attempt
from modelyard.ports.interaction import Interaction


def record(attempt: Attempt) -> Interaction:
    """The interaction that an attempt was, now that it is over."""
    call, reader, variant = attempt.call, attempt.reader, attempt.target.variant
    text = reader.text
    prompt_tokens, completion_tokens = attempt.usage()
    price, route = variant.price, call.route
    kept = route.bodies.of(attempt.id, call.said.body, text, ok=attempt.status == 200)
    return Interaction(
        id=attempt.id,
        at_ms=attempt.at_ms,
        service=route.service.name,
        tenant=call.tenant,
        key_id=call.key,
        unit=call.unit_digest,
        release=variant.release,
        role=attempt.role,
        propensity=attempt.choice.propensity,
        table_version=call.table_version,
        rollout_id=attempt.rollout_id,
        shadow_of=attempt.shadow_of,
        stream=call.stream,
        status=attempt.status,
        error=attempt.error,
        finish_reason=reader.finish_reason,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_nanousd=tokens_cost(prompt_tokens, price.input_nanousd)
        + tokens_cost(completion_tokens, price.output_nanousd),
        first_token_ms=round(attempt.first_token_s * 1000, 3),
        latency_ms=round((monotonic() - attempt.started_s) * 1000, 3),
        overhead_us=attempt.overhead_us + round(attempt.busy_s * 1e6),
        request_hash=kept.request_hash,
        answer_hash=kept.answer_hash,
        request=kept.request,
        answer=kept.answer,
        request_id=call.request_id,
        endpoint=call.endpoint,
        reason=attempt.reason,
        replica=attempt.replica.name,
        user=call.user,
        session=call.session,
        trace_id=call.trace_id,
        queued_ms=round(call.queued_s * 1000, 3),
    )
