"""AltUp's nodes in every variant that this machine runs, against numpy."""

import numpy as np
import pytest

from g3n_cli.ggml.graph import F16, F32, Graph
from g3n_cli.kernels.library import find_variants, load_kernels
from tests.kernels.references import compute

EPS = 1e-6
N_EMBD, N_ALTUP = 96, 4

pytestmark = pytest.mark.parametrize("variant", find_variants())


def route(x, norm, router):
    normed = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPS) * norm
    return np.tanh(normed / N_EMBD @ router.T)


def make(n, kind):
    rng = np.random.default_rng(n)
    state = rng.standard_normal((n, N_ALTUP, N_EMBD)).astype(np.float32)
    norm = (1 + rng.standard_normal(N_EMBD)).astype(np.float32)
    router = (rng.standard_normal((N_ALTUP, N_EMBD)) * 8).astype(kind)
    return rng, state, norm, router


def run(node, ne, operands):
    """Compute a node of a variant's with the given operands."""
    graph = Graph(16)
    kinds = {np.dtype(np.float16): F16, np.dtype(np.float32): F32}
    given = [graph.input(str(i), kinds[a.dtype], *a.shape[::-1]) for i, a in enumerate(operands)]
    out = graph.custom(F32, ne, tuple(given), node, (EPS,))
    flat = graph.reshape(out, ne[0] * ne[1], ne[2])
    (found,) = compute(graph, flat, dict(zip(given, operands, strict=True)), n_threads=2)
    graph.close()
    return found.reshape(ne[::-1])


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("n_streams", [1, N_ALTUP])
@pytest.mark.parametrize("n", [1, 5])
def test_prediction(variant, n, n_streams, kind):
    rng, state, norm, router = make(n, kind)
    coefs = rng.standard_normal((N_ALTUP**2, N_ALTUP)).astype(np.float32)
    node = load_kernels(variant).predict
    found = run(node, (N_EMBD, n_streams, n), [state, norm, router, coefs])
    mixing = (route(state[:, 0], norm, router) @ coefs.T).reshape(n, N_ALTUP, N_ALTUP)
    wanted = state + np.einsum("nke,nik->nie", state, mixing)
    assert np.abs(found - wanted[:, :n_streams]).max() < 1e-4


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("n", [1, 5])
def test_correction(variant, n, kind):
    rng, predicted, norm, router = make(n, kind)
    coefs = rng.standard_normal((N_ALTUP, N_ALTUP)).astype(np.float32)
    output = rng.standard_normal((n, N_EMBD)).astype(np.float32)
    node = load_kernels(variant).correct
    operands = [predicted, norm, router, coefs, output]
    found = run(node, (N_EMBD, N_ALTUP, n), operands)
    factors = 1 + route(output, norm, router) @ coefs.T
    wanted = predicted + factors[:, :, None] * (output - predicted[:, 0])[:, None]
    assert np.abs(found - wanted).max() < 1e-4
