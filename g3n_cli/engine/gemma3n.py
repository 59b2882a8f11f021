"""The whole forward pass of Gemma 3n as one graph, top to bottom.

Source: transformers ``Gemma3nTextModel`` and ``Gemma3nForCausalLM``. llama.cpp differs in the
standard deviation of the sparsity cut-off (it divides by n - 1) and has no floor under AltUp's
magnitudes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from g3n_cli.config import ActType, Widths
from g3n_cli.engine.altup import AltUp
from g3n_cli.engine.attention import Attention, Queries, Writes
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.kv_cache import KvCache
from g3n_cli.engine.products import Products
from g3n_cli.engine.weights import Weights
from g3n_cli.ggml.graph import F16, F32, I32, I64, Graph
from g3n_cli.ggml.tensor import Tensor
from g3n_cli.kernels.library import LANES

N_NODES_BASE, N_NODES_PER_LAYER = 256, 224


@dataclass(frozen=True)
class StepShape:
    """What a graph is built for; steps of one shape replay the same graph.

    Attributes:
        n_tokens: Positions computed.
        n_kv: Rows of full layers in sight.
        n_ring: Rows of the rings in sight.
        n_out: Positions whose logits are wanted, 0 to ``n_tokens``.
        widths: Of the FFNs; layers of width 0 are left out.
        has_rows: Embeddings are given as rows instead of token ids.
    """

    n_tokens: int
    n_kv: int
    n_ring: int
    n_out: int
    widths: Widths
    has_rows: bool = False


@dataclass(frozen=True)
class Gemma3n:
    """Builds the graph of a step.

    Attributes:
        hparams: Of the model.
        weights: Of the model.
        cache: The K/V that graphs read and write.
        ple_type: ggml type of the rows of the per-layer embedding table.
        skip_shared: Leave out the layers that share K/V for positions without wanted logits.
        act: What activations become before they meet quantized matrices.
    """

    hparams: HParams
    weights: Weights
    cache: KvCache
    ple_type: int
    skip_shared: bool
    act: ActType = "q8"

    @property
    def n_nodes(self) -> int:
        """Most nodes, inputs and views of a graph."""
        return N_NODES_BASE + N_NODES_PER_LAYER * self.hparams.n_layer

    def build(self, shape: StepShape, taps: frozenset[str] = frozenset()) -> BuiltStep:
        """The graph of a step of ``shape``, keeping the nodes named in ``taps`` readable."""
        return _StepBuilder(self, shape, Graph(self.n_nodes, taps)).build()


@dataclass(frozen=True)
class BuiltStep:
    """A graph with its inputs and output.

    Attributes:
        graph: The graph; whoever holds this closes it.
        inputs: To be written before each computation, by name.
        logits: ``[n_vocab, n_out]`` F32, or None if ``n_out`` is 0.
    """

    graph: Graph
    inputs: dict[str, Tensor]
    logits: Tensor | None


class _StepBuilder:
    """One graph under construction."""

    def __init__(self, model: Gemma3n, shape: StepShape, graph: Graph) -> None:
        self.hp, self.w, self.shape, self.g = model.hparams, model.weights, shape, graph
        self.ple_type, self.skip_shared = model.ple_type, model.skip_shared
        self.inputs: dict[str, Tensor] = {}
        identity = self.input("identity", F32, self.hp.n_altup**2, 1)
        self.products = Products(graph, model.weights, model.act)
        self.altup = AltUp(graph, self.hp, self.w, self.products, identity)
        self.attention = Attention(graph, self.hp, self.w, self.products, model.cache)

    def build(self) -> BuiltStep:
        g, hp, shape = self.g, self.hp, self.shape
        queries = self.query_inputs(shape.n_tokens, "")
        writes = Writes(
            self.input("full_rows", I64, shape.n_tokens),
            self.input("ring_rows", I64, shape.n_tokens),
        )
        x = self.build_embeddings()
        ple_rows = self.build_ple_rows()
        state = self.altup.build_entry(x)
        g.name(state, "inp_stacked")
        n_whole = self.count_whole_layers()
        ple = self.build_per_layer_inputs(x, ple_rows, 0, n_whole)
        for layer in filter(shape.widths.__getitem__, range(n_whole)):
            state = self.build_layer(layer, state, g.middle(ple, layer), queries, writes)
        if n_whole < hp.n_layer:
            # Nobody asks what comes after the last K/V, except where logits are wanted.
            last = hp.n_layer_kv - 1
            active = self.altup.build_predict_active(last, state)
            normed = g.rms_norm(active, hp.rms_eps, self.w.of(last, "attn_norm"))
            self.attention.build_store(last, normed, queries.positions, writes)
            if shape.n_out == 0:
                return BuiltStep(g, self.inputs, None)
            queries = self.query_inputs(shape.n_out, "out_")
            out = self.input("out", I32, shape.n_out)
            state, x, ple_rows = (self.select(t, out) for t in (state, x, ple_rows))
            ple = self.build_per_layer_inputs(x, ple_rows, n_whole, hp.n_layer - n_whole)
            for layer in filter(shape.widths.__getitem__, range(n_whole, hp.n_layer)):
                inputs = g.middle(ple, layer - n_whole)
                state = self.build_layer(layer, state, inputs, queries, None)
        elif shape.n_out == 0:
            g.expand(state)
            return BuiltStep(g, self.inputs, None)
        elif shape.n_out < shape.n_tokens:
            state = self.select(state, self.input("out", I32, shape.n_out))
        logits = self.build_logits(state)
        g.output(logits)
        return BuiltStep(g, self.inputs, logits)

    # ------------------------------------------------------------------------------------- inputs

    def input(self, name: str, kind: int, *ne: int) -> Tensor:
        self.inputs[name] = self.g.input(name, kind, *ne)
        return self.inputs[name]

    def query_inputs(self, n: int, prefix: str) -> Queries:
        return Queries(
            self.input(f"{prefix}positions", I32, n),
            self.input(f"{prefix}full_mask", F16, self.shape.n_kv, n),
            self.input(f"{prefix}ring_mask", F16, self.shape.n_ring, n),
        )

    def count_whole_layers(self) -> int:
        """Layers computed for every position: all, or those before the last that owns K/V."""
        is_skipping = self.skip_shared and self.shape.n_out < self.shape.n_tokens
        return self.hp.n_layer_kv - 1 if is_skipping else self.hp.n_layer

    def select(self, a: Tensor, out: Tensor) -> Tensor:
        """The positions ``out`` of a tensor whose last extent counts positions."""
        g = self.g
        if a.ne[2] == 1:
            return g.get_rows(a, out)
        rows = g.get_rows(g.reshape(a, a.ne[0] * a.ne[1], a.ne[2]), out)
        return g.reshape(rows, a.ne[0], a.ne[1], out.ne[0])

    # ------------------------------------------------------------------------------------- blocks

    def build_embeddings(self) -> Tensor:
        """``[n_embd, n]``: scaled token embeddings, or rows as they are given."""
        g, hp, n = self.g, self.hp, self.shape.n_tokens
        if self.shape.has_rows:
            return self.input("rows", F32, hp.n_embd, n)
        rows = self.products.build_rows(self.w["token_embd"], self.input("ids", I32, n))
        return g.name(g.scale(rows, math.sqrt(hp.n_embd)), "inp_scaled")

    def build_ple_rows(self) -> Tensor:
        """``[n_ple * n_layer, n]``: the tokens' rows of the per-layer table, scaled."""
        g, hp, n = self.g, self.hp, self.shape.n_tokens
        stored = self.input("ple", self.ple_type, hp.n_ple * hp.n_layer, n)
        rows = g.get_rows(stored, self.input("ple_order", I32, n))
        return g.scale(rows, math.sqrt(hp.n_ple))

    def build_per_layer_inputs(self, x: Tensor, ple_rows: Tensor, first: int, count: int) -> Tensor:
        """``[n_ple, count, n]``: inputs of layers ``first`` to ``first + count - 1``.

        Source: transformers ``Gemma3nTextModel.project_per_layer_inputs``.
        """
        g, hp, n = self.g, self.hp, x.ne[1]
        matrix = g.rows(self.w["per_layer_model_proj"], first * hp.n_ple, count * hp.n_ple)
        projected = g.scale(self.products.build(matrix, x), 1.0 / math.sqrt(hp.n_embd))
        projected = g.reshape(projected, hp.n_ple, count, n)
        projected = g.rms_norm(projected, hp.rms_eps, self.w["per_layer_proj_norm"])
        looked_up = g.middles(g.reshape(ple_rows, hp.n_ple, hp.n_layer, n), first, count)
        return g.scale(g.add(projected, looked_up), 1.0 / math.sqrt(2.0))

    def build_layer(
        self, layer: int, state: Tensor, ple: Tensor, queries: Queries, writes: Writes | None
    ) -> Tensor:
        """State ``[n_embd, n_altup, n]`` to state, with ``ple [n_ple, n]``; owners write K/V.

        Source: transformers ``Gemma3nTextDecoderLayer.forward``.
        """
        g, hp, w = self.g, self.hp, self.w
        predicted = self.altup.build_predict(layer, state)
        g.name(predicted, f"predictions-{layer}")
        active = g.middle(predicted, 0)
        x = g.rms_norm(active, hp.rms_eps, w.of(layer, "attn_norm"))
        g.name(x, f"attn_norm-{layer}")
        if writes and layer < hp.n_layer_kv:
            self.attention.build_store(layer, x, queries.positions, writes)
        mixed = self.build_residual(layer, self.attention.build(layer, x, queries), active, x)
        g.name(mixed, f"attn_laurel-{layer}")
        y = self.build_ffn(layer, g.rms_norm(mixed, hp.rms_eps, w.of(layer, "ffn_norm")))
        state = self.altup.build_correct(layer, predicted, y, mixed)
        g.name(state, f"corrected-{layer}")
        return g.name(self.build_ple_gate(layer, state, ple), f"l_out-{layer}")

    def build_residual(self, layer: int, attended: Tensor, active: Tensor, x: Tensor) -> Tensor:
        """What goes into the FFN: the attention's answer, the stream it began with, and Laurel.

        Laurel is a low-rank residual of ``x``, the layer's normed input; all are ``[n_embd, n]``.

        Source: transformers ``Gemma3nTextDecoderLayer.forward``, ``Gemma3nTextLaurelBlock``.
        """
        g, w, eps, multiply = self.g, self.w, self.hp.rms_eps, self.products.build
        low = multiply(w.of(layer, "laurel_r"), multiply(w.of(layer, "laurel_l"), x))
        norms = (w.of(layer, "post_attention_norm"), w.of(layer, "laurel_post_norm"))
        if (kernels := w.kernels_at(layer)) and x.ne[0] % LANES == 0:
            sources = (attended, norms[0], active, low, norms[1], x)
            return g.custom(F32, x.ne[:2], sources, kernels.residual, (eps,))
        attended = g.rms_norm(attended, eps, norms[0])
        g.name(attended, f"attn_post_norm-{layer}")
        laurel = g.add(g.rms_norm(low, eps, norms[1]), x)
        g.name(laurel, f"laurel_out-{layer}")
        return g.scale(g.add(g.add(attended, active), laurel), 1.0 / math.sqrt(2.0))

    def build_ffn(self, layer: int, x: Tensor) -> Tensor:
        """Gated FFN, its gate cut off in sparse layers. Source: ``Gemma3nTextMLP``."""
        width = self.shape.widths[layer]
        gate, up = (self.w.of(layer, f"ffn_{part}") for part in ("gate", "up"))
        down = [self.g.columns(*columns) for columns in self.w.down(layer, width)]
        if width < self.hp.n_ff[layer]:
            gate, up = (self.g.rows(matrix, 0, width) for matrix in (gate, up))
        out = self.products.build_ffn(gate, up, down, x, self.hp.sparsity[layer])
        return self.g.name(out, f"ffn_out-{layer}")

    def build_ple_gate(self, layer: int, state: Tensor, ple: Tensor) -> Tensor:
        """``state`` with the per-layer input added to all streams but the first, in place."""
        g, hp, w, multiply = self.g, self.hp, self.w, self.products.build
        n = state.ne[2]
        x = g.mul(g.middle(state, 0), w.of(layer, "altup_correct_scale"))
        gated = g.geglu(multiply(w.of(layer, "inp_gate"), x), ple)
        out = multiply(w.of(layer, "proj"), gated)
        out = g.rms_norm(out, hp.rms_eps, w.of(layer, "post_norm"))
        g.name(out, f"first_prediction_out-{layer}")
        sides = g.middles(state, 1, hp.n_altup - 1)
        return g.after_write(state, g.add_inplace(sides, g.reshape(out, hp.n_embd, 1, n)))

    def build_logits(self, state: Tensor) -> Tensor:
        """``[n_vocab, n]``, soft-capped."""
        g, hp, w = self.g, self.hp, self.w
        x = g.rms_norm(self.altup.build_exit(state), hp.rms_eps, w["output_norm"])
        g.name(x, "result_norm")
        head = w["output"] if "output" in w else w["token_embd"]
        capped = g.tanh(g.scale(self.products.build(head, x), 1.0 / hp.softcap))
        return g.scale(capped, hp.softcap)
