import numpy as np

from g3n_cli.engine.plan import N_PLANS
from tests.oracle import find_case, make_shape, open_case, random_prompt


def test_same_shape_is_built_once_and_plans_are_bounded():
    engine = open_case(find_case("small8", "f32"), n_batch=64)
    plans = engine._plans
    largest = plans.get(make_shape(engine, 64, 256, 88, 64))
    assert plans.get(make_shape(engine, 64, 256, 88, 64)) is largest
    for n in range(1, N_PLANS + 1):
        plans.get(make_shape(engine, n, 256, 88, 1))
    assert len(plans._steps) == N_PLANS
    assert make_shape(engine, 64, 256, 88, 64) not in plans._steps
    engine.close()


def test_plans_survive_one_that_needs_a_larger_buffer():
    engine = open_case(find_case("small8", "f32"), n_batch=128, kv="f32")
    short, long = random_prompt(3), random_prompt(120, seed=1)
    first = engine.prefill(short)
    before = engine._plans.compute_bytes
    engine.prefill(long)
    assert engine._plans.compute_bytes > before
    assert np.array_equal(engine.prefill(short), first)
    engine.close()


def test_layers_reuse_each_others_memory():
    engine = open_case(find_case("compat30", "q8_0"), n_batch=128)
    engine._plans.get(make_shape(engine, 128, 256, 160, 0))
    n_embd, n_altup, n_ple, n_layer = 64, 4, 256, 30
    state, ple = n_embd * n_altup * 128 * 4, n_ple * n_layer * 128 * 4
    assert engine._plans.compute_bytes < 3 * ple + 8 * state
    engine.close()
