"""Figures as pure functions of recorded samples; docs/bench.md says the same in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

PERCENTILES = (50, 90, 95, 99)
LEAST_PAIRS = 5
"""Fewer pairs cannot carry a 95 % interval: even from the least to the largest is too narrow."""

_N_RESAMPLES = 4000


def median(values: Sequence[float]) -> float | None:
    """The middle value, or the mean of the middle two; None of nothing."""
    return percentile(values, 50)


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Value below which ``percent`` of the values lie; None of nothing.

    Between two values it is interpolated. **Source**: numpy's method "linear", which is Hyndman and
    Fan's definition 7.
    """
    if not values:
        return None
    ordered = sorted(values)
    at = (len(ordered) - 1) * percent / 100
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def rate(amount: float, seconds: float | None) -> float | None:
    """Tokens, or seconds of sound, per second; None where nothing was computed or timed."""
    return amount / seconds if seconds and amount else None


def spread(values: Sequence[float]) -> float | None:
    """(largest - least) / median; None of fewer than two values."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle and len(values) > 1 else None


@dataclass(frozen=True)
class Ratio:
    """How one side compares with the other, with a 95 % confidence interval.

    Attributes:
        value: Geometric mean of the ratios of the pairs.
        low: Lower end of the interval.
        high: Upper end.
        n_pairs: How many there are.
    """

    value: float
    low: float
    high: float
    n_pairs: int

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves 1 out."""
        return not self.low <= 1 <= self.high


def compute_ratio(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Ratio:
    """``a / b`` of paired samples, all above 0.

    The interval is that of the bootstrap over the pairs' log ratios, with the percentiles moved
    outward as few samples need it. **Source**: Hesterberg 2014, "What Teachers Should Know About
    the Bootstrap", the expanded percentile interval.

    Args:
        a: One side.
        b: The other, in the same order.
        seed: Of the resampling: equal arguments give equal answers.
    """
    n = len(a)
    assert n >= LEAST_PAIRS
    logs = np.log(np.asarray(a) / np.asarray(b))
    drawn = np.random.default_rng(seed).integers(0, n, (_N_RESAMPLES, n))
    means = logs[drawn].mean(axis=1)
    outward = math.sqrt(n / (n - 1)) * _student_quantile(0.975, n - 1)
    tail = 100 * NormalDist().cdf(-outward)
    low, high = np.exp(np.percentile(means, [tail, 100 - tail])).tolist()
    return Ratio(math.exp(logs.mean()), low, high, n)


def _student_quantile(p: float, freedom: int) -> float:
    """Quantile of Student's t. **Source**: Abramowitz and Stegun 26.7.5."""
    x: float = NormalDist().inv_cdf(p)
    terms: tuple[float, ...] = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return x + math.fsum(term / freedom ** (i + 1) for i, term in enumerate(terms))
