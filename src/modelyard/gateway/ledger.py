"""Ledger: the one place where an outcome is written down, in the journal and in the metrics."""

from modelyard.gateway.attempt import Attempt
from modelyard.gateway.journal import Journal
from modelyard.gateway.metrics import Metrics
from modelyard.ports.interaction import Feedback


class Ledger:
    """Writes attempts and feedback. Never raises for a journal that cannot be written."""

    def __init__(self, journal: Journal, metrics: Metrics) -> None:
        self.journal = journal
        self.metrics = metrics

    def enter(self, attempt: Attempt) -> None:
        """Record an attempt that is over."""
        interaction = attempt.record()
        self.journal.append(interaction)
        self.metrics.count(interaction, attempt.target.variant.ref)

    def enter_feedback(self, feedback: Feedback) -> None:
        """Record a feedback."""
        self.journal.append(feedback)
        self.metrics.feedback += 1
