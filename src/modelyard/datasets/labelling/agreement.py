"""How far people agree beyond chance, with intervals. Knows nothing about files or tasks' texts.

Answers come as codes: shape (tasks, people), the place of a label in a list, -1 where somebody did not answer. Each
measure is computed for many samples of tasks at once: `weights` (samples, tasks) says how often a task is in a sample.

Free texts are labels too, nearly as many as there are answers: nothing here has the shape (tasks, labels).
"""

import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Measure = Callable[[Codes, Floats], Floats]
MISSING = -1
_CHUNK = 64


def raw_agreement(codes: Codes, weights: Floats) -> Floats:
    """The share of pairs of answers to a task that are the same, averaged over tasks with two answers or more.

    Shape: (samples,). NaN where no task has two answers. Source: Fleiss (1971), equation 2, with each task's own number
    of answers.
    """
    codes, given, weights = _shared(codes, weights)
    same = _same_pairs(codes) / (given * (given - 1))
    return _divided(weights @ same, weights.sum(axis=1))


def cohen_kappa(codes: Codes, weights: Floats) -> Floats:
    """Cohen's kappa of two people, over the tasks that both answered.

    Shapes: codes (tasks, 2), result (samples,). NaN where it is undefined: no task, or one label alone.
    Source: Cohen (1960), A coefficient of agreement for nominal scales.
    """
    both = (codes != MISSING).all(axis=1)
    codes, weights = codes[both], weights[:, both]
    total = weights.sum(axis=1)
    observed = _divided(weights @ (codes[:, 0] == codes[:, 1]), total)
    # A label that one of the two never gave adds nothing.
    common = [np.isin(codes[:, person], codes[:, 1 - person]) for person in (0, 1)]
    first, second = (_times_given(codes[kept, person], weights[:, kept]) for person, kept in enumerate(common))
    by_chance = _divided((first * second).sum(axis=1), total**2)
    return _beyond_chance(observed, by_chance)


def fleiss_kappa(codes: Codes, weights: Floats) -> Floats:
    """Fleiss' kappa, for tasks that have the same number of answers each.

    Shape: (samples,). NaN where it is undefined: numbers that differ, fewer than two answers, or one label alone.
    Source: Fleiss (1971), Measuring nominal scale agreement among many raters.
    """
    given = num_given(codes)
    sizes = np.unique(given[given > 0])
    if len(sizes) != 1 or sizes[0] < 2:
        return np.full(len(weights), np.nan)
    codes, _, weights = _shared(codes, weights)
    shares = _divided(_margins(codes, weights), (weights.sum(axis=1) * sizes[0])[:, None])
    return _beyond_chance(raw_agreement(codes, weights), (shares**2).sum(axis=1))


def krippendorff_alpha(codes: Codes, weights: Floats) -> Floats:
    """Krippendorff's alpha for labels without an order; answers may be missing, tasks with a single one do not count.

    Shape: (samples,). NaN where it is undefined: no two answers to a task, or one label alone.
    Source: Krippendorff (2011), Computing Krippendorff's alpha-reliability, section C.
    """
    # 1 - (n - 1) (n - diagonal of the coincidences) / (n^2 - sum of the squared margins)
    codes, given, weights = _shared(codes, weights)
    same = weights @ (_same_pairs(codes) / (given - 1))
    margins = _margins(codes, weights)
    total = margins.sum(axis=1)
    by_chance = total**2 - (margins**2).sum(axis=1)
    by_chance[np.isclose(by_chance, 0)] = 0
    return 1 - _divided((total - 1) * (total - same), by_chance)


def label_alpha(codes: Codes, label: int) -> float:
    """Krippendorff's alpha of one label against all others together. NaN where it is undefined."""
    return measured(krippendorff_alpha, np.where(codes == MISSING, MISSING, codes == label))


def specific_agreement(codes: Codes, label: int) -> float:
    """Of the answers that gave a label, the share that another answer to the same task repeats, averaged over the
    others. NaN where nobody gave it to a shared task.

    Source: Cicchetti and Feinstein (1990), High agreement but low kappa II, with more than two people.
    """
    codes, given, _ = _shared(codes, np.ones((1, len(codes))))
    mine, others = (codes == label).sum(axis=1), given - 1
    return float(_divided((mine * (mine - 1) / others).sum(), mine.sum()))


def confusions(codes: Codes) -> dict[tuple[int, int], int]:
    """How many pairs of answers to one task gave two labels, of labels that differ in any; lower codes first."""
    seen: Counter[tuple[int, int]] = Counter()
    for a, b in itertools.combinations(range(codes.shape[1]), 2):
        both = codes[:, [a, b]]
        pairs = np.sort(both[(both != MISSING).all(axis=1) & (both[:, 0] != both[:, 1])], axis=1)
        seen.update((one, other) for one, other in pairs.tolist())
    return dict(sorted(seen.items()))


def measured(measure: Measure, codes: Codes) -> float:
    """A measure on all tasks."""
    return float(measure(codes, np.ones((1, len(codes))))[0])


def interval(measure: Measure, codes: Codes, *, seed: int, num_samples: int = 1000) -> tuple[float, float]:
    """The 95% percentile interval of a measure over samples of tasks, drawn with replacement. NaN where most of the
    samples leave it undefined.

    Source: Efron and Tibshirani (1993), An introduction to the bootstrap, section 13.3.
    """
    num_tasks = len(codes)
    if not num_tasks:
        return np.nan, np.nan
    # Tasks with the same answers are alike to every measure, and far fewer than tasks.
    patterns, times = np.unique(codes, axis=0, return_counts=True)
    draw = np.random.default_rng(seed)
    found = []
    for begin in range(0, num_samples, _CHUNK):
        size = min(_CHUNK, num_samples - begin)
        weights = draw.multinomial(num_tasks, times / num_tasks, size=size)
        found.append(measure(patterns, weights.astype(np.float64)))
    values = np.concatenate(found)
    values = values[~np.isnan(values)]
    if len(values) * 2 < num_samples:
        return np.nan, np.nan
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def num_given(codes: Codes) -> Codes:
    """How many answers each task has. Shape: (tasks,)."""
    given: Codes = (codes != MISSING).sum(axis=1)
    return given


def _shared(codes: Codes, weights: Floats) -> tuple[Codes, Codes, Floats]:
    """The tasks with two answers or more, how many each has, and their weights."""
    given = num_given(codes)
    shared = given >= 2
    return codes[shared], given[shared], weights[:, shared]


def _same_pairs(codes: Codes) -> Codes:
    """How many ordered pairs of answers to each task are the same. Shape: (tasks,)."""
    same = np.zeros(len(codes), np.int64)
    for a, b in itertools.combinations(range(codes.shape[1]), 2):
        same += 2 * ((codes[:, a] == codes[:, b]) & (codes[:, a] != MISSING))
    return same


def _margins(codes: Codes, weights: Floats) -> Floats:
    """How often each label that comes was given. Shape: (samples, labels)."""
    tasks, people = np.nonzero(codes != MISSING)
    return _times_given(codes[tasks, people], weights[:, tasks])


def _times_given(labels: Codes, weights: Floats) -> Floats:
    """How often each label comes, in the order of codes. Shapes: labels (answers,), weights (samples, answers)."""
    order = np.argsort(labels, kind="stable")
    begins = np.flatnonzero(np.diff(labels[order], prepend=MISSING))
    if not len(begins):
        return np.zeros((len(weights), 0))
    times: Floats = np.add.reduceat(weights[:, order], begins, axis=1)
    return times


def _beyond_chance(observed: Floats, by_chance: Floats) -> Floats:
    room = 1 - by_chance
    room[np.isclose(room, 0)] = 0
    return _divided(observed - by_chance, room)


def _divided(above: Floats, below: Floats) -> Floats:
    """NaN where it is divided by 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below == 0, np.nan, above / below)
