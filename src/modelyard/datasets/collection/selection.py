"""Which of the interactions that may be collected are: a sample, so many of each unit, so many in all.

Each interaction has a rank, a hash of its id. A sample takes the lowest ranks, and so do both limits: a larger sample
holds the smaller one, and which rows are taken does not depend on when they came.
"""

import hashlib
from array import array

import numpy as np
import numpy.typing as npt

from modelyard.datasets.collection.config import CollectConfig
from modelyard.datasets.collection.reasons import NOT_SAMPLED, OVER_ROWS, OVER_UNIT, PassedOver
from modelyard.ports.interaction import Interaction

_FULL = 2**64
Ranks = npt.NDArray[np.uint64]


class Selection:
    """The limits of a configuration. Interactions are first entered, then, once all are, checked again in any order.

    Holds 16 bytes an interaction, and nothing where there are no limits.
    """

    def __init__(self, config: CollectConfig) -> None:
        self._config = config
        self._is_limited = config.max_per_unit is not None or config.max_rows is not None
        self._units = array("Q")
        self._ranks = array("Q")
        self._in_units: Ranks | None = None
        self._last = _FULL

    def enter(self, given: Interaction) -> None:
        """Take note of an interaction that may be collected. Raises: PassedOver where it is not in the sample."""
        rank = self._sampled(given)
        if self._is_limited:
            self._units.append(_hash("", given.unit))
            self._ranks.append(rank)

    def close(self) -> dict[str, int]:
        """Apply the limits; how many go by each of them."""
        if not self._is_limited:
            return {}
        units, ranks = (np.frombuffer(values, np.uint64) for values in (self._units, self._ranks))
        self._in_units = np.sort(_lowest_of_each(units, ranks, self._config.max_per_unit))
        num_in_units = len(self._in_units)
        most = num_in_units if self._config.max_rows is None else min(self._config.max_rows, num_in_units)
        self._last = int(self._in_units[most - 1]) if most else 0
        return {OVER_UNIT: len(ranks) - num_in_units, OVER_ROWS: num_in_units - most}

    def check(self, given: Interaction) -> None:
        """Raises: PassedOver where an interaction is not selected. Under limits one that was not entered never is."""
        rank = self._sampled(given)
        if self._in_units is None:
            return
        place = int(np.searchsorted(self._in_units, np.uint64(rank)))
        if place == len(self._in_units) or int(self._in_units[place]) != rank:
            raise PassedOver(OVER_ROWS if self._config.max_per_unit is None else OVER_UNIT)
        if rank > self._last:
            raise PassedOver(OVER_ROWS)

    def _sampled(self, given: Interaction) -> int:
        rank = _hash(self._config.salt, given.id)
        if rank >= self._config.sample * _FULL:
            raise PassedOver(NOT_SAMPLED)
        return rank


def _hash(salt: str, text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{salt}\x00{text}".encode()).digest()[:8], "big")


def _lowest_of_each(units: Ranks, ranks: Ranks, most: int | None) -> Ranks:
    """The lowest ranks of each unit, at most so many. Shapes: (interactions,) in, (kept,) out."""
    if most is None:
        return ranks
    order = np.lexsort((ranks, units))
    sorted_units = units[order]
    begins = np.searchsorted(sorted_units, sorted_units, side="left")
    return ranks[order[np.arange(len(order)) - begins < most]]
