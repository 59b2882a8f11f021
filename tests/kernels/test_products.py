"""Every variant that this machine runs, against float64 products of the same quantized operands."""

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES
from hypothesis import given, settings
from hypothesis import strategies as st

from g3n_cli.ggml.graph import F16, F32, I32, ShapeError
from g3n_cli.kernels.library import find_variants, load_kernels
from tests.kernels.references import (
    Q4_0,
    Q8_0,
    SCALES,
    TYPES,
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


def multiply(variant, rows, x, kind=Q4_0, act="q8", **options):
    with products_of(load_kernels(variant), act) as (products, weights, graph):
        given = graph.input("x", F32, x.shape[1], len(x))
        out = products.build(weights.add(kind, rows, x.shape[1]), given)
        return compute(graph, out, {given: x}, **options)


def assert_near(found, wanted):
    assert np.abs(found - wanted).max() <= TOLERANCE * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("n", EDGES)
@pytest.mark.parametrize(
    ("kind", "n_rows", "k"),
    [
        *((kind, n_rows, k) for kind in (Q4_0, Q8_0) for n_rows, k in ((16, 32), (272, 544))),
        *((kind, 48, 768) for kind in TYPES),
    ],
)
def test_products_equal_those_of_the_quantized_operands(variant, kind, n_rows, k, n):
    rows, x = make_rows(kind, n_rows, k), make_x(n, k)
    (found,) = multiply(variant, rows, x, kind)
    assert_near(found, quantize(x) @ dequantize(kind, rows).T)


@pytest.mark.parametrize("n", [1, 4, 5, 257])
@pytest.mark.parametrize("kind", TYPES, ids=TYPES.get)
@pytest.mark.parametrize("act", ["f32", "q4"])
def test_activations_can_stay_as_they_are_or_lose_half_of_their_bits(variant, act, kind, n):
    rows, x = make_rows(kind, 48, 768), make_x(n, 768)
    (found,) = multiply(variant, rows, x, kind, act)
    met = x.astype(np.float64) if act == "f32" else quantize(x, 7)
    assert_near(found, met @ dequantize(kind, rows).T)


@pytest.mark.parametrize("kind", TYPES, ids=TYPES.get)
def test_rows_of_a_matrix_in_panels_can_be_read(variant, kind):
    rows, ids = make_rows(kind, 48, 512), np.array([0, 47, 17, 17, 31], np.int32)
    with products_of(load_kernels(variant)) as (products, weights, graph):
        given = graph.input("ids", I32, len(ids))
        out = products.build_rows(weights.add(kind, rows, 512), given)
        (found,) = compute(graph, out, {given: ids})
    wanted = dequantize(kind, rows)[ids]
    assert np.abs(found - wanted).max() <= 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("kind", TYPES, ids=TYPES.get)
@settings(deadline=None, max_examples=40)
@given(
    n_panels=st.integers(1, 9),
    n_blocks=st.integers(1, 5),
    n=st.integers(1, 70),
    n_threads=st.integers(1, 4),
    scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e4]),
    seed=st.integers(0, 1000),
)
def test_any_shape_and_number_of_threads(
    variant, kind, n_panels, n_blocks, n, n_threads, scale, seed
):
    k = n_blocks * 256
    rows = make_rows(kind, n_panels * 16, k, seed)
    x = make_x(n, k, seed) * np.float32(scale)
    (found,) = multiply(variant, rows, x, kind, n_threads=n_threads)
    wanted = quantize(x) @ dequantize(kind, rows).T
    assert np.abs(found - wanted).max() <= TOLERANCE * max(scale, np.abs(wanted).max())


@pytest.mark.parametrize("kind", TYPES, ids=TYPES.get)
@pytest.mark.parametrize("byte", [0x00, 0x0F, 0x7F, 0x80, 0xFF])
def test_the_largest_values_do_not_overflow(variant, kind, byte):
    n_bytes = GGML_QUANT_SIZES[kind][1]
    rows = np.full((32, 2, n_bytes), byte, np.uint8)
    for offset in SCALES[kind]:
        rows[:, :, offset : offset + 2] = np.frombuffer(np.float16(1), np.uint8)
    rows = rows.reshape(32, -1)
    k = dequantize(kind, rows).shape[1]
    signs = np.where(np.arange(k) % 32 < 16, np.float32(1), np.float32(-1))
    for x in (np.ones(k, np.float32), signs, -signs):
        values = np.tile(x, (9, 1))
        (found,) = multiply(variant, rows, values, kind)
        matrix = dequantize(kind, rows)
        size = (np.abs(values) @ np.abs(matrix).T).max()  # of what may cancel out
        assert np.abs(found - quantize(values) @ matrix.T).max() <= TOLERANCE * size


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


@pytest.mark.parametrize("act", ["q8", "q4", "f32"])
@pytest.mark.parametrize("n", [1, 4, 6, 258])
@pytest.mark.parametrize("z", [None, 0.5, 1.6448533535003662])
def test_the_ffn_equals_its_formula(variant, n, z, act):
    k, n_ff = 64, 96
    gate, up, down = (
        make_rows(Q4_0, rows, cols, seed)
        for seed, (rows, cols) in enumerate([(n_ff, k), (n_ff, k), (k, n_ff)])
    )
    x = make_x(n, k) * 8
    found = compute_ffn(variant, (gate, up, down), x, z, act=act)
    largest = {"q8": 127, "q4": 7, "f32": 1e5}[act]
    met = x if act == "f32" else quantize(x, largest)
    gates, ups = (met @ dequantize(Q4_0, rows).T for rows in (gate, up))
    if z is not None:
        cutoffs = gates.mean(axis=1, keepdims=True) + z * gates.std(axis=1, keepdims=True)
        gates = np.maximum(gates - cutoffs, 0)
    hidden = gelu(gates) * ups
    wanted = (hidden if act == "f32" else quantize(hidden, largest)) @ dequantize(Q4_0, down).T
    # A value at the middle between two steps may be rounded either way.
    step = np.abs(hidden).max() / largest * np.abs(dequantize(Q4_0, down)).max()
    assert np.abs(found - wanted).max() <= 1.01 * step
    assert np.abs(found - wanted).mean() <= 0.02 * step


@pytest.mark.parametrize("kind", TYPES, ids=TYPES.get)
@pytest.mark.parametrize("z", [-10.0, 1.645, 10.0])
@pytest.mark.parametrize("n", [1, 2, 4, 5, 30])
def test_an_up_matrix_by_rows_gives_what_one_in_panels_gives(variant, n, z, kind):
    k, n_ff = 768, 1056
    gate, up = make_rows(Q4_0, n_ff, k), make_rows(kind, n_ff, k, seed=1)
    matrices = (gate, up, make_rows(Q4_0, 64, n_ff, seed=2))
    x = make_x(n, k)
    found, wanted = (
        compute_ffn(variant, matrices, x, z, kind, by_rows=by_rows) for by_rows in (True, False)
    )
    assert np.abs(found - wanted).max() <= TOLERANCE * max(1.0, np.abs(wanted).max())
    assert (z == 10.0) == (not wanted.any())


def compute_ffn(variant, matrices, x, z, kind_of_up=Q4_0, *, by_rows=False, act="q8"):
    gate, up, down = matrices
    with products_of(load_kernels(variant), act) as (products, weights, graph):
        given = graph.input("x", F32, x.shape[1], len(x))
        added = (
            weights.add(Q4_0, gate, x.shape[1]),
            weights.add(kind_of_up, up, x.shape[1], by_rows=by_rows),
            weights.add(Q4_0, down, len(up)),
        )
        gate, up, down = added
        (found,) = compute(graph, products.build_ffn(gate, up, [down], given, z), {given: x})
    return found


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
            lambda: products.build_ffn(matrix, wide, [matrix], x, None),
        ]
        for operation in wrong:
            with pytest.raises(ShapeError):
                operation()
