"""The audio part of a projector file: what it holds, and in what shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from g3n_cli.engine.encoders.features import N_MEL
from g3n_cli.engine.encoders.mmproj import Mmproj
from g3n_cli.engine.gguf import TensorInfo
from g3n_cli.errors import InputError, ModelError

N_HARD = 128
"""Rows of the table of embeddings that stand for no sound."""

N_TAPS = 5
"""Steps that the convolution of a block sees."""

MATRICES = (
    *("ffn_up", "ffn_down", "attn_q", "attn_k", "attn_v", "attn_out"),
    *("conv_pw1", "conv_pw2", "ffn_up_1", "ffn_down_1"),
)
"""Matrices of a block that the graph multiplies with."""

_MOST_LAYERS = 512
_LEAST_WIDTH, _MOST_HEAD = 4, 1 << 12
_ALIASES = {
    "ln1": ("ln1", "attn_pre_norm"),
    "ln2": ("ln2", "attn_post_norm"),
    "linear_pos": ("linear_pos", "attn_k_rel"),
}
"""Names that differ between versions of llama.cpp's converter."""


@dataclass(frozen=True)
class AudioFile:
    """Sizes and tensors of an audio encoder.

    Attributes:
        mmproj: The file.
        n_embd: Width of the conformer.
        n_head: Heads of its attention.
        n_text: Width of the embeddings it makes.
        convs: The two convolutions, ``[3, 3, in, out]``.
        conv_norms: Weights of the norms behind them.
        ends: Tensors before and behind the blocks, by their names without ``.weight``.
        blocks: Tensors of each block, by their names without prefix and ``.weight``.
    """

    mmproj: Mmproj
    n_embd: int
    n_head: int
    n_text: int
    convs: tuple[TensorInfo, ...]
    conv_norms: tuple[TensorInfo, ...]
    ends: Mapping[str, TensorInfo]
    blocks: tuple[Mapping[str, TensorInfo], ...]

    @property
    def n_layer(self) -> int:
        """Blocks."""
        return len(self.blocks)

    @classmethod
    def from_mmproj(cls, mmproj: Mmproj) -> AudioFile:
        """Read and check them.

        Raises:
            InputError: there is no audio encoder.
            ModelError: a tensor is missing or has the wrong shape.
        """
        if not mmproj.has_audio:
            raise InputError(
                f"this model has no audio encoder: {mmproj.path} holds none of Gemma 3n's",
                "make a projector file with both encoders from the original weights: g3n convert",
            )
        n_embd = mmproj.count("clip.audio.embedding_length")
        n_head = mmproj.count("clip.audio.attention.head_count")
        n_layer = mmproj.count("clip.audio.block_count")
        n_mel = mmproj.count("clip.audio.num_mel_bins")
        is_sound = n_embd % n_head == 0 and n_embd % 2 == 0 and n_embd >= _LEAST_WIDTH
        if not is_sound or n_embd // n_head > _MOST_HEAD or n_layer > _MOST_LAYERS:
            sizes = f"{n_layer} blocks of width {n_embd} with {n_head} heads"
            raise ModelError(f"{mmproj.path}: no audio encoder has {sizes}")
        if n_mel != N_MEL:
            raise ModelError(f"{mmproj.path}: clip.audio.num_mel_bins is {n_mel}, not {N_MEL}")
        first = _find_conv(mmproj, 0, 1)
        second = _find_conv(mmproj, 1, first.ne[3])
        ends = _find_ends(mmproj, n_embd, second.ne[3])
        return cls(
            mmproj,
            *(n_embd, n_head, ends["mm.a.input_projection"].ne[1]),
            convs=(first, second),
            conv_norms=tuple(
                mmproj.find_shaped((f"a.conv1d.{i}.norm.weight",), conv.ne[3])
                for i, conv in enumerate((first, second))
            ),
            ends=ends,
            blocks=tuple(_find_block(mmproj, i, n_embd, n_head) for i in range(n_layer)),
        )


def _find_conv(mmproj: Mmproj, index: int, n_in: int) -> TensorInfo:
    info = mmproj.find(f"a.conv1d.{index}.weight", f"a.conv2d.{index}.weight")
    if len(info.ne) != 4 or info.ne[:3] != (3, 3, n_in):
        wanted = f"(3, 3, {n_in}, channels)"
        raise ModelError(f"{mmproj.path}: tensor {info.name} has the shape {info.ne}, not {wanted}")
    return info


def _find_ends(mmproj: Mmproj, n_embd: int, n_channels: int) -> dict[str, TensorInfo]:
    # Two convolutions halve the frequencies twice.
    entry = mmproj.find_shaped(
        ("a.pre_encode.out.weight", "a.input_projection.weight"), N_MEL // 4 * n_channels, n_embd
    )
    exit_ = mmproj.find("mm.a.input_projection.weight")
    if len(exit_.ne) != 2 or exit_.ne[0] != n_embd:
        wanted = f"({n_embd}, width of the text model)"
        raise ModelError(
            f"{mmproj.path}: tensor {exit_.name} has the shape {exit_.ne}, not {wanted}"
        )
    shapes = {
        "mm.a.soft_emb_norm": (n_embd,),
        "mm.a.hard_emb_norm": (n_embd,),
        "mm.a.embedding": (n_embd, N_HARD),
    }
    found = {n: mmproj.find_shaped((f"{n}.weight",), *ne) for n, ne in shapes.items()}
    return {"a.pre_encode.out": entry, "mm.a.input_projection": exit_, **found}


def _find_block(mmproj: Mmproj, layer: int, n_embd: int, n_head: int) -> dict[str, TensorInfo]:
    n_ff = mmproj.find(f"a.blk.{layer}.ffn_up.weight").ne[-1]
    if n_ff < _LEAST_WIDTH:
        raise ModelError(f"{mmproj.path}: a.blk.{layer}: an FFN of width {n_ff}")
    square, vector = (n_embd, n_embd), (n_embd,)
    shapes = {
        **dict.fromkeys(("ffn_norm", "ffn_post_norm", "ffn_norm_1", "ffn_post_norm_1"), vector),
        **dict.fromkeys(("ln1", "ln2", "conv_norm", "norm_conv", "layer_pre_norm"), vector),
        **dict.fromkeys(("ffn_up", "ffn_up_1"), (n_embd, n_ff)),
        **dict.fromkeys(("ffn_down", "ffn_down_1"), (n_ff, n_embd)),
        **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_out", "linear_pos"), square),
        "per_dim_scale": (n_embd // n_head,),
        "conv_pw1": (n_embd, 2 * n_embd),
        "conv_dw": (N_TAPS, 1, n_embd),
        "conv_pw2": square,
    }
    return {name: _find_in_block(mmproj, layer, name, *ne) for name, ne in shapes.items()}


def _find_in_block(mmproj: Mmproj, layer: int, name: str, *ne: int) -> TensorInfo:
    stems = [f"a.blk.{layer}.{alias}" for alias in _ALIASES.get(name, (name,))]
    names = [f"{stem}{ending}" for ending in (".weight", "") for stem in stems]
    return mmproj.find_shaped(names, *ne)
