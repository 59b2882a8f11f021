"""Make GGUF files with the shape of a real model and random weights.

Time and memory do not depend on the values of weights, so such a file measures what the real one
would; its answers are noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from g3n_cli.bench.vocabulary import make_vocabulary
from g3n_cli.engine.gguf import GgufArray, GgufFile, Value
from g3n_cli.engine.gguf_types import BLOCKS, GgmlType
from g3n_cli.engine.gguf_writer import GgufWriter, TensorSpec, ValueType, make_array
from g3n_cli.errors import ModelError

ShapeName = Literal["e2b", "e4b", "gemma3-4b", "tiny"]
Quant = Literal["q4_0", "q4_k_m", "q8_0", "f16"]

SPARSE_LAYERS = 10
SPARSITY_SCALE = 1.6448533535003662
"""Standard normal quantile of 0.95, as published files round it."""

TILE_ROWS = 64
"""Rows of fresh noise; they are repeated, since noise for gigabytes would take minutes."""

CHUNK_BYTES = 4 << 20
WEIGHT_STD = 0.02


@dataclass(frozen=True)
class Shape:
    """Sizes of a model.

    Attributes:
        architecture: ``gemma3n`` or ``gemma3``.
        n_layer: Layers.
        n_embd: Width of the residual stream.
        n_ff: Width of the feed-forward network.
        n_head: Query heads.
        n_head_kv: Key and value heads.
        head_dim: Width of a head.
        n_window: Keys a sliding layer sees.
        n_ctx_train: ``context_length`` of the file.
        n_vocab: Tokens.
    """

    architecture: Literal["gemma3n", "gemma3"]
    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int = 8
    n_head_kv: int = 2
    head_dim: int = 256
    n_window: int = 512
    n_ctx_train: int = 32768
    n_vocab: int = 262_144


# Sources: transformers' Gemma3nTextConfig and Gemma3TextConfig; "tiny" is the least that
# llama.cpp runs, which fixes 20 layers with K/V of their own.
SHAPES: dict[ShapeName, Shape] = {
    "e2b": Shape("gemma3n", 30, 2048, 8192),
    "e4b": Shape("gemma3n", 35, 2048, 16384),
    "gemma3-4b": Shape("gemma3", 34, 2560, 10240, n_head_kv=4, n_window=1024, n_ctx_train=131_072),
    "tiny": Shape(
        "gemma3n", 30, 256, 512, n_head=2, n_head_kv=1, head_dim=128, n_window=32, n_vocab=1024
    ),
}

LAYERS_WITH_KV = 20
N_EMBD_PER_LAYER = 256
N_ALTUP = 4
LAUREL_RANK = 64

_BASE_TYPE = {
    "q4_0": GgmlType.Q4_0,
    "q4_k_m": GgmlType.Q4_K,
    "q8_0": GgmlType.Q8_0,
    "f16": GgmlType.F16,
}
_FILE_TYPE = {"f16": 1, "q4_0": 2, "q8_0": 7, "q4_k_m": 15}
_UNQUANTIZED = ("altup", "laurel", "per_layer_model_proj")


def make_model(
    shape: ShapeName,
    quant: Quant,
    out: Path,
    on_progress: Callable[[int, int], None] | None = None,
    seed: int = 0,
    vocabulary_donor: Path | None = None,
) -> None:
    """Write a model with random weights to ``out``; equal arguments write equal bytes.

    Args:
        shape: Whose sizes to take.
        quant: Types of the tensors, mixed as llama.cpp's quantizer mixes them.
        out: The file to make.
        on_progress: Called with (bytes written, bytes in all).
        seed: Of weights and vocabulary.
        vocabulary_donor: A GGUF to copy the tokenizer from; None makes one up.

    Raises:
        G3nError: ``out`` cannot be written or does not fit on the disk.
        ModelError: The donor is no GGUF or has no vocabulary.
    """
    sizes = SHAPES[shape]
    if vocabulary_donor:
        tokenizer, n_vocab = _copy_tokenizer(vocabulary_donor)
        sizes = replace(sizes, n_vocab=n_vocab)
    else:
        tokenizer = make_vocabulary(sizes.n_vocab, seed).metadata()
    tensors = list_tensors(sizes, quant)
    general: dict[str, Value] = {
        "general.architecture": sizes.architecture,
        "general.type": "model",
        "general.name": f"random weights in the shape of {shape}",
        "general.file_type": _FILE_TYPE[quant],
        "general.quantization_version": 2,
    }
    hparams = {f"{sizes.architecture}.{key}": value for key, value in _hparams(sizes).items()}
    rng = np.random.default_rng(seed)
    with GgufWriter(out, general | hparams | tokenizer, tensors, on_progress) as writer:
        for tensor in tensors:
            writer.write_tensor(tensor.name, make_noise(tensor, rng))


def _copy_tokenizer(donor: Path) -> tuple[dict[str, Value], int]:
    """The keys of the donor's tokenizer and how many tokens it has."""
    metadata = GgufFile.open(donor).metadata
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, GgufArray):
        raise ModelError(f"{donor} has no vocabulary")
    keys = {key: value for key, value in metadata.items() if key.startswith("tokenizer.ggml.")}
    return keys, tokens.length


def list_tensors(shape: Shape, quant: Quant) -> list[TensorSpec]:
    """The tensor table of a file, in order."""
    sizes = _global_sizes(shape)
    for layer in range(shape.n_layer):
        sizes |= {f"blk.{layer}.{name}": ne for name, ne in _layer_sizes(shape).items()}
    return [
        TensorSpec(f"{name}.weight", _choose_type(name, ne, shape.n_layer, quant), ne)
        for name, ne in sizes.items()
    ]


def _global_sizes(shape: Shape) -> dict[str, tuple[int, ...]]:
    n_embd, n_vocab = shape.n_embd, shape.n_vocab
    sizes: dict[str, tuple[int, ...]] = {
        "token_embd": (n_embd, n_vocab),
        "output_norm": (n_embd,),
    }
    if shape.architecture == "gemma3n":
        ple_row = N_EMBD_PER_LAYER * shape.n_layer
        sizes |= {
            "per_layer_token_embd": (ple_row, n_vocab),
            "per_layer_model_proj": (n_embd, ple_row),
            "per_layer_proj_norm": (N_EMBD_PER_LAYER,),
            "altup_proj": (n_embd, n_embd, N_ALTUP - 1),
            "altup_unembd_proj": (n_embd, n_embd, N_ALTUP - 1),
        }
    return sizes


def _layer_sizes(shape: Shape) -> dict[str, tuple[int, ...]]:
    n_embd, n_ff = shape.n_embd, shape.n_ff
    n_q, n_kv = shape.n_head * shape.head_dim, shape.n_head_kv * shape.head_dim
    sizes: dict[str, tuple[int, ...]] = {
        "attn_norm": (n_embd,),
        "attn_q": (n_embd, n_q),
        "attn_k": (n_embd, n_kv),
        "attn_v": (n_embd, n_kv),
        "attn_q_norm": (shape.head_dim,),
        "attn_k_norm": (shape.head_dim,),
        "attn_output": (n_q, n_embd),
        "post_attention_norm": (n_embd,),
        "ffn_norm": (n_embd,),
        "ffn_gate": (n_embd, n_ff),
        "ffn_up": (n_embd, n_ff),
        "ffn_down": (n_ff, n_embd),
        "post_ffw_norm": (n_embd,),
    }
    if shape.architecture == "gemma3n":
        sizes |= {
            "inp_gate": (n_embd, N_EMBD_PER_LAYER),
            "proj": (N_EMBD_PER_LAYER, n_embd),
            "post_norm": (n_embd,),
            "laurel_l": (n_embd, LAUREL_RANK),
            "laurel_r": (LAUREL_RANK, n_embd),
            "laurel_post_norm": (n_embd,),
            "altup_router": (n_embd, N_ALTUP),
            "altup_router_norm": (n_embd,),
            "altup_correct_coef": (N_ALTUP, N_ALTUP),
            "altup_correct_scale": (n_embd,),
            "altup_predict_coef": (N_ALTUP, N_ALTUP * N_ALTUP),
        }
    return sizes


def _choose_type(name: str, ne: tuple[int, ...], n_layer: int, quant: Quant) -> GgmlType:
    """Type of a tensor; **Source**: ``llama_tensor_get_type`` of ``llama-quant.cpp``."""
    if len(ne) == 1 or name.endswith("_coef"):
        return GgmlType.F32
    if any(part in name for part in _UNQUANTIZED):
        return GgmlType.F16
    base = _BASE_TYPE[quant]
    is_embedding = name in ("token_embd", "per_layer_token_embd")
    if is_embedding and base in (GgmlType.Q4_0, GgmlType.Q4_K):
        return GgmlType.Q6_K
    if base is GgmlType.Q4_K and name.endswith(("ffn_down", "attn_v")):
        layer, eighth = int(name.split(".")[1]), n_layer // 8
        is_outer = layer < eighth or layer >= 7 * n_layer // 8
        if is_outer or (layer - eighth) % 3 == 2:
            return GgmlType.Q6_K
    return base


def _hparams(shape: Shape) -> dict[str, Value]:
    """Keys of the model, without the architecture's prefix."""
    n_layer = shape.n_layer
    hparams: dict[str, Value] = {
        "block_count": n_layer,
        "context_length": shape.n_ctx_train,
        "embedding_length": shape.n_embd,
        "feed_forward_length": shape.n_ff,
        "attention.head_count": shape.n_head,
        "attention.head_count_kv": shape.n_head_kv,
        "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "attention.sliding_window": shape.n_window,
        "rope.freq_base": 1_000_000.0,
    }
    if shape.architecture == "gemma3n":
        is_sliding = [layer % 5 != 4 for layer in range(n_layer)]
        sparsity = [SPARSITY_SCALE] * SPARSE_LAYERS
        sparsity += [float("-inf")] * (n_layer - SPARSE_LAYERS)
        hparams |= {
            "feed_forward_length": make_array(ValueType.INT32, [shape.n_ff] * n_layer),
            "attention.sliding_window_pattern": make_array(ValueType.BOOL, is_sliding),
            "attention.shared_kv_layers": n_layer - LAYERS_WITH_KV,
            "altup.num_inputs": N_ALTUP,
            "altup.active_idx": 0,
            "embedding_length_per_layer_input": N_EMBD_PER_LAYER,
            "activation_sparsity_scale": make_array(ValueType.FLOAT32, sparsity),
            "rope.freq_base_swa": 10_000.0,
            "final_logit_softcapping": 30.0,
        }
    return hparams


def make_noise(tensor: TensorSpec, rng: np.random.Generator) -> Iterator[memoryview]:
    """Bytes of a tensor: a tile of random rows, repeated."""
    n_rows = min(TILE_ROWS, tensor.n_rows)
    repeats = max(1, min(CHUNK_BYTES // (n_rows * tensor.row_bytes), tensor.n_rows // n_rows))
    chunk = memoryview(_make_tile(tensor, n_rows, rng).tobytes() * repeats)
    left = tensor.n_bytes
    while left:
        piece = chunk[:left]
        yield piece
        left -= len(piece)


def _make_tile(
    tensor: TensorSpec, n_rows: int, rng: np.random.Generator
) -> npt.NDArray[np.float32 | np.float16 | np.uint8]:
    """Random rows whose values have a mean of 0 (norms: 1) and a spread of ``WEIGHT_STD``."""
    n_cols = tensor.ne[0]
    if tensor.type in (GgmlType.F32, GgmlType.F16):
        is_vector = len(tensor.ne) == 1
        noise = rng.standard_normal((n_rows, n_cols), dtype=np.float32)
        if is_vector:
            return 1 + 0.1 * noise
        dtype = np.float32 if tensor.type is GgmlType.F32 else np.float16
        return (WEIGHT_STD * noise).astype(dtype)
    values, size = BLOCKS[tensor.type]
    tile = rng.integers(0, 256, (n_rows * n_cols // values, size), dtype=np.uint8)
    # Where a block holds its scales, and how far its values spread at a scale of 1 if all its
    # other bits are random. Q4_K's second scale moves the mean of 15 / 2 to 0.
    scales: dict[int, float] = {
        GgmlType.Q4_0: {0: 1 / 4.6},
        GgmlType.Q8_0: {0: 1 / 74},
        GgmlType.Q6_K: {208: 1 / 1370},
        GgmlType.Q4_K: {0: 1 / 258, 2: 7.5 / 258},
    }[tensor.type]
    for offset, scale in scales.items():
        tile[:, offset : offset + 2] = np.frombuffer(np.float16(WEIGHT_STD * scale), np.uint8)
    return tile
