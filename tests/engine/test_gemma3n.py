"""The graph, node by node, and what it leaves out."""

import numpy as np
import pytest

from g3n_cli.engine.prompt import Prompt
from g3n_cli.ggml.handles import read_tensor
from tests.oracle import find_case, make_shape, open_case

# Nodes up to the first GELU agree to rounding; behind it stands ggml's float16 table.
TRACED = {
    "inp_scaled": 1e-5,
    "inp_stacked": 1e-4,
    "predictions-0": 1e-4,
    "attn_norm-0": 1e-4,
    "laurel_out-0": 1e-4,
    "kqv_out-0": 1e-4,
    "attn_post_norm-0": 1e-4,
    "attn_laurel-0": 1e-4,
    "ffn_out-0": 5e-3,
    "first_prediction_out-0": 5e-3,
    "l_out-0": 5e-3,
    "l_out-3": 1e-2,
    "kqv_out-7": 1e-2,
    "l_out-7": 1e-2,
    "result_norm": 1e-2,
}
FUSED = {"laurel_out-0", "attn_post_norm-0"}  # not nodes of their own with own kernels


def read(tensor):
    out = np.empty(tensor.ne[::-1], np.float32)
    read_tensor(tensor, out)
    return out


@pytest.mark.parametrize("kernels", ["ggml", "own"])
def test_every_node_agrees_with_the_trace_of_transformers(kernels):
    case = find_case("small8", "f32")
    with np.load(case.path.parent / "trace.npz") as arrays:
        trace = dict(arrays)
    engine = open_case(case, frozenset(TRACED), kv="f32", kernels=kernels)
    tokens = trace["tokens"]
    engine.compute_all_logits(Prompt.of_ids(tokens))
    shape = make_shape(
        engine, 8, 256, engine._cache.n_ring, len(tokens)
    )  # filled up to a multiple of 4
    taps = engine._plans.get(shape).graph.taps
    fused = FUSED if engine.info.kernels != "ggml" else set()
    assert set(taps) == set(TRACED) - fused
    for name, tolerance in ((name, TRACED[name]) for name in taps):
        found, wanted = np.squeeze(read(taps[name])), trace[name]
        if wanted.ndim == 3 and wanted.shape[0] == 4:
            wanted = wanted.transpose(1, 0, 2)  # streams of a position lie together here
        found = found[: len(tokens)].reshape(wanted.shape)
        assert np.abs(found - wanted).max() < tolerance, name
    engine.close()


@pytest.mark.parametrize(
    ("prefill", "n_out", "n_whole"),
    [("skip", 0, 4), ("skip", 1, 4), ("skip", 9, 8), ("full", 0, 8)],
)
def test_layers_that_share_kv_run_only_where_logits_are_wanted(prefill, n_out, n_whole):
    names = frozenset(f"l_out-{layer}" for layer in range(8))
    engine = open_case(find_case("small8", "f32"), names, prefill=prefill)
    taps = engine._plans.get(make_shape(engine, 9, 256, 32, n_out)).graph.taps
    positions = {name: tap.ne[2] for name, tap in taps.items()}
    whole = [f"l_out-{layer}" for layer in range(n_whole)]
    rest = [] if n_out == 0 else [f"l_out-{layer}" for layer in range(n_whole, 8)]
    assert positions == {**dict.fromkeys(whole, 9), **dict.fromkeys(rest, n_out)}
    engine.close()


def test_per_layer_table_and_unused_kv_weights_are_never_loaded():
    engine = open_case(find_case("small8", "f32"))
    assert "per_layer_token_embd" not in engine._model.weights
    assert "blk.4.attn_k" in engine._model.weights
    assert "blk.5.attn_k" not in engine._model.weights
    engine.close()
