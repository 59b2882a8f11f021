import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g3n_cli.bench.metrics import (
    PERCENTILES,
    compute_ratio,
    median,
    percentile,
    rate,
    spread,
)

TIMES = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40)


@given(TIMES, st.sampled_from((0, 100, *PERCENTILES)))
def test_percentiles_are_numpys(values, percent):
    assert percentile(values, percent) == pytest.approx(np.percentile(values, percent), rel=1e-9)


@given(TIMES)
def test_the_median_does_not_depend_on_the_order(values):
    assert median(values) == median(values[::-1]) == pytest.approx(np.median(values))


def test_nothing_measured_gives_no_figure():
    assert (
        median([]) is percentile([], 99) is rate(0, 1.0) is rate(5, None) is spread([3.0]) is None
    )


def test_a_rate_is_tokens_by_seconds():
    assert rate(512, 4.0) == 128


def test_spread_is_the_range_over_the_median():
    assert spread([0.9, 1.0, 1.2]) == pytest.approx(0.3)


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=5, max_size=9))
@settings(max_examples=15, deadline=None)
def test_a_ratio_turned_round_is_its_inverse(pairs):
    a, b = zip(*pairs, strict=True)
    there, back = compute_ratio(a, b), compute_ratio(b, a)
    assert there.value == pytest.approx(1 / back.value)
    assert there.low <= there.value * (1 + 1e-9)
    assert there.high >= there.value * (1 - 1e-9)


def test_pairs_that_all_agree_leave_no_doubt():
    ratio = compute_ratio([3.0, 6.0, 9.0, 1.5, 2.4], [2.0, 4.0, 6.0, 1.0, 1.6])
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((1.5, 1.5, 1.5))
    assert ratio.is_shown


def test_drift_that_hits_both_of_a_pair_does_not_count():
    slower = [1.0, 1.3, 1.7, 2.2, 2.9, 3.7]
    ratio = compute_ratio([1.1 * t for t in slower], slower)
    assert ratio.low == pytest.approx(1.1)


def test_equal_samples_give_equal_answers():
    rng = random.Random(1)
    a, b = ([rng.uniform(1, 2) for _ in range(8)] for _ in range(2))
    assert compute_ratio(a, b) == compute_ratio(a, b)


@pytest.mark.parametrize("n_pairs", [5, 10, 30])
def test_the_interval_holds_the_true_ratio_in_95_of_100_cases(n_pairs):
    rng, n_trials = random.Random(n_pairs), 300
    hits = 0
    for trial in range(n_trials):
        a = [1.2 * math.exp(rng.gauss(0, 0.08)) for _ in range(n_pairs)]
        b = [math.exp(rng.gauss(0, 0.08)) for _ in range(n_pairs)]
        ratio = compute_ratio(a, b, seed=trial)
        hits += ratio.low <= 1.2 <= ratio.high
    # Three standard deviations of 300 trials are 4 %; of 5 pairs the extremes cover 94 % at most.
    assert (0.89 if n_pairs == 5 else 0.91) <= hits / n_trials <= 0.99
