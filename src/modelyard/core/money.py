"""Money: whole nano-dollars, so that sums are exact."""

import re
from decimal import ROUND_HALF_UP, Decimal

from modelyard.core.errors import InvalidInput

NANO = 1_000_000_000


def nanousd(dollars: Decimal | int | str) -> int:
    """Dollars as nano-dollars, half a nano rounded up. Floats are refused by the type: write the price as text."""
    return int((Decimal(dollars) * NANO).to_integral_value(ROUND_HALF_UP))


def parse_usd(text: str) -> int:
    """Dollars as a person writes them (`12.50`), as nano-dollars. Raises: InvalidInput."""
    if not re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text):
        raise InvalidInput(f"'{text}' is no amount of dollars", expected="digits alone, such as 20 or 0.50")
    return nanousd(text)


def seconds_cost(seconds: float, nanousd_per_hour: int) -> int:
    """What some seconds of a device cost, in nano-dollars."""
    return int((Decimal(repr(seconds)) * nanousd_per_hour / 3600).to_integral_value(ROUND_HALF_UP))


def tokens_cost(num_tokens: int, nanousd_per_million: int) -> int:
    """What some tokens cost, in nano-dollars, rounded up so that no use is free by rounding."""
    return -(-num_tokens * nanousd_per_million // 1_000_000)


def format_usd(amount_nanousd: int) -> str:
    """Nano-dollars for people: `$0.00123`."""
    text = f"{Decimal(amount_nanousd) / NANO:.9f}".rstrip("0")
    whole, _, fraction = text.partition(".")
    return f"${whole}.{fraction.ljust(2, '0')}"
