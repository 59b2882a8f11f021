"""Speeds of a model by llama.cpp's own performance counters, as one JSON object.

``python -m benchmarks.llama_perf MODEL THREADS BATCH``; started by ``agreement.py``.
"""

from __future__ import annotations

import json
import random
import sys

import llama_cpp
from llama_cpp import Llama

N_PROMPT, N_STEPS = 512, 64
MOST_ID = 30_000


def main(path: str, n_threads: int, n_batch: int) -> None:
    """A prompt of 512 tokens and, after one token, 64 single ones; both after a warm-up."""
    llama = Llama(
        path,
        n_ctx=N_PROMPT + N_STEPS,
        n_batch=n_batch,
        n_ubatch=n_batch,
        n_threads=n_threads,
        n_threads_batch=n_threads,
        no_perf=False,
        verbose=False,
    )
    ids = random.Random(0).sample(range(1000, min(MOST_ID, llama.n_vocab())), N_PROMPT)
    _evaluate(llama, ids[:n_batch], ids[:3])
    prompt = _evaluate(llama, ids, [])
    steps = _evaluate(llama, ids[:1], ids[1 : 1 + N_STEPS])
    speeds = {
        "pp_tps": 1e3 * prompt.n_p_eval / prompt.t_p_eval_ms,
        "tg_tps": 1e3 * N_STEPS / steps.t_eval_ms,
    }
    sys.stdout.write(json.dumps(speeds) + "\n")


def _evaluate(llama: Llama, ids: list[int], steps: list[int]) -> llama_cpp.llama_perf_context_data:
    """Counters of a prompt, or if there are any, of the single tokens after it."""
    llama.reset()  # type: ignore[no-untyped-call]
    llama_cpp.llama_perf_context_reset(llama.ctx)
    llama.eval(ids)
    llama_cpp.llama_synchronize(llama.ctx)
    if steps:
        llama_cpp.llama_perf_context_reset(llama.ctx)
    for token in steps:
        llama.eval([token])
        llama_cpp.llama_synchronize(llama.ctx)
    return llama_cpp.llama_perf_context(llama.ctx)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
