"""Ledger: the one place where an outcome is written down, in the journal and in the metrics."""

from modelyard.gateway.exchange.attempt import Attempt
from modelyard.gateway.recording.journal import Journal
from modelyard.gateway.recording.metrics import Metrics
from modelyard.gateway.recording.record import record
from modelyard.ports.interaction import Feedback, Interaction


class Ledger:
    """Writes attempts and feedback. Never raises for a journal that cannot be written."""

    def __init__(self, journal: Journal, metrics: Metrics) -> None:
        self.journal = journal
        self.metrics = metrics

    def enter(self, attempt: Attempt) -> Interaction:
        """Record an attempt that is over."""
        entry = record(attempt)
        self.enter_entry(entry, attempt.target.variant.ref)
        return entry

    def enter_entry(self, entry: Interaction, ref: str) -> None:
        """Record an interaction."""
        self.journal.append(entry)
        self.metrics.count(entry, ref)

    def enter_feedback(self, feedback: Feedback) -> None:
        """Record a feedback."""
        self.journal.append(feedback)
        self.metrics.feedback += 1
