import numpy as np
import pytest

from g3n_cli.ggml.backend import CpuBackend
from g3n_cli.ggml.bindings import PREC_F32
from g3n_cli.ggml.graph import F16, F32, I32, I64, Graph, ShapeError
from g3n_cli.ggml.handles import Buffer, Context, read_tensor, write_tensor
from g3n_cli.ggml.library import load


@pytest.fixture
def graph():
    graph = Graph(64)
    yield graph
    graph.close()


def compute(graph, out, inputs):
    """Compute ``out`` with the given values of its inputs."""
    graph.output(out)
    lib = load()
    with CpuBackend(1) as backend:
        allocator = lib.gallocr_new(backend.buffer_type)
        assert lib.gallocr_alloc_graph(allocator, graph.ptr)
        for tensor, values in inputs.items():
            write_tensor(tensor, values)
        backend.compute(graph.ptr)
        found = np.empty(out.ne[::-1], np.float32)
        read_tensor(out, found)
        lib.gallocr_free(allocator)
    return np.squeeze(found)


def test_operands_that_do_not_fit_raise_instead_of_aborting(graph):
    a, b = graph.input("a", F32, 8, 4), graph.input("b", F32, 6, 4)
    rows, half = graph.input("rows", I32, 3), graph.input("half", F16, 8, 4)
    wrong = [
        lambda: graph.add(a, b),
        lambda: graph.mul(half, a),
        lambda: graph.mul_mat(a, b),
        lambda: graph.out_prod(graph.input("c", F32, 8, 3), a),
        lambda: graph.get_rows(a, b),
        lambda: graph.set_rows(a, b, graph.input("i", I64, 4)),
        lambda: graph.set_rows(a, graph.input("d", F32, 8, 3), rows),
        lambda: graph.reshape(a, 5, 5),
        lambda: graph.reshape(graph.permute(a, 1, 0, 2, 3), 32, 1),
        lambda: graph.permute(a, 0, 0, 1, 2),
        lambda: graph.concat(a, b, 1),
        lambda: graph.rows(a, 3, 2),
        lambda: graph.columns(a, 0, 9),
        lambda: graph.columns(a, -1, 4),
        lambda: graph.middle(graph.input("e", F32, 2, 3, 4), 3),
        lambda: graph.slab(a, 1),
        lambda: graph.geglu(a, b),
        lambda: graph.rope(a, rows, 1e4),
        lambda: graph.split_rows(a, 3, 4),
        lambda: graph.flash_attn(a, b, b, half),
        lambda: graph.rms_norm(half, 1e-6),
    ]
    for operation in wrong:
        with pytest.raises(ShapeError):
            operation()


def test_out_prod_sums_outer_products(graph):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 4, 8)).astype("f4"), rng.normal(size=(3, 4, 5)).astype("f4")
    x, y = graph.input("a", F32, 8, 4, 3), graph.input("b", F32, 5, 4, 3)
    found = compute(graph, graph.out_prod(x, y), {x: a, y: b})
    assert np.allclose(found, np.einsum("tkm,tkn->tnm", a, b), atol=1e-5)


def test_products_ask_every_device_for_sums_in_float32(graph):
    weight, x = graph.input("w", F16, 8, 4), graph.input("x", F32, 8, 3)
    assert graph.mul_mat(weight, x).struct.op_params[0] == PREC_F32  # read by CUDA and Vulkan
    q, k, v = (graph.input(name, F32, 8, 3, 2) for name in "qkv")
    attended = graph.flash_attn(q, k, v, graph.input("mask", F16, 3, 3))
    assert attended.struct.op_params[3] == PREC_F32


def test_reading_after_a_write_in_place_sees_the_whole(graph):
    whole = graph.scale(graph.input("a", F32, 4, 3, 2), 1.0)
    more = graph.input("b", F32, 4, 1, 2)
    part = graph.add_inplace(graph.middles(whole, 1, 2), more)
    out = graph.scale(graph.after_write(whole, part), 1.0)
    a, b = np.arange(24, dtype="f4").reshape(2, 3, 4), np.full((2, 1, 4), 100, "f4")
    found = compute(graph, out, {graph_input(whole): a, more: b})
    wanted = a.copy()
    wanted[:, 1:] += b
    assert np.array_equal(found, wanted)


def graph_input(scaled):
    from g3n_cli.ggml.tensor import Tensor

    return Tensor(scaled.struct.src[0])


def test_closed_handles_say_so_and_close_twice():
    context = Context(1)
    context.close()
    context.close()
    with pytest.raises(ValueError, match="already closed"):
        _ = context.ptr


def test_tensor_outside_its_buffer_is_refused():
    with Context(1) as context, Buffer.zeros(100) as buffer:
        tensor = context.new_tensor(F32, 64)
        with pytest.raises(ValueError, match="leaves a buffer"):
            buffer.place(tensor, 0)


def test_more_bytes_than_a_tensor_has_are_refused():
    with Context(1) as context, Buffer.zeros(256) as buffer:
        tensor = context.new_tensor(F32, 64)
        buffer.place(tensor, 0)
        with pytest.raises(ValueError, match="do not fit"):
            write_tensor(tensor, np.zeros(65, "f4"))
        with pytest.raises(ValueError, match="does not have"):
            read_tensor(tensor, np.zeros(64, "f4"), 4)
