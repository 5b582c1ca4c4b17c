"""Why an interaction is not collected, in phrases that can be counted, and what can be done about it."""

# The step before the reading of collected rows. What it passes over was never taken, so no quarantine holds it.
COLLECTING = "collecting"

NO_CONSENT = "no consent of the tenant"
OTHER_RELEASE = "another release"
NO_TEXT = "no text recorded"
FAILED = "failed"
CUT = "cut short"
NO_ANSWER = "no text in the answer"
NOT_KEPT = "the right answer was not kept"
NOT_CORRECTED = "no right answer given"
WRONG = "known to be wrong"
NO_SCORE = "no score"
LOW_SCORE = "score too low"
NO_CHAT = "no chat"
NOT_SAMPLED = "not sampled"
OVER_UNIT = "over max_per_unit"
OVER_ROWS = "over max_rows"

FIXES = {
    NO_CONSENT: "name the tenants that agreed under `collect.tenants`",
    OTHER_RELEASE: "name the releases that answered under `collect.releases`, or leave it out",
    NO_TEXT: "set `record: full` for the service in the project file; texts are kept from then on",
    NOT_KEPT: "set `record: full` for every service; right answers are kept as texts from then on",
    NOT_CORRECTED: "send right answers as `expected` to /v1/feedback, or set `collect.answers: any`",
    NO_SCORE: "send scores to /v1/feedback, or name the metric that is scored under `collect.feedback.metric`",
    LOW_SCORE: "lower `collect.feedback.at_least`",
    NOT_SAMPLED: "raise `collect.sample`",
}


class PassedOver(Exception):
    """An interaction is not collected. The text says why, in a phrase that can be counted."""
