"""The node of what goes into an FFN, in every variant that this machine runs, against numpy."""

import numpy as np
import pytest

from g3n_cli.kernels.library import find_variants, load_kernels
from tests.kernels.references import compute_node, rms_norm


@pytest.mark.parametrize("variant", find_variants())
@pytest.mark.parametrize("n", [1, 3, 17])
def test_what_goes_into_an_ffn(variant, n):
    rng = np.random.default_rng(n)
    attended, active, low, x = rng.standard_normal((4, n, 96)).astype(np.float32)
    norms = rng.standard_normal((2, 96)).astype(np.float32)
    operands = [attended, norms[0], active, low, norms[1], x]
    found = compute_node(load_kernels(variant).residual, (96, n), operands)
    wanted = (rms_norm(attended) * norms[0] + active + rms_norm(low) * norms[1] + x) / np.sqrt(2)
    assert np.abs(found - wanted).max() < 1e-5
