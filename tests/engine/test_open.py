import pytest

from g3n_cli.config import EngineSettings
from g3n_cli.engine.llama import LlamaEngine
from g3n_cli.engine.open import open_engine
from g3n_cli.engine.runner import Gemma3nEngine
from g3n_cli.errors import UsageError
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


def test_weights_that_stay_resident_leave_auto_nothing_to_save():
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
