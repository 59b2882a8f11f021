import json

import psutil
import pytest

from benchmarks import compare, kernels, load, measure, report, sizes
from benchmarks.worker import Case, read_memory
from g3n_cli.bench.synthetic import make_model
from g3n_cli.kernels.library import find_variants


def make_samples(scale, **changes):
    samples = {
        "import_s": 0.5 * scale,
        "load_s": 1.5 * scale,
        "ttft_s": 8.0 * scale,
        "decode_s": [0.1 * scale, 0.3 * scale],
        "four_s": [0.3 * scale],
        "conversation_s": 30.0 * scale,
        "deep_decode_s": [0.2 * scale, 0.2 * scale, 0.4 * scale],
        "turn_s": 1.2 * scale,
        "rss_bytes": int(1.5e9 * scale),
        "peak_rss_bytes": int(1.75e9 * scale),
    }
    return samples | changes


def make_result(pairs, depth=2000):
    return {
        "kind": "compare",
        "machine": {
            "cpu": "Some CPU",
            "cpu_features": ["avx2"],
            "cores": 2,
            "memory_bytes": 24 << 30,
            "kernel": "6.1",
            "python": "3.11.7",
            "g3n": "0.1.0",
            "g3n_commit": "0123456789abcdef",
            "llama_cpp_python": "0.3.36",
            "ggml_version": "0.25.3",
            "ggml_commit": "abc",
            "openmp": {},
        },
        "models": {side: {"name": "m.gguf", "bytes": 5} for side in ("g3n", "llama.cpp")},
        "settings": {
            "n_threads": 2,
            "n_ctx": 4096,
            "n_prompt": 512,
            "n_decode": 2,
            "depth": depth,
            "n_turn": 30,
            "n_four": 1,
            "kernels": "own",
            "llama_options": {},
        },
        "pairs": pairs,
    }


def rows_of(table):
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows[2:]}


def test_median_ratio_is_of_pairs_not_of_medians():
    assert report.median_ratio([1, 2, 9], [2, 6, 9], is_rate=False) == 2
    assert report.median_ratio([1, 2, 9], [2, 6, 9], is_rate=True) == 0.5


def test_decode_rate_is_tokens_over_total_time():
    assert report.decode_tps([0.1, 0.3]) == pytest.approx(5)


def test_compare_table_turns_every_ratio_so_that_more_is_better_for_g3n():
    pairs = [{"g3n": make_samples(1), "llama.cpp": make_samples(2)} for _ in range(2)]
    rows = rows_of(report.render_compare(make_result(pairs)))
    assert rows["first token, s"] == ["8.00 (8.00-8.00)", "16.00 (16.00-16.00)", "2.00x"]
    assert rows["decode, tok/s"] == ["5.00 (5.00-5.00)", "2.50 (2.50-2.50)", "2.00x"]
    assert rows["four tokens in one step, decode steps"][0] == "1.50 (1.50-1.50)"
    assert rows["import + load, s"] == ["2.00 (2.00-2.00)", "4.00 (4.00-4.00)", "2.00x"]
    assert rows["peak RSS, 1e9 bytes"] == ["1.750 (1.750-1.750)", "3.500 (3.500-3.500)", "2.00x"]
    # 1.2 s at a median step of 0.2 s, whatever the speed of the machine
    assert rows["next turn, decode steps"] == ["6.00 (6.00-6.00)", "6.00 (6.00-6.00)", "1.00x"]


def test_compare_table_leaves_out_what_was_not_measured():
    short = {"conversation_s": None, "deep_decode_s": [], "turn_s": None}
    pairs = [{side: make_samples(1, **short) for side in ("g3n", "llama.cpp")}]
    rows = rows_of(report.render_compare(make_result(pairs, depth=0)))
    assert "first token, s" in rows
    assert not {"next turn, s", "decode after it, tok/s", "reading the conversation, s"} & set(rows)


def test_load_table_says_what_is_left_of_the_quiet_speed():
    runs = [{"quiet": make_samples(1), "loaded": make_samples(scale)} for scale in (2.0, 4.0, 10.0)]
    result = {
        "model": {"name": "m.gguf", "bytes": 5},
        "settings": {"n_busy": 2, "n_decode": 2, "repetitions": 3},
        "variants": {"g3n threads=2": runs},
    }
    assert rows_of(report.render_load(result)) == {
        "`g3n threads=2`": ["5.00 (5.00-5.00)", "1.25 (0.50-2.50)", "0.25"]
    }


def test_page_of_results_has_a_section_for_each_file(tmp_path):
    result = make_result([{"g3n": make_samples(1), "llama.cpp": make_samples(2)}])
    for name in ("b", "a"):
        measure.write_result(result, tmp_path / f"{name}.json")
    page = report.render_results(tmp_path)
    assert page.index("## a\n") < page.index("## b\n")
    assert "Some CPU (avx2), 2 cores, 24 GiB" in page
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_memory_is_read_in_bytes():
    assert read_memory("Name:\tx\nVmHWM:\t  300 kB\nVmRSS:\t  200 kB\n") == (204_800, 307_200)


def test_variant_names_engine_environment_and_threads():
    variant = load.parse_variant("g3n OMP_WAIT_POLICY=passive threads=1")
    assert variant == ("g3n", {"OMP_WAIT_POLICY": "passive"}, 1)
    assert load.parse_variant("llama.cpp")[:2] == ("llama.cpp", {})


@pytest.mark.parametrize("text", ["ollama", "g3n threads"])
def test_a_variant_that_makes_no_sense_is_refused(text):
    with pytest.raises(SystemExit, match="not a variant"):
        load.parse_variant(text)


def test_busy_processes_end_with_their_block():
    def children():
        return [child.pid for child in psutil.Process().children()]

    before = children()
    with load.busy_processes(2):
        assert len(children()) == len(before) + 2
    assert children() == before


def test_a_model_that_is_neither_file_nor_shape_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="is no file"):
        measure.find_model(str(tmp_path / "none.gguf"))


def test_a_result_in_no_folder_is_refused_before_measuring(tmp_path, capsys):
    with pytest.raises(SystemExit):
        compare.main(["tiny-q4_0", "--out", str(tmp_path / "none" / "r.json")])
    assert "no folder" in capsys.readouterr().err


def test_machine_is_described():
    machine = measure.describe_machine()
    assert machine["cores"] >= 1
    assert machine["llama_cpp_python"] == "0.3.36"
    assert machine["ggml_version"].startswith("0.")
    json.dumps(machine)


def test_llama_cpp_side_measures_every_sample(tmp_path):
    make_model("tiny", "q4_0", tmp_path / "tiny.gguf")
    case = Case(
        "llama.cpp",
        str(tmp_path / "tiny.gguf"),
        n_threads=1,
        n_ctx=128,
        n_prompt=40,
        n_decode=3,
        depth=60,
        n_turn=5,
        llama_options=compare.CLI_DEFAULTS,
    )
    samples = measure.run_case(case)
    assert len(samples["decode_s"]) == len(samples["deep_decode_s"]) == 3
    times = [samples[key] for key in ("import_s", "load_s", "ttft_s", "conversation_s", "turn_s")]
    assert all(seconds > 0 for seconds in times + samples["decode_s"] + samples["deep_decode_s"])
    assert 0 < samples["rss_bytes"] <= samples["peak_rss_bytes"]


def test_a_worker_that_fails_shows_why(tmp_path, capsys):
    (tmp_path / "broken.gguf").write_bytes(b"not a model")
    with pytest.raises(SystemExit, match=r"llama\.cpp failed on"):
        measure.run_case(Case("llama.cpp", str(tmp_path / "broken.gguf"), n_threads=1))
    assert "Traceback" in capsys.readouterr().err


def test_kernels_are_measured_beside_ggml_and_the_limits(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(kernels, "SHAPES", ((256, 64),))
    monkeypatch.setattr(kernels, "PEAK_STEPS", 1000)
    monkeypatch.setattr(kernels, "STREAM_BYTES", 1 << 20)
    out = tmp_path / "kernels.json"
    arguments = ["--types", "Q4_0,Q6_K", "--tokens", "1,9", "--repetitions", "2", "--out", str(out)]
    kernels.main(arguments)
    result = json.loads(out.read_text())
    names = {*find_variants(), "ggml plain"}
    assert len(result["cases"]) == 4
    for case in result["cases"]:
        assert names <= set(case["samples_s"]) <= {*names, "ggml"}
        assert all(len(times) == 2 and min(times) > 0 for times in case["samples_s"].values())
    assert result["limits"]["stream_bytes_per_s"] > 0
    assert set(result["limits"]["multiply_adds_per_s"]) == set(find_variants())
    rows = rows_of(capsys.readouterr().out)
    assert set(rows) == {"Q4_0 256 -> 64", "Q6_K 256 -> 64"}


def test_sizes_are_measured_in_turns(tmp_path, capsys):
    model, out = tmp_path / "model.gguf", tmp_path / "sizes.json"
    make_model("tiny", "q8_0", model)
    asked = ["full", "256*30", "full/256*30"]
    counts = ["--rounds", "2", "--prompt", "9", "--decode", "2"]
    sizes.main([str(model), *asked, "--child", str(model), *counts, "--out", str(out)])
    result = json.loads(out.read_text())
    assert {name: len(runs) for name, runs in result["sizes"].items()} == dict.fromkeys(
        (*asked, "a file of its own"), 2
    )
    full, narrow = (result["sizes"][name][0]["rss_bytes"] for name in asked[:2])
    assert narrow < full
    assert list(rows_of(capsys.readouterr().out)) == list(result["sizes"])
