import pytest

from g3n_cli.bench.compare import (
    Condition,
    compare_reports,
    find_met,
    find_missing,
    make_ratio_table,
)
from g3n_cli.errors import InputError, UsageError
from tests.bench.samples import make_report, make_result, make_sample


def report(ttft, **settings):
    return make_report(
        make_result(make_sample(ttft), n_depth=0, **settings),
        make_result(make_sample(2 * ttft), n_depth=64, **settings),
    )


BASE = ("a.json", report(0.5))


def test_ratios_are_those_to_the_first_report():
    rows = compare_reports([BASE, ("b.json", report(0.75)), ("c.json", report(0.25))])
    assert [(row.source, row.case, row.ratios["ttft_s"]) for row in rows] == [
        ("b.json", "pp8+tg3", pytest.approx(1.5)),
        ("b.json", "pp8+tg3 @ d64", pytest.approx(1.5)),
        ("c.json", "pp8+tg3", pytest.approx(0.5)),
        ("c.json", "pp8+tg3 @ d64", pytest.approx(0.5)),
    ]
    assert rows[0].ratios["energy_j"] is None
    assert make_ratio_table(rows).head[:3] == ("case", "file", "TTFT")
    assert make_ratio_table(rows[:2]).rows[0][:2] == ("pp8+tg3", "1.50x")


def test_runs_with_another_setting_throughout_are_compared_case_by_case():
    rows = compare_reports([BASE, ("b.json", report(0.5, kv="q8_0", model="other"))])
    assert len(rows) == 2


def test_cases_of_one_run_that_differ_in_a_setting_are_told_apart():
    def run(ttft):
        return make_report(
            make_result(make_sample(ttft), kv="f16"), make_result(make_sample(1.0), kv="q8_0")
        )

    rows = compare_reports([("a", run(1.0)), ("b", run(2.0))])
    assert {row.case: row.ratios["ttft_s"] for row in rows} == {
        "pp8+tg3 kv=f16": 2.0,
        "pp8+tg3 kv=q8_0": 1.0,
    }


def test_reports_that_share_no_case_are_refused():
    with pytest.raises(InputError, match=r"no case of a\.json is in b\.json"):
        compare_reports([BASE, ("b.json", make_report(make_result(n_prompt=99)))])
    with pytest.raises(InputError, match=r"no case of a\.json is in c\.json"):
        compare_reports([BASE, BASE, ("c.json", make_report(make_result(n_prompt=99)))])


def test_cases_that_are_not_everywhere_are_named():
    more = make_report(*(make_result(n_prompt=n) for n in (8, 1, 2, 3, 4)))
    assert list(find_missing([BASE, BASE])) == []
    assert list(find_missing([BASE, ("b.json", more)])) == [
        "a.json has pp8+tg3 @ d64, b.json has not",
        "b.json has pp1+tg3, pp2+tg3, pp3+tg3 and 1 more, a.json has not",
    ]


@pytest.mark.parametrize(
    ("text", "n_met"),
    [
        ("ttft_s > 1.4", 2),
        ("ttft_s>=1.5", 2),
        ("ttft_s > 1.5", 0),
        (" decode_tps < 0.95 ", 0),
        ("prefill_tps <= 0.7", 2),
        ("prefill_tps <= .7", 2),
    ],
)
def test_conditions_are_met_by_ratios(text, n_met):
    rows = compare_reports([BASE, ("b.json", report(0.75))])
    assert len(list(find_met(rows, Condition.parse(text)))) == n_met


def test_a_condition_on_what_nobody_measured_does_not_pass_in_silence():
    rows = compare_reports([BASE, BASE])
    with pytest.raises(InputError, match="no case has energy_j"):
        list(find_met(rows, Condition.parse("energy_j > 2")))
    mute = make_report(make_result(make_sample(None)))
    rows = compare_reports([BASE, BASE, ("c.json", mute)])
    with pytest.raises(InputError, match=r"no case has ttft_s in the first file and in c\.json"):
        list(find_met(rows, Condition.parse("ttft_s > 2")))


@pytest.mark.parametrize("text", ["", "ttft_s", "ttft_s < x", "speed < 1", "ttft_s == 1"])
def test_what_is_no_condition_is_refused(text):
    with pytest.raises(UsageError, match=r"--fail-if|no figure"):
        Condition.parse(text)
