import psutil
import pytest

from g3n_cli.config import EngineSettings
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.llama import LlamaEngine
from g3n_cli.engine.open import check_memory, count_needed_bytes, open_engine
from g3n_cli.engine.runner import Gemma3nEngine
from g3n_cli.engine.validate import open_model
from g3n_cli.errors import DoesNotFitError, ExitCode, UsageError
from g3n_cli.registry.models import resolve
from tests.oracle import find_case


def test_gemma3n_runs_on_the_engine_of_its_own():
    engine = open_engine(find_case("small8", "q8_0").path, "tiny", EngineSettings())
    assert isinstance(engine, Gemma3nEngine)
    assert (engine.info.name, engine.info.size) == ("tiny", "full")
    assert {1, 106} <= engine.info.end_ids
    engine.close()


@pytest.mark.model
def test_everything_else_runs_on_llama_cpp():
    engine = open_engine(resolve("smollm2").path, "smollm2", EngineSettings())
    assert isinstance(engine, LlamaEngine)
    engine.close()


def test_per_layer_table_counts_only_where_it_is_in_ram():
    gguf = open_model(find_case("small8", "f32").path)
    hparams = HParams.from_gguf(gguf)
    on_disk = count_needed_bytes(gguf, hparams, EngineSettings(ple="disk"))
    in_ram = count_needed_bytes(gguf, hparams, EngineSettings(ple="ram"))
    assert in_ram - on_disk == gguf.tensors["per_layer_token_embd.weight"].n_bytes
    unused = gguf.tensors["blk.7.attn_k.weight"].n_bytes
    assert in_ram <= sum(info.n_bytes for info in gguf.tensors.values()) - unused


def test_more_than_the_free_memory_is_refused_with_the_numbers():
    total = psutil.virtual_memory().total
    with pytest.raises(DoesNotFitError, match=r"model needs .* GB of memory, .* GB are free") as e:
        check_memory(total + 1, "model")
    assert e.value.exit_code is ExitCode.MEMORY == 5
    check_memory(1, "model")


def test_a_size_needs_less_memory():
    gguf = open_model(find_case("mat12", "q8_0").path)
    hparams = HParams.from_gguf(gguf)
    full, half = (
        count_needed_bytes(gguf, hparams, EngineSettings(size=size)) for size in ("full", "128*12")
    )
    ffn = sum(info.n_bytes for info in gguf.tensors.values() if ".ffn_" in info.name)
    norms = sum(info.n_bytes for info in gguf.tensors.values() if ".ffn_norm" in info.name)
    assert full - half == (ffn - norms) // 2


def test_weights_that_stay_resident_need_memory_for_all():
    gguf = open_model(find_case("mat12", "q8_0").path)
    hparams = HParams.from_gguf(gguf)
    full, small, kept = (
        count_needed_bytes(gguf, hparams, EngineSettings(size=size, keep_resident=is_kept))
        for size, is_kept in (("full", False), ("128*12", False), ("128*12", True))
    )
    assert small < kept == full
    with pytest.raises(UsageError, match="no memory to save"):
        EngineSettings(size="auto", keep_resident=True)


@pytest.mark.model
def test_activations_are_llama_cpps_where_it_computes():
    with pytest.raises(UsageError, match="--act f32 is for Gemma 3n"):
        open_engine(resolve("smollm2").path, "smollm2", EngineSettings(act="f32"))


@pytest.mark.parametrize("flag", ["size", "prefill_size"])
@pytest.mark.model
def test_sizes_are_refused_where_a_model_has_one(flag):
    with pytest.raises(UsageError, match="smollm2 has one size only"):
        open_engine(resolve("smollm2").path, "smollm2", EngineSettings(**{flag: "70%"}))
