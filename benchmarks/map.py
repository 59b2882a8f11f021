r"""Measure ``g3n map`` beside a loop of ``g3n chat``, one call for each line, in turns.

Run from the root of the repository:

    python -m benchmarks.map e2b-q4_0 --out benchmarks/results/map.json

Both sides answer the same lines with the same settings; wall time is that of whole processes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import (
    ROOT,
    describe_machine,
    describe_model,
    find_model,
    result_file,
    warm,
    write_result,
)
from benchmarks.report import render_map
from g3n_cli.config import count_physical_cores

PROMPT = "Which department should look at this message? {}"
RULE = "Messages about printers, paper and toner belong to the department of office supplies. "
SIDES = ("g3n map", "loop of g3n chat")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rounds; the result file is complete after each process."""
    options = _parse(arguments)
    model = find_model(options.model)
    result: dict[str, Any] = {
        "kind": "map",
        "machine": describe_machine(),
        "model": describe_model(model),
        "settings": {
            "n_threads": options.threads,
            "n_lines": options.lines,
            "n_decode": options.decode,
        },
        "cases": [
            {"n_rules": n_rules, "runs": {side: [] for side in SIDES}} for n_rules in options.rules
        ],
    }
    lines = [f"Printer {i} stopped after {17 * i} pages." for i in range(options.lines)]
    for number in range(options.rounds):
        for case in result["cases"]:
            flags = _make_flags(options, model, case["n_rules"])
            # The order turns around: a machine that slows down as it warms favours none.
            for side in SIDES[:: 1 if number % 2 == 0 else -1]:
                warm(model)
                run = run_map if side == SIDES[0] else run_loop
                case["runs"][side].append(run(flags, lines))
                write_result(result, options.out)
        sys.stderr.write(f"round {number + 1} of {options.rounds} done\n")
    sys.stdout.write(render_map(result))


def run_map(flags: Sequence[str], lines: Sequence[str]) -> dict[str, Any]:
    """Answer all lines by one process."""
    started = time.perf_counter()
    output = _run(["map", PROMPT, *flags], "".join(f"{line}\n" for line in lines))
    seconds = time.perf_counter() - started
    return _sum_up([json.loads(line) for line in output.splitlines()], seconds)


def run_loop(flags: Sequence[str], lines: Sequence[str]) -> dict[str, Any]:
    """Answer each line by a process of its own."""
    started = time.perf_counter()
    answers = [
        json.loads(_run(["chat", PROMPT.replace("{}", line), "--json", "--no-save", *flags]))
        for line in lines
    ]
    return _sum_up(answers, time.perf_counter() - started)


def _sum_up(answers: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    return {
        "wall_s": seconds,
        "prompt_tokens": sum(answer["prompt_tokens"] for answer in answers),
        "output_tokens": sum(answer["output_tokens"] for answer in answers),
        "texts": [answer["text"] for answer in answers],
    }


def _run(arguments: Sequence[str], stdin: str = "") -> str:
    command = [sys.executable, "-m", "g3n_cli", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def _make_flags(options: argparse.Namespace, model: Path, n_rules: int) -> list[str]:
    system = ["--system", RULE * n_rules] if n_rules else []
    limits = ["-n", str(options.decode), "--threads", str(options.threads), "--temp", "0"]
    return ["-m", str(model.resolve()), *limits, *system]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.map", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", help="GGUF file, or a shape to make: e2b-q4_0, ...")
    parser.add_argument("--lines", type=int, default=20, help="inputs")
    parser.add_argument(
        "--rules",
        type=lambda text: [int(part) for part in text.split(",")],
        default=[0, 20],
        help="sentences of the system text, of some 15 tokens each; several with commas",
    )
    parser.add_argument("--decode", type=int, default=16, help="tokens of an answer, at most")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side")
    parser.add_argument("--threads", type=int, default=count_physical_cores())
    parser.add_argument("--out", type=result_file, default="map.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
