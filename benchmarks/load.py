"""Measure how decoding holds up while every core has another busy process.

Run from the root of the repository; a variant is an engine with variables of the environment and,
if wanted, a number of threads:

    python -m benchmarks.load e2b-q4_0 g3n llama.cpp "g3n OMP_WAIT_POLICY=passive threads=2"
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, get_args

from benchmarks.measure import (
    describe_machine,
    describe_model,
    find_model,
    result_file,
    run_case,
    write_result,
)
from benchmarks.report import render_load
from benchmarks.worker import Case, EngineName
from g3n_cli.config import count_physical_cores


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every variant quiet and loaded, in turn; the result file is complete after each."""
    options = _parse(arguments)
    model = find_model(options.model)
    n_busy = len(os.sched_getaffinity(0))
    result: dict[str, Any] = {
        "kind": "load",
        "machine": describe_machine(),
        "model": describe_model(model),
        "settings": {
            "n_busy": n_busy,
            "n_decode": options.decode,
            "repetitions": options.repetitions,
        },
        "variants": {name: [] for name in options.variants},
    }
    for seed in range(options.repetitions):
        for name, runs in result["variants"].items():
            engine, environment, n_threads = parse_variant(name)
            case = Case(
                engine,
                str(model.resolve()),
                n_threads=n_threads,
                n_prompt=0,
                n_decode=options.decode,
                depth=0,
                seed=seed,
            )
            quiet = run_case(case, environment)
            with busy_processes(n_busy):
                loaded = run_case(case, environment)
            runs.append({"quiet": quiet, "loaded": loaded})
            write_result(result, options.out)
            sys.stderr.write(f"{name}: repetition {seed + 1} of {options.repetitions} done\n")
    sys.stdout.write(render_load(result))


def parse_variant(text: str) -> tuple[EngineName, dict[str, str], int]:
    """Engine, variables and threads of a variant.

    Raises:
        SystemExit: The text names no engine, or a word is not ``NAME=value``.
    """
    name, *words = text.split()
    engine = next((known for known in get_args(EngineName) if known == name), None)
    if engine is None or not all("=" in word for word in words):
        raise SystemExit(f"error: not a variant: {text!r}")
    environment = dict(word.split("=", 1) for word in words)
    n_threads = int(environment.pop("threads", count_physical_cores()))
    return engine, environment, n_threads


@contextmanager
def busy_processes(n_processes: int) -> Iterator[None]:
    """Keep ``n_processes`` loops running for the duration."""
    loop = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(loop) for _ in range(n_processes)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", help="GGUF file, or a shape to make: e2b-q4_0")
    parser.add_argument("variants", nargs="+", help='such as "g3n GOMP_SPINCOUNT=0 threads=2"')
    parser.add_argument("--decode", type=int, default=16, help="tokens decoded in each run")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=result_file, default="load.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
