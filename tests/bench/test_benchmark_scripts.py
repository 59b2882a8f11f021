"""The matrix, peers and agreement scripts of ``benchmarks/``."""

import json
import shutil
import subprocess
import sys

import pytest

from benchmarks import agreement, matrix, peers, report, steps
from g3n_cli.bench.synthetic import make_model
from tests.bench.test_benchmarks import make_samples, rows_of
from tests.program import ROOT

FLAGS = ("--prompts", "9,12", "--depths", "0,20", "--pairs", "1", "--decode", "2", "--threads", "1")


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.gguf"
    make_model("tiny", "q8_0", path)
    return path


def test_the_matrix_measures_every_combination(tiny, tmp_path, capsys):
    out = tmp_path / "matrix.json"
    matrix.main(["--models", str(tiny), *FLAGS, "--out", str(out)])
    cells = json.loads(out.read_text())["cells"]
    assert [(cell["depth"], cell["n_prompt"]) for cell in cells] == [
        (0, 9),
        (0, 12),
        (20, 9),
        (20, 12),
    ]
    for cell in cells:
        (pair,) = cell["pairs"]
        for side in ("g3n", "llama.cpp"):
            assert report.MATRIX_METRICS[0].of(pair[side]) > 0
    assert len(capsys.readouterr().out.splitlines()) == 4 + len(cells)


def test_the_matrix_goes_on_where_it_was_interrupted(tiny, tmp_path, monkeypatch):
    out, ran = tmp_path / "matrix.json", []

    def run(case):
        if len(ran) == 3:
            raise KeyboardInterrupt
        ran.append(case)
        return make_samples(1)

    monkeypatch.setattr(matrix, "run_case", run)
    flags = ["--models", str(tiny), *FLAGS, "--out", str(out)]
    with pytest.raises(KeyboardInterrupt):
        matrix.main(flags)
    cells = json.loads(out.read_text())["cells"]
    assert [len(cell["pairs"]) for cell in cells] == [1, 0, 0, 0]
    monkeypatch.setattr(matrix, "run_case", lambda case: ran.append(case) or make_samples(1))
    matrix.main(flags)
    cells = json.loads(out.read_text())["cells"]
    assert [len(cell["pairs"]) for cell in cells] == [1, 1, 1, 1]
    assert len(ran) == 3 + 2 * 3  # the half of a pair that was lost is run again


def test_a_matrix_of_other_settings_is_not_mixed_in(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(matrix, "run_case", lambda _case: make_samples(1))
    flags = ["--models", str(tiny), *FLAGS, "--out", str(tmp_path / "matrix.json")]
    matrix.main(flags)
    with pytest.raises(SystemExit, match="another settings"):
        matrix.main([*flags, "--decode", "3"])


def test_what_a_model_was_not_made_for_is_not_run(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(matrix, "run_case", lambda _case: make_samples(1))
    flags = ["--models", str(tiny), *FLAGS, "--out", str(tmp_path / "matrix.json")]
    matrix.main([*flags, "--prompts", "9,9999999"])
    table = capsys.readouterr().out
    assert "made for" in table
    assert "8.000" not in table.splitlines()[4]


def test_the_matrix_table_and_chart_show_medians_of_pairs():
    pairs = [{"g3n": make_samples(1), "llama.cpp": make_samples(2)} for _ in range(2)]
    blank = {"model": "m", "depth": 0, "not_run": None, "alone": None}
    cells = [{**blank, "n_prompt": n, "pairs": pairs} for n in (128, 512)]
    result = {
        "kind": "matrix",
        "models": {"m": {"name": "m.gguf", "bytes": 5}},
        "settings": {"n_threads": 2, "n_decode": 2, "pairs": 2},
        "cells": [*cells, {**blank, "n_prompt": 2048, "pairs": [], "not_run": "made for 9 tokens"}],
    }
    lines = report.render_matrix(result).splitlines()
    assert lines[4].split(" | ")[2:6] == ["128", "8.00", "16.00", "2.00x"]
    assert "made for 9 tokens" in lines[6]
    (chart,) = report.chart_matrix(result)
    assert {series.name: series.points for series in chart.series} == {
        "g3n, depth 0": ((128, 8.0), (512, 8.0)),
        "llama.cpp, depth 0": ((128, 16.0), (512, 16.0)),
    }


def test_a_model_that_llama_cpp_cannot_load_is_measured_alone(tmp_path, capsys):
    out = tmp_path / "matrix.json"
    matrix.main(["--models", "g3n-mini", *FLAGS, "--depths", "0", "--out", str(out)])
    result = json.loads(out.read_text())
    assert [set(cell["pairs"][0]) for cell in result["cells"]] == [{"g3n"}, {"g3n"}]
    table = capsys.readouterr().out
    assert "g3n-mini: llama.cpp cannot load per-layer embeddings of" in table
    (chart,) = report.chart_matrix(result)
    assert [series.name for series in chart.series] == ["g3n, depth 0"]


def test_the_page_says_what_was_not_run(tmp_path):
    page = report.render_results(tmp_path)
    assert "## Not run" in page
    assert "litert-lm and ollama" in page


LITERT = """Running iteration 1 of 1..
----- Results -----
Prefill speed:        232.50 tokens/s
Decode speed:         27.60 tokens/s
Init time:            1.2345 s
Time to first token:  4.5000 s
"""


def test_figures_of_litert_lm_are_read_from_what_it_prints():
    found = peers.read_litert(LITERT)
    assert found == {"prefill_tps": 232.5, "decode_tps": 27.6, "load_s": 1.2345, "ttft_s": 4.5}
    assert peers.read_litert("An error occurred during benchmarking") == {}


def test_figures_of_ollama_are_in_nanoseconds():
    told = {
        "load_duration": 2_000_000_000,
        "prompt_eval_count": 1000,
        "prompt_eval_duration": 4_000_000_000,
        "eval_count": 30,
        "eval_duration": 3_000_000_000,
    }
    found = peers.read_ollama(told)
    assert (found["prefill_tps"], found["decode_tps"], found["load_s"]) == (250.0, 10.0, 2.0)


def test_peers_that_are_not_there_are_told(tiny, tmp_path, monkeypatch, capsys):
    flags = ["--rounds", "1", "--prompt", "9", "--decode", "2", "--threads", "1"]
    flags += ["--torch-python", shutil.which("false")]
    monkeypatch.setattr(peers.shutil, "which", lambda _program: None)
    peers.main([str(tiny), *flags, "--out", str(tmp_path / "peers.json")])
    rows = rows_of(capsys.readouterr().out)
    assert rows["litert-lm"][0] == "not run: litert-lm is not installed"
    assert rows["ollama"][0] == "not run: ollama is not installed"
    assert rows["torch"][0] == "not run: torch or transformers is not installed"
    assert float(rows["g3n, tiny.gguf"][1].split()[0]) >= 0


def test_a_litert_lm_in_the_path_is_run(tmp_path):
    program = tmp_path / "litert-lm"
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{LITERT}E\n")
    program.chmod(0o755)
    options = peers._parse(["m", "--litert", "x.litertlm"])
    found = peers.run_litert(str(program), options)
    assert found["decode_tps"] == 27.6
    assert found["peak_rss_bytes"] > 0


@pytest.mark.parametrize(("ours", "agrees"), [(1.04, True), (0.96, True), (1.06, False)])
def test_figures_agree_within_the_limit_in_the_median(ours, agrees):
    check = {"limit": 0.05, "pairs": [(ours, 1.0), (ours, 1.0), (9.0, 1.0)]}
    assert agreement.is_agreed(check) is agrees
    result = {
        "models": {"times": {"name": "m.gguf"}},
        "settings": {"rounds": 3},
        "checks": {"decode": check},
    }
    row = rows_of(report.render_agreement(result))["decode"]
    assert row[-1] == ("pass" if agrees else "FAIL")


@pytest.mark.model
def test_steps_of_all_lengths_take_turns(tiny):
    medians = steps.measure(str(tiny), "own", (1, 4), 2)
    assert list(medians) == [1, 4]
    assert min(medians.values()) > 0


def test_agreement_looks_at_every_figure(tiny, tmp_path):
    out = tmp_path / "agreement.json"
    flags = ["--rounds", "1", "--short", "40", "--long", "300", "--tokens", "4", "--threads", "1"]
    command = [sys.executable, "-m", "benchmarks.agreement", str(tiny), *flags, "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode in (0, 1), done.stderr.decode()  # whether they agree is no test's matter
    checks = json.loads(out.read_text())["checks"]
    assert len(checks) == 8
    for name, check in checks.items():
        n_pairs = agreement.LLAMA_PAIRS if "llama.cpp" in name else 1
        assert len(check["pairs"]) == n_pairs
    # Differences of wall times this short may have either sign; sizes and counters may not.
    sized = [check for name, check in checks.items() if "bytes" in name or "llama.cpp" in name]
    assert len(sized) == 4
    assert all(min(pair) > 0 for check in sized for pair in check["pairs"])
