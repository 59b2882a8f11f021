"""Products with a model's matrices: own kernels for those stored in panels, ggml for all others.

What meets a quantized matrix is quantized too, to 8 bits in blocks of 32, unless it is to stay
float32: own kernels can do either, ggml's always quantize.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from g3n_cli.config import ActType
from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.gguf_types import GgmlType
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.tensors import PLE_TENSOR, find_unused
from g3n_cli.engine.weights import find_own
from g3n_cli.errors import UsageError
from g3n_cli.ggml.graph import F32, I8, I32, Graph, ShapeError
from g3n_cli.ggml.tensor import Tensor
from g3n_cli.kernels.library import BLOCK, Kernels

_F32_BYTES = 4
_LARGEST = {"q8": 127.0, "q4": 7.0}
"""What the largest of 32 activations becomes. Those of 4 bits are stored and multiplied as 8."""


@dataclass(frozen=True)
class Quantized:
    """Activations ``[k, n]`` in 8 bits, in the layout of the kernels."""

    tensor: Tensor
    k: int
    n: int


class Matrices(Protocol):
    """Where products find out in which layout a matrix lies."""

    kernels: Kernels | None

    def kernels_of(self, tensor: Tensor) -> Kernels | None:
        """The kernels whose panels ``tensor`` is stored in; None if ggml multiplies with it."""
        ...

    def is_by_rows(self, tensor: Tensor) -> bool:
        """Whether the kernels can take single rows of ``tensor``, which is as in the file."""
        ...


class Products:
    """Adds products to a graph; activations that several matrices meet are quantized once.

    Args:
        graph: The graph they are added to.
        weights: Knows which matrices lie in panels, and for which kernels.
        act: What activations become before they meet quantized matrices in panels.
    """

    def __init__(self, graph: Graph, weights: Matrices, act: ActType = "q8") -> None:
        self._graph, self._weights, self._act = graph, weights, act
        self._quantized: dict[int, Quantized] = {}

    def build(self, weight: Tensor, x: Tensor) -> Tensor:
        """``weight · x``: ``[k, m]`` and ``[k, n]`` give ``[m, n]``.

        Raises:
            ShapeError: they do not fit each other, or own kernels cannot read ``x``.
        """
        kernels = self._weights.kernels_of(weight)
        if kernels is None:
            return self._graph.mul_mat(weight, x)
        if self._is_quantized(weight):
            return self._build_product(kernels, weight, self._quantize(kernels, x))
        _check_activations(x)
        if weight.ne[0] != x.ne[0]:
            raise ShapeError(f"product: {weight!r} and {x!r} do not fit")
        ne = (weight.ne[1], x.ne[1])
        return self._graph.custom(F32, ne, (x, weight), kernels.dense)

    def build_rows(self, matrix: Tensor, ids: Tensor) -> Tensor:
        """Rows ``ids [n]`` (I32) of ``matrix [k, m]`` as float32 ``[k, n]``."""
        kernels = self._weights.kernels_of(matrix)
        if kernels is None:
            return self._graph.get_rows(matrix, ids)
        if ids.type != I32:
            raise ShapeError(f"get_rows: {ids!r} are no ids")
        ne = (matrix.ne[0], ids.ne[0])
        return self._graph.custom(F32, ne, (ids, matrix), kernels.get_rows)

    def build_ffn(
        self, gate: Tensor, up: Tensor, down: Sequence[Tensor], x: Tensor, z: float | None
    ) -> Tensor:
        """``down · (gelu(cut(gate · x)) * (up · x))``; ``[n_embd, n]`` to the same.

        ``down`` may be several matrices side by side.

        ``cut`` subtracts from each token's gates their mean and ``z`` standard deviations (of the
        population) and keeps what is above 0; with ``z`` None it leaves them as they are.

        Source: transformers ``Gemma3nTextMLP``.
        """
        kernels, is_by_rows = self._weights.kernels, self._weights.is_by_rows(up)
        if gate.ne != up.ne or up.ne[1] != sum(part.ne[0] for part in down):
            raise ShapeError(f"ffn: {gate!r}, {up!r}, {down!r} do not fit")
        in_panels = (gate, *down) if is_by_rows and z is not None else (gate, up, *down)
        if kernels is None or not all(map(self._weights.kernels_of, in_panels)):
            return self._build_plain_ffn(gate, up, down, x, z)
        (whole,) = down  # matrices in panels are never in parts
        g = self._graph
        cutoffs: tuple[Tensor, ...] = ()
        is_quantized = all(map(self._is_quantized, in_panels))
        # The node that gates multiplies with gate itself, unless it needs cut-offs first.
        if not is_quantized or z is not None:
            gate = self.build(gate, x)
        if z is not None:
            cutoffs = (g.custom(F32, (x.ne[1],), (gate,), kernels.cutoff, (z,)),)
        if not is_quantized:
            sources = (gate, self.build(up, x), *cutoffs)
            return self.build(whole, g.custom(F32, gate.ne[:2], sources, kernels.geglu))
        quantized = self._quantize(kernels, x)
        hidden = self._new_quantized(
            kernels,
            *(up.ne[1], quantized.n),
            (quantized.tensor, up, gate, *cutoffs),
            kernels.gated,
            float(is_by_rows),
        )
        return self._build_product(kernels, whole, hidden)

    def _build_plain_ffn(
        self, gate: Tensor, up: Tensor, down: Sequence[Tensor], x: Tensor, z: float | None
    ) -> Tensor:
        g = self._graph
        gates = self.build(gate, x)
        if z is not None:
            # The variance as mean of squares less square of the mean: subtracting a mean from all
            # values of a row first costs a pass that ggml does one value at a time.
            mean = g.mean(gates)
            variance = g.clamp_min(g.sub(g.mean(g.sqr(gates)), g.sqr(mean)), 0.0)
            gates = g.relu(g.sub(gates, g.add(mean, g.scale(g.sqrt(variance), z))))
        hidden = g.geglu(gates, self.build(up, x))
        starts = itertools.accumulate((part.ne[0] for part in down), initial=0)
        products = (
            self.build(part, g.columns(hidden, start, part.ne[0]))
            for part, start in zip(down, starts, strict=False)
        )
        return functools.reduce(g.add, products)

    def _is_quantized(self, matrix: Tensor) -> bool:
        """Whether own kernels multiply the matrix with quantized activations."""
        kernels = self._weights.kernels_of(matrix)
        return kernels is not None and self._act != "f32" and kernels.is_quantized(matrix.type)

    def _build_product(self, kernels: Kernels, weight: Tensor, x: Quantized) -> Tensor:
        if weight.ne[0] != x.k:
            raise ShapeError(f"product: {weight!r} and activations of {x.k} values do not fit")
        ne = (weight.ne[1], x.n)
        return self._graph.custom(F32, ne, (x.tensor, weight), kernels.product)

    def _quantize(self, kernels: Kernels, x: Tensor) -> Quantized:
        if x.ptr not in self._quantized:
            k, n = x.ne[:2]
            _check_activations(x)
            self._quantized[x.ptr] = self._new_quantized(kernels, k, n, (x,), kernels.quantize)
        return self._quantized[x.ptr]

    def _new_quantized(
        self,
        kernels: Kernels,
        k: int,
        n: int,
        sources: tuple[Tensor, ...],
        function: int,
        *params: float,
    ) -> Quantized:
        ne, largest = (kernels.count_activation_bytes(n, k),), _LARGEST[self._act]
        params = (float(n), largest, *params)
        return Quantized(self._graph.custom(I8, ne, sources, function, params), k, n)


def check_activations(
    gguf: GgufFile, hparams: HParams, kernels: Kernels | None, act: ActType
) -> None:
    """Refuse what a model's matrices do not allow.

    ggml rounds activations as it likes: to 8 bits for quantized matrices, to halves for halves.

    Args:
        gguf: The model's file.
        hparams: Of the model.
        kernels: Those that multiply with what they can, or None.
        act: What activations are to become.

    Raises:
        UsageError: ``act`` is not "q8", and there are matrices that only ggml can multiply with.
    """
    left_out = find_unused(gguf, hparams) | {PLE_TENSOR}
    used = (info for name, info in gguf.tensors.items() if name not in left_out)
    matrices = [info for info in used if len(info.ne) > 1]
    own = set(find_own(matrices, hparams, kernels))
    rounding = [
        info
        for info in matrices
        if info not in own
        and info.type != GgmlType.F32
        # AltUp's nodes take small routers in halves.
        and not (kernels and info.type == GgmlType.F16 and ".altup_router." in info.name)
    ]
    if act != "q8" and rounding:
        raise UsageError(
            f"--act {act} needs g3n's own kernels for all matrices: {rounding[0].name} of type"
            f" {rounding[0].type.name} has none",
            "they take F16, Q4_0, Q8_0, Q4_K, Q5_K and Q6_K; leave out --kernels and --no-repack",
        )


def _check_activations(x: Tensor) -> None:
    if x.type != F32 or x.nb[0] != _F32_BYTES or x.ne[2:] != (1, 1) or x.ne[0] % BLOCK:
        raise ShapeError(f"product: {x!r} is no matrix of whole blocks of float32")
