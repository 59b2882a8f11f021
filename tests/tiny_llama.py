"""A llama-architecture model of two layers, small enough to load a thousand times."""

from __future__ import annotations

import numpy as np

from g3n_cli.engine.gguf_types import GgmlType
from tests.gguf_edit import BOOL, F32, I32, STRING, U32, Draft, DraftTensor, array, scalar
from tests.gguf_edit import text as text_value

N_LAYER, N_EMBD, N_FF, N_HEAD, N_HEAD_KV, HEAD = 2, 32, 64, 4, 2, 8
_CONTROL, _NORMAL = 3, 1
_TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"


def _byte_letters() -> list[str]:
    """GPT-2's letter for every byte: printable ones stand for themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    codes = dict(zip(plain, plain, strict=True))
    codes |= {byte: 256 + i for i, byte in enumerate(others)}
    return [chr(codes[byte]) for byte in range(256)]


def make_llama() -> Draft:
    """The model, with random float32 weights."""
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *_byte_letters()]
    merges = ["h e", "l l", "he ll", "hell o", "\u0120 w"]
    tokens += [merge.replace(" ", "") for merge in merges]
    kinds = [_CONTROL] * 3 + [_NORMAL] * (len(tokens) - 3)
    keys = {
        "general.architecture": text_value("llama"),
        "general.name": text_value("Tiny llama"),
        "llama.block_count": scalar(U32, N_LAYER),
        "llama.context_length": scalar(U32, 128),
        "llama.embedding_length": scalar(U32, N_EMBD),
        "llama.feed_forward_length": scalar(U32, N_FF),
        "llama.attention.head_count": scalar(U32, N_HEAD),
        "llama.attention.head_count_kv": scalar(U32, N_HEAD_KV),
        "llama.rope.freq_base": scalar(F32, 10_000.0),
        "llama.attention.layer_norm_rms_epsilon": scalar(F32, 1e-5),
        "general.file_type": scalar(U32, 0),
        "llama.vocab_size": scalar(U32, len(tokens)),
        "llama.rope.dimension_count": scalar(U32, HEAD),
        "tokenizer.ggml.add_space_prefix": scalar(BOOL, False),
        "tokenizer.ggml.add_bos_token": scalar(BOOL, False),
        "tokenizer.ggml.model": text_value("gpt2"),
        "tokenizer.ggml.pre": text_value("smollm"),
        "tokenizer.ggml.tokens": array(STRING, tokens),
        "tokenizer.ggml.token_type": array(I32, kinds),
        "tokenizer.ggml.merges": array(STRING, merges),
        "tokenizer.ggml.bos_token_id": scalar(U32, 1),
        "tokenizer.ggml.eos_token_id": scalar(U32, 2),
        "tokenizer.ggml.unknown_token_id": scalar(U32, 0),
        "tokenizer.ggml.padding_token_id": scalar(U32, 2),
        "tokenizer.chat_template": text_value(_TEMPLATE),
    }
    shapes = {"token_embd": (N_EMBD, len(tokens)), "output_norm": (N_EMBD,)}
    for layer in range(N_LAYER):
        parts = {
            "attn_norm": (N_EMBD,),
            "attn_q": (N_EMBD, N_HEAD * HEAD),
            "attn_k": (N_EMBD, N_HEAD_KV * HEAD),
            "attn_v": (N_EMBD, N_HEAD_KV * HEAD),
            "attn_output": (N_HEAD * HEAD, N_EMBD),
            "ffn_norm": (N_EMBD,),
            "ffn_gate": (N_EMBD, N_FF),
            "ffn_up": (N_EMBD, N_FF),
            "ffn_down": (N_FF, N_EMBD),
        }
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in parts.items()}
    rng = np.random.default_rng(0)
    return Draft(
        keys,
        [
            DraftTensor(
                f"{name}.weight",
                shape,
                GgmlType.F32,
                rng.standard_normal(np.prod(shape)).astype(np.float32).tobytes(),
            )
            for name, shape in shapes.items()
        ],
    )
