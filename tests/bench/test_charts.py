import pytest
from hypothesis import given
from hypothesis import strategies as st

from g3n_cli.bench.charts import Chart, find_ticks, format_tick, make_charts
from tests.bench.samples import make_report, make_result, make_sample


def charts_of(*results, more=()):
    reports = [("a", make_report(*results)), *more]
    return {chart.title: chart for chart in make_charts(reports)}


def sweep(gap=0.1, **settings):
    return [
        make_result(make_sample(n / 100, (gap + d / 1000,)), n_prompt=n, n_depth=d, **settings)
        for d in (0, 100)
        for n in (10, 20)
    ]


def test_decoding_is_drawn_over_all_tokens_in_the_context():
    chart = charts_of(*sweep())["Decoding over depth"]
    (series,) = chart.series
    assert [x for x, _ in series.points] == [10, 20, 110, 120]
    assert series.points[0][1] == pytest.approx(10)
    assert series.points[2][1] == pytest.approx(5)


def test_first_tokens_are_drawn_over_the_prompt_for_each_depth():
    chart = charts_of(*sweep())["First token over prompt length"]
    assert [series.name for series in chart.series] == ["at depth 0", "at depth 100"]
    assert chart.series[0].points == ((10, 0.1), (20, 0.2))


def test_settings_and_files_have_curves_of_their_own():
    both = charts_of(*sweep(kv="f16"), *sweep(kv="q8_0"))["Decoding over depth"]
    assert [series.name for series in both.series] == ["kv=f16", "kv=q8_0"]
    two = charts_of(*sweep(), more=[("b", make_report(*sweep(0.2)))])["Decoding over depth"]
    assert [series.name for series in two.series] == ["a", "b"]


def test_a_single_case_has_no_curve_but_its_memory():
    trace = ((0.1, 10_000_000), (0.2, 20_000_000))
    (chart,) = charts_of(make_result(make_sample(rss_trace=trace))).values()
    assert chart.title == "Memory over time"
    assert chart.series[0].points == ((0.1, 10.0), (0.2, 20.0))
    assert charts_of(make_result()) == {}


def test_speed_by_memory_has_a_point_for_each_case():
    chart = charts_of(*sweep())["Decoding speed by memory"]
    assert isinstance(chart, Chart)
    assert not chart.is_joined
    assert [series.points[0][0] for series in chart.series] == [90.0] * 4


@given(st.floats(0, 1e9), st.floats(1e-6, 1e9), st.integers(2, 9))
def test_ticks_hold_everything_and_are_few(low, span, most):
    ticks = find_ticks(low, low + span, most)
    assert ticks[0] <= low * (1 + 1e-9)
    assert ticks[-1] >= (low + span) * (1 - 1e-9)
    assert 2 <= len(ticks) <= most + 3
    assert ticks == sorted(ticks)


def test_ticks_of_a_single_value_still_span_something():
    assert len(set(find_ticks(5.0, 5.0, 5))) > 1
    assert len(set(find_ticks(0.0, 0.0, 5))) > 1


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.025, "0.025"), (12.5, "12.5"), (2000, "2,000")]
)
def test_ticks_are_written_short(value, text):
    assert format_tick(value) == text
