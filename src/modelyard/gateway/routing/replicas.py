"""Which address of a variant answers: the one that has the prompt's beginning in its cache, else the least loaded.

Rendezvous hashing sends one conversation to one replica and moves only a lost replica's conversations; loads are
bounded, so a beginning that everyone shares spreads instead of drowning its replica (Mirrokni, Thorup, Zadimoghaddam:
Consistent Hashing with Bounded Loads, 2018).
"""

from collections.abc import Collection
from hashlib import blake2b
from math import ceil

from modelyard.gateway.errors import Refusal
from modelyard.gateway.routing.engines import Load
from modelyard.gateway.routing.health import CLOSED, Circuit, Latencies
from modelyard.ports.serving import Breaker

_FACTOR = 1.25
_ALWAYS_ROOM = 4  # an engine batches a few requests at no cost: below this, a warm cache is worth more than evenness
_FEW = 4
_MAX_ORDERS = 512
_MASK = (1 << 64) - 1


def affinity_key(session: str, *prefix: bytes) -> int:
    """What a request sticks to: its session, else the stable beginning of its conversation (system prompt, tools, first
    turn of the user), else nothing (0). The same in every process."""
    if session:
        return int.from_bytes(blake2b(session.encode(), digest_size=8, person=b"session").digest(), "big") | 1
    if not any(prefix):
        return 0
    digest = blake2b(digest_size=8, person=b"prefix")
    for part in prefix:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return int.from_bytes(digest.digest(), "big") | 1


class Replica:
    """One address of one variant of one service. `target` is the request flow's own."""

    __slots__ = ("circuit", "load", "name", "seed", "target", "url")

    def __init__(self, url: str, load: Load, circuit: Circuit) -> None:
        self.url = url
        self.name = load.name
        self.load = load
        self.circuit = circuit
        self.seed = int.from_bytes(blake2b(url.encode(), digest_size=8).digest(), "big")
        self.target: object = None

    def depth(self, now_s: float) -> float:
        """How many requests are there: ours, and those that the engine says are waiting."""
        load = self.load
        if load.fresh_until_s > now_s and load.waiting > 0:
            return load.in_flight + load.waiting
        return load.in_flight


class Replicas:
    """The addresses of one variant. `pick` and `finish` come in pairs."""

    __slots__ = ("_only", "_orders", "_turn", "all", "breaker", "latencies", "several")

    def __init__(self, replicas: Collection[Replica], breaker: Breaker, latencies: Latencies) -> None:
        self.all = tuple(replicas)
        self.breaker = breaker
        self.latencies = latencies
        self.several = len(self.all) > 1
        self._only = None if self.several else self.all[0]
        self._orders: dict[int, tuple[Replica, ...]] = {}
        self._turn = 0

    def pick(self, key: int, now_s: float, tried: Collection[Replica] = ()) -> Replica | None:
        """The replica that this request goes to, counted as in flight there; None where all are left alone.

        `key` is an `affinity_key`, of use only where there are `several`. Those `tried` before come last.
        """
        replica = self._only
        if replica is not None:
            blocked_s = replica.circuit.blocked_until_s
            if blocked_s:
                if blocked_s > now_s:
                    return None
                replica.circuit.try_again(now_s)
        else:
            replica = self._pick_of_several(key, now_s, tried)
            if replica is None:
                return None
        replica.load.in_flight += 1
        return replica

    def finish(
        self,
        replica: Replica,
        status: int,
        *,
        started_s: float,
        now_s: float,
        first_token_s: float = 0.0,
        retry_after_s: float = 0.0,
    ) -> None:
        """Take an answer's end in, however it came.

        `status` is the engine's, that of the `UpstreamFailed` (a cut in the middle of a stream included), or 499 where
        the caller left. `started_s` is the moment it was picked. `first_token_s` is the seconds to the first piece of
        a stream, 0 for a whole answer.
        """
        replica.load.in_flight -= 1
        if first_token_s > 0:
            self.latencies.observe(first_token_s, now_s)
        circuit = replica.circuit
        if circuit.note(status, self.breaker, started_s=started_s, now_s=now_s, retry_after_s=retry_after_s):
            self._eject(circuit, now_s)

    def answering(self, replica: Replica, *, started_s: float, now_s: float) -> None:
        """Take in that a good answer has begun, so that a replica on trial need not wait for a long stream's end."""
        if replica.circuit.blocked_until_s:
            replica.circuit.note_first(started_s=started_s, now_s=now_s)

    def available(self, now_s: float) -> bool:
        """Whether any replica would be picked."""
        return any(replica.circuit.blocked_until_s <= now_s for replica in self.all)

    def refusal(self, now_s: float) -> Refusal:
        """What the caller is told where every replica is left alone and nothing else can answer."""
        seconds = max(1, ceil(self.retry_after_s(now_s)))
        message = f"The engines behind this service failed and are left alone. Try again in {seconds} s."
        return Refusal(503, "upstream_unavailable", message, headers=((b"retry-after", b"%d" % seconds),))

    def retry_after_s(self, now_s: float) -> float:
        """Seconds until the first replica may be tried again."""
        return max(0.0, min(replica.circuit.blocked_until_s for replica in self.all) - now_s)

    def _pick_of_several(self, key: int, now_s: float, tried: Collection[Replica]) -> Replica | None:
        order = (self._orders.get(key) or self._order(key)) if key else self.all
        nearest = order[0]
        if key and not nearest.circuit.blocked_until_s and not tried and nearest.depth(now_s) < _ALWAYS_ROOM:
            return nearest
        open_to = [replica for replica in order if replica.circuit.blocked_until_s <= now_s]
        if tried:
            open_to = [replica for replica in open_to if replica not in tried] or open_to
        if not open_to:
            return None
        replica = _first_with_room(open_to, now_s) if key else self._least_loaded(open_to, now_s)
        if replica.circuit.blocked_until_s:
            replica.circuit.try_again(now_s)
        return replica

    def _order(self, key: int) -> tuple[Replica, ...]:
        """The replicas, nearest first; kept, as a conversation comes back."""
        if len(self._orders) >= _MAX_ORDERS:
            self._orders.clear()
        order = tuple(sorted(self.all, key=lambda replica: _score(key, replica.seed), reverse=True))
        self._orders[key] = order
        return order

    def _least_loaded(self, open_to: list[Replica], now_s: float) -> Replica:
        """The least loaded; of many, the better of two: as good in effect, and free of herding between gateways."""
        self._turn = turn = (self._turn * 6364136223846793005 + 1442695040888963407) & _MASK
        count = len(open_to)
        if count <= _FEW:
            # Begin anywhere, so that equals share.
            start = (turn >> 33) % count
            return min(open_to[start:] + open_to[:start], key=lambda replica: replica.depth(now_s))
        first, other = (turn >> 33) % count, (turn >> 45) % (count - 1)
        one, two = open_to[first], open_to[other + (other >= first)]
        return one if one.depth(now_s) <= two.depth(now_s) else two

    def _eject(self, circuit: Circuit, now_s: float) -> None:
        """Leave an outlier alone, unless too many already are."""
        ejected = sum(replica.circuit.ejected and replica.circuit.state != CLOSED for replica in self.all)
        if ejected + 1 <= self.breaker.max_ejected_share * len(self.all):
            circuit.open(self.breaker, now_s, ejected=True)


def _first_with_room(order: list[Replica], now_s: float) -> Replica:
    depths = [replica.depth(now_s) for replica in order]
    bound = max(_ALWAYS_ROOM, _FACTOR * (sum(depths) + 1) / len(order))
    for replica, depth in zip(order, depths, strict=True):
        if depth + 1 <= bound:
            return replica
    return order[depths.index(min(depths))]


def _score(key: int, seed: int) -> int:
    """A number that any pair of key and replica has to itself (the end of MurmurHash3)."""
    mixed = key ^ seed
    mixed = (mixed ^ (mixed >> 33)) * 0xFF51AFD7ED558CCD & _MASK
    mixed = (mixed ^ (mixed >> 33)) * 0xC4CEB9FE1A85EC53 & _MASK
    return mixed ^ (mixed >> 33)
