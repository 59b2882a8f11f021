"""Convolutions and norms of pictures in every variant that this machine runs, against float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g3n_cli.engine.encoders.pictures import (
    arrange_taps,
    can_spread,
    count_padding,
    count_pixels,
    spread_taps,
)
from g3n_cli.ggml.graph import F32, Graph, ShapeError
from g3n_cli.kernels.library import find_variants, load_kernels
from tests.kernels.references import EPS, compute, gelu, rms_norm

pytestmark = pytest.mark.parametrize("variant", find_variants())

SHAPES = {
    "side": st.integers(1, 13),
    "stride": st.integers(1, 2),
    "kernel": st.sampled_from([1, 3, 5, 7]),
    "n_threads": st.integers(1, 3),
}


EXACT = 2e-5
"""Of sums about 1 in size of up to 6,419 products, one after the other in float32."""


def draw(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


def draw_taps(n_taps, n_out, n_in):
    """Weights that make sums about 1 in size."""
    return draw(n_taps, n_out, n_in) / np.float32(np.sqrt(n_taps * n_in))


def run(node, ne, operands, params, n_threads=2, *, is_in_place=False):
    graph = Graph(16)
    given = [graph.input(str(i), F32, *a.shape[::-1]) for i, a in enumerate(operands)]
    out = graph.custom(F32, ne, tuple(given), node, params, is_in_place=is_in_place)
    first, again = compute(graph, out, dict(zip(given, operands, strict=True)), n_threads, times=2)
    graph.close()
    assert np.array_equal(first, again)
    return first


def see(x, side, kernel, stride):
    """What each place of a kernel meets: ``[kernel * kernel, n * n, n_channels]``."""
    n, (before, after) = count_pixels(side, stride), count_padding(side, kernel, stride)
    picture = x.astype(np.float64).reshape(side, side, -1)
    padded = np.pad(picture, ((before, after), (before, after), (0, 0)))
    end = stride * (n - 1) + 1
    return np.stack(
        [
            padded[i : i + end : stride, j : j + end : stride].reshape(n * n, -1)
            for i in range(kernel)
            for j in range(kernel)
        ]
    )


@settings(deadline=None, max_examples=60)
@given(n_in=st.sampled_from([1, 4, 48, 128, 131]), n_groups=st.integers(1, 3), **SHAPES)
def test_convolutions(variant, n_in, n_groups, side, stride, kernel, n_threads):
    kernels = load_kernels(variant)
    x, taps = draw(side * side, n_in), draw_taps(kernel**2, 32 * n_groups, n_in)
    n = count_pixels(side, stride)
    operands = [x, np.ascontiguousarray(arrange_taps(taps, kernels))]
    params = (float(side), float(stride))
    found = run(kernels.convolve, (32 * n_groups, n * n), operands, params, n_threads)
    wanted = np.einsum("tni,toi->no", see(x, side, kernel, stride), taps.astype(np.float64))
    assert np.abs(found - wanted).max() < EXACT


def test_a_picture_of_several_tiles(variant):
    kernels = load_kernels(variant)
    x, taps = draw(40 * 40, 16), draw_taps(9, 32, 16)
    operands = [x, np.ascontiguousarray(arrange_taps(taps, kernels))]
    found = run(kernels.convolve, (32, 1600), operands, (40.0, 1.0))
    wanted = np.einsum("tni,toi->no", see(x, 40, 3, 1), taps.astype(np.float64))
    assert np.abs(found - wanted).max() < EXACT


@settings(deadline=None, max_examples=40)
@given(
    n_vectors=st.sampled_from([1, 3, 8, 11]),
    n_groups=st.integers(1, 3),
    side=st.one_of(st.integers(1, 13), st.integers(20, 27)),
    n_threads=st.integers(1, 3),
)
def test_convolutions_of_a_picture_that_is_spread(variant, n_vectors, n_groups, side, n_threads):
    kernels, n_in, n_out = load_kernels(variant), 16 * n_vectors, 32 * n_groups
    x, taps = draw(side * side, n_in), draw_taps(9, n_out, n_in)
    assert can_spread(taps, 1, kernels)
    ne, params = (n_in, 36 * count_pixels(side, 4) ** 2), (float(side),)
    spread = run(kernels.spread, ne, [x], params, n_threads)
    operands = [spread, np.ascontiguousarray(arrange_taps(spread_taps(taps), kernels))]
    found = run(kernels.convolve_spread, (n_out, side * side), operands, params, n_threads)
    wanted = np.einsum("tni,toi->no", see(x, side, 3, 1), taps.astype(np.float64))
    assert np.abs(found - wanted).max() < EXACT


@settings(deadline=None, max_examples=60)
@given(n_vectors=st.integers(1, 3), has_gelu=st.booleans(), **SHAPES)
def test_convolutions_by_channel(variant, n_vectors, has_gelu, side, stride, kernel, n_threads):
    n_channels, n = 16 * n_vectors, count_pixels(side, stride)
    x, taps, weight = draw(side * side, n_channels), draw(kernel**2, n_channels), draw(n_channels)
    params = (EPS, float(has_gelu), float(side), float(stride))
    node = load_kernels(variant).depthwise
    found = run(node, (n_channels, n * n), [x, taps, weight], params, n_threads)
    wanted = rms_norm((see(x, side, kernel, stride) * taps[:, None]).sum(axis=0)) * weight
    wanted = gelu(wanted) if has_gelu else wanted
    assert np.abs(found - wanted).max() < EXACT


@pytest.mark.parametrize("n", [1, 63, 64, 200])
@pytest.mark.parametrize("has_gelu", [False, True])
@pytest.mark.parametrize("has_residual", [False, True])
@pytest.mark.parametrize("is_in_place", [False, True])
def test_norms(variant, n, has_gelu, has_residual, is_in_place):
    x, weight, residual = draw(n, 48), draw(48), draw(n, 48)[::-1].copy()
    operands = [residual, weight, x] if has_residual else [x, weight]
    params = (EPS, float(has_gelu))
    node = load_kernels(variant).norm
    found = run(node, (48, n), operands, params, is_in_place=is_in_place)
    wanted = rms_norm(x.astype(np.float64)) * weight
    wanted = gelu(wanted) if has_gelu else wanted
    assert np.abs(found - wanted - (residual if has_residual else 0)).max() < EXACT


def test_a_result_in_place_has_the_shape_of_what_lies_there(variant):
    graph = Graph(4)
    x = graph.input("x", F32, 16, 4)
    with pytest.raises(ShapeError):
        graph.custom(F32, (16, 2), (x, x), load_kernels(variant).norm, is_in_place=True)
    graph.close()
