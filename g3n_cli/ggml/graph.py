"""Building a compute graph: ggml's operations, each checked before C would abort on it."""

from __future__ import annotations

import ctypes
import math

import numpy as np

from g3n_cli.ggml.bindings import MAX_SRC, PREC_F32, ROPE_TYPE_NEOX
from g3n_cli.ggml.handles import Context
from g3n_cli.ggml.library import load
from g3n_cli.ggml.tensor import Tensor

F32, F16, I8, I32, I64 = 0, 1, 24, 26, 27
_ALL_THREADS = -1
_F32_BYTES = 4
_N_PARAMS = 6


class ShapeError(ValueError):
    """Operands that do not fit each other; a fault of the caller, never of a file."""


def _require(condition: bool, operation: str, *operands: Tensor) -> None:  # noqa: FBT001
    if not condition:
        raise ShapeError(f"{operation}: {', '.join(map(repr, operands))} do not fit")


class Graph:
    """A graph under construction; owns the structs of its tensors, not their memory.

    Shapes are given in ggml order, ``ne[0]`` first. Operations return new tensors and compute
    nothing. ``taps`` collects the tensors whose values stay readable after the computation,
    ``places`` those that are to be computed on the device (True) or on the CPU.

    Args:
        n_nodes: Most nodes, inputs and views the graph may have.
        tap_names: Names of nodes to keep for inspection.
    """

    def __init__(self, n_nodes: int, tap_names: frozenset[str] = frozenset()) -> None:
        self._lib = load()
        self._context = Context(n_nodes, n_nodes)
        self._ctx = self._context.ptr
        self.ptr: int = self._lib.new_graph_custom(self._ctx, n_nodes, False)
        self._tap_names = tap_names
        self._custom_states = np.zeros(
            n_nodes, [("next", np.int64), ("params", np.float32, _N_PARAMS)]
        )
        self._n_custom = 0
        self.places: list[tuple[Tensor, bool]] = []
        self.taps: dict[str, Tensor] = {}

    def close(self) -> None:
        """Free the structs; closing twice is harmless."""
        self._context.close()

    # ------------------------------------------------------------------------- inputs and outputs

    def input(self, name: str, kind: int, *ne: int) -> Tensor:
        """A tensor of ggml type ``kind`` that is written before each computation."""
        tensor = self._context.new_tensor(kind, *ne)
        self._lib.set_name(tensor.ptr, name.encode())
        self._lib.set_input(tensor.ptr)
        return tensor

    def output(self, tensor: Tensor) -> None:
        """Keep ``tensor`` readable after the computation, and compute it."""
        self._lib.set_output(tensor.ptr)
        self.expand(tensor)

    def expand(self, tensor: Tensor) -> None:
        """Compute ``tensor`` after everything that was expanded before."""
        self._lib.build_forward_expand(self.ptr, tensor.ptr)

    def name(self, tensor: Tensor, name: str) -> Tensor:
        """Name a node as llama.cpp does; a tapped one stays readable."""
        if name in self._tap_names:
            self._lib.set_name(tensor.ptr, name.encode())
            self.output(tensor)
            self.taps[name] = tensor
        return tensor

    def custom(
        self,
        kind: int,
        ne: tuple[int, ...],
        sources: tuple[Tensor, ...],
        function: int,
        params: tuple[float, ...] = (),
        *,
        is_in_place: bool = False,
    ) -> Tensor:
        """A node of ggml type ``kind`` and extents ``ne`` that a C function computes.

        In place, it is computed where the first of ``sources`` lies. Every thread calls
        ``function(node, thread, n_threads, state)``; ``state`` points to memory of the node's own:
        an int64, 0 at first, and six float32, the first of them ``params``.
        """
        _require(len(sources) <= MAX_SRC and len(params) <= _N_PARAMS, "custom", *sources)
        state = self._custom_states[self._n_custom :]
        state["params"][0, : len(params)] = params
        self._n_custom += 1
        others = sources[1:] if is_in_place else sources
        args = (ctypes.c_void_p * len(others))(*(source.ptr for source in others))
        called = (args, len(others), function, _ALL_THREADS, state.ctypes.data)
        extents = (*ne, *[1] * (4 - len(ne)))
        if is_in_place:
            _require((kind, extents) == (sources[0].type, sources[0].ne), "custom", *sources)
            node = self._lib.custom_inplace(self._ctx, sources[0].ptr, *called)
        else:
            node = self._lib.custom_4d(self._ctx, kind, *extents, *called)
        return self.place(Tensor(node), on_device=False)

    def place(self, tensor: Tensor, *, on_device: bool) -> Tensor:
        """Compute a node on the device, if it can, or on the CPU, if there is a choice at all."""
        self.places.append((tensor, on_device))
        return tensor

    # ------------------------------------------------------------------------------- element-wise

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """``a + b``, ``b`` repeated to the shape of ``a``."""
        return self._broadcast("add", a, b)

    def add_inplace(self, a: Tensor, b: Tensor) -> Tensor:
        """``a += b``: writes into the memory of ``a``."""
        return self._broadcast("add_inplace", a, b)

    def sub(self, a: Tensor, b: Tensor) -> Tensor:
        """``a - b``, ``b`` repeated to the shape of ``a``."""
        return self._broadcast("sub", a, b)

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        """``a * b``, ``b`` repeated to the shape of ``a``."""
        return self._broadcast("mul", a, b)

    def div(self, a: Tensor, b: Tensor) -> Tensor:
        """``a / b``, ``b`` repeated to the shape of ``a``."""
        return self._broadcast("div", a, b)

    def _broadcast(self, operation: str, a: Tensor, b: Tensor) -> Tensor:
        fits = all(x % y == 0 for x, y in zip(a.ne, b.ne, strict=True))
        _require(fits and a.type == b.type == F32, operation, a, b)
        return Tensor(getattr(self._lib, operation)(self._ctx, a.ptr, b.ptr))

    def sqr(self, a: Tensor) -> Tensor:
        """``a^2``."""
        return self._unary("sqr", a)

    def sqrt(self, a: Tensor) -> Tensor:
        """Square root."""
        return self._unary("sqrt", a)

    def tanh(self, a: Tensor) -> Tensor:
        """Hyperbolic tangent."""
        return self._unary("tanh", a)

    def relu(self, a: Tensor) -> Tensor:
        """``max(a, 0)``."""
        return self._unary("relu", a)

    def sigmoid(self, a: Tensor) -> Tensor:
        """``1 / (1 + e^-a)``."""
        return self._unary("sigmoid", a)

    def silu(self, a: Tensor) -> Tensor:
        """``a * sigmoid(a)``."""
        return self._unary("silu", a)

    def mean(self, a: Tensor) -> Tensor:
        """Mean over ``ne[0]``: ``[1, ...]``."""
        return self._unary("mean", a)

    def cont(self, a: Tensor) -> Tensor:
        """A contiguous copy."""
        return self._unary("cont", a)

    def _unary(self, operation: str, a: Tensor) -> Tensor:
        _require(a.type == F32, operation, a)
        return Tensor(getattr(self._lib, operation)(self._ctx, a.ptr))

    def scale(self, a: Tensor, factor: float, bias: float = 0.0) -> Tensor:
        """``a * factor + bias``."""
        _require(a.type == F32, "scale", a)
        if bias:
            return Tensor(self._lib.scale_bias(self._ctx, a.ptr, factor, bias))
        return Tensor(self._lib.scale(self._ctx, a.ptr, factor))

    def clamp_min(self, a: Tensor, least: float) -> Tensor:
        """``max(a, least)``."""
        _require(a.type == F32, "clamp", a)
        return Tensor(self._lib.clamp(self._ctx, a.ptr, least, float("inf")))

    def geglu(self, gate: Tensor, up: Tensor) -> Tensor:
        """``gelu(gate) * up``."""
        _require(gate.ne == up.ne, "geglu", gate, up)
        return Tensor(self._lib.geglu_split(self._ctx, gate.ptr, up.ptr))

    def rms_norm(self, a: Tensor, eps: float, weight: Tensor | None = None) -> Tensor:
        """``a / sqrt(mean(a^2) + eps)`` over ``ne[0]``, times ``weight`` if there is one."""
        _require(a.type == F32, "rms_norm", a)
        normed = Tensor(self._lib.rms_norm(self._ctx, a.ptr, eps))
        return normed if weight is None else self.mul(normed, weight)

    def soft_max(self, a: Tensor, mask: Tensor | None, factor: float) -> Tensor:
        """``softmax(a * factor + mask)`` over ``ne[0]``.

        ``mask`` (F32), if there is one, has the first extents of ``a``, the others are repeated.
        """
        fits = mask is None or (
            a.ne[:2] == mask.ne[:2]
            and a.ne[2] % mask.ne[2] == 0
            and a.ne[3] % mask.ne[3] == 0
            and _is_dense(mask)
        )
        _require(fits and _is_dense(a), "soft_max", a)
        added = None if mask is None else mask.ptr
        return Tensor(self._lib.soft_max_ext(self._ctx, a.ptr, added, factor, 0.0))

    # ----------------------------------------------------------------------------------- products

    def mul_mat(self, weight: Tensor, x: Tensor) -> Tensor:
        """``weight · x``: ``[k, m]`` and ``[k, n]`` give ``[m, n]``."""
        fits = (
            weight.ne[0] == x.ne[0]
            and x.ne[2] % weight.ne[2] == 0
            and x.ne[3] % weight.ne[3] == 0
            and weight.nb[0] <= weight.nb[1]
        )
        _require(fits, "mul_mat", weight, x)
        return self._sum_in_f32(self._lib.mul_mat(self._ctx, weight.ptr, x.ptr))

    def out_prod(self, a: Tensor, b: Tensor) -> Tensor:
        """``sum over k of a[:, k] ⊗ b[:, k]``: ``[m, k, t]`` and ``[n, k, t]`` give ``[m, n, t]``.

        ``b`` may have any strides.
        """
        fits = a.ne[1:] == b.ne[1:] and a.type == b.type == F32 and a.nb[0] <= a.nb[1]
        _require(fits, "out_prod", a, b)
        return Tensor(self._lib.out_prod(self._ctx, a.ptr, b.ptr))

    def flash_attn(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """Attention with scale 1.

        ``q [d, n, head]``, ``k [d, n_kv, head_kv]``, ``v [d_v, n_kv, head_kv]``, ``mask [n_kv, n]``
        of F16 give ``[d_v, head, n]``.
        """
        fits = (
            q.ne[0] == k.ne[0]
            and k.ne[1:] == v.ne[1:]
            and q.ne[2] % k.ne[2] == 0
            and mask.type == F16
            and mask.ne == (k.ne[1], q.ne[1], 1, 1)
        )
        _require(fits, "flash_attn", q, k, v, mask)
        node = self._lib.flash_attn_ext(self._ctx, q.ptr, k.ptr, v.ptr, mask.ptr, 1.0, 0.0, 0.0)
        return self._sum_in_f32(node)

    def _sum_in_f32(self, node: int) -> Tensor:
        """Have a product summed in float32: CUDA and Vulkan may use halves, which overflow."""
        self._lib.prec_set_acc(node, PREC_F32)
        return Tensor(node)

    def rope(self, a: Tensor, positions: Tensor, base: float) -> Tensor:
        """Rotate halves (NeoX) of ``a [d, head, n]`` by ``positions [n]`` of I32."""
        fits = a.ne[2] == positions.ne[0] and positions.type == I32 and a.ne[0] % 2 == 0
        _require(fits and a.type == F32, "rope", a, positions)
        params = (a.ne[0], ROPE_TYPE_NEOX, 0, base, 1.0, 0.0, 1.0, 32.0, 1.0)
        return Tensor(self._lib.rope_ext(self._ctx, a.ptr, positions.ptr, None, *params))

    # --------------------------------------------------------------------------------------- rows

    def get_rows(self, a: Tensor, rows: Tensor) -> Tensor:
        """Rows ``[n]`` (I32) of ``a [m, ...]``, dequantized: ``[m, n]``."""
        _require(a.ne[2:] == (1, 1) and rows.type == I32, "get_rows", a, rows)
        return Tensor(self._lib.get_rows(self._ctx, a.ptr, rows.ptr))

    def set_rows(self, a: Tensor, values: Tensor, rows: Tensor) -> Tensor:
        """Write ``values [m, n]`` (F32) into rows ``[n]`` (I64) of ``a [m, ...]``, quantizing."""
        fits = (
            a.ne[0] == values.ne[0]
            and values.ne[1] == rows.ne[0]
            and values.type == F32
            and rows.type == I64
        )
        _require(fits, "set_rows", a, values, rows)
        return Tensor(self._lib.set_rows(self._ctx, a.ptr, values.ptr, rows.ptr))

    # ------------------------------------------------------------------------------ views, shapes

    def reshape(self, a: Tensor, *ne: int) -> Tensor:
        """The same contiguous values as two or three extents."""
        size = ne[0] * ne[1] * (ne[2] if len(ne) > 2 else 1)
        _require(size == a.ne[0] * a.ne[1] * a.ne[2] * a.ne[3] and _is_contiguous(a), "reshape", a)
        return Tensor(getattr(self._lib, f"reshape_{len(ne)}d")(self._ctx, a.ptr, *ne))

    def permute(self, a: Tensor, *axes: int) -> Tensor:
        """Axis ``i`` of ``a`` becomes axis ``axes[i]``; a view."""
        _require(sorted(axes) == [0, 1, 2, 3], "permute", a)
        return Tensor(self._lib.permute(self._ctx, a.ptr, *axes))

    def concat(self, a: Tensor, b: Tensor, axis: int) -> Tensor:
        """``a`` and ``b`` one after the other along ``axis``."""
        others = (x == y for i, (x, y) in enumerate(zip(a.ne, b.ne, strict=True)) if i != axis)
        _require(all(others) and a.type == b.type, "concat", a, b)
        return Tensor(self._lib.concat(self._ctx, a.ptr, b.ptr, axis))

    def rows(self, a: Tensor, start: int, count: int) -> Tensor:
        """Rows ``start`` to ``start + count - 1`` of a matrix ``[m, n]`` as a view."""
        _require(start >= 0 and start + count <= a.ne[1] and a.ne[2] == 1, "rows", a)
        view = self._lib.view_2d(self._ctx, a.ptr, a.ne[0], count, a.nb[1], start * a.nb[1])
        return Tensor(view)

    def columns(self, a: Tensor, start: int, count: int) -> Tensor:
        """Values ``start`` to ``start + count - 1`` of each row of ``[m, n]``; a view, if not all.

        Both are multiples of the type's block.
        """
        if (start, count) == (0, a.ne[0]):
            return a
        fits = start >= 0 and start + count <= a.ne[0] and a.ne[2] == 1
        block = self._lib.blck_size(a.type)
        _require(fits and start % block == 0 and count % block == 0, "columns", a)
        offset = self._lib.row_size(a.type, start)
        return Tensor(self._lib.view_2d(self._ctx, a.ptr, count, a.ne[1], a.nb[1], offset))

    def middle(self, a: Tensor, index: int) -> Tensor:
        """``a[:, index, :]`` of ``[m, n, t]`` as a view ``[m, t]``."""
        _require(0 <= index < a.ne[1], "middle", a)
        view = self._lib.view_2d(self._ctx, a.ptr, a.ne[0], a.ne[2], a.nb[2], index * a.nb[1])
        return Tensor(view)

    def middles(self, a: Tensor, start: int, count: int) -> Tensor:
        """``a[:, start : start + count, :]`` of ``[m, n, t]`` as a view ``[m, count, t]``."""
        _require(start >= 0 and start + count <= a.ne[1], "middles", a)
        ne = (a.ne[0], count, a.ne[2])
        return Tensor(self._lib.view_3d(self._ctx, a.ptr, *ne, a.nb[1], a.nb[2], start * a.nb[1]))

    def view(
        self, a: Tensor, ne: tuple[int, int, int, int], nb: tuple[int, int, int], offset: int = 0
    ) -> Tensor:
        """Values of ``a`` (F32) with other strides; some may be there more than once.

        Args:
            a: Contiguous values.
            ne: Extents of the view, which may not have more values than ``a``.
            nb: Strides of ``ne[1:]``, in values.
            offset: First value.
        """
        last = offset + ne[0] - 1 + sum((n - 1) * step for n, step in zip(ne[1:], nb, strict=True))
        most = max(last + 1, math.prod(ne) + offset)
        fits = _is_dense(a) and min(*ne, *nb, offset + 1) > 0 and most <= math.prod(a.ne)
        _require(fits, "view", a)
        strides = (step * _F32_BYTES for step in nb)
        return Tensor(self._lib.view_4d(self._ctx, a.ptr, *ne, *strides, offset * _F32_BYTES))

    def pad(self, a: Tensor, *, columns: int = 0, above: int = 0, below: int = 0) -> Tensor:
        """Zeros beside the rows of ``a`` and before and after them.

        ``[m, n, ...]`` becomes ``[m + columns, above + n + below, ...]``.
        """
        _require(a.type == F32 and min(columns, above, below) >= 0, "pad", a)
        if not (columns or above or below):
            return a
        return Tensor(self._lib.pad_ext(self._ctx, a.ptr, 0, columns, above, below, 0, 0, 0, 0))

    def after_write(self, whole: Tensor, part: Tensor) -> Tensor:
        """``whole`` as it is once ``part``, a view of it written in place, has been computed.

        The graph allocator frees ``whole`` only if everything that writes into it is read.
        """
        offset = whole.struct.view_offs - part.struct.view_offs  # negative: size_t wraps, as meant
        shape = (*whole.ne[:3], *whole.nb[1:3])
        return Tensor(self._lib.view_3d(self._ctx, part.ptr, *shape, offset))

    def slab(self, a: Tensor, index: int) -> Tensor:
        """``a[:, :, index]`` of ``[m, n, t]`` as a view ``[m, n]``."""
        _require(0 <= index < a.ne[2], "slab", a)
        return Tensor(self._lib.view_2d(self._ctx, a.ptr, *a.ne[:2], a.nb[1], index * a.nb[2]))

    def split_rows(self, a: Tensor, width: int, count: int) -> Tensor:
        """The first ``count`` rows of ``[m, n]``, each in parts of ``width``.

        A view ``[width, m / width, count]``; ``width`` is a multiple of the type's block.
        """
        _require(a.ne[0] % width == 0 and count <= a.ne[1], "split_rows", a)
        part = self._lib.row_size(a.type, width)
        ne = (width, a.ne[0] // width, count)
        return Tensor(self._lib.view_3d(self._ctx, a.ptr, *ne, part, a.nb[1], 0))


def _is_contiguous(a: Tensor) -> bool:
    return all(a.nb[i + 1] == a.nb[i] * a.ne[i] for i in (1, 2))


def _is_dense(a: Tensor) -> bool:
    """Whether ``a`` holds float32 values one after the other."""
    return a.type == F32 and a.nb[:2] == (_F32_BYTES, _F32_BYTES * a.ne[0]) and _is_contiguous(a)
