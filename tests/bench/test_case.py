import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g3n_cli.bench.case import BenchModel, Case, Sweep, find_varied
from g3n_cli.bench.sweep_text import parse_numbers, parse_words
from g3n_cli.config import EngineSettings
from g3n_cli.errors import UsageError
from g3n_cli.registry.models import read_sizes

MODEL = BenchModel("tiny", Path("tiny.gguf"))
BASE = EngineSettings(n_threads=1)


@pytest.mark.parametrize(
    ("counts", "label"),
    [
        ((512, 0, 0), "pp512"),
        ((0, 128, 0), "tg128"),
        ((0, 128, 2048), "tg128 @ d2048"),
        ((512, 64, 4096), "pp512+tg64 @ d4096"),
    ],
)
def test_labels_are_those_of_llama_bench(counts, label):
    assert Case(MODEL, *counts, BASE).label == label


@given(st.integers(0, 900), st.integers(1, 900), st.integers(0, 900))
def test_the_context_holds_all_tokens_and_no_more(n_prompt, n_gen, n_depth):
    case = Case(MODEL, n_prompt, n_gen, n_depth, BASE)
    assert case.settings.n_ctx == max(n_depth + n_prompt, 1) + n_gen


def test_a_longer_context_can_be_asked_for():
    assert Case(MODEL, 8, 4, 0, BASE, least_ctx=100).settings.n_ctx == 100
    assert Case(MODEL, 200, 4, 0, BASE, least_ctx=100).settings.n_ctx == 204


@pytest.mark.parametrize("counts", [(0, 0, 0), (0, 0, 8), (-1, 4, 0)])
def test_a_case_without_anything_to_measure_is_refused(counts):
    with pytest.raises(UsageError, match="nothing to measure"):
        Case(MODEL, *counts, BASE)


def test_a_sweep_is_every_combination_once():
    sweep = Sweep(
        models=[MODEL],
        n_prompt=[128, 512, 128],
        n_gen=[64],
        n_depth=[0, 4096],
        base=BASE,
        varied={"kv": ["f16", "q8_0"], "n_threads": [1, 2]},
    )
    cases = sweep.expand()
    assert len(cases) == len(set(cases)) == 2 * 2 * 2 * 2
    assert [case.label for case in cases[:3]] == [
        "pp128+tg64",
        "pp512+tg64",
        "pp128+tg64 @ d4096",
    ]
    settings = [case.recorded_settings for case in cases]
    assert find_varied(settings) == ["n_threads", "kv"]


def test_a_sweep_with_a_setting_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match="--kv must be one of"):
        Sweep([MODEL], [8], [8], [0], BASE, {"kv": ["f16", "q9"]}).expand()


def test_a_case_survives_the_way_to_its_process():
    settings = EngineSettings(n_threads=3, size="e2b", named_sizes=read_sizes())
    case = Case(MODEL, 5, 7, 9, settings)
    assert Case.from_json(json.loads(json.dumps(case.to_json())), read_sizes()) == case


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("128, 512", [128, 512]),
        ("1-4", [1, 2, 3, 4]),
        ("1-8*2", [1, 2, 4, 8]),
        ("0-4096+2048,7", [0, 2048, 4096, 7]),
    ],
)
def test_numbers_are_written_as_for_llama_bench(text, values):
    assert parse_numbers(text, "-p") == values


@pytest.mark.parametrize("text", ["", "a", "1,", "-3", "4-1", "0-8*2", "1-8*1", "1-8+0", "0-99999"])
def test_what_is_no_list_of_numbers_is_refused_with_its_flag(text):
    with pytest.raises(UsageError, match=r"^-p "):
        parse_numbers(text, "-p")


def test_a_range_that_runs_backwards_is_told_which_way_it_goes():
    with pytest.raises(UsageError, match="runs backwards") as refused:
        parse_numbers("9-2", "-p")
    assert refused.value.hint == "for example 2-9"


def test_words_stand_between_commas():
    assert parse_words("f16, q8_0", "--kv") == ["f16", "q8_0"]


def test_a_sweep_over_devices_counts_layers_on_those_that_have_them():
    sweep = Sweep([MODEL], [8], [4], [0], BASE, {"gpu_layers": [2, 4]}, ("cpu", "CUDA0"))
    ways = [(c.device, c.settings.device, c.settings.gpu_layers) for c in sweep.expand()]
    assert ways == [("cpu", "cpu", None), ("CUDA0", "CUDA0", 2), ("CUDA0", "CUDA0", 4)]


def test_a_case_keeps_its_device_as_json():
    settings = EngineSettings(device="CUDA0", gpu_layers=3)
    case = Case(MODEL, 8, 4, 0, settings, "CUDA0")
    assert "device" not in case.recorded_settings
    assert Case.from_json(json.loads(json.dumps(case.to_json())), ()) == case
