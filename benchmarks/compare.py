"""Measure g3n against llama.cpp, one process each, in turn.

Run from the root of the repository:

    python -m benchmarks.compare e2b-q4_0 --out benchmarks/results/e2b.json
    python -m benchmarks.compare MODEL.gguf --pairs 3 --depth 0
    python -m benchmarks.compare e2b-q4_0 --against gemma3-4b-q4_0 --depth 0
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, get_args

from benchmarks.measure import (
    describe_machine,
    describe_model,
    find_model,
    result_file,
    run_case,
    write_result,
)
from benchmarks.report import render_compare
from benchmarks.worker import Case
from g3n_cli.config import KernelsName, count_physical_cores

CLI_DEFAULTS = {"flash_attn": True, "swa_full": False}
"""What llama.cpp's own programs choose on a CPU, unlike llama-cpp-python."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the pairs; the result file is complete after each."""
    options = _parse(arguments)
    model = find_model(options.model)
    against = find_model(options.against) if options.against else model
    case = Case(
        "g3n",
        str(model.resolve()),
        n_threads=options.threads,
        n_ctx=options.ctx,
        n_prompt=options.prompt,
        n_decode=options.decode,
        depth=options.depth,
        n_turn=options.turn,
        kernels=options.kernels,
        llama_options=CLI_DEFAULTS if options.llama_cli_defaults else {},
    )
    peer = replace(case, engine="llama.cpp", model=str(against.resolve()))
    settings = {
        key: value for key, value in asdict(case).items() if key not in ("engine", "model", "seed")
    }
    result: dict[str, Any] = {
        "kind": "compare",
        "machine": describe_machine(),
        "models": {"g3n": describe_model(model), "llama.cpp": describe_model(against)},
        "settings": settings,
        "pairs": [],
    }
    for seed in range(options.pairs):
        # Who goes first alternates: a machine that slows down as it warms favours neither.
        order = (case, peer) if seed % 2 == 0 else (peer, case)
        pair = {each.engine: run_case(replace(each, seed=seed)) for each in order}
        result["pairs"].append(pair)
        write_result(result, options.out)
        sys.stderr.write(f"pair {seed + 1} of {options.pairs} done\n")
    sys.stdout.write(render_compare(result))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", help="GGUF file, or a shape to make: e2b-q4_0, e4b-q4_k_m, ...")
    parser.add_argument("--against", help="what llama.cpp runs, if not the same model")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each side")
    parser.add_argument("--threads", type=int, default=count_physical_cores())
    parser.add_argument("--ctx", type=int, default=4096)
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the first prompt")
    parser.add_argument("--decode", type=int, default=32, help="tokens decoded at each depth")
    parser.add_argument(
        "--depth", type=int, default=2000, help="tokens of the conversation; 0 leaves it out"
    )
    parser.add_argument("--turn", type=int, default=30, help="tokens of the turn after it")
    parser.add_argument("--kernels", choices=get_args(KernelsName), default="own", help="of g3n")
    parser.add_argument(
        "--llama-cli-defaults",
        action="store_true",
        help="flash attention and a small sliding cache, as llama.cpp's own programs",
    )
    parser.add_argument("--out", type=result_file, default="compare.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
