"""What steps, prefixes, trimming and interruptions promise about each other."""

import subprocess
import sys
import threading
from contextlib import closing

import numpy as np
import pytest

from g3n_cli.engine.prompt import NO_TOKEN, Prompt
from g3n_cli.errors import InputError
from g3n_cli.ggml.backend import Aborted
from g3n_cli.kernels.library import find_variants, load_kernels
from tests.oracle import find_case, open_case, random_prompt
from tests.program import ROOT

# Two ways through one engine differ by the order of sums, which the float16 GELU table turns into
# steps of 5e-4; logits have a standard deviation of 4.
SAME = 1e-2


@pytest.fixture
def engine():
    with_shared_layers = open_case(find_case("small8", "f32"), kv="f32")
    yield with_shared_layers
    with_shared_layers.close()


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a - b).max() < SAME)


def extend(prompt: Prompt, n: int, seed: int) -> Prompt:
    return Prompt.of_ids([*prompt.keys, *random_prompt(n + 1, seed).keys[1:]])


def fresh(prompt: Prompt, **settings) -> np.ndarray:
    other = open_case(find_case("small8", "f32"), kv="f32", **settings)
    logits = other.prefill(prompt)
    other.close()
    return logits


def test_chunked_prefill_equals_one_batch():
    prompt = random_prompt(130)
    assert close(fresh(prompt, n_batch=7), fresh(prompt, n_batch=130))


def test_prefill_then_decode_equals_longer_prefill(engine):
    prompt = random_prompt(90)
    engine.prefill(prompt.slice(0, 89))
    assert close(engine.decode(int(prompt.ids[89])), fresh(prompt))


def test_step_returns_logits_of_chosen_positions_in_order(engine):
    prompt = random_prompt(20)
    every = engine.compute_all_logits(prompt)
    engine.trim(0)
    chosen = engine.step(prompt, [3, 11, 19])
    assert close(chosen, every[[3, 11, 19]])


def test_replayed_plan_equals_fresh_graph(engine):
    prompt = random_prompt(40)
    first = engine.prefill(prompt)
    engine.trim(0)
    assert np.array_equal(engine.prefill(prompt), first)


def test_offloaded_rows_equal_resident_rows():
    prompt = random_prompt(60)
    assert np.array_equal(fresh(prompt, ple="disk"), fresh(prompt, ple="ram"))


def test_new_turn_computes_only_its_own_positions(engine):
    prompt = random_prompt(50)
    engine.prefill(prompt)
    longer = extend(prompt, 12, seed=1)
    seen = []
    logits = engine.prefill(longer, lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 12)
    assert seen[-1] == (12, 12)
    assert close(logits, fresh(longer))


def test_same_prompt_again_computes_its_last_position_only(engine):
    prompt = random_prompt(50)
    first = engine.prefill(prompt)
    seen = []
    assert close(engine.prefill(prompt, lambda _done, total: seen.append(total)), first)
    assert set(seen) == {1}


@pytest.mark.parametrize("n_back", [1, 5, 31, 32])
def test_trim_within_a_batch_needs_no_snapshot(engine, n_back):
    prompt = random_prompt(150)
    engine.prefill(prompt)
    engine.trim(150 - n_back)
    assert engine.n_past == 150 - n_back
    shorter = prompt.slice(0, 150 - n_back)
    following = extend(shorter, 4, seed=2)
    assert close(engine.prefill(following), fresh(following))


@pytest.mark.parametrize("n_turns_back", [1, 2, 3, 4, 6])
def test_undoing_turns_equals_a_fresh_prefill(n_turns_back):
    turns = [random_prompt(70)]
    for seed in range(1, 7):
        turns.append(extend(turns[-1], 70, seed))
    engine = open_case(find_case("small8", "f32"), kv="f32", n_ctx=1024)
    for turn in turns:
        engine.prefill(turn)
    other = extend(turns[-1 - n_turns_back], 9, seed=99)
    seen = []
    logits = engine.prefill(other, lambda _done, total: seen.append(total))
    assert close(logits, fresh(other, n_ctx=1024))
    if n_turns_back <= 4:
        assert seen[0] <= 70 + 9, "the snapshot of an earlier turn was not used"
    engine.close()


def test_unrelated_prompt_after_a_long_one_equals_a_fresh_prefill(engine):
    engine.prefill(random_prompt(200, seed=3))
    prompt = random_prompt(33, seed=4)
    assert close(engine.prefill(prompt), fresh(prompt))


def test_aborted_step_leaves_position_and_cache_as_they_were(engine):
    prompt = random_prompt(60)
    engine.prefill(prompt)
    chunk = random_prompt(20, seed=5)
    shape = engine._shape_of(chunk, 1, engine._model.size.widths)
    inputs = engine._inputs_of(chunk, [19], shape)
    engine._model.backend.abort.set()
    with pytest.raises(Aborted):
        engine._plans.replay(shape, inputs)
    assert engine.n_past == 60
    longer = extend(prompt, 6, seed=6)
    assert close(engine.prefill(longer), fresh(longer))


def test_computing_from_another_thread_gives_the_same(engine):
    prompt = random_prompt(30)
    found = []
    thread = threading.Thread(target=lambda: found.append(engine.prefill(prompt)))
    thread.start()
    thread.join()
    assert close(found[0], fresh(prompt))


def test_embedding_rows_replace_token_ids(engine):
    prompt = random_prompt(24)
    table = find_case("small8", "f32")
    wanted = engine.prefill(prompt)
    rows = read_embeddings(table.path, prompt.ids[8:16])
    ids = prompt.ids.copy()
    ids[8:16] = NO_TOKEN
    keys = (*prompt.keys[:8], *((("picture", i)) for i in range(8)), *prompt.keys[16:])
    mixed = Prompt(keys, ids, prompt.ple_ids, rows)
    engine.trim(0)
    assert close(engine.prefill(mixed), wanted)


def read_embeddings(path, ids):
    import gguf

    tensor = next(t for t in gguf.GGUFReader(path).tensors if t.name == "token_embd.weight")
    table = tensor.data.reshape(-1, int(tensor.shape[0]))
    return (table[ids] * np.sqrt(np.float32(table.shape[1]))).astype(np.float32)


def test_context_can_be_filled_to_its_last_position():
    engine = open_case(find_case("small8", "f32"), n_ctx=40)
    prompt = random_prompt(39)
    engine.prefill(prompt)
    engine.decode(7)
    with pytest.raises(InputError, match="full"):
        engine.decode(7)
    engine.close()


@pytest.mark.parametrize("n", [0, 257])
def test_prompt_of_impossible_length_is_refused(engine, n):
    prompt = random_prompt(n) if n else Prompt.of_ids([])
    with pytest.raises(InputError):
        engine.prefill(prompt)


def test_context_is_at_most_the_trained_one():
    engine = open_case(find_case("small8", "f32"), n_ctx=1 << 20)
    assert engine.n_ctx == engine.info.n_ctx_train == 2048
    engine.close()


def test_ids_outside_the_per_layer_table_use_its_first_row(engine):
    prompt = random_prompt(12)
    first_row = Prompt(prompt.keys, prompt.ids, np.where(prompt.ids % 2, prompt.ids, 0))
    outside = Prompt(prompt.keys, prompt.ids, np.where(prompt.ids % 2, prompt.ids, 262_272))
    wanted = engine.prefill(first_row)
    engine.trim(0)
    assert np.array_equal(engine.prefill(outside), wanted)


@pytest.mark.parametrize("kv", ["q8_0", "q4_0"])
def test_quantized_cache_stays_near_the_exact_one(kv):
    prompt = random_prompt(100)
    exact = fresh(prompt)
    engine = open_case(find_case("small8", "f32"), kv=kv)
    found = engine.prefill(prompt)
    engine.close()
    assert np.corrcoef(found, exact)[0, 1] > 0.9


def test_warm_rows_are_counted(engine):
    engine.prefill(Prompt.of_ids([2, 200, 200, 201]))
    assert (engine.ple_counters.hits, engine.ple_counters.misses) == (1, 3)
    engine.decode(201)
    assert engine.ple_counters.hits == 2


def test_closing_twice_is_harmless(engine):
    engine.close()
    engine.close()


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, own.variant if (own := load_kernels("own")) else "ggml"),
        ({"kernels": "portable"}, "portable"),
        ({"kernels": "ggml"}, "ggml"),
        ({"repack": False}, "ggml"),
    ],
)
def test_the_kernels_in_use_are_named(settings, name):
    with closing(open_case(find_case("small8", "q8_0"), **settings)) as engine:
        assert engine.info.kernels == name


@pytest.mark.parametrize("kernels", find_variants())
def test_a_step_of_many_positions_computes_what_single_ones_do(kernels):
    prompt = random_prompt(40)
    with closing(open_case(find_case("small8", "q8_0"), kernels=kernels, kv="f32")) as engine:
        every = engine.compute_all_logits(prompt)
        engine.trim(0)
        single = np.stack([engine.decode(int(token)) for token in prompt.ids])
    assert np.abs(every - single).mean() < 0.02


LOADED_AND_INTERRUPTED = """
import random, signal, time
import numpy as np
from tests.oracle import find_case, open_case, random_prompt

def load():
    return open_case(case, size="128*12")

def change():
    for size in ("128*12", "full"):
        engine.resize(size, recompute=True)

def interrupt(fn, n):
    started = time.perf_counter()
    fn()
    whole_s, n_interrupted = time.perf_counter() - started, 0
    for _ in range(n):
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, whole_s))
            try:
                for _ in range(4):
                    fn()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            n_interrupted += 1
    return n_interrupted

signal.signal(signal.SIGALRM, signal.default_int_handler)
random.seed(0)
case, prompt = find_case("mat12", "q8_0"), random_prompt(8)
engine = load()
change()
wanted = engine.prefill(prompt)
print(interrupt(load, 300), interrupt(change, 2000))
change()
assert np.array_equal(engine.prefill(prompt), wanted)
"""


def test_an_interrupt_at_any_moment_of_loading_leaves_nothing_locked():
    done = subprocess.run(
        [sys.executable, "-c", LOADED_AND_INTERRUPTED],
        capture_output=True,
        check=False,
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert all(int(n_interrupted) > 100 for n_interrupted in done.stdout.split())
