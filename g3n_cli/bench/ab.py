"""``--ab``: two values of one setting, measured in turn, compared pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from g3n_cli.bench.case import Case
from g3n_cli.bench.metrics import LEAST_PAIRS, Ratio, compute_ratio
from g3n_cli.bench.result import CaseResult, Comparison
from g3n_cli.bench.sample import Sample, decode_tps
from g3n_cli.bench.sweep_text import parse_words
from g3n_cli.bench.table import name_cases
from g3n_cli.errors import UsageError

_TOO_LITTLE = 0.005
"""A difference that may be less is not worth a sentence."""


@dataclass(frozen=True)
class Ab:
    """What is compared.

    Attributes:
        setting: Its name.
        a: One value.
        b: The other.
    """

    setting: str
    a: str
    b: str


@dataclass(frozen=True)
class _Measure:
    """A figure of single repetitions, and how to speak of it."""

    figure: str
    title: str
    pick: Callable[[Sample], float | None]
    words: tuple[str, str]
    is_rate: bool = False


_MEASURES = (
    _Measure("ttft_s", "first token", lambda s: s.ttft_s, ("faster", "slower")),
    _Measure("decode_tps", "decode", decode_tps, ("faster", "slower"), is_rate=True),
    _Measure("encode_s", "encoding", lambda s: s.encode_s, ("faster", "slower")),
    _Measure(
        "peak_rss_bytes",
        "peak memory",
        lambda s: s.peak_rss_bytes,
        ("smaller", "larger"),
    ),
)


def parse_ab(text: str) -> Ab:
    """What ``--ab NAME=A,B`` says.

    Raises:
        UsageError: it is something else.
    """
    name, equals, values = text.partition("=")
    words = parse_words(values, "--ab") if equals else []
    if not name or len(words) != 2 or words[0] == words[1]:
        raise UsageError(
            f"--ab {text!r} is not NAME=A,B with two different values",
            "for example --ab prefill=skip,full",
        )
    return Ab(name.strip().replace("_", "-"), *words)


def check_pairs(repetitions: int) -> None:
    """Refuse a number of pairs that could never show anything.

    Raises:
        UsageError: it is one.
    """
    if repetitions < LEAST_PAIRS:
        raise UsageError(f"--ab needs at least {LEAST_PAIRS} repetitions, not {repetitions}")


def interleave(a: Sequence[Case], b: Sequence[Case]) -> tuple[Case, ...]:
    """Cases of both sides in pairs: forth and back, they run as a b, b a, a b."""
    return tuple(case for pair in zip(a, b, strict=True) for case in pair)


def compare_pairs(ab: Ab, results: Sequence[CaseResult]) -> Iterator[Comparison]:
    """The outcome so far, for each pair of results and each figure that both have.

    Args:
        ab: What differs.
        results: In the order of ``interleave``.
    """
    names = name_cases(results[::2])  # all have one value: it is no part of them
    for name, a, b in zip(names, results[::2], results[1::2], strict=False):
        for measure in _MEASURES:
            pairs = [
                (x, y)
                for one, other in zip(a.samples, b.samples, strict=False)
                if (x := measure.pick(one)) and (y := measure.pick(other))
            ]
            if len(pairs) < LEAST_PAIRS:
                continue
            ratio = compute_ratio([x for x, _ in pairs], [y for _, y in pairs])
            yield Comparison(
                label=name,
                setting=ab.setting,
                a=ab.a,
                b=ab.b,
                figure=measure.figure,
                ratio=ratio.value,
                low=ratio.low,
                high=ratio.high,
                n_pairs=ratio.n_pairs,
                sentence=_say(ab, measure, ratio),
            )


def _say(ab: Ab, measure: _Measure, ratio: Ratio) -> str:
    """``first token: skip is 1.52x faster than full (95 % CI 1.47-1.57, 10 pairs)``."""
    better = ratio.value if measure.is_rate else 1 / ratio.value
    ends = sorted((ratio.low, ratio.high) if measure.is_rate else (1 / ratio.high, 1 / ratio.low))
    word = measure.words[0]
    is_said = ratio.is_shown and min(abs(end - 1) for end in ends) >= _TOO_LITTLE
    if is_said and better < 1:
        better, ends, word = 1 / better, [1 / ends[1], 1 / ends[0]], measure.words[1]
    interval = f"95 % CI {ends[0]:.2f}-{ends[1]:.2f}, {ratio.n_pairs} pairs"
    if is_said:
        return f"{measure.title}: {ab.a} is {better:.2f}x {word} than {ab.b} ({interval})"
    return f"{measure.title}: no difference shown between {ab.a} and {ab.b} ({interval})"
