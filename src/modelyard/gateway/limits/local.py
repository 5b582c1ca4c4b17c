"""Limits within one process: one synchronous step to take, one to settle, so that nothing can come between."""

from collections.abc import Sequence

from modelyard.gateway.limits.refusals import Room, header_block
from modelyard.gateway.limits.subjects import Account, Subject, Subjects


class Grant:
    """Leave to make one request: what it holds until it is settled. Settling it again does nothing."""

    __slots__ = ("_cost", "_day", "_limits", "_minute", "_month", "_subjects", "_tokens", "settled")

    def __init__(self, limits: "LocalLimits", subjects: Sequence[Subject], tokens: int, cost: int) -> None:
        calendar = limits.calendar
        self._limits = limits
        self._subjects = subjects
        self._tokens = tokens
        self._cost = cost
        self._minute = calendar.minute
        self._day = calendar.day
        self._month = calendar.month
        self.settled = False

    def settle(self, tokens: int, cost_nanousd: int) -> None:
        """Give back what was reserved and not used, charge what was used beyond it, end the concurrency.

        What a request cost belongs to the day it was let in. Call in the same step that writes the journal's entry.
        """
        if self.settled:
            return
        self.settled = True
        limits = self._limits
        limits.calendar.look()
        minute = limits.calendar.minute
        is_late = minute != self._minute
        tokens -= self._tokens
        cost = cost_nanousd - self._cost
        spent = limits.spent
        for subject in self._subjects:
            account = subject.account
            account.in_flight -= 1
            if account.minute != minute:
                account.turn(limits.calendar)
            if not is_late:
                account.tokens += tokens
                if subject.has_money:
                    account.day_used += cost
                    account.month_used += cost
                    account.day_spent += cost_nanousd
                    account.month_spent += cost_nanousd
                    spent.add(account)
            else:
                self._settle_late(subject, tokens, cost, cost_nanousd)

    def _settle_late(self, subject: Subject, tokens: int, cost: int, cost_nanousd: int) -> None:
        account = subject.account
        if account.minute == self._minute + 1:
            account.tokens_before += tokens
        elif tokens > 0:
            account.tokens += tokens
        if not subject.has_money:
            return
        self._limits.spent.add(account)
        if account.day == self._day:
            account.day_used += cost
            account.day_spent += cost_nanousd
        if account.month == self._month:
            account.month_used += cost
            account.month_spent += cost_nanousd

    def charge(self, tokens: int, cost_nanousd: int) -> None:
        """Charge what another attempt at the same request used, beside what is reserved, in the step of its entry."""
        self._limits.enter(self._subjects).settle(tokens, cost_nanousd)

    def headers(self) -> bytes:
        """The x-ratelimit headers of the tightest subject, as a response's head holds them."""
        return self._limits.headers(self._subjects)


class LocalLimits:
    """Takes and settles for one event loop. `spent` holds the accounts spent from since the last checkpoint."""

    def __init__(self, subjects: Subjects) -> None:
        self.subjects = subjects
        self.calendar = subjects.calendar
        self.spent: set[Account] = set()

    def take(self, subjects: Sequence[Subject], tokens: int, cost_nanousd: int) -> Grant:
        """Reserve tokens, money and a place for a request with all subjects, or with none.

        Raises: Refusal (429), which leaves no trace in any account.
        """
        calendar = self.calendar
        now = calendar.look()
        minute = calendar.minute
        fading = (calendar.ends_s - now) / 60.0
        # A reservation of nothing passes only where something is left.
        need, money = tokens or 1, cost_nanousd or 1
        for subject in subjects:
            account = subject.account
            if account.minute != minute:
                account.turn(calendar)
            if (
                account.due_s - now > subject.slack_s
                or account.tokens_before * fading + account.tokens + need > subject.tokens
                or account.in_flight >= subject.concurrency
                or account.day_used + money > subject.daily
                or account.month_used + money > subject.monthly
            ):
                raise Room(subjects, calendar, now).refusal(tokens, cost_nanousd)
        for subject in subjects:
            account = subject.account
            due = account.due_s
            account.due_s = (due if due > now else now) + subject.interval_s
            account.tokens += tokens
            account.in_flight += 1
            if subject.has_money:
                account.day_used += cost_nanousd
                account.month_used += cost_nanousd
        return Grant(self, subjects, tokens, cost_nanousd)

    def enter(self, subjects: Sequence[Subject]) -> Grant:
        """Leave without a reservation, whatever the limits say: for what has been used already."""
        self.calendar.look()
        for subject in subjects:
            if subject.account.minute != self.calendar.minute:
                subject.account.turn(self.calendar)
            subject.account.in_flight += 1
        return Grant(self, subjects, 0, 0)

    def headers(self, subjects: Sequence[Subject]) -> bytes:
        """The x-ratelimit headers of the tightest of some subjects, as a response's head holds them."""
        calendar = self.calendar
        now, minute = calendar.look(), calendar.minute
        for subject in subjects:
            if subject.account.minute != minute:
                subject.account.turn(calendar)
        return header_block(subjects, calendar, now)
