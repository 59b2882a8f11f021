import os
import signal
import threading

import gguf
import llama_cpp
import numpy as np
import pytest

from g3n_cli.config import EngineSettings
from g3n_cli.engine.generate import Generation
from g3n_cli.engine.llama import LlamaEngine
from g3n_cli.engine.prompt import NO_TOKEN, Prompt
from g3n_cli.engine.sampler import Sampler
from g3n_cli.engine.sampling import Greedy
from g3n_cli.errors import InputError, ModelError
from tests.model_files import find_smollm2

pytestmark = pytest.mark.model

SETTINGS = EngineSettings(n_ctx=1024, n_batch=128)
TOLERANCE = 0.1
"""Logits of the same positions computed in batches of other sizes."""
STEP_TOLERANCE = 2.0
"""Computed one by one: other kernels, activations rounded to 8 bits (measured: 0.6)."""


def open_smollm2(settings):
    return LlamaEngine(find_smollm2(), "smollm2", settings)


@pytest.fixture(scope="module")
def smollm2():
    engine = open_smollm2(SETTINGS)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def gemma3(gemma3_270m_path):
    """Its sliding layers see 512 positions."""
    engine = LlamaEngine(gemma3_270m_path, "gemma3-270m", SETTINGS)
    yield engine
    engine.close()


def generate(engine, text, max_tokens=48):
    ids = engine.tokenizer.encode(text, add_bos=True)
    generation = Generation(engine, Prompt.of_ids(ids), Sampler(Greedy()), max_tokens)
    return "".join(generation)


def generate_with_llama_cpp_python(path, text, max_tokens=48):
    llama = llama_cpp.Llama(
        str(path), n_ctx=SETTINGS.n_ctx, n_batch=SETTINGS.n_batch, verbose=False
    )
    answer = llama.create_completion(text, max_tokens=max_tokens, temperature=0.0)
    llama.close()
    return answer["choices"][0]["text"]


def random_prompt(n, seed=0):
    return Prompt.of_ids(np.random.default_rng(seed).integers(300, 20_000, n).tolist())


def join(*prompts):
    return Prompt.of_ids([key for prompt in prompts for key in prompt.keys])


def forget(engine):
    engine.trim(0)
    return engine


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>user\nWhat is gravity?<|im_end|>\n<|im_start|>assistant\n",
        "Once upon a time",
    ],
)
def test_smollm2_answers_as_with_llama_cpp_python_alone(smollm2, text):
    assert generate(smollm2, text) == generate_with_llama_cpp_python(find_smollm2(), text)


def test_gemma3_answers_as_with_llama_cpp_python_alone(gemma3, gemma3_270m_path):
    text = "The three largest cities of Italy are"
    assert generate(gemma3, text) == generate_with_llama_cpp_python(gemma3_270m_path, text)


def test_model_describes_itself(smollm2):
    info = smollm2.info
    assert (info.name, info.path, info.architecture) == ("smollm2", find_smollm2(), "llama")
    assert (info.n_vocab, info.n_ctx_train, info.size) == (49_152, 8192, "full")
    assert "<|im_start|>" in info.chat_template
    assert smollm2.tokenizer.find_control("<|im_end|>") in info.end_ids


def test_chunked_prefill_gives_the_logits_of_one_token_at_a_time(smollm2):
    prompt = random_prompt(200)
    logits = forget(smollm2).prefill(prompt)
    assert logits.shape == (49_152,)
    forget(smollm2).prefill(prompt.slice(0, 190))
    for token in prompt.keys[190:]:
        step = smollm2.decode(token)
    assert np.abs(step - logits).max() < STEP_TOLERANCE
    assert smollm2.n_past == 200


def test_logits_stay_as_they_were_after_the_next_step(smollm2):
    logits = forget(smollm2).prefill(random_prompt(3))
    before = logits.copy()
    smollm2.decode(500)
    assert np.array_equal(logits, before)


def test_only_what_is_new_in_a_prompt_is_computed(smollm2):
    first, more = random_prompt(150), random_prompt(20, seed=1)
    forget(smollm2).prefill(first)
    seen = []
    reused = smollm2.prefill(join(first, more), lambda *at: seen.append(at))
    assert seen == [(0, 20), (20, 20)]
    fresh = forget(smollm2).prefill(join(first, more))
    assert np.abs(reused - fresh).max() < TOLERANCE


def test_last_position_is_computed_even_if_all_are_known(smollm2):
    prompt = random_prompt(30)
    logits = forget(smollm2).prefill(prompt)
    seen = []
    again = smollm2.prefill(prompt, lambda *at: seen.append(at))
    assert seen == [(0, 1), (1, 1)]
    assert np.abs(again - logits).max() < TOLERANCE


def test_progress_is_reported_for_each_batch(smollm2):
    seen = []
    forget(smollm2).prefill(random_prompt(300), lambda *at: seen.append(at))
    assert seen == [(0, 300), (128, 300), (256, 300), (300, 300)]


# Numbers are multiples of four: what is left over in a batch goes through llama.cpp's kernels for
# single tokens, which with AVX2 round otherwise; see STEP_TOLERANCE.
@pytest.mark.parametrize("kept", [892, 60])
def test_trimmed_sliding_window_gives_the_logits_of_a_fresh_prefill(gemma3, kept):
    first, other = random_prompt(900), random_prompt(12, seed=5)
    forget(gemma3).prefill(first)
    changed = join(first.slice(0, kept), other)
    seen = []
    trimmed = gemma3.prefill(changed, lambda *at: seen.append(at))
    # 60 positions are long out of the window, and llama.cpp has overwritten some of it.
    assert seen[0] == (0, 12 if kept == 892 else kept + 12)
    fresh = forget(gemma3).prefill(changed)
    assert np.abs(trimmed - fresh).max() < TOLERANCE


def test_interrupt_during_prefill_keeps_only_what_was_computed(smollm2):
    prompt = random_prompt(1000)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    forget(smollm2)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        smollm2.prefill(prompt)
    timer.join()
    kept = smollm2.n_past
    assert kept < 1000
    assert kept % SETTINGS.n_batch == 0
    short = prompt.slice(0, kept + 10)
    resumed = smollm2.prefill(short)
    fresh = forget(smollm2).prefill(short)
    assert np.abs(resumed - fresh).max() < TOLERANCE


def test_full_context_refuses_another_token():
    with_room_for_4 = open_smollm2(EngineSettings(n_ctx=4))
    with_room_for_4.prefill(random_prompt(4))
    with pytest.raises(InputError, match="context of 4 positions is full"):
        with_room_for_4.decode(500)
    assert with_room_for_4.n_past == 4
    with_room_for_4.close()


def test_prompt_longer_than_the_context_is_refused(smollm2):
    with pytest.raises(InputError, match="1025 tokens, the context holds 1024"):
        smollm2.prefill(random_prompt(1025))


def test_empty_prompt_is_refused(smollm2):
    with pytest.raises(InputError, match="empty"):
        smollm2.prefill(Prompt.of_ids([]))


def test_positions_without_a_token_are_refused(smollm2):
    ids = np.array([NO_TOKEN], np.int32)
    with pytest.raises(InputError, match="text only"):
        smollm2.prefill(Prompt((("image", 0),), ids, ids, np.zeros((1, 576), np.float32)))


@pytest.mark.parametrize("kv", ["f32", "q8_0"])
def test_other_kv_cache_types_give_nearly_the_same_logits(smollm2, kv):
    prompt = random_prompt(40)
    logits = forget(smollm2).prefill(prompt)
    engine = open_smollm2(EngineSettings(n_ctx=64, kv=kv))
    assert 0 < np.abs(engine.prefill(prompt) - logits).max() < 2.0
    engine.close()


def test_context_is_at_most_the_trained_one():
    engine = open_smollm2(EngineSettings(n_ctx=99_999))
    assert engine.n_ctx == engine.info.n_ctx_train == 8192
    engine.close()


def test_architecture_llama_cpp_does_not_know_is_refused_with_its_reason(tmp_path, capfd):
    path = tmp_path / "odd.gguf"
    writer = gguf.GGUFWriter(path, "odd")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelError, match=r"cannot load odd\.gguf: .*unknown model arch.* 'odd'"):
        LlamaEngine(path, "odd", SETTINGS)
    assert capfd.readouterr() == ("", "")


def test_closing_twice_is_harmless_and_a_closed_engine_refuses():
    engine = open_smollm2(EngineSettings(n_ctx=64))
    engine.close()
    engine.close()
    with pytest.raises(ValueError, match="already closed"):
        engine.decode(1)


def test_nothing_is_written_to_standard_error(capfd):
    engine = open_smollm2(EngineSettings(n_ctx=64))
    engine.prefill(random_prompt(3))
    engine.close()
    assert capfd.readouterr() == ("", "")
