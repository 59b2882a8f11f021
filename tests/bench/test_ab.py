from dataclasses import replace
from pathlib import Path

import pytest

from g3n_cli.bench.ab import check_pairs, compare_pairs, interleave, parse_ab
from g3n_cli.bench.case import BenchModel, Case
from g3n_cli.errors import UsageError
from tests.bench.samples import make_result, make_sample

AB = parse_ab("prefill=skip,full")
NOISE = (1.00, 1.01, 0.99, 1.02, 0.98, 1.005)


def compare(*, ttft=1.0, gap=1.0, memory=1.0):
    """Sentences about two sides whose figures have these ratios, b / a."""
    a = [make_sample(0.5 * x, (0.1 * x,)) for x in NOISE]
    b = [make_sample(0.5 * ttft * x, (0.1 * gap * x,)) for x in reversed(NOISE)]
    b = [replace(s, peak_load_rss_bytes=round(s.peak_load_rss_bytes * memory)) for s in b]
    found = list(compare_pairs(AB, [make_result(*a), make_result(*b)]))
    return {each.figure: each for each in found}


def test_the_faster_side_is_named():
    found = compare(ttft=1.5)["ttft_s"]
    assert found.ratio == pytest.approx(1 / 1.5, rel=0.02)
    assert found.low < found.ratio < found.high
    assert found.sentence.startswith("first token: skip is 1.50x faster than full (95 % CI 1.4")
    assert found.sentence.endswith(", 6 pairs)")


def test_the_slower_side_is_named():
    found = compare(gap=0.5)["decode_tps"]
    assert found.ratio == pytest.approx(0.5, rel=0.02)
    assert found.sentence.startswith("decode: skip is 2.00x slower than full (95 % CI 1.9")


def test_memory_is_larger_or_smaller():
    assert "skip is 2.00x smaller than full" in compare(memory=2.0)["peak_rss_bytes"].sentence


def test_no_difference_is_claimed_that_was_not_shown():
    for comparison in compare().values():
        assert "no difference shown between skip and full" in comparison.sentence


def test_a_difference_too_small_to_matter_is_none():
    assert "no difference shown" in compare(memory=1.002)["peak_rss_bytes"].sentence


def test_an_interval_that_nearly_holds_no_difference_tells_of_none():
    """Its middle is 1.006, its lower end about 1.003."""
    a = [make_sample()] * 6
    peak = a[0].peak_load_rss_bytes
    b = [replace(a[0], peak_load_rss_bytes=round(peak * x)) for x in [1.002, 1.01] * 3]
    (memory,) = (
        each
        for each in compare_pairs(AB, [make_result(*a), make_result(*b)])
        if each.figure == "peak_rss_bytes"
    )
    assert abs(1 / memory.ratio - 1.006) < 1e-3
    assert not memory.low <= 1 <= memory.high
    assert "no difference shown" in memory.sentence


def test_too_few_pairs_compare_nothing():
    few = make_result(*[make_sample()] * 4)
    assert list(compare_pairs(AB, [few, few])) == []
    with pytest.raises(UsageError, match="at least 5"):
        check_pairs(4)


def test_figures_that_one_side_lacks_are_not_compared():
    a, b = make_result(*[make_sample(None)] * 5), make_result(*[make_sample()] * 5)
    assert [each.figure for each in compare_pairs(AB, [a, b])] == ["decode_tps", "peak_rss_bytes"]


def test_encodings_are_compared_where_there_are_media():
    a, b = (make_result(*[make_sample(encode_s=each)] * 5) for each in (0.2, 0.3))
    found = {each.figure: each for each in compare_pairs(AB, [a, b])}
    assert found["encode_s"].ratio == pytest.approx(2 / 3)
    assert "encoding: " in found["encode_s"].sentence


def test_pairs_of_a_sweep_are_told_apart():
    five = [make_sample()] * 5
    results = [
        make_result(*five, prefill=prefill, kv=kv)
        for kv in ("f16", "q8_0")
        for prefill in ("skip", "full")
    ]
    labels = dict.fromkeys(each.label for each in compare_pairs(AB, results))
    assert list(labels) == ["pp8+tg3 kv=f16", "pp8+tg3 kv=q8_0"]


def test_pairs_stand_beside_each_other():
    a, b = ([Case(BenchModel(name, Path(name)), n, 1) for n in (4, 8)] for name in "ab")
    names = [(case.model.name, case.n_prompt) for case in interleave(a, b)]
    assert names == [("a", 4), ("b", 4), ("a", 8), ("b", 8)]


@pytest.mark.parametrize("text", ["", "kv", "kv=", "kv=f16", "kv=a,b,c", "kv=a,a", "=a,b", "kv=a,"])
def test_what_compares_nothing_is_refused(text):
    with pytest.raises(UsageError, match="--ab"):
        parse_ab(text)


def test_names_are_those_of_flags():
    assert parse_ab("prefill_size=full,e2b").setting == "prefill-size"
