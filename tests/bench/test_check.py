from dataclasses import replace
from pathlib import Path

import pytest

from g3n_cli.bench.case import BenchModel, Case
from g3n_cli.bench.check import check_cases
from g3n_cli.bench.media import Medium
from g3n_cli.bench.synthetic_audio import AudioShape, make_audio_mmproj
from g3n_cli.config import EngineSettings
from g3n_cli.errors import InputError, ModelError, UsageError
from tests.oracle import find_case
from tests.tiny_llama import make_llama

MAT12 = BenchModel("mat12", find_case("mat12", "q8_0").path)


def check(model=MAT12, n_prompt=8, **settings):
    check_cases([Case(model, n_prompt, 4, 0, EngineSettings(**settings))])


def check_medium(model, *kinds):
    medium = Medium("medium", None, kinds, 189)
    check_cases([Case(model, 8, 4, settings=EngineSettings(), medium=medium)])


@pytest.fixture(scope="module")
def mmproj(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoders") / "mmproj.gguf"
    shape = AudioShape(n_layer=1, n_embd=64, n_ff=64, n_head=4, channels=(8, 4), n_text=64)
    make_audio_mmproj(path, "f16", shape)
    return path


def test_media_without_their_encoder_are_refused(mmproj, llama):
    hearing = replace(MAT12, mmproj=mmproj)
    check_medium(hearing, "audio")
    with pytest.raises(InputError, match=r"mmproj\.gguf has no image encoder"):
        check_medium(hearing, "audio", "image")
    with pytest.raises(InputError, match="no audio encoder"):
        check_medium(MAT12, "audio")
    with pytest.raises(InputError, match="reads text only"):
        check_medium(replace(llama, mmproj=mmproj), "audio")


@pytest.fixture
def llama(tmp_path):
    return BenchModel("llama", make_llama().write(tmp_path / "model.gguf"))


def test_what_can_run_is_not_refused(llama):
    check(kv="q8_0", ple="ram", prefill="full", size="128*12", kernels="ggml")
    check(llama)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_prompt": 9999}, "takes 10,003 tokens, mat12 was made for"),
        ({"size": "huge"}, "no size"),
        ({"prefill_size": "huge"}, "no size"),
        ({"size": "auto"}, "free memory"),
        ({"n_threads": 1000}, "more than 512"),
        ({"act": "f32", "kernels": "ggml"}, "--act f32 needs g3n's own kernels"),
        ({"act": "q4", "repack": False}, "--act q4 needs"),
        ({"kernels": "neon"}, "--kernels neon"),
    ],
)
def test_what_a_gemma3n_cannot_do_is_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        check(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_prompt": 10**6}, "was made for"),
        ({"ple": "ram"}, "--ple means nothing to llama"),
        ({"prefill": "full"}, "--prefill means nothing"),
        ({"size": "e2b"}, "--size means nothing"),
        ({"kernels": "ggml"}, "--kernels means nothing"),
        ({"act": "f32"}, "--act means nothing"),
        ({"kv": "q8_0"}, "heads of a multiple of 32"),
    ],
)
def test_what_another_model_cannot_do_is_refused(llama, changes, words):
    with pytest.raises(UsageError, match=words):
        check(llama, **changes)


def test_a_missing_file_is_refused():
    with pytest.raises(ModelError, match=r"none\.gguf"):
        check(BenchModel("none", Path("none.gguf")))
