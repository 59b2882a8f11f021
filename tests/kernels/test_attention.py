"""Attention in every variant that this machine runs, against float64."""

import numpy as np
import pytest

from g3n_cli.ggml.graph import F16, F32, Graph
from g3n_cli.kernels.library import find_variants, load_kernels
from tests.kernels.references import compute

pytestmark = pytest.mark.parametrize("variant", find_variants())


def attend(q, k, v, is_seen):
    """``q [n, head, d]``, ``k``, ``v [n_kv, head_kv, d]``, ``is_seen [n, n_kv]``."""
    group = q.shape[1] // k.shape[1]
    k, v = (np.repeat(a.astype(np.float64), group, axis=1) for a in (k, v))
    scores = np.einsum("nhd,khd->hnk", q.astype(np.float64), k)
    scores[:, ~is_seen] = -np.inf
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    return np.einsum("hnk,khd->nhd", weights, v).reshape(len(q), -1)


def run(variant, q, k, v, is_seen=None, n_threads=2):
    graph = Graph(16)
    kinds = {np.dtype(np.float16): F16, np.dtype(np.float32): F32}
    given = {
        name: graph.input(name, kinds[a.dtype], *a.shape[::-1])
        for name, a in (("q", q), ("k", k), ("v", v))
    }
    operands = [q, k, v]
    if is_seen is not None:
        operands.append(np.where(is_seen, np.float16(0), np.float16(-np.inf)))
        given["mask"] = graph.input("mask", F16, *is_seen.shape[::-1])
    ne = (q.shape[1] * v.shape[2], len(q))
    out = graph.custom(F32, ne, tuple(given.values()), load_kernels(variant).attention)
    values = dict(zip(given.values(), operands, strict=True))
    (found,) = compute(graph, out, values, n_threads)
    graph.close()
    return found


def make(n, n_kv, n_head=4, n_head_kv=2, d=32, d_v=32, kind=np.float16):
    rng = np.random.default_rng(n * 1000 + n_kv)
    q = rng.standard_normal((n, n_head, d), np.float32)
    k, v = (rng.standard_normal((n_kv, n_head_kv, w), np.float32).astype(kind) for w in (d, d_v))
    return q, k, v


def see_window(n, n_kv, n_past, window):
    query, key = np.arange(n)[:, None] + n_past, np.arange(n_kv)[None]
    return (key <= query) & (key > query - window)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize(("n", "n_kv"), [(1, 1), (1, 33), (4, 4), (7, 40), (30, 256), (65, 300)])
def test_causal_attention_equals_its_formula(variant, n, n_kv, kind):
    q, k, v = make(n, n_kv, kind=kind)
    is_seen = see_window(n, n_kv, n_kv - n, n_kv)
    found = run(variant, q, k, v, is_seen)
    assert np.abs(found - attend(q, k, v, is_seen)).max() < 1e-5


@pytest.mark.parametrize("window", [1, 16, 100])
def test_keys_out_of_the_window_do_not_count(variant, window):
    q, k, v = make(50, 200)
    is_seen = see_window(50, 200, 150, window)
    found = run(variant, q, k, v, is_seen)
    assert np.abs(found - attend(q, k, v, is_seen)).max() < 1e-5


@pytest.mark.parametrize(
    ("n_head", "n_head_kv", "d", "d_v"),
    [(8, 2, 256, 256), (3, 1, 16, 48), (1, 1, 64, 32), (32, 1, 16, 16), (5, 5, 96, 96)],
)
def test_heads_and_widths(variant, n_head, n_head_kv, d, d_v):
    q, k, v = make(21, 77, n_head, n_head_kv, d, d_v)
    is_seen = see_window(21, 77, 56, 77)
    found = run(variant, q / 4, k, v, is_seen, n_threads=3)
    assert np.abs(found - attend(q / 4, k, v, is_seen)).max() < 2e-5


@pytest.mark.parametrize(("n", "n_kv"), [(1, 1), (33, 64), (70, 100)])
def test_without_a_mask_every_key_is_seen(variant, n, n_kv):
    q, k, v = make(n, n_kv, 1, 1, 32, 48, np.float32)
    found = run(variant, q, k, v)
    assert np.abs(found - attend(q, k, v, np.ones((n, n_kv), bool))).max() < 1e-5


def test_scores_far_apart_neither_overflow_nor_vanish(variant):
    q, k, v = make(9, 64)
    q *= np.linspace(1, 400, 9, dtype=np.float32)[:, None, None]
    is_seen = see_window(9, 64, 55, 64)
    found = run(variant, q, k, v, is_seen)
    assert np.isfinite(found).all()
    assert np.abs(found - attend(q, k, v, is_seen)).max() < 1e-3


def test_what_the_kernel_does_not_take_is_said(variant):
    kernels = load_kernels(variant)
    assert kernels.can_attend(4, 256, 256)
    assert not kernels.can_attend(33, 256, 256)
    assert not kernels.can_attend(4, 257, 256)
    assert not kernels.can_attend(4, 256, 264)
    assert not kernels.can_attend(4, 512, 256)
