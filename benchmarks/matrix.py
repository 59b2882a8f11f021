"""Measure g3n beside llama.cpp in turns: models x prompts x depths. An interrupted run goes on.

Run from the root of the repository; the same command again continues where it was left:

    python -m benchmarks.matrix --out benchmarks/results/matrix.json
    python -m benchmarks.matrix --quick --out benchmarks/results/matrix-quick.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measure import (
    SYNTHETIC,
    describe_machine,
    describe_model,
    find_model,
    result_file,
    run_case,
    write_result,
)
from benchmarks.report import render_matrix
from benchmarks.worker import Case
from g3n_cli.config import count_physical_cores
from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.validate import open_model
from g3n_cli.registry.models import resolve

MODELS = "e2b-q4_0,e4b-q4_0,g3n-mini,smollm2"
PROMPTS, DEPTHS = "128,512,2048", "0,4096"
QUICK_PROMPTS, QUICK_DEPTHS = "128,512", "0"
PLE_WIDTH = 256
"""Values of a per-layer embedding in each Gemma 3n that llama.cpp loads."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the pairs that are missing; the result file is complete after each."""
    options = _parse(arguments)
    models = {name: _find_any(name) for name in options.models.split(",")}
    result = continue_result(_describe_run(options, models), options.out)
    for seed in range(options.pairs):
        for cell in result["cells"]:
            if cell["not_run"] is None and len(cell["pairs"]) == seed:
                cell["pairs"].append(_run_pair(cell, models[cell["model"]], options, seed))
                write_result(result, options.out)
                name = f"{cell['model']}, prompt {cell['n_prompt']}, depth {cell['depth']}"
                sys.stderr.write(f"{name}: pair {seed + 1} of {options.pairs} done\n")
    write_result(result, options.out)
    sys.stdout.write(render_matrix(result))


def make_case(path: Path, n_prompt: int, depth: int, n_decode: int, n_threads: int) -> Case:
    """What one process measures: at depth 0 a first prompt, else a turn after a conversation."""
    counts = {"n_prompt": 0, "n_turn": n_prompt} if depth else {"n_prompt": n_prompt, "n_turn": 0}
    return Case(
        "g3n",
        str(path.resolve()),
        n_threads=n_threads,
        n_ctx=depth + n_prompt + n_decode + 1,
        n_decode=n_decode,
        n_four=0,
        depth=depth,
        **counts,
    )


def continue_result(fresh: dict[str, Any], out: Path) -> dict[str, Any]:
    """What ``out`` holds of the same run, or ``fresh`` if there is no such file.

    Raises:
        SystemExit: It holds a run with other settings, or of another machine or version.
    """
    if not out.exists():
        return fresh
    found: dict[str, Any] = json.loads(out.read_text())
    for name in ("kind", "machine", "models", "settings"):
        if found.get(name) != fresh[name]:
            raise SystemExit(f"error: {out} is of another {name}: name another file")
    return found


def _run_pair(
    cell: dict[str, Any], path: Path, options: argparse.Namespace, seed: int
) -> dict[str, Any]:
    counts = (cell["n_prompt"], cell["depth"], options.decode)
    case = replace(make_case(path, *counts, options.threads), seed=seed)
    # Who goes first alternates: a machine that slows down as it warms favours neither.
    sides = [case] if cell["alone"] else [case, replace(case, engine="llama.cpp")]
    return {each.engine: run_case(each) for each in sides[:: 1 if seed % 2 == 0 else -1]}


def _describe_run(options: argparse.Namespace, models: dict[str, Path]) -> dict[str, Any]:
    cells = []
    for name, path in models.items():
        gguf = open_model(path)
        most, alone = _read_number(gguf, "context_length", sys.maxsize), _say_why_alone(gguf)
        for depth in map(int, options.depths.split(",")):
            for n_prompt in map(int, options.prompts.split(",")):
                needed = make_case(path, n_prompt, depth, options.decode, 1).n_ctx
                why = f"made for {most:,} tokens" if needed > most else None
                cell = {"model": name, "n_prompt": n_prompt, "depth": depth, "not_run": why}
                cells.append({**cell, "alone": alone, "pairs": []})
    return {
        "kind": "matrix",
        "machine": describe_machine(),
        "models": {name: describe_model(path) for name, path in models.items()},
        "settings": {
            "n_threads": options.threads,
            "n_decode": options.decode,
            "pairs": options.pairs,
        },
        "cells": cells,
    }


def _say_why_alone(gguf: GgufFile) -> str | None:
    """Why llama.cpp cannot load a model, if it cannot."""
    width = _read_number(gguf, "embedding_length_per_layer_input", PLE_WIDTH)
    return None if width == PLE_WIDTH else f"per-layer embeddings of {width} values"


def _read_number(gguf: GgufFile, key: str, default: int) -> int:
    found = gguf.metadata.get(f"{gguf.architecture}.{key}")
    return found if isinstance(found, int) else default


def _find_any(spec: str) -> Path:
    """A synthetic model, a file, or one that g3n knows by name."""
    return find_model(spec) if spec in SYNTHETIC or Path(spec).exists() else resolve(spec).path


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matrix", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--models", default=MODELS, help=f"with commas between; else {MODELS}")
    parser.add_argument("--prompts", help=f"tokens; else {PROMPTS}")
    parser.add_argument("--depths", help=f"tokens before the prompt; else {DEPTHS}")
    parser.add_argument("--pairs", type=int, help="runs of each side; else 3")
    parser.add_argument("--decode", type=int, default=32, help="tokens decoded")
    parser.add_argument("--threads", type=int, default=count_physical_cores())
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"two pairs of prompts {QUICK_PROMPTS} at depth {QUICK_DEPTHS}: some minutes",
    )
    parser.add_argument("--out", type=result_file, default="matrix.json")
    options = parser.parse_args(arguments)
    options.prompts = options.prompts or (QUICK_PROMPTS if options.quick else PROMPTS)
    options.depths = options.depths or (QUICK_DEPTHS if options.quick else DEPTHS)
    options.pairs = options.pairs or (2 if options.quick else 3)
    return options


if __name__ == "__main__":
    main()
