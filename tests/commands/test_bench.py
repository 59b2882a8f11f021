import json
import mmap
import os
import re
import signal
import subprocess

import pytest

from g3n_cli.app import run
from g3n_cli.bench.synthetic_audio import AudioShape, make_audio_mmproj
from tests.media_files import encode_wav, make_tone
from tests.model_files import SMALL8
from tests.oracle import find_case
from tests.program import ROOT, assert_fails

MAT12 = find_case("mat12", "q8_0").path
TINY = ("bench", "-m", SMALL8, "-t", "1")
SHORT = ("-p", "8", "-n", "3", "-r", "1")
PATIENCE_S = 60


def bench_json(g3n, *arguments, **changes):
    done = g3n.run(*TINY, *arguments, "-o", "json", **changes)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_json_is_one_object_in_the_documented_form(g3n):
    found = bench_json(g3n, "-p", "8,12", "-n", "3", "-d", "0,16", "-r", "2")
    assert list(found) == ["schema", "environment", "cases", "comparisons"]
    assert [case["label"] for case in found["cases"]] == [
        "pp8+tg3",
        "pp12+tg3",
        "pp8+tg3 @ d16",
        "pp12+tg3 @ d16",
    ]
    for case in found["cases"]:
        assert (case["model"], case["device"], case["repetitions"]) == (SMALL8.stem, "cpu", 2)
        assert len(case["samples"]) == 2
        for name in ("ttft_s", "prefill_tps", "decode_tps", "peak_rss_bytes", "steady_rss_bytes"):
            assert case[name] > 0
        gaps = [case[f"itl_p{percent}_s"] for percent in (50, 90, 95, 99)]
        assert gaps == sorted(gaps)
    assert found["environment"]["models"][SMALL8.stem]["bytes"] == SMALL8.stat().st_size


def test_every_key_of_the_json_is_in_its_reference(g3n):
    text = (ROOT / "docs" / "bench.md").read_text("utf-8")
    documented = set(re.findall(r"[a-z_0-9]+", " ".join(re.findall(r"`([^`]+)`", text))))
    found = bench_json(g3n, *SHORT)
    (case,), environment = found["cases"], found["environment"]
    (sample,) = case["samples"]
    keys = {*found, *environment, *environment["models"][SMALL8.stem], *case, *sample}
    keys |= {*sample["ledger"], *sample["ledger"]["parts"], *sample["prefill"]}
    assert keys - documented == set()


def test_labels_without_a_prompt_or_an_answer(g3n):
    assert bench_json(g3n, "-p", "8", "-n", "0", "-r", "1")["cases"][0]["label"] == "pp8"
    (case,) = bench_json(g3n, "-p", "0", "-n", "3", "-d", "8", "-r", "1")["cases"]
    assert (case["label"], case["ttft_s"]) == ("tg3 @ d8", None)


def test_settings_are_swept_and_recorded(g3n):
    cases = bench_json(g3n, *SHORT, "--prefill", "skip,full", "--ple", "disk,ram")["cases"]
    found = [(case["settings"]["prefill"], case["settings"]["ple"]) for case in cases]
    assert sorted(found) == [("full", "disk"), ("full", "ram"), ("skip", "disk"), ("skip", "ram")]
    assert cases[0]["settings"]["n_threads"] == 1


def test_sizes_may_be_widths_which_have_commas(g3n):
    widths = "128*6,256*6"
    done = g3n.run("bench", "-m", MAT12, *SHORT, "-t", "1", "--size", widths, "-o", "json")
    (case,) = json.loads(done.stdout)["cases"]
    assert case["settings"]["size"] == widths


def test_the_table_goes_to_stdout_and_warnings_to_stderr(g3n):
    done = g3n.run(*TINY, *SHORT)
    lines = done.stdout.decode().splitlines()
    assert lines[0].split()[:2] == ["case", "TTFT"]
    assert lines[2].startswith("pp8+tg3")
    assert "\x1b" not in done.stdout.decode()
    kinds = {line.partition(":")[0] for line in done.stderr.decode().splitlines()}
    assert kinds <= {"warning", "hint"}


def test_a_run_whose_reader_has_gone_is_in_the_history(g3n):
    reader, writer = os.pipe()
    os.close(reader)
    with g3n.start(*TINY, *SHORT, stdout=writer, stderr=subprocess.DEVNULL) as process:
        os.close(writer)
        process.wait(PATIENCE_S)
    (kept,) = (g3n.home / "data" / "g3n" / "bench").iterdir()
    assert json.loads(kept.read_text())["cases"][0]["label"] == "pp8+tg3"


def test_charts_stand_below_the_table_if_asked_for(g3n):
    done = g3n.run(*TINY, "-p", "8,16", "-n", "2", "-r", "1", "--plot")
    assert "\nFirst token over prompt length (s)\n" in done.stdout.decode()


def test_a_file_is_written_in_the_format_of_its_name(g3n):
    out = g3n.home / "r.csv"
    done = g3n.run(*TINY, *SHORT, "--output", out, "-o", "table")
    assert done.returncode == 0
    assert out.read_text().startswith("time,cpu,")
    assert done.stdout.decode().startswith("case")
    assert os.listdir(g3n.home / "data" / "g3n" / "bench")


def test_ab_says_what_differs_with_its_interval(g3n):
    counts = ("-p", "8", "-n", "3", "-r", "5")
    found = bench_json(g3n, *counts, "--ab", "ple=disk,ram")
    assert [case["settings"]["ple"] for case in found["cases"]] == ["disk", "ram"]
    figures = {each["figure"]: each for each in found["comparisons"]}
    assert list(figures) == ["ttft_s", "decode_tps", "peak_rss_bytes"]
    for each in figures.values():
        assert each["low"] <= each["ratio"] <= each["high"]
        assert (each["a"], each["b"], each["n_pairs"]) == ("disk", "ram", 5)
        assert "95 % CI" in each["sentence"]


@pytest.fixture(scope="module")
def mmprojs(tmp_path_factory):
    """Two audio encoders of one small model."""
    folder = tmp_path_factory.mktemp("encoders")
    shape = AudioShape(n_layer=1, n_embd=64, n_ff=64, n_head=4, channels=(8, 4), n_text=64)
    for quant in ("f16", "q8_0"):
        make_audio_mmproj(folder / f"mmproj-{quant}.gguf", quant, shape)
    return folder / "mmproj-f16.gguf", folder / "mmproj-q8_0.gguf"


HEARS = ("bench", "-m", MAT12, "-t", "1", "-p", "8", "-n", "2")


def test_sound_before_the_text_is_measured_beside_text_alone(g3n, mmprojs):
    flags = ("--media", "none,audio", "--mmproj", mmprojs[0], "-r", "1", "-o", "json")
    done = g3n.run(*HEARS, *flags)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    text, sound = found["cases"]
    assert (text["label"], text["medium"], text["encode_s"]) == ("pp8+tg2", None, None)
    assert (sound["label"], sound["medium"]) == ("audio+pp8+tg2", "audio")
    assert 0 < sound["encode_s"] < sound["ttft_s"]
    assert sound["rtfx"] == pytest.approx(30 / sound["encode_s"])
    assert sound["media_tokens"] == 189
    assert sound["peak_rss_bytes"] > text["peak_rss_bytes"]
    assert sound["settings"]["mmproj"] == mmprojs[0].name
    assert [each["file"] for each in found["environment"]["encoders"]] == [mmprojs[0].name]


def test_encoders_can_be_compared(g3n, mmprojs):
    a, b = mmprojs
    done = g3n.run(*HEARS, "--media", "audio", "--ab", f"mmproj={a},{b}", "-r", "5", "-o", "json")
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert [case["settings"]["mmproj"] for case in found["cases"]] == [a.name, b.name]
    assert "encode_s" in [each["figure"] for each in found["comparisons"]]


def test_two_models_can_be_compared_though_their_files_are_called_alike(g3n):
    (g3n.home / "other").mkdir()
    other = g3n.home / "other" / SMALL8.name
    other.write_bytes(SMALL8.read_bytes())
    flags = ("-p", "8", "-n", "0", "-r", "5", "-t", "1", "--ab", f"model={SMALL8},{other}")
    done = g3n.run("bench", *flags)
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    assert lines[0].split()[:2] == ["case", "model"]
    assert str(other) in lines[3]
    assert re.match(r"pp8: first token: .*5 pairs\)$", lines[-2])


def test_control_characters_of_a_name_are_shown_as_pictures(g3n):
    path = g3n.home / "a\x1b[2Jb.gguf"
    path.write_bytes(SMALL8.read_bytes())
    for kind in ("csv", "table", "html"):
        both = ("-m", SMALL8, "-m", path, "-t", "1", "-p", "4", "-n", "0", "-r", "1", "-o", kind)
        text = g3n.run("bench", *both).stdout.decode()
        assert "\x1b" not in text
        assert "a␛[2Jb" in text


def test_a_cold_run_drops_the_file_first(g3n):
    (g3n.home / "cold.gguf").write_bytes(SMALL8.read_bytes())
    flags = ("-m", g3n.home / "cold.gguf", "-t", "1", "--cold")
    done = g3n.run("bench", *flags, *SHORT, "-o", "json")
    assert done.returncode == 0, done.stderr.decode()


def test_a_file_that_stays_cached_is_refused_before_any_work(g3n):
    path = g3n.home / "held.gguf"
    path.write_bytes(SMALL8.read_bytes())
    models = ("-m", SMALL8, "-m", path, "-t", "1", "--cold")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
        assert sum(mapping[:: mmap.PAGESIZE]) > 0
        done = g3n.run("bench", *models, *SHORT)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"held.gguf stays in the page cache" in done.stderr


def test_the_environment_and_the_configuration_choose_too(g3n):
    config = g3n.home / "config.toml"
    config.write_text('[bench]\nn-prompt = "5"\nn-gen = "2"\nrepetitions = 1\nthreads = "1"\n')
    changes = {"G3N_CONFIG": str(config), "G3N_MODEL": str(SMALL8)}
    done = g3n.run("bench", "-o", "json", **changes)
    (case,) = json.loads(done.stdout)["cases"]
    assert (case["label"], case["model"]) == ("pp5+tg2", SMALL8.stem)


def test_a_synthetic_model_is_made_once(g3n):
    flags = ("bench", "--synthetic", "tiny:q8_0", "-t", "1", *SHORT, "-o", "json")
    for _ in range(2):
        (case,) = json.loads(g3n.run(*flags).stdout)["cases"]
        assert case["model"] == "tiny-q8_0"
    folder = g3n.home / "cache" / "g3n" / "synthetic"
    assert os.listdir(folder) == ["tiny-q8_0.gguf"]


def test_a_synthetic_model_gets_encoders_that_a_chat_finds(g3n):
    flags = ("--media", "none,image,audio", "--image-size", "256", "-t", "1", *SHORT, "-o", "json")
    done = g3n.run("bench", "--synthetic", "tiny", *flags)
    assert done.returncode == 0, done.stderr.decode()
    text, image, audio = json.loads(done.stdout)["cases"]
    assert (text["medium"], image["media_tokens"], audio["media_tokens"]) == (None, 257, 189)
    assert image["settings"]["mmproj"] == audio["settings"]["mmproj"] == "mmproj-tiny-f16.gguf"
    (g3n.home / "a.wav").write_bytes(encode_wav(make_tone(1)))
    model = g3n.home / "cache" / "g3n" / "synthetic" / "tiny-q4_0.gguf"
    done = g3n.chat("-m", model, "-n", "2", "--json", "-f", g3n.home / "a.wav", "What is said?")
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["encode_s"] > 0


@pytest.mark.parametrize(
    ("flags", "code", "part"),
    [
        (("-p", "x"), 2, "-p 'x'"),
        (("-p", "0", "-n", "0"), 2, "nothing to measure"),
        (("-p", "999999"), 2, "tokens"),
        (("-r", "0"), 2, "'--repetitions'"),
        (("--kv", "f16,q9"), 2, "--kv"),
        (("--device", "gpu"), 2, "no device is called 'gpu'"),
        (("--size", "huge"), 2, "no size"),
        (("--preset", "slow"), 2, "--preset"),
        (("-o", "xml"), 2, "--format"),
        (("--ab", "colour=red,green"), 2, "no setting 'colour'"),
        (("--tokens", "random", "--file", "x.txt"), 2, "contradict"),
        (("--ab", "kv=f16,q9"), 2, "--kv"),
        (("-m", MAT12, "--kernels", "ggml", "--ab", "act=f32,q8"), 2, "--act f32"),
        (("--ab", "size=full,huge"), 2, "no size"),
        (("--ab", "kernels=own,vax"), 2, "--kernels"),
        (("-p", "1-9999999"), 2, "values"),
        (("--device", "cpu,gpu"), 2, "no device is called 'gpu'"),
        (("--output", "."), 2, "no format"),
        (("--ab", "kv=f16,q8_0", "-r", "2"), 2, "at least 5"),
        (("--ab", "kv=f16,q8_0", "--kv", "f16"), 2, "contradict"),
        (("--ab", "model=a,b"), 2, "names the models"),
        (("--ab", "batch=16,1-4"), 2, "not ranges"),
        (("--synthetic", "e9b"), 2, "no shape"),
        (("--synthetic", "e4b"), 2, "GB"),
        (("--file", "none.txt"), 4, "none.txt"),
        (("--media", "audio"), 4, "no audio encoder"),
        (("--media", "audio", "--synthetic", "gemma3-4b", "--yes"), 4, "no audio encoder"),
        (("--media", "image", "--synthetic", "e4b"), 2, "e4b-q4_0 with mmproj-e4b-f16 takes"),
        (("--media", "audio", "--mmproj", SMALL8, "--synthetic", "e4b", "--yes"), 3, "projector"),
        (("--media", "none.wav"), 4, "none.wav"),
        (("--media", "audio", "--mmproj", "none.gguf"), 4, "none.gguf"),
        (("--media", "audio", "--device", "cpu,http://localhost:1/v1"), 2, "not for a server"),
        (("--media", "image", "--image-size", "700"), 2, "700"),
        (
            ("--media", "image", "--image-size", "512", "--ab", "image-size=512,256"),
            2,
            "contradict",
        ),
        (("--ab", "device=cpu,CPU"), 2, "compares cpu with itself"),
        (("--ab", "mmproj=a,b"), 2, "compares media"),
        (("--output", "none/r.json"), 2, "none/r.json"),
        (("--output", "r.doc"), 2, "no format"),
        (("--output", "none/r.json", "--synthetic", "e4b", "--yes"), 2, "none/r.json"),
        (("--output", SMALL8, "-o", "json"), 2, "is what is measured"),
        (("-o", "csv", "--output", "r.JSON"), 2, "contradict"),
        (("--plot", "-o", "csv"), 2, "--plot"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    capsys, tmp_path, monkeypatch, flags, code, part
):
    for name in [name for name in os.environ if name.startswith("G3N_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # of this process
    monkeypatch.setenv("G3N_CONFIG", os.devnull)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run([*map(str, TINY), *map(str, flags)]) == code
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    assert lines[0].startswith("error: ")
    assert part in lines[0]
    assert len(lines) == 1 or lines[1].startswith("hint: ")


def test_all_that_can_be_compared_is_named(g3n):
    done = g3n.run("bench", "--ab", "modl=a.gguf,b.gguf")
    assert_fails(done, 2, "no setting 'modl'")
    for name in ("device", "image-size", "mmproj", "model", "prefill"):
        assert name in done.stderr.decode().splitlines()[1]


def test_a_missing_model_is_refused(g3n):
    assert_fails(g3n.run("bench", "-m", "none"), 3, "none")
