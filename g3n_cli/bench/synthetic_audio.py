"""Make projector files with the shape of the real audio encoder and random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from g3n_cli.bench.synthetic import make_noise
from g3n_cli.engine.encoders.audio_file import MATRICES, N_HARD, N_TAPS
from g3n_cli.engine.encoders.features import N_MEL
from g3n_cli.engine.encoders.mmproj import AUDIO_PROJECTOR
from g3n_cli.engine.gguf import Value
from g3n_cli.engine.gguf_types import GgmlType
from g3n_cli.engine.gguf_writer import GgufWriter, TensorSpec

AudioQuant = Literal["f32", "f16", "q8_0"]

_TYPES = {"f32": GgmlType.F32, "f16": GgmlType.F16, "q8_0": GgmlType.Q8_0}
_QUANTIZED = frozenset({*MATRICES, "linear_pos", "mm.a.embedding", "mm.a.input_projection"})


@dataclass(frozen=True)
class AudioShape:
    """Sizes of an audio encoder; those of Gemma 3n unless told otherwise.

    Attributes:
        n_layer: Blocks.
        n_embd: Width.
        n_ff: Width of the FFNs.
        n_head: Heads.
        channels: Of the two convolutions.
        n_text: Width of the text model.
    """

    n_layer: int = 12
    n_embd: int = 1536
    n_ff: int = 6144
    n_head: int = 8
    channels: tuple[int, int] = (128, 32)
    n_text: int = 2048


def make_audio_mmproj(
    out: Path,
    quant: AudioQuant,
    shape: AudioShape | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write an audio encoder with random weights; equal arguments write equal bytes.

    Args:
        out: The file to make.
        quant: Type of the matrices. As in files of llama.cpp, the input projection is F16.
        shape: Its sizes.
        on_progress: Called with (bytes written, bytes in all).

    Raises:
        G3nError: ``out`` cannot be written or does not fit on the disk.
    """
    shape = shape or AudioShape()
    metadata: dict[str, Value] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "general.name": "random audio encoder",
        **describe_audio(shape),
    }
    tensors = list_audio_tensors(shape, quant)
    rng = np.random.default_rng(0)
    with GgufWriter(out, metadata, tensors, on_progress) as writer:
        for tensor in tensors:
            writer.write_tensor(tensor.name, make_noise(tensor, rng))


def describe_audio(shape: AudioShape) -> dict[str, Value]:
    """The encoder's keys in a projector file."""
    return {
        "clip.has_audio_encoder": True,
        "clip.audio.projector_type": AUDIO_PROJECTOR,
        "clip.audio.projection_dim": shape.n_text,
        "clip.audio.embedding_length": shape.n_embd,
        "clip.audio.feed_forward_length": shape.n_ff,
        "clip.audio.block_count": shape.n_layer,
        "clip.audio.attention.head_count": shape.n_head,
        "clip.audio.num_mel_bins": N_MEL,
        "clip.audio.attention.layer_norm_epsilon": 1e-5,
    }


def list_audio_tensors(shape: AudioShape, quant: AudioQuant) -> list[TensorSpec]:
    """Its tensors."""
    return [_make_spec(name, ne, quant) for name, ne in _list_sizes(shape).items()]


def _list_sizes(shape: AudioShape) -> dict[str, tuple[int, ...]]:
    n_embd, (first, second) = shape.n_embd, shape.channels
    sizes: dict[str, tuple[int, ...]] = {
        "a.conv1d.0": (3, 3, 1, first),
        "a.conv1d.0.norm": (first,),
        "a.conv1d.1": (3, 3, first, second),
        "a.conv1d.1.norm": (second,),
        "a.pre_encode.out": (N_MEL // 4 * second, n_embd),
    }
    for layer in range(shape.n_layer):
        sizes |= {f"a.blk.{layer}.{name}": ne for name, ne in _list_block_sizes(shape).items()}
    return {
        **sizes,
        "mm.a.embedding": (n_embd, N_HARD),
        "mm.a.hard_emb_norm": (n_embd,),
        "mm.a.soft_emb_norm": (n_embd,),
        "mm.a.input_projection": (n_embd, shape.n_text),
    }


def _list_block_sizes(shape: AudioShape) -> dict[str, tuple[int, ...]]:
    n_embd, n_ff = shape.n_embd, shape.n_ff
    norms = ("ln1", "ln2", "conv_norm", "norm_conv", "layer_pre_norm")
    sizes: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(norms, (n_embd,)),
        **{f"attn_{name}": (n_embd, n_embd) for name in ("q", "k", "v", "out")},
        "linear_pos": (n_embd, n_embd),
        "per_dim_scale": (n_embd // shape.n_head,),
        "conv_pw1": (n_embd, 2 * n_embd),
        "conv_dw": (N_TAPS, 1, n_embd),
        "conv_pw2": (n_embd, n_embd),
    }
    for suffix in ("", "_1"):
        sizes |= {
            f"ffn_norm{suffix}": (n_embd,),
            f"ffn_up{suffix}": (n_embd, n_ff),
            f"ffn_down{suffix}": (n_ff, n_embd),
            f"ffn_post_norm{suffix}": (n_embd,),
        }
    return sizes


def _make_spec(name: str, ne: tuple[int, ...], quant: AudioQuant) -> TensorSpec:
    """**Source**: types as llama.cpp's ``conversion/gemma.py`` chooses them."""
    part = name.rpartition(".")[2] if name.startswith("a.blk.") else name
    kind = _TYPES[quant] if part in _QUANTIZED else GgmlType.F32
    if name == "a.pre_encode.out":
        kind = GgmlType.F16
    return TensorSpec(name if part == "per_dim_scale" else f"{name}.weight", kind, ne)
