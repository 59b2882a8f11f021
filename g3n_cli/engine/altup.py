"""AltUp: streams of the hidden state, of which each layer transforms one and predicts the rest.

The state of t positions is one tensor ``[n_embd, n_altup, t]``: the streams of a position lie
together, so that selecting positions copies rows and a sum over streams is an outer product.

Source: transformers ``Gemma3nTextAltUp``, ``Gemma3nTextModel``.
"""

from __future__ import annotations

from dataclasses import dataclass

from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.products import Products
from g3n_cli.engine.weights import Weights
from g3n_cli.ggml.graph import F16, F32, Graph
from g3n_cli.ggml.tensor import Tensor
from g3n_cli.kernels.library import LANES, Kernels

_MOST_STREAMS = 16

MEAN_SQUARE_FLOOR = 1e-5
"""Smallest mean square a stream is divided by; llama.cpp has none."""


@dataclass(frozen=True)
class AltUp:
    """The AltUp parts of a graph.

    Attributes:
        graph: The graph they are added to.
        hparams: Of the model.
        weights: Of the model.
        products: With its matrices, in the same graph.
        identity: ``[n_altup^2, 1]`` float32 input holding the identity matrix.
    """

    graph: Graph
    hparams: HParams
    weights: Weights
    products: Products
    identity: Tensor

    def build_entry(self, x: Tensor) -> Tensor:
        """Embeddings ``[n_embd, t]`` to the state ``[n_embd, n_altup, t]``."""
        g, n_embd, n_side = self.graph, self.hparams.n_embd, self.hparams.n_altup - 1
        # The projections of all streams lie one below the other: one product for all of them.
        stacked = g.reshape(self.weights["altup_proj"], n_embd, n_embd * n_side)
        sides = g.reshape(self.products.build(stacked, x), n_embd, n_side, x.ne[1])
        first = g.reshape(x, n_embd, 1, x.ne[1])
        return g.concat(first, self._with_magnitude_of(sides, first), 1)

    def build_exit(self, state: Tensor) -> Tensor:
        """The state ``[n_embd, n_altup, t]`` to the mean of its streams ``[n_embd, t]``."""
        g, n_altup = self.graph, self.hparams.n_altup
        first = g.middle(state, 0)
        total = first
        for j in range(1, n_altup):
            back = g.slab(self.weights["altup_unembd_proj"], j - 1)
            side = self.products.build(back, g.middle(state, j))
            total = g.add(self._with_magnitude_of(side, first), total)
        return g.scale(total, 1.0 / n_altup)

    def build_predict(self, layer: int, state: Tensor) -> Tensor:
        """All streams ``[n_embd, n_altup, t]`` as the layer expects them."""
        return self._predict(layer, state, self.hparams.n_altup)

    def build_predict_active(self, layer: int, state: Tensor) -> Tensor:
        """Only the stream that the layer transforms: ``[n_embd, t]``."""
        return self.graph.middle(self._predict(layer, state, 1), 0)

    def build_correct(
        self, layer: int, predicted: Tensor, answer: Tensor, residual: Tensor
    ) -> Tensor:
        """Move all predicted streams by what the layer's output adds to the active one.

        The output is the FFN's ``answer [n_embd, t]``, normed, and the ``residual`` beside it.
        """
        g, n_altup, n_embd = self.graph, self.hparams.n_altup, self.hparams.n_embd
        n_tokens, eps = answer.ne[1], self.hparams.rms_eps
        norm = self.weights.of(layer, "post_ffw_norm")
        if kernels := self._kernels_for(layer):
            router = self._router(layer, "altup_correct_coef")
            sources = (predicted, *router, answer, norm, residual)
            return g.custom(F32, (n_embd, n_altup, n_tokens), sources, kernels.correct, (eps,))
        output = g.add(g.rms_norm(answer, eps, norm), residual)
        innovation = g.sub(output, g.middle(predicted, 0))
        routed = self._route(layer, output)
        factors = g.scale(
            g.mul_mat(self.weights.of(layer, "altup_correct_coef"), routed), 1.0, bias=1.0
        )
        change = g.out_prod(
            g.reshape(innovation, n_embd, 1, n_tokens), g.reshape(factors, n_altup, 1, n_tokens)
        )
        return g.add(change, predicted)

    def _predict(self, layer: int, state: Tensor, n_streams: int) -> Tensor:
        g, n_altup, n_tokens = self.graph, self.hparams.n_altup, state.ne[2]
        if kernels := self._kernels_for(layer):
            sources = (state, *self._router(layer, "altup_predict_coef"))
            ne = (self.hparams.n_embd, n_streams, n_tokens)
            return g.custom(F32, ne, sources, kernels.predict, (self.hparams.rms_eps,))
        matrix = g.rows(self.weights.of(layer, "altup_predict_coef"), 0, n_altup * n_streams)
        routed = self._route(layer, g.middle(state, 0))
        # p[k, i] with the identity added, so that the sum over k contains stream i itself.
        coefs = g.add(g.mul_mat(matrix, routed), g.columns(self.identity, 0, n_altup * n_streams))
        coefs = g.permute(g.reshape(coefs, n_altup, n_streams, n_tokens), 1, 0, 2, 3)
        if self.weights.is_offloaded(layer):
            coefs = g.cont(coefs)  # Vulkan takes no other order
        return g.out_prod(state, coefs)

    def _kernels_for(self, layer: int) -> Kernels | None:
        """Own kernels, if they take the layer's matrices."""
        _, router, predict = self._router(layer, "altup_predict_coef")
        _, _, correct = self._router(layer, "altup_correct_coef")
        is_known = (
            router.type in (F16, F32)
            and predict.type == correct.type == F32
            and router.ne[0] % LANES == 0
            and router.ne[1] <= _MOST_STREAMS
            and self.weights.kernels_of(router) is None
        )
        return self.weights.kernels_at(layer) if is_known else None

    def _router(self, layer: int, coefs: str) -> tuple[Tensor, Tensor, Tensor]:
        w = self.weights
        names = ("altup_router_norm", "altup_router", coefs)
        norm, router, matrix = (w.of(layer, name) for name in names)
        return norm, router, matrix

    def _route(self, layer: int, x: Tensor) -> Tensor:
        """``[n_embd, t]`` to ``[n_altup, t]``."""
        g, w = self.graph, self.weights
        normed = g.rms_norm(x, self.hparams.rms_eps, w.of(layer, "altup_router_norm"))
        scaled = g.scale(normed, 1.0 / self.hparams.n_embd)
        return g.tanh(self.products.build(w.of(layer, "altup_router"), scaled))

    def _with_magnitude_of(self, x: Tensor, like: Tensor) -> Tensor:
        """Scale each column of ``x`` to the root mean square of the same column of ``like``."""
        g = self.graph
        wanted = g.sqrt(g.mean(g.sqr(like)))
        found = g.sqrt(g.clamp_min(g.mean(g.sqr(x)), MEAN_SQUARE_FLOOR))
        return g.div(x, g.div(found, wanted))
