from pathlib import Path

import pytest

from g3n_cli.bench.case import BenchModel, Case
from g3n_cli.bench.check import check_cases
from g3n_cli.config import EngineSettings
from g3n_cli.errors import ModelError, UsageError
from tests.oracle import find_case
from tests.tiny_llama import make_llama

MAT12 = BenchModel("mat12", find_case("mat12", "q8_0").path)


def check(model=MAT12, n_prompt=8, **settings):
    check_cases([Case(model, n_prompt, 4, 0, EngineSettings(**settings))])


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
