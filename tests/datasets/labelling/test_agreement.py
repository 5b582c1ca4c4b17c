"""Agreement against published worked examples, and what must hold for any answers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.datasets.labelling.agreement import (
    MISSING,
    Codes,
    Measure,
    cohen_kappa,
    confusions,
    fleiss_kappa,
    interval,
    krippendorff_alpha,
    label_alpha,
    measured,
    raw_agreement,
    specific_agreement,
)

# Cohen (1960): two clinicians, 200 patients; rows the first, columns the second.
COHEN = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
# Fleiss (1971), table 1: how many of six psychiatrists gave each of five diagnoses to each of 30 patients.
FLEISS = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031
00501 30012 51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""
# The worked example of "Fleiss' kappa" in Wikipedia: ten subjects, fourteen raters, five categories.
FOURTEEN_RATERS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip
# Krippendorff (2011), section C: four observers, twelve units, some unanswered.
KRIPPENDORFF = ["1233214 12...", "12332241 25.3", ".333234 2251.", "12332441 251."]


def of_counts(counts: list[list[int]]) -> Codes:
    """Answers that give these counts of each label. Shape: (tasks, people)."""
    return np.array([np.repeat(np.arange(len(row)), row) for row in counts], np.int64)


def of_table(table: list[list[int]]) -> Codes:
    """Answers of two people that give this table."""
    return np.array(
        [(a, b) for a, row in enumerate(table) for b, number in enumerate(row) for _ in range(number)], np.int64
    )


def of_lines(lines: list[str]) -> Codes:
    """Answers from a line a person."""
    rows = [[MISSING if sign == "." else int(sign) - 1 for sign in line.replace(" ", "")] for line in lines]
    return np.array(rows, np.int64).T


def test_cohen_1960() -> None:
    codes = of_table(COHEN)
    assert measured(raw_agreement, codes) == pytest.approx(0.70)
    assert measured(cohen_kappa, codes) == pytest.approx(0.492, abs=5e-4)


def test_fleiss_1971() -> None:
    codes = of_counts([[int(number) for number in patient] for patient in FLEISS.split()])
    assert measured(raw_agreement, codes) == pytest.approx(0.556, abs=5e-4)
    assert measured(fleiss_kappa, codes) == pytest.approx(0.430, abs=5e-4)
    # The package irr of R on the same table.
    assert measured(fleiss_kappa, codes) == pytest.approx(0.4302445, abs=1e-7)


def test_fourteen_raters() -> None:
    assert measured(fleiss_kappa, of_counts(FOURTEEN_RATERS)) == pytest.approx(0.2099, abs=5e-5)


def test_krippendorff_2011() -> None:
    assert measured(krippendorff_alpha, of_lines(KRIPPENDORFF)) == pytest.approx(0.743, abs=5e-4)


def test_cohens_interval_is_near_the_one_by_its_standard_error() -> None:
    # Cohen (1960), equation 9: the standard error of kappa.
    codes = of_table(COHEN)
    by_chance = (120 * 100 + 60 * 60 + 20 * 40) / 200**2
    error = math.sqrt(0.7 * 0.3 / (200 * (1 - by_chance) ** 2))
    low, high = interval(cohen_kappa, codes, seed=1, num_samples=2000)
    assert low == pytest.approx(0.4915 - 1.96 * error, abs=0.02)
    assert high == pytest.approx(0.4915 + 1.96 * error, abs=0.02)


def test_an_interval_is_the_same_for_the_same_seed() -> None:
    codes = of_table(COHEN)
    assert interval(cohen_kappa, codes, seed=3) == interval(cohen_kappa, codes, seed=3)
    assert interval(cohen_kappa, codes, seed=3) != interval(cohen_kappa, codes, seed=4)


def test_specific_agreement_and_confusions_by_hand() -> None:
    codes = of_table(COHEN)
    assert specific_agreement(codes, 0) == pytest.approx(2 * 88 / (120 + 100))
    assert confusions(codes) == {(0, 1): 24, (0, 2): 20, (1, 2): 16}
    assert confusions(np.array([[2, 1, 1], [1, MISSING, 1], [MISSING, 3, 1]])) == {(1, 2): 2, (1, 3): 1}


def test_free_texts_that_nobody_repeats_need_no_table_of_tasks_and_labels() -> None:
    # 40,000 labels: a table over tasks or over labels would take gigabytes.
    codes = np.arange(40_000).reshape(-1, 2)
    assert measured(raw_agreement, codes) == 0
    assert measured(cohen_kappa, codes) == 0
    assert measured(krippendorff_alpha, codes) == pytest.approx(0, abs=1e-4)
    assert len(confusions(codes)) == 20_000


@pytest.mark.parametrize("measure", [cohen_kappa, fleiss_kappa, krippendorff_alpha])
def test_one_label_alone_and_no_shared_task_are_undefined(measure: Measure) -> None:
    assert math.isnan(measured(measure, np.zeros((5, 2), np.int64)))
    assert math.isnan(measured(measure, np.array([[0, MISSING], [MISSING, 1]])))
    assert all(math.isnan(bound) for bound in interval(measure, np.array([[0, MISSING], [MISSING, 1]]), seed=0))
    assert all(math.isnan(bound) for bound in interval(measure, np.zeros((0, 2), np.int64), seed=0))


def test_fleiss_wants_the_same_number_of_answers() -> None:
    assert math.isnan(measured(fleiss_kappa, np.array([[0, 1, 1], [0, 1, MISSING]])))


answers = st.integers(2, 4).flatmap(
    lambda people: st.lists(
        st.lists(st.integers(MISSING, 3), min_size=people, max_size=people), min_size=1, max_size=12
    ).map(lambda rows: np.array(rows, np.int64))
)
ALL = {"raw": raw_agreement, "fleiss": fleiss_kappa, "alpha": krippendorff_alpha}


@settings(deadline=None)
@given(answers, st.permutations(range(4)), st.randoms())
def test_names_of_labels_order_of_tasks_and_people_do_not_matter(
    codes: Codes, names: list[int], chance: object
) -> None:
    renamed = np.array([*names, MISSING])[codes]
    order = np.random.default_rng(len(codes)).permutation(len(codes))
    moved = renamed[order][:, ::-1]
    for measure in ALL.values():
        assert measured(measure, moved) == pytest.approx(measured(measure, codes), nan_ok=True)


@settings(deadline=None)
@given(answers)
def test_agreement_is_at_most_one_and_one_only_where_all_agree(codes: Codes) -> None:
    is_unanimous = all(len(set(row[row != MISSING])) <= 1 for row in codes)
    for measure in ALL.values():
        value = measured(measure, codes)
        if not math.isnan(value):
            assert value <= 1 + 1e-12
            assert math.isclose(value, 1) == is_unanimous


@settings(deadline=None)
@given(answers)
def test_weights_are_the_same_as_tasks_repeated(codes: Codes) -> None:
    weights = np.arange(len(codes)) % 3
    repeated = np.repeat(codes, weights, axis=0)
    for measure in (*ALL.values(), cohen_kappa):
        both = codes if measure is not cohen_kappa else codes[:, :2]
        again = repeated if measure is not cohen_kappa else repeated[:, :2]
        weighted = float(measure(both, weights[None].astype(np.float64))[0])
        if measure is fleiss_kappa and math.isnan(weighted):
            continue  # a task that is left out may be the one whose number of answers differs
        assert weighted == pytest.approx(measured(measure, again), nan_ok=True)


@settings(deadline=None)
@given(answers)
def test_two_labels_have_the_alpha_of_all(codes: Codes) -> None:
    two = np.where(codes > 1, 1, codes)
    for label in (0, 1):
        assert label_alpha(two, label) == pytest.approx(measured(krippendorff_alpha, two), nan_ok=True)


def test_a_label_that_nobody_gave_is_undefined() -> None:
    codes = np.array([[0, 0], [0, 1]])
    assert math.isnan(specific_agreement(codes, 5))
    assert math.isnan(label_alpha(codes, 5))
