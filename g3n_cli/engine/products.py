"""Products with a model's matrices: own kernels for those stored in panels, ggml for all others."""

from __future__ import annotations

from g3n_cli.engine.weights import Weights
from g3n_cli.ggml.graph import F32, I8, Graph
from g3n_cli.ggml.tensor import Tensor


class Products:
    """Adds products to a graph; activations that several matrices meet are quantized once.

    Args:
        graph: The graph they are added to.
        weights: Knows which matrices lie in panels, and for which kernels.
    """

    def __init__(self, graph: Graph, weights: Weights) -> None:
        self._graph, self._weights = graph, weights
        self._quantized: dict[int, Tensor] = {}

    def build(self, weight: Tensor, x: Tensor) -> Tensor:
        """``weight · x``: ``[k, m]`` and ``[k, n]`` give ``[m, n]``."""
        kernels = self._weights.kernels_of(weight)
        if kernels is None:
            return self._graph.mul_mat(weight, x)
        if x.ptr not in self._quantized:
            n_bytes = kernels.count_activation_bytes(x.ne[1], x.ne[0])
            self._quantized[x.ptr] = self._graph.custom(I8, (n_bytes,), (x,), kernels.quantize)
        sources = (self._quantized[x.ptr], weight)
        return self._graph.custom(F32, (weight.ne[1], x.ne[1]), sources, kernels.product)
