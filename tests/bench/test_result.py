import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g3n_cli.bench.memory import PARTS, Counters
from g3n_cli.bench.result import FIGURES, SCHEMA, Report
from g3n_cli.errors import InputError
from tests.bench.samples import make_report, make_result, make_sample

DOCS = Path(__file__).parents[2] / "docs"


def test_figures_follow_their_formulas():
    decode = Counters(0, 0, read_bytes=600, switches=0, cpu_s=0)
    samples = (
        make_sample(0.5, (0.1, 0.1, 0.4)),
        replace(make_sample(1.0, (0.1, 0.2, 0.3)), prefill_s=0.8, decode=decode),
        make_sample(0.7, (0.2, 0.2, 0.2), ledger={"rss_bytes": 90_000_000}),
    )
    assert make_result(*samples, n_prompt=8).figures == pytest.approx(
        {
            "ttft_s": 0.7,
            "prefill_tps": 8 / 0.7,
            "decode_tps": 3 / 0.6,
            "itl_p50_s": 0.2,
            "itl_p90_s": 0.32,
            "itl_p95_s": 0.36,
            "itl_p99_s": 0.392,
            **dict.fromkeys(("encode_s", "rtfx", "media_tokens", "read_s")),
            "peak_rss_bytes": 90_000_000,
            "steady_rss_bytes": 80_000_000,
            "steady_pss_bytes": 70_000_000,
            "steady_uss_bytes": 60_000_000,
            "load_s": 0.2,
            "read_bytes_per_token": 0.0,
            "faults_per_token": pytest.approx(100 / 3),
            "energy_j": None,
        }
    )


def test_figures_of_media_follow_their_formulas():
    heard = make_sample(0.5, encode_s=0.2, media_tokens=189, sound_s=30.0, read_s=0.1)
    figures = make_result(replace(heard, prefill_s=0.25), n_prompt=11).figures
    assert figures["prefill_tps"] == pytest.approx((11 + 189) / 0.25)
    names = ("encode_s", "rtfx", "media_tokens", "read_s")
    assert [figures[name] for name in names] == pytest.approx([0.2, 150, 189, 0.1])
    assert make_result(replace(heard, sound_s=None)).figures["rtfx"] is None


def test_results_from_before_there_were_media_can_be_read():
    report = make_report()
    values = json.loads(json.dumps(report.to_json()))
    for case in values["cases"]:
        for name in ("medium", "encode_s", "rtfx", "media_tokens", "read_s"):
            del case[name]
        for sample in case["samples"]:
            for name in ("encode_s", "media_tokens", "sound_s", "read_s"):
                del sample[name]
    assert Report.parse(json.dumps(values), "old.json") == report


def test_what_was_not_measured_has_no_figure():
    figures = make_result(make_sample(None, ()), n_prompt=0, n_gen=0).figures
    assert {name for name, value in figures.items() if value is not None} == {
        "peak_rss_bytes",
        "steady_rss_bytes",
        "steady_pss_bytes",
        "steady_uss_bytes",
        "load_s",
    }


@given(st.lists(st.lists(st.floats(1e-4, 10), min_size=1, max_size=9), min_size=1, max_size=5))
def test_gap_percentiles_are_in_order_and_within_the_samples(gaps):
    figures = make_result(*(make_sample(0.5, each) for each in gaps)).figures
    found = [figures[f"itl_p{percent}_s"] for percent in (50, 90, 95, 99)]
    everything = [gap for each in gaps for gap in each]
    assert found == sorted(found)
    assert min(everything) <= found[0] <= found[-1] <= max(everything) * (1 + 1e-12)


def test_a_report_survives_json():
    report = make_report(
        make_result(make_sample(rss_trace=((0.1, 5), (0.2, 6))), warnings=("noisy",)),
        make_result(make_sample(None), n_prompt=0),
    )
    text = json.dumps(report.to_json())
    assert Report.parse(text, "x.json") == report


def test_results_of_versions_with_other_settings_can_be_read():
    report = make_report(make_result(invented_later="yes"))
    assert Report.parse(json.dumps(report.to_json()), "x.json") == report


def test_a_case_in_json_has_the_documented_keys():
    values = make_report().to_json()
    assert list(values) == ["schema", "environment", "cases", "comparisons"]
    assert values["schema"] == SCHEMA
    (case,) = values["cases"]
    for name in ("label", "model", "device", "n_prompt", "n_gen", "n_depth", "settings"):
        assert name in case
    assert {figure.name for figure in FIGURES} <= case.keys()
    assert case["samples"][0]["gaps_s"] == (0.1, 0.1, 0.1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no result"),
        ("[]", "no result"),
        ('{"cases": []}', "no result"),
        ('{"schema": 99}', "schema 99"),
        (f'{{"schema": {SCHEMA}}}', "damaged"),
        (
            f'{{"schema": {SCHEMA}, "environment": {{}}, "cases": [1], "comparisons": []}}',
            "damaged",
        ),
    ],
)
def test_what_is_no_report_is_refused_by_name(text, words):
    with pytest.raises(InputError, match=rf"x\.json.*{words}"):
        Report.parse(text, "x.json")


def test_a_key_that_is_missing_is_named():
    values = make_report().to_json()
    del values["cases"][0]["device"]
    with pytest.raises(InputError, match=r"x is damaged: it has no 'device'"):
        Report.parse(json.dumps(values), "x")


BROKEN = (
    ("label", None, "cases[0].label"),
    ("settings", [], "cases[0].settings"),
    ("n_prompt", "8", "cases[0].n_prompt"),
    ("n_ctx", True, "cases[0].n_ctx"),
    ("warnings", [1], "cases[0].warnings[0]"),
)


@pytest.mark.parametrize(("key", "value", "place"), BROKEN)
def test_a_value_of_a_wrong_kind_is_named(key, value, place):
    values = make_report().to_json()
    values["cases"][0][key] = value
    with pytest.raises(InputError, match=re.escape(f"x.json is damaged: {place} is")):
        Report.parse(json.dumps(values), "x.json")


BROKEN_SAMPLES = (
    ("ttft_s", "x", "ttft_s"),
    ("load_s", 10**400, "load_s"),
    ("gaps_s", [0.1, None], "gaps_s[1]"),
    ("ledger", [], "ledger"),
    ("rss_trace", [[0.5, "x"]], "rss_trace[0][1]"),
)


@pytest.mark.parametrize(("key", "value", "place"), BROKEN_SAMPLES)
def test_a_value_of_a_wrong_kind_in_a_sample_is_named(key, value, place):
    values = make_report().to_json()
    values["cases"][0]["samples"][0][key] = value
    with pytest.raises(InputError, match=re.escape(f"cases[0].samples[0].{place} is of a wrong")):
        Report.parse(json.dumps(values), "x.json")


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_what_is_no_number_of_json_is_refused(number):
    text = json.dumps(make_report(make_result(make_sample(number))).to_json())
    with pytest.raises(InputError, match="x is no result"):
        Report.parse(text, "x")


def test_every_figure_and_part_is_documented():
    text = (DOCS / "bench.md").read_text("utf-8")
    for figure in FIGURES:
        assert f"| `{figure.name}` | {figure.meaning} |" in text
    for name, meaning in PARTS.items():
        assert f"| `{name}` | {meaning} |" in text
