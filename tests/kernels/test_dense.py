"""Products with matrices of halves, in every variant that this machine runs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g3n_cli.ggml.graph import F32, I32
from g3n_cli.kernels.library import find_variants, load_kernels
from tests.kernels.references import F16, compute, make_halves, products_of

pytestmark = pytest.mark.parametrize("variant", find_variants())


@settings(deadline=None, max_examples=60)
@given(
    n_panels=st.integers(1, 7),
    n_blocks=st.integers(1, 12),
    n=st.one_of(st.integers(1, 12), st.integers(250, 260)),
    n_threads=st.integers(1, 3),
)
def test_products_equal_those_in_float64(variant, n_panels, n_blocks, n, n_threads):
    k = n_blocks * 32
    rows = make_halves(n_panels * 16, k)
    x = np.random.default_rng(n).standard_normal((n, k), dtype=np.float32)
    with products_of(load_kernels(variant)) as (products, weights, graph):
        given = graph.input("x", F32, k, n)
        out = products.build(weights.add(F16, rows, k), given)
        (found,) = compute(graph, out, {given: x}, n_threads)
    wanted = x.astype(np.float64) @ rows.view(np.float16).astype(np.float64).T
    assert np.abs(found - wanted).max() <= 2e-6 * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("n", [1, 9])
def test_a_view_of_whole_panels_is_a_matrix(variant, n):
    rows = make_halves(96, 64)
    x = np.random.default_rng(n).standard_normal((n, 64), dtype=np.float32)
    with products_of(load_kernels(variant)) as (products, weights, graph):
        given = graph.input("x", F32, 64, n)
        part = graph.rows(weights.add(F16, rows, 64), 32, 48)
        (found,) = compute(graph, products.build(part, given), {given: x})
    wanted = x @ rows.view(np.float16).astype(np.float32)[32:80].T
    assert np.abs(found - wanted).max() <= 1e-5


def test_rows_of_halves_can_be_read(variant):
    rows, ids = make_halves(32, 96), np.array([31, 0, 16], np.int32)
    with products_of(load_kernels(variant)) as (products, weights, graph):
        given = graph.input("ids", I32, 3)
        out = products.build_rows(weights.add(F16, rows, 96), given)
        (found,) = compute(graph, out, {given: ids})
    assert np.array_equal(found, rows.view(np.float16).astype(np.float32)[ids])
