"""Measure steps of several tokens, all logits wanted: what a guess costs that is checked.

Run from the root of the repository, on an idle machine:

    python -m benchmarks.steps e2b-q4_0

Steps of all lengths take turns at the same position. Prints medians, and how many right guesses a
step needs on average to win time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import closing

from benchmarks.measure import find_model
from g3n_cli.config import EngineSettings
from g3n_cli.engine.open import open_engine
from g3n_cli.engine.prompt import Prompt

N_PAST = 300
FIRST_ID = 300
"""Some id behind those of control tokens and bytes; which tokens they are does not matter."""


def measure(model: str, kernels: str, lengths: Sequence[int], rounds: int) -> dict[int, float]:
    """Median seconds of a step, by its tokens."""
    settings = EngineSettings(kernels=kernels)
    taken: dict[int, list[float]] = {n: [] for n in lengths}
    with closing(open_engine(find_model(model), model, settings)) as engine:
        ids = [FIRST_ID + i for i in range(N_PAST + max(lengths))]
        engine.prefill(Prompt.of_ids(ids[:N_PAST]))
        for turn in range(rounds + 1):  # the first builds graphs
            for n in lengths:
                start = time.perf_counter()
                engine.extend(ids[N_PAST : N_PAST + n])
                if turn:
                    taken[n].append(time.perf_counter() - start)
                engine.trim(N_PAST)
    return {n: statistics.median(times) for n, times in taken.items()}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", help="a name that benchmarks/measure.py knows, or a path")
    parser.add_argument("--kernels", default=EngineSettings.kernels)
    parser.add_argument("--lengths", default="1,2,3,4,5,8,16")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    lengths = sorted({1, *map(int, options.lengths.split(","))})
    medians = measure(options.model, options.kernels, lengths, options.rounds)
    sys.stdout.write("| tokens | ms | times one token | right guesses to win |\n")
    sys.stdout.write("| --: | --: | --: | --: |\n")
    for n, seconds in medians.items():
        ratio = seconds / medians[1]
        line = f"| {n} | {seconds * 1e3:.1f} | {ratio:.2f} | {ratio - 1:.2f} |\n"
        sys.stdout.write(line)


if __name__ == "__main__":
    main()
