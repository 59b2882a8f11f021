"""transformers' Gemma 3n in torch, one process, for ``peers.py``; prints raw samples.

Runs in an environment with torch and transformers. The model has the shape of a GGUF file and
weights of noise in bfloat16: transformers can read neither a quantized Gemma 3n nor the file.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma3nForCausalLM, Gemma3nTextConfig
from transformers.initialization import no_init_weights

from benchmarks.vision_side import read_peak
from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.hparams import HParams

_DEVIATION = 0.02
_N_NOISE = 1 << 20


def describe_shape(path: Path) -> Gemma3nTextConfig:
    """What transformers calls the hyperparameters of a file."""
    hparams = HParams.from_gguf(GgufFile.open(path))
    return Gemma3nTextConfig(
        vocab_size=hparams.n_vocab,
        vocab_size_per_layer_input=hparams.n_vocab,
        hidden_size=hparams.n_embd,
        hidden_size_per_layer_input=hparams.n_ple,
        intermediate_size=list(hparams.n_ff),
        num_hidden_layers=hparams.n_layer,
        num_attention_heads=hparams.n_head,
        num_key_value_heads=hparams.n_head_kv,
        head_dim=hparams.n_embd_head_k,
        sliding_window=hparams.n_swa,
        layer_types=["sliding_attention" if s else "full_attention" for s in hparams.is_swa],
        num_kv_shared_layers=hparams.n_shared_kv,
        altup_num_inputs=hparams.n_altup,
        # Of noise as of real gates, this leaves one in twenty.
        activation_sparsity_pattern=[0.0 if z is None else 0.95 for z in hparams.sparsity],
        max_position_embeddings=hparams.n_ctx_train,
    )


def make_model(config: Gemma3nTextConfig) -> Gemma3nForCausalLM:
    """A model whose weights are the same million random numbers over and over."""
    torch.set_default_dtype(torch.bfloat16)
    with no_init_weights():
        model = Gemma3nForCausalLM(config)
    model.tie_weights()
    noise = torch.randn(_N_NOISE) * _DEVIATION
    for parameter in model.parameters():
        for piece in parameter.detach().view(-1).split(_N_NOISE):
            piece.copy_(noise[: len(piece)])
    return model.eval()


def measure(path: Path, n_prompt: int, n_decode: int, seed: int) -> dict[str, Any]:
    """Load, read a prompt, decode greedily."""
    start = time.perf_counter()
    config = describe_shape(path)
    model = make_model(config)
    load_s = time.perf_counter() - start
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1000, config.vocab_size, (1, n_prompt), generator=generator)
    times_s, cache = [], None
    for _ in range(n_decode + 1):
        start = time.perf_counter()
        with torch.inference_mode():
            out = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        ids = out.logits[:, -1].argmax(-1, keepdim=True).clamp(max=config.vocab_size - 1)
        times_s.append(time.perf_counter() - start)
    first, *rest = times_s
    return {
        "load_s": load_s,
        "ttft_s": first,
        "prefill_tps": n_prompt / first,
        "decode_tps": n_decode / sum(rest),
        "peak_rss_bytes": read_peak(),
    }


def main() -> None:
    """Measure once."""
    path, n_prompt, n_decode, n_threads, seed = sys.argv[1:]
    torch.set_num_threads(int(n_threads))
    sys.stdout.write(json.dumps(measure(Path(path), int(n_prompt), int(n_decode), int(seed))))


if __name__ == "__main__":
    main()
