import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from g3n_cli.bench.case import BenchModel, Case
from g3n_cli.bench.media import Medium
from g3n_cli.bench.runner import run_process
from g3n_cli.bench.synthetic_audio import AudioShape, make_audio_mmproj
from g3n_cli.bench.tokens import Source
from g3n_cli.bench.worker import Job, measure
from g3n_cli.config import EngineSettings
from g3n_cli.errors import InputError, UsageError
from g3n_cli.registry.models import read_sizes
from tests.media_files import encode_wav, make_tone
from tests.model_files import SMALL8
from tests.oracle import find_case
from tests.tiny_llama import make_llama

TEXT = Source("text", "A short text. It has two sentences.")
MAT12 = BenchModel("mat12", find_case("mat12", "q8_0").path)
TINY_AUDIO = AudioShape(n_layer=2, n_embd=64, n_ff=128, n_head=4, channels=(8, 4), n_text=64)
SETTINGS = EngineSettings(n_threads=1, n_batch=16, named_sizes=read_sizes())


def run(*counts, model=MAT12, settings=SETTINGS, source=TEXT, is_cold=False):
    phases = []
    job = Job(Case(model, *counts, settings), source, 0, is_cold)
    return measure(Job.from_json(job.to_json()), phases.append), phases


def test_prompt_and_gaps_are_timed_apart():
    sample, phases = run(24, 5, 0)
    assert 0 < sample.prefill_s <= sample.ttft_s
    assert len(sample.gaps_s) == 5
    assert min(sample.gaps_s) > 0
    assert phases == ["loading", "warming up", "measuring"]


def test_depth_is_read_before_and_not_measured():
    sample, phases = run(8, 2, 300)
    assert phases[2:] == ["reading what is there before", "measuring"]
    assert len(sample.gaps_s) == 2


@pytest.mark.parametrize("counts", [(0, 4, 0), (0, 4, 20)])
def test_without_a_prompt_only_gaps_are_measured(counts):
    sample, _ = run(*counts)
    assert (sample.ttft_s, sample.prefill_s, len(sample.gaps_s)) == (None, None, 4)


@pytest.mark.parametrize("counts", [(1, 0, 0), (24, 0, 0), (16, 0, 8)])
def test_without_tokens_to_decode_only_the_prompt_is_measured(counts):
    sample, _ = run(*counts)
    assert sample.ttft_s > 0
    assert sample.gaps_s == ()


def test_nothing_is_computed_before_a_cold_measurement():
    _, phases = run(8, 2, 0, is_cold=True)
    assert phases == ["loading", "measuring"]


@pytest.mark.parametrize("ple", ["disk", "ram"])
def test_the_ledger_of_a_gemma3n_names_its_parts(ple):
    case = Case(MAT12, 24, 5, 0, EngineSettings(n_threads=1, ple=ple))
    sample = run_process(Job(case, TEXT, 0), lambda _phase: None)
    parts = sample.ledger.parts
    assert sum(parts.values()) == sample.ledger.rss_bytes <= sample.peak_run_rss_bytes
    for part in ("weights", "kv", "compute", "ple", "python", "libraries"):
        assert parts[part] > 0, part
    assert parts["other"] > -0.01 * sample.ledger.rss_bytes


@pytest.fixture(scope="module")
def hearing(tmp_path_factory):
    """A model with an audio encoder; its sounds are short, and with them its context."""
    mmproj = tmp_path_factory.mktemp("encoders") / "mmproj.gguf"
    make_audio_mmproj(mmproj, "f16", TINY_AUDIO)
    return replace(MAT12, mmproj=mmproj)


def hear(model, *counts, name="audio", path=None):
    medium = Medium(name, path, ("audio",), 189)
    case = Case(model, *counts, SETTINGS, medium=medium)
    job = Job.from_json(Job(case, TEXT, 0).to_json())
    return measure(job, lambda _phase: None), case


@pytest.mark.parametrize("counts", [(24, 3, 0), (0, 3, 0), (8, 0, 16)])
def test_the_first_token_after_sound_waits_for_its_encoding(hearing, counts):
    sample, case = hear(hearing, *counts)
    assert case.settings.n_ctx == 189 + sum(counts)
    assert 0 < sample.encode_s < sample.ttft_s
    assert sample.encode_s + sample.prefill_s <= sample.ttft_s
    assert (sample.media_tokens, sample.sound_s, sample.read_s) == (189, 30, None)
    assert len(sample.gaps_s) == counts[1]
    assert sample.peak_rss_bytes >= sample.ledger.rss_bytes


def test_a_file_is_read_before_the_request(hearing, tmp_path):
    (tmp_path / "tone.wav").write_bytes(encode_wav(make_tone(2.5)))
    sample, _ = hear(hearing, 8, 1, 0, path=str(tmp_path / "tone.wav"))
    assert sample.read_s > 0
    assert (sample.media_tokens, sample.sound_s) == (189, 2.5)


def test_encoders_of_another_model_are_refused(hearing, tmp_path):
    make_audio_mmproj(tmp_path / "mmproj.gguf", "f16", replace(TINY_AUDIO, n_text=32))
    with pytest.raises(InputError, match="belongs to another model"):
        hear(replace(hearing, mmproj=tmp_path / "mmproj.gguf"), 8, 1, 0)


def test_another_architecture_is_measured_on_llama_cpp(tmp_path):
    model = BenchModel("llama", make_llama().write(tmp_path / "model.gguf"))
    sample, _ = run(9, 3, 5, model=model, source=Source("random"))
    assert sample.ttft_s > 0
    assert len(sample.gaps_s) == 3
    assert sum(sample.ledger.parts.values()) == sample.ledger.rss_bytes


def test_a_setting_the_model_does_not_have_is_refused():
    with pytest.raises(UsageError, match="no size"):
        run(4, 4, 0, settings=EngineSettings(size="huge"))


def start_worker(job):
    command = [sys.executable, "-m", "g3n_cli.bench.worker", str(os.getpid())]
    done = subprocess.run(command, input=job.encode(), capture_output=True, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_the_process_tells_phases_and_at_last_its_sample():
    case = Case(BenchModel("small", SMALL8), 4, 2, 0, SETTINGS)
    code, messages = start_worker(Job(case, TEXT, 1).to_json())
    assert code == 0
    assert [list(message) for message in messages] == [["phase"]] * 3 + [["sample"]]
    assert len(messages[-1]["sample"]["gaps_s"]) == 2


def test_the_process_tells_why_it_cannot_measure(tmp_path):
    case = Case(BenchModel("none", tmp_path / "none.gguf"), 4, 2, 0, SETTINGS)
    code, messages = start_worker(Job(case, TEXT, 1).to_json())
    assert code == 3
    assert messages[-1]["error"][0] == 3
    assert "none.gguf" in messages[-1]["error"][1]
