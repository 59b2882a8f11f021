"""Make projector files with the shape of the real vision encoder and random weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from g3n_cli.bench.synthetic import SHAPES, ShapeName, make_noise
from g3n_cli.bench.synthetic_audio import (
    AudioQuant,
    AudioShape,
    describe_audio,
    list_audio_tensors,
)
from g3n_cli.convert.projector import choose_type, make_vision_keys
from g3n_cli.convert.settings import Section
from g3n_cli.engine.gguf import Value
from g3n_cli.engine.gguf_types import GgmlType
from g3n_cli.engine.gguf_writer import GgufWriter, TensorSpec
from g3n_cli.ggml.quantize import convert_rows

N_HARD = 128
"""Rows of the table of embeddings that stand for no picture."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Edge:
    """An edge residual: ``n_in`` channels to ``expand`` times as many, by 3x3, to ``n_out``."""

    n_out: int
    expand: int = 4


@dataclass(frozen=True)
class Inverted:
    """A universal inverted residual.

    Attributes:
        n_out: Channels it makes.
        expand: Times as many between.
        start: Kernel of the convolution by channel before; 0: none.
        mid: Of the one between.
    """

    n_out: int
    expand: int
    start: int = 0
    mid: int = 0


@dataclass(frozen=True)
class Attention:
    """Attention with one head of keys and values; their picture is halved or not."""

    n_head: int
    width: int
    is_halved: bool


Block = Edge | Inverted | Attention


def _real_stages() -> tuple[tuple[Block, ...], ...]:
    """**Source**: timm ``mobilenetv5_300m_enc``."""
    finer = (Attention(12, 64, is_halved=True), Inverted(640, 2))
    coarser = (Attention(16, 96, is_halved=False), Inverted(1280, 2))
    return (
        (Edge(128),) * 3,
        (Inverted(256, 6, 3, 5), *(Inverted(256, 4, k) for k in (5, 3, 5, 3))),
        (Inverted(640, 6, 5, 5), *(Inverted(640, 4, 5),) * 7, Inverted(640, 1), *finer * 14),
        (Inverted(1280, 6, 5, 5), *coarser * 19),
    )


@dataclass(frozen=True)
class VisionShape:
    """Blocks and widths of a vision encoder; those of Gemma 3n unless told otherwise.

    Attributes:
        n_stem: Channels of the first convolution.
        stages: Blocks; the first of each stage halves the picture.
        n_embd: Channels of the output.
        n_text: Width of the text model.
    """

    n_stem: int = 64
    stages: tuple[tuple[Block, ...], ...] = _real_stages()
    n_embd: int = 2048
    n_text: int = 2048


def _tiny_stages() -> tuple[tuple[Block, ...], ...]:
    """Each kind of block, few of them and narrow."""
    return (
        (Edge(32, 2), Edge(32, 1)),
        (Inverted(32, 2, 3, 5), Inverted(32, 2, 5), Inverted(32, 2, 3)),
        (
            *(Inverted(64, 2, 5, 5), Inverted(64, 2, 5), Inverted(64, 1)),
            *(Attention(3, 32, is_halved=True), Inverted(64, 2)),
        ),
        (Inverted(64, 2, 5, 5), Attention(2, 32, is_halved=False), Inverted(64, 2)),
    )


ENCODERS: dict[ShapeName, tuple[VisionShape, AudioShape]] = {
    "e2b": (VisionShape(), AudioShape()),
    "e4b": (VisionShape(), AudioShape()),
    "tiny": (
        VisionShape(32, _tiny_stages(), n_embd=64, n_text=SHAPES["tiny"].n_embd),
        AudioShape(2, 64, 128, 4, channels=(8, 4), n_text=SHAPES["tiny"].n_embd),
    ),
}
"""Of the models with random weights that can have encoders."""


def make_vision_mmproj(
    out: Path,
    quant: AudioQuant,
    shape: VisionShape | None = None,
    *,
    audio: AudioShape | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a vision encoder with random weights; equal arguments write equal bytes.

    Weights have the spread that keeps activations near 1.

    Args:
        out: The file to make.
        quant: Type of the matrices. As in converted files, those of convolutions are F16 in a
            file of Q8_0, their rows being one value long.
        shape: Its blocks.
        audio: An audio encoder of this shape in the same file; None for none.
        on_progress: Called with (bytes written, bytes in all).

    Raises:
        G3nError: ``out`` cannot be written or does not fit on the disk.
    """
    shape = shape or VisionShape()
    vision = list_vision_tensors(shape, quant)
    metadata: dict[str, Value] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "general.name": "random vision encoder",
        **make_vision_keys(Section(out, {"hidden_size": shape.n_embd}), shape.n_text),
        **({} if audio is None else describe_audio(audio)),
    }
    sound = [] if audio is None else list_audio_tensors(audio, quant)
    rng = np.random.default_rng(0)
    with GgufWriter(out, metadata, [*vision, *sound], on_progress) as writer:
        for tensor in vision:
            writer.write_tensor(tensor.name, _draw(tensor, rng))
        for tensor in sound:
            writer.write_tensor(tensor.name, make_noise(tensor, rng))


def list_vision_tensors(shape: VisionShape, quant: AudioQuant) -> list[TensorSpec]:
    """Its tensors, named and typed as ``g3n convert`` writes them."""
    sizes = _list_sizes(shape)
    return [TensorSpec(name, choose_type(name, ne, quant), ne) for name, ne in sizes.items()]


def _list_sizes(shape: VisionShape) -> dict[str, tuple[int, ...]]:
    sizes = {
        "v.conv_stem.conv.weight": (3, 3, 3, shape.n_stem),
        "v.conv_stem.conv.bias": (1, 1, shape.n_stem, 1),
        "v.conv_stem.bn.weight": (shape.n_stem,),
    }
    n_in, n_fused = shape.n_stem, 0
    for stage, blocks in enumerate(shape.stages):
        for number, block in enumerate(blocks):
            found = _list_block_sizes(block, n_in)
            sizes |= {f"v.blk.{stage}.{number}.{name}": ne for name, ne in found.items()}
            n_in = n_in if isinstance(block, Attention) else block.n_out
        n_fused += n_in if stage >= len(shape.stages) - 2 else 0
    fusion = _list_inverted_sizes(Inverted(shape.n_embd, 2), n_fused)
    return {
        **sizes,
        **{f"v.msfa.ffn.{name}": ne for name, ne in fusion.items() if "gamma" not in name},
        "v.msfa.norm.weight": (shape.n_embd,),
        "mm.embedding.weight": (shape.n_embd, N_HARD),
        "mm.hard_emb_norm.weight": (shape.n_embd,),
        "mm.soft_emb_norm.weight": (shape.n_embd,),
        "mm.input_projection.weight": (shape.n_embd, shape.n_text),
    }


def _list_block_sizes(block: Block, n_in: int) -> dict[str, tuple[int, ...]]:
    if isinstance(block, Edge):
        n_hidden = n_in * block.expand
        return {
            "conv_exp.weight": (3, 3, n_in, n_hidden),
            "bn1.weight": (n_hidden,),
            "conv_pwl.weight": (1, 1, n_hidden, block.n_out),
            "bn2.weight": (block.n_out,),
        }
    if isinstance(block, Inverted):
        return _list_inverted_sizes(block, n_in)
    sizes: dict[str, tuple[int, ...]] = {
        "norm.weight": (n_in,),
        "attn.query.proj.weight": (1, 1, n_in, block.n_head * block.width),
        "attn.output.proj.weight": (1, 1, block.n_head * block.width, n_in),
        "layer_scale.gamma": (1, 1, n_in, 1),
    }
    for part in ("attn.key", "attn.value"):
        sizes[f"{part}.proj.weight"] = (1, 1, n_in, block.width)
        if block.is_halved:
            sizes |= {f"{part}.down_conv.weight": (3, 3, 1, n_in), f"{part}.norm.weight": (n_in,)}
    return sizes


def _list_inverted_sizes(block: Inverted, n_in: int) -> dict[str, tuple[int, ...]]:
    n_hidden = n_in * block.expand
    sizes: dict[str, tuple[int, ...]] = {
        "pw_exp.conv.weight": (1, 1, n_in, n_hidden),
        "pw_exp.bn.weight": (n_hidden,),
        "pw_proj.conv.weight": (1, 1, n_hidden, block.n_out),
        "pw_proj.bn.weight": (block.n_out,),
        "layer_scale.gamma": (1, 1, block.n_out, 1),
    }
    for part, kernel, n in (("dw_start", block.start, n_in), ("dw_mid", block.mid, n_hidden)):
        if kernel:
            sizes[f"{part}.conv.weight"] = (kernel, kernel, 1, n)
            sizes[f"{part}.bn.weight"] = (n,)
    return sizes


def _draw(tensor: TensorSpec, rng: np.random.Generator) -> Iterator[bytes]:
    """The tensor's bytes, some rows at a time; no two rows are equal."""
    n_cols, is_norm = tensor.ne[0], len(tensor.ne) == 1
    scale = np.float32(math.prod(tensor.ne[:-1]) ** -0.5)
    if is_norm or tensor.name.endswith("gamma"):
        scale = np.float32(0.1 if is_norm else 0.3)
    step = max(1, _CHUNK // n_cols)
    for first in range(0, tensor.n_rows, step):
        shape = (min(step, tensor.n_rows - first), n_cols)
        values = scale * rng.standard_normal(shape, dtype=np.float32)
        if is_norm:
            values += 1
        rows = values.view(np.uint8)
        if tensor.type != GgmlType.F32:
            rows = convert_rows(rows, GgmlType.F32, tensor.type, n_cols)
        yield rows.tobytes()
