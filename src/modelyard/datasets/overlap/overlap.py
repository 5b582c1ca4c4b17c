"""The steps that drop what evaluation suites hold (decontamination) and what other datasets hold (exclusion)."""

import numpy as np

from modelyard.datasets.duplicates.folding import fold, hash128
from modelyard.datasets.duplicates.minhash import band_keys
from modelyard.datasets.duplicates.shingles import Shingles, jaccards
from modelyard.datasets.index import Flags, Hashes
from modelyard.datasets.joining import joined
from modelyard.datasets.outcome import Outcome
from modelyard.datasets.overlap.reference import Reference, near_config
from modelyard.datasets.rows import SYSTEM, Rows
from modelyard.datasets.texts import Ints, Texts


def drop_overlap(rows: Rows, reference: Reference, cause: str) -> Outcome:
    """Rejects rows whose prompt is one of the texts or near one, and rows that share a run of words with one.

    Runs are looked for in all that a row says, the rejected answer of a preference pair too, but for the system's
    turn; they may reach from one turn into the next. The findings count the rows of each kind, by its first sign.
    """
    subjects = fold(rows.subjects())
    same = np.flatnonzero(_held(hash128(subjects)[:, 0], reference.whole)).tolist()
    shared = _shared_runs(rows, reference)
    near = _near(subjects, reference)
    reasons = (
        ("same text", dict.fromkeys(same, f"{cause}: the same text as one of theirs")),
        ("shared words", {row: f"{cause}: {reference.runs.ngram} words in a row are theirs: '{words}'"
                          for row, words in shared.items()}),
        ("near text", {row: f"{cause}: similarity {likeness:.2f} to one of theirs" for row, likeness in near.items()}),
    )  # fmt: skip
    rejected: dict[int, str] = {}
    findings = {}
    for kind, found in reasons:
        num_before = len(rejected)
        rejected = {**found, **rejected}
        if len(rejected) > num_before:
            findings[kind] = len(rejected) - num_before
    return Outcome(rows=rows, rejected=rejected, findings=findings)


def _held(hashes: Hashes, known: Hashes) -> Flags:
    """Which hashes are among the rising known ones."""
    if not len(known):
        return np.zeros(len(hashes), bool)
    found: Flags = known[np.minimum(np.searchsorted(known, hashes), len(known) - 1)] == hashes
    return found


def _shared_runs(rows: Rows, reference: Reference) -> dict[int, str]:
    """The first run of words that a row shares, for rows that share one."""
    if not len(reference.runs.hashes):
        return {}
    told = fold(joined(rows.turns, rows.roles != SYSTEM, rows.bounds))
    begins, ends = reference.runs.first_shared(told)
    return {row: told.data[begins[row] : ends[row]].tobytes().decode() for row in np.flatnonzero(begins >= 0).tolist()}


def _near(subjects: Texts, reference: Reference) -> dict[int, float]:
    """Rows whose text is near one of the reference, with the highest similarity."""
    if reference.threshold is None:
        return {}
    pairs = _meetings(band_keys(subjects, near_config(reference.threshold)), reference)
    if not len(pairs):
        return {}
    rows, numbers = np.unique(pairs[:, 0], return_inverse=True)
    ours = reference.shingles_of(subjects.take(rows))
    both = Shingles(
        np.concatenate([ours.hashes, reference.shingles.hashes]),
        np.concatenate([ours.offsets, reference.shingles.offsets[1:] + ours.offsets[-1]]),
    )
    likeness = jaccards(both, numbers.reshape(-1), pairs[:, 1] + len(rows))
    found: dict[int, float] = {}
    for row, value in zip(pairs[:, 0].tolist(), likeness.tolist(), strict=True):
        if value >= reference.threshold:
            found[row] = max(value, found.get(row, 0.0))
    return found


def _meetings(bands: Hashes, reference: Reference) -> Ints:
    """Pairs of a row and a text of the reference that share a band key. Shape: (pairs, 2)."""
    found = []
    for ours, keys, texts in zip(bands.T, reference.keys, reference.key_text, strict=True):
        low, high = np.searchsorted(keys, ours), np.searchsorted(keys, ours, side="right")
        rows = np.repeat(np.arange(len(ours)), high - low)
        steps = np.arange(len(rows)) - np.repeat(np.cumsum(high - low) - (high - low), high - low)
        found.append(np.stack([rows, texts[np.repeat(low, high - low) + steps]], axis=1))
    return np.unique(np.concatenate(found), axis=0) if found else np.zeros((0, 2), np.int64)
