"""What is checked of a file before C code sees it.

ggml aborts the process on a wrong shape, llama.cpp on an inconsistent vocabulary. What passes here
makes them do neither.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from g3n_cli.engine.gguf import GgufArray, GgufFile, TensorInfo
from g3n_cli.engine.gguf_types import MATRIX_TYPES, GgmlType
from g3n_cli.engine.hparams import ARCHITECTURE, HParams
from g3n_cli.engine.llama_asserts import check_for_llama_cpp
from g3n_cli.errors import ModelError

N_TEXT_TOKENS = 262_144
"""Ids from here on stand for media: they use row 0 of the per-layer table and are never sampled."""

# Not t5: its tokenizer throws through the C interface on some texts, and no model that continues
# text has it.
_TOKENIZERS = frozenset({"llama", "gpt2", "bert", "rwkv", "plamo2", "gemma4"})
_VECTORS = (
    "attn_norm",
    "post_attention_norm",
    "ffn_norm",
    "post_ffw_norm",
    "post_norm",
    "altup_router_norm",
    "laurel_post_norm",
    "altup_correct_scale",
)
_INT32, _FLOAT32, _BYTE_TOKEN = 5, 6, 6
_BYTE = re.compile(rb"<0x[0-9A-F]{2}>")


def open_model(path: Path) -> GgufFile:
    """Open a GGUF and check its tensors; the vocabulary is checked by whoever loads it.

    Raises:
        ModelError: it cannot be used.
    """
    gguf = GgufFile.open(path)
    if not gguf.architecture:
        raise ModelError(f"{path}: general.architecture: the key is missing")
    if gguf.architecture == ARCHITECTURE:
        check_tensors(gguf, HParams.from_gguf(gguf))
    else:
        check_for_llama_cpp(gguf)
    return gguf


def check_tokenizer(gguf: GgufFile) -> None:
    """Check the vocabulary, which llama.cpp loads for every architecture.

    Source: llama.cpp ``src/llama-vocab.cpp``, ``llama_vocab::impl::load``.

    Raises:
        ModelError: llama.cpp would abort on it or read behind its end.
    """
    model = gguf.metadata.get("tokenizer.ggml.model")
    if not isinstance(model, str) or model not in _TOKENIZERS:
        raise _wrong(gguf, "model", "not a known kind of tokenizer")
    tokens = gguf.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, GgufArray) or not tokens.is_string or not tokens.length:
        raise _wrong(gguf, "tokens", "not a list of tokens")
    for key, kind in (("scores", _FLOAT32), ("token_type", _INT32)):
        array = gguf.metadata.get(f"tokenizer.ggml.{key}")
        shape = (array.type, array.length) if isinstance(array, GgufArray) else None
        if array is not None and shape != (kind, tokens.length):
            raise _wrong(gguf, key, f"not an array of {tokens.length} numbers")
    words = [_as_read(word, index) for index, word in enumerate(tokens.to_bytes())]
    if len(set(words)) != len(words):
        raise _wrong(gguf, "tokens", "a token occurs twice")
    _check_byte_tokens(gguf, words, model)


def _check_byte_tokens(gguf: GgufFile, words: list[bytes], model: str) -> None:
    types = gguf.metadata.get("tokenizer.ggml.token_type")
    codes = types.to_numpy() if isinstance(types, GgufArray) else np.empty(0)
    spelled = {words[i] for i in np.flatnonzero(codes == _BYTE_TOKEN)}
    if not all(map(_BYTE.fullmatch, spelled)):
        raise _wrong(gguf, "token_type", "a byte token is not spelled <0x..>")
    if model == "bert" and spelled:
        raise _wrong(gguf, "token_type", "byte tokens, which a WordPiece vocabulary has none of")
    if model == "llama" and len(spelled) != 256:
        raise _wrong(gguf, "token_type", f"{len(spelled)} byte tokens instead of 256")


def _wrong(gguf: GgufFile, key: str, fault: str) -> ModelError:
    return ModelError(f"{gguf.path}: tokenizer.ggml.{key}: {fault}")


def _as_read(word: bytes, index: int) -> bytes:
    """What llama.cpp takes for the token: the part before a NUL, or a name if that is empty."""
    if b"\0" in word:
        word = word.partition(b"\0")[0]
    return word or b"[EMPTY_%d]" % index


def check_tensors(gguf: GgufFile, hparams: HParams) -> None:
    """Check that every tensor the graph uses is there, with the shape and a type it can use.

    Raises:
        ModelError: names the tensor.
    """
    for name, shape in _expected_shapes(gguf, hparams).items():
        info = gguf.tensors.get(f"{name}.weight")
        if info is None:
            raise ModelError(f"{gguf.path}: tensor {name}.weight is missing")
        if _trim(info.ne) != _trim(shape):
            raise ModelError(f"{gguf.path}: {info.name} has the shape {info.ne}, not {shape}")
        is_vector = len(_trim(shape)) <= 1
        allowed = {GgmlType.F32} if is_vector else MATRIX_TYPES
        if info.type not in allowed:
            raise ModelError(f"{gguf.path}: {info.name} has the unusable type {info.type.name}")
    table = gguf.tensors["per_layer_token_embd.weight"]
    if table.ne[1] < min(hparams.n_vocab, N_TEXT_TOKENS):
        raise ModelError(f"{gguf.path}: {table.name} has too few rows: {table.ne[1]}")


def _trim(ne: tuple[int, ...]) -> tuple[int, ...]:
    """Extents without trailing ones, which files may leave out."""
    while ne and ne[-1] == 1:
        ne = ne[:-1]
    return ne


def _expected_shapes(gguf: GgufFile, hp: HParams) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors that are used, by name without ``.weight``."""
    n_embd, n_altup = hp.n_embd, hp.n_altup
    table = gguf.tensors.get("per_layer_token_embd.weight")
    n_rows = _second_extent(table)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd": (n_embd, hp.n_vocab),
        "per_layer_token_embd": (hp.n_ple * hp.n_layer, n_rows),
        "per_layer_model_proj": (n_embd, hp.n_ple * hp.n_layer),
        "per_layer_proj_norm": (hp.n_ple,),
        "altup_proj": (n_embd, n_embd, n_altup - 1),
        "altup_unembd_proj": (n_embd, n_embd, n_altup - 1),
        "output_norm": (n_embd,),
    }
    if "output.weight" in gguf.tensors:
        shapes["output"] = (n_embd, hp.n_vocab)
    q_width, v_width = hp.n_head * hp.n_embd_head_k, hp.n_head * hp.n_embd_head_v
    for layer in range(hp.n_layer):
        n_ff = hp.n_ff[layer]
        n_laurel = _second_extent(gguf.tensors.get(f"blk.{layer}.laurel_l.weight"))
        parts: dict[str, tuple[int, ...]] = {
            "attn_q": (n_embd, q_width),
            "attn_q_norm": (hp.n_embd_head_k,),
            "attn_output": (v_width, n_embd),
            "ffn_gate": (n_embd, n_ff),
            "ffn_up": (n_embd, n_ff),
            "ffn_down": (n_ff, n_embd),
            "inp_gate": (n_embd, hp.n_ple),
            "proj": (hp.n_ple, n_embd),
            "laurel_l": (n_embd, n_laurel),
            "laurel_r": (n_laurel, n_embd),
            "altup_correct_coef": (n_altup, n_altup),
            "altup_predict_coef": (n_altup, n_altup**2),
            "altup_router": (n_embd, n_altup),
        }
        parts.update((name, (n_embd,)) for name in _VECTORS)
        if layer < hp.n_layer_kv:
            parts["attn_k"] = (n_embd, hp.n_head_kv * hp.n_embd_head_k)
            parts["attn_v"] = (n_embd, hp.n_head_kv * hp.n_embd_head_v)
            parts["attn_k_norm"] = (hp.n_embd_head_k,)
        shapes.update((f"blk.{layer}.{name}", shape) for name, shape in parts.items())
    return shapes


def _second_extent(info: TensorInfo | None) -> int:
    """Rows of a matrix whose number of rows no key tells; 1 if it is no matrix."""
    return info.ne[1] if info is not None and len(info.ne) > 1 else 1
