r"""Measure the sizes nested in one model, and a file of its own beside the smallest, in turns.

Run from the root of the repository:

    python -m benchmarks.sizes e4b-q4_0 full e3.59b e3.18b e2.54b e2b full/e2b \
        --child e2b-q4_0 --out benchmarks/results/e4b-sizes.json

``full/e2b`` reads prompts as e2b and answers as full.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmarks.measure import (
    describe_machine,
    describe_model,
    find_model,
    result_file,
    run_case,
    write_result,
)
from benchmarks.report import render_sizes
from benchmarks.worker import Case
from g3n_cli.config import count_physical_cores

VARIED = ("engine", "model", "seed", "size", "prefill_size")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rounds; the result file is complete after each process."""
    options = _parse(arguments)
    model, child = find_model(options.model), find_model(options.child)
    case = Case(
        "g3n",
        str(model.resolve()),
        n_threads=options.threads,
        n_prompt=options.prompt,
        n_decode=options.decode,
        depth=0,
    )
    cases = {name: _with_size(case, name) for name in options.sizes}
    cases["a file of its own"] = replace(case, model=str(child.resolve()))
    result: dict[str, Any] = {
        "kind": "sizes",
        "machine": describe_machine(),
        "models": {"parent": describe_model(model), "child": describe_model(child)},
        "settings": {key: value for key, value in asdict(case).items() if key not in VARIED},
        "sizes": {name: [] for name in cases},
    }
    for seed in range(options.rounds):
        # The order turns around: a machine that slows down as it warms favours none.
        for name in list(cases)[:: 1 if seed % 2 == 0 else -1]:
            result["sizes"][name].append(run_case(replace(cases[name], seed=seed)))
            write_result(result, options.out)
        sys.stderr.write(f"round {seed + 1} of {options.rounds} done\n")
    sys.stdout.write(render_sizes(result))


def _with_size(case: Case, name: str) -> Case:
    size, _, prefill_size = name.partition("/")
    return replace(case, size=size, prefill_size=prefill_size or None)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", help="GGUF file, or a shape to make: e4b-q4_0, ...")
    parser.add_argument("sizes", nargs="+", help="of the model; SIZE/SIZE reads prompts as another")
    parser.add_argument("--child", required=True, help="a file that is one of these sizes alone")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each size")
    parser.add_argument("--threads", type=int, default=count_physical_cores())
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("--decode", type=int, default=32, help="tokens decoded")
    parser.add_argument("--out", type=result_file, default="sizes.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
