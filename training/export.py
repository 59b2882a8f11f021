"""From a checkpoint to the GGUF that ships.

python -m training.export --out training/out --gguf g3n_cli/models/g3n-mini.gguf
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from gguf import GGMLQuantizationType
from gguf.quants import quantize

from g3n_cli.bench.vocabulary import TokenKind
from g3n_cli.engine.gguf import Value
from g3n_cli.engine.gguf_types import GgmlType
from g3n_cli.engine.gguf_writer import GgufWriter, TensorSpec, ValueType, make_array
from training.model import N_ALTUP, Shape
from training.recipe import BOS, END, EOS, PAD, UNK

# What a person types is lowered and set apart from the turn's mark: so the model knows its words.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'assistant' %}<start_of_turn>model\n{{ message.content }}<end_of_turn>\n"
    "{% elif message.role == 'user' %}<start_of_turn>user\n "
    "{{ message.content | trim | lower | replace('\"', '') }}<end_of_turn>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
_HALVES = ("altup", "laurel", "per_layer_model_proj")
_COEFFICIENTS, _BLOCK = "_coef", 32


def export(folder: Path, out: Path, kind: GgmlType = GgmlType.Q8_0) -> None:
    """Write the model in ``folder`` with matrices of type ``kind``."""
    saved = torch.load(folder / "checkpoint.pt", map_location="cpu")
    shape = Shape(**saved["shape"])
    tensors = {f"{name}.weight": value.numpy() for name, value in saved["model"].items()}
    specs = [
        TensorSpec(name, choose_type(name, value, kind), value.shape[::-1])
        for name, value in tensors.items()
    ]
    processor = sentencepiece.SentencePieceProcessor(str(folder / "vocabulary.model"))
    metadata = {
        "general.architecture": "gemma3n",
        "general.name": "g3n-mini",
        "general.license": "apache-2.0 (weights); the WordNet 3.0 licence covers what it knows",
        **make_keys(shape),
        **make_tokenizer(processor),
    }
    with GgufWriter(out, metadata, specs) as writer:
        for spec in specs:
            writer.write_tensor(spec.name, [encode(tensors[spec.name], spec.type)])


def choose_type(name: str, value: np.ndarray, kind: GgmlType) -> GgmlType:
    """Vectors, coefficients and rows of no whole block stay float32, small matrices halves."""
    if value.ndim == 1 or _COEFFICIENTS in name or value.shape[-1] % _BLOCK:
        return GgmlType.F32
    return GgmlType.F16 if any(part in name for part in _HALVES) else kind


def encode(value: np.ndarray, kind: GgmlType) -> bytes:
    """Bytes of a tensor."""
    if kind is GgmlType.F32:
        return np.ascontiguousarray(value, np.float32).tobytes()
    if kind is GgmlType.F16:
        return value.astype(np.float16).tobytes()
    return quantize(np.ascontiguousarray(value, np.float32), GGMLQuantizationType(kind)).tobytes()


def make_keys(shape: Shape) -> Mapping[str, Value]:
    """The ``gemma3n.*`` keys."""
    layers = range(shape.n_layer)
    sparsity = [shape.sparsity if i < shape.n_sparse else float("-inf") for i in layers]
    keys: dict[str, Value] = {
        "block_count": shape.n_layer,
        "context_length": shape.n_ctx,
        "embedding_length": shape.n_embd,
        "feed_forward_length": make_array(ValueType.INT32, [shape.n_ff] * shape.n_layer),
        "attention.head_count": shape.n_head,
        "attention.head_count_kv": shape.n_head_kv,
        "attention.key_length": shape.n_head_dim,
        "attention.value_length": shape.n_head_dim,
        "attention.layer_norm_rms_epsilon": shape.eps,
        "attention.sliding_window": shape.window,
        "attention.sliding_window_pattern": make_array(
            ValueType.BOOL, [shape.is_sliding(i) for i in layers]
        ),
        "attention.shared_kv_layers": shape.n_layer - shape.n_layer_kv,
        "altup.num_inputs": N_ALTUP,
        "altup.active_idx": 0,
        "embedding_length_per_layer_input": shape.n_ple,
        "activation_sparsity_scale": make_array(ValueType.FLOAT32, sparsity),
        "rope.freq_base": shape.rope_base,
        "rope.freq_base_swa": shape.rope_base_swa,
        "final_logit_softcapping": shape.softcap,
    }
    return {f"gemma3n.{name}": value for name, value in keys.items()}


def make_tokenizer(processor: sentencepiece.SentencePieceProcessor) -> Mapping[str, Value]:
    """The ``tokenizer.*`` keys."""
    ids = range(processor.get_piece_size())
    keys: dict[str, Value] = {
        "ggml.model": "llama",
        "ggml.pre": "default",
        "ggml.tokens": make_array(ValueType.STRING, [processor.id_to_piece(i) for i in ids]),
        "ggml.scores": make_array(ValueType.FLOAT32, [processor.get_score(i) for i in ids]),
        "ggml.token_type": make_array(ValueType.INT32, [_kind_of(processor, i) for i in ids]),
        "ggml.bos_token_id": BOS,
        "ggml.eos_token_id": EOS,
        "ggml.eot_token_id": END,
        "ggml.unknown_token_id": UNK,
        "ggml.padding_token_id": PAD,
        "ggml.add_bos_token": True,
        "ggml.add_eos_token": False,
        "ggml.add_space_prefix": False,
        "chat_template": CHAT_TEMPLATE,
    }
    return {f"tokenizer.{name}": value for name, value in keys.items()}


def _kind_of(processor: sentencepiece.SentencePieceProcessor, token: int) -> TokenKind:
    if processor.is_byte(token):
        return TokenKind.BYTE
    if processor.is_unknown(token):
        return TokenKind.UNKNOWN
    if processor.is_control(token):
        return TokenKind.CONTROL
    return TokenKind.USER_DEFINED if processor.id_to_piece(token) == "\n" else TokenKind.NORMAL


def main() -> None:
    """Export a checkpoint."""
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    parser.add_argument("--gguf", type=Path, required=True)
    options = parser.parse_args()
    export(options.out, options.gguf)


if __name__ == "__main__":
    main()
