"""Every variant that this machine runs, against float64 products of the same quantized operands."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g3n_cli.ggml.graph import F16, F32, ShapeError
from g3n_cli.kernels.library import find_variants, load_kernels
from tests.kernels.references import (
    Q4_0,
    compute,
    dequantize,
    gelu,
    make_rows,
    products_of,
    quantize,
)

EDGES = [1, 2, 3, 4, 5, 7, 8, 9, 17, 255, 256, 257, 512]
# A float32 sum of k products of about 1 errs by some units of its last place.
TOLERANCE = 2e-6

pytestmark = pytest.mark.parametrize("variant", find_variants())


def make_x(n, k, seed=1):
    return np.random.default_rng(seed).standard_normal((n, k), dtype=np.float32)


def multiply(variant, rows, x, **options):
    with products_of(load_kernels(variant)) as (products, weights, graph):
        given = graph.input("x", F32, x.shape[1], len(x))
        out = products.build(weights.add(Q4_0, rows, x.shape[1]), given)
        return compute(graph, out, {given: x}, **options)


def assert_near(found, wanted):
    assert np.abs(found - wanted).max() <= TOLERANCE * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("n", EDGES)
@pytest.mark.parametrize(("n_rows", "k"), [(16, 32), (48, 96), (272, 544), (32, 2048)])
def test_products_equal_those_of_the_quantized_operands(variant, n_rows, k, n):
    rows, x = make_rows(Q4_0, n_rows, k), make_x(n, k)
    (found,) = multiply(variant, rows, x)
    assert_near(found, quantize(x) @ dequantize(Q4_0, rows).T)


@settings(deadline=None, max_examples=60)
@given(
    n_panels=st.integers(1, 9),
    n_blocks=st.integers(1, 40),
    n=st.integers(1, 70),
    n_threads=st.integers(1, 4),
    scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e4]),
    seed=st.integers(0, 1000),
)
def test_any_shape_and_number_of_threads(variant, n_panels, n_blocks, n, n_threads, scale, seed):
    rows = make_rows(Q4_0, n_panels * 16, n_blocks * 32, seed)
    x = make_x(n, n_blocks * 32, seed) * np.float32(scale)
    (found,) = multiply(variant, rows, x, n_threads=n_threads)
    wanted = quantize(x) @ dequantize(Q4_0, rows).T
    assert np.abs(found - wanted).max() <= TOLERANCE * max(scale, np.abs(wanted).max())


def test_the_largest_values_do_not_overflow(variant):
    rows = np.full((32, 18 * 64), 0x0F, np.uint8)
    rows.reshape(32, -1, 18)[:, :, :2] = np.frombuffer(np.float16(1), np.uint8)
    x = np.where(np.arange(2048) % 32 < 16, np.float32(1), np.float32(-1))
    for values in (np.tile(x, (9, 1)), -np.tile(x, (9, 1))):
        (found,) = multiply(variant, rows, values)
        assert_near(found, quantize(values) @ dequantize(Q4_0, rows).T)


def test_zeros_give_zeros(variant):
    (found,) = multiply(variant, make_rows(Q4_0, 32, 64), np.zeros((5, 64), np.float32))
    assert (found == 0).all()


@pytest.mark.parametrize("n", [1, 3, 40])
def test_a_flipped_bit_changes_its_row_alone(variant, n):
    rows, x = make_rows(Q4_0, 64, 128), make_x(n, 128)
    (before,) = multiply(variant, rows, x)
    rows[37, 20] ^= 1
    (after,) = multiply(variant, rows, x)
    assert np.unique(np.nonzero(before != after)[1]).tolist() == [37]


def test_replaying_gives_the_same_bits(variant):
    found = multiply(variant, make_rows(Q4_0, 96, 128), make_x(300, 128), times=3)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_rows_of_activations_may_lie_apart(variant):
    rows, x = make_rows(Q4_0, 32, 64), make_x(6, 3 * 64)
    with products_of(load_kernels(variant)) as (products, weights, graph):
        given = graph.input("x", F32, 64, 3, 6)
        out = products.build(weights.add(Q4_0, rows, 64), graph.middle(given, 1))
        (found,) = compute(graph, out, {given: x})
    assert_near(found, quantize(x[:, 64:128].copy()) @ dequantize(Q4_0, rows).T)


@pytest.mark.parametrize("n", [1, 4, 6, 258])
@pytest.mark.parametrize("z", [None, 0.5, 1.6448533535003662])
def test_the_ffn_equals_its_formula(variant, n, z):
    k, n_ff = 64, 96
    gate, up, down = (
        make_rows(Q4_0, rows, cols, seed)
        for seed, (rows, cols) in enumerate([(n_ff, k), (n_ff, k), (k, n_ff)])
    )
    x = make_x(n, k) * 8
    with products_of(load_kernels(variant)) as (products, weights, graph):
        given = graph.input("x", F32, k, n)
        matrices = [
            weights.add(Q4_0, rows, cols) for rows, cols in ((gate, k), (up, k), (down, n_ff))
        ]
        out = products.build_ffn(*matrices, given, z)
        (found,) = compute(graph, out, {given: x})
    gates, ups = (quantize(x) @ dequantize(Q4_0, rows).T for rows in (gate, up))
    if z is not None:
        cutoffs = gates.mean(axis=1, keepdims=True) + z * gates.std(axis=1, keepdims=True)
        gates = np.maximum(gates - cutoffs, 0)
    hidden = gelu(gates) * ups
    wanted = quantize(hidden) @ dequantize(Q4_0, down).T
    # A value at the middle between two steps of 8 bits may be rounded either way.
    step = np.abs(hidden).max() / 127 * np.abs(dequantize(Q4_0, down)).max()
    assert np.abs(found - wanted).max() <= 1.01 * step
    assert np.abs(found - wanted).mean() <= 0.02 * step


def test_operands_that_do_not_fit_are_refused(variant):
    with products_of(load_kernels(variant)) as (products, weights, graph):
        matrix = weights.add(Q4_0, make_rows(Q4_0, 32, 64), 64)
        wide = weights.add(Q4_0, make_rows(Q4_0, 32, 96), 96)
        x = graph.input("x", F32, 64, 2)
        wrong = [
            lambda: products.build(wide, x),
            lambda: products.build(matrix, graph.input("h", F16, 64, 2)),
            lambda: products.build(matrix, graph.input("t", F32, 64, 2, 2)),
            lambda: products.build(matrix, graph.input("o", F32, 33, 2)),
            lambda: products.build(matrix, graph.permute(graph.input("p", F32, 2, 64), 1, 0, 2, 3)),
            lambda: products.build_ffn(matrix, wide, matrix, x, None),
        ]
        for operation in wrong:
            with pytest.raises(ShapeError):
                operation()
