"""AltUp's nodes in every variant that this machine runs, against numpy."""

import numpy as np
import pytest

from g3n_cli.kernels.library import find_variants, load_kernels
from tests.kernels.references import compute_node, rms_norm

N_EMBD, N_ALTUP = 96, 4

pytestmark = pytest.mark.parametrize("variant", find_variants())


def route(x, norm, router):
    return np.tanh(rms_norm(x) * norm / N_EMBD @ router.T)


def make(n, kind):
    rng = np.random.default_rng(n)
    state = rng.standard_normal((n, N_ALTUP, N_EMBD)).astype(np.float32)
    norm = (1 + rng.standard_normal(N_EMBD)).astype(np.float32)
    router = (rng.standard_normal((N_ALTUP, N_EMBD)) * 8).astype(kind)
    return rng, state, norm, router


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("n_streams", [1, N_ALTUP])
@pytest.mark.parametrize("n", [1, 5])
def test_prediction(variant, n, n_streams, kind):
    rng, state, norm, router = make(n, kind)
    coefs = rng.standard_normal((N_ALTUP**2, N_ALTUP)).astype(np.float32)
    node = load_kernels(variant).predict
    found = compute_node(node, (N_EMBD, n_streams, n), [state, norm, router, coefs])
    mixing = (route(state[:, 0], norm, router) @ coefs.T).reshape(n, N_ALTUP, N_ALTUP)
    wanted = state + np.einsum("nke,nik->nie", state, mixing)
    assert np.abs(found - wanted[:, :n_streams]).max() < 1e-4


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("n", [1, 5])
def test_correction(variant, n, kind):
    rng, predicted, norm, router = make(n, kind)
    coefs = rng.standard_normal((N_ALTUP, N_ALTUP)).astype(np.float32)
    answer, residual = rng.standard_normal((2, n, N_EMBD)).astype(np.float32)
    answer_norm = rng.standard_normal(N_EMBD).astype(np.float32)
    node = load_kernels(variant).correct
    operands = [predicted, norm, router, coefs, answer, answer_norm, residual]
    found = compute_node(node, (N_EMBD, N_ALTUP, n), operands)
    output = rms_norm(answer) * answer_norm + residual
    factors = 1 + route(output, norm, router) @ coefs.T
    wanted = predicted + factors[:, :, None] * (output - predicted[:, 0])[:, None]
    assert np.abs(found - wanted).max() < 1e-4
