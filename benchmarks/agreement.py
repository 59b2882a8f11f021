"""Check figures of ``g3n bench`` against looks from outside; exits with 1 if one is too far off.

Run from the root of the repository, on a machine that does nothing else:

    python -m benchmarks.agreement e2b-q4_0 --out benchmarks/results/agreement.json

- **Times**: ``g3n chat --json`` runs as a process of its own, timed from outside. Loading, which
  varies by seconds where a host has to find pages, is taken off as that run tells it; starting
  cancels in differences: the long prompt's time less the short one's, the long answer's less the
  short one's. ``g3n bench`` measures prompts and answers of the same lengths.
- **Memory**: ``VmHWM`` and ``smaps_rollup`` of the measuring process, read from outside.
- **llama.cpp**: its own performance counters for ``smollm2``, same batch, one thread: two would be
  as fast as whatever else wants a core lets them, and differ by a fifth from run to run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.measure import (
    ROOT,
    describe_machine,
    describe_model,
    find_model,
    result_file,
    write_result,
)
from benchmarks.report import render_agreement
from g3n_cli.bench.tokens import Source, load_text
from g3n_cli.config import EngineSettings, count_physical_cores
from g3n_cli.registry.models import resolve

TIME_LIMIT, MEMORY_LIMIT = 0.05, 0.03
POLL_S = 0.01
LLAMA_PAIRS = 4
"""In a round: these runs take seconds, and differ more."""
G3N = [sys.executable, "-m", "g3n_cli"]

Check = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rounds; 0 if all agrees, else 1."""
    options = _parse(arguments)
    model, smollm2 = find_model(options.model), resolve("smollm2").path
    result: dict[str, Any] = {
        "kind": "agreement",
        "machine": describe_machine(),
        "models": {"times and memory": describe_model(model), "llama.cpp": describe_model(smollm2)},
        "settings": {"n_threads": options.threads, "rounds": options.rounds},
        "checks": {},
    }
    for index in range(options.rounds):
        is_first = index % 2 == 0
        compare_times(result, model, options, is_first=is_first)
        compare_memory(result, model, options)
        for pair in range(LLAMA_PAIRS):
            compare_llama(result, smollm2, is_first=pair % 2 == 0)
        write_result(result, options.out)
        sys.stderr.write(f"round {index + 1} of {options.rounds} done\n")
    sys.stdout.write(render_agreement(result))
    return 0 if all(is_agreed(check) for check in result["checks"].values()) else 1


def is_agreed(check: Check) -> bool:
    """Whether the median ratio of a check's pairs is within its limit."""
    ratio = median(ours / theirs for ours, theirs in check["pairs"])
    return abs(ratio - 1) <= float(check["limit"])


def compare_times(
    result: dict[str, Any], model: Path, options: argparse.Namespace, *, is_first: bool
) -> None:
    """A round of ``g3n chat``, timed from outside, and of ``g3n bench``."""
    texts = [Source("text", load_text()).make_text(n, 0) for n in (options.short, options.long)]
    runs: dict[str, Any] = {}

    def chat() -> None:
        runs["short"] = _time_chat(model, options, texts[0], 1)
        runs["long"] = _time_chat(model, options, texts[1], 1)
        runs["answer"] = _time_chat(model, options, texts[0], options.tokens)

    def bench() -> None:
        told = runs.get("short") or _time_chat(model, options, texts[0], 1)
        more = runs.get("long") or _time_chat(model, options, texts[1], 1)
        lengths = f"{told['prompt_tokens']},{more['prompt_tokens']}"
        flags = ("-p", lengths, "-n", str(options.tokens - 1), "-r", "1")
        runs["cases"] = _run_bench(model, options.threads, *flags)["cases"]

    for each in (chat, bench) if is_first else (bench, chat):
        each()
    short, long = runs["cases"]
    outside_s = runs["long"]["after_load_s"] - runs["short"]["after_load_s"]
    _note(
        result,
        "first token of the long prompt less that of the short one, s",
        TIME_LIMIT,
        (long["ttft_s"] - short["ttft_s"], outside_s),
    )
    n = runs["answer"]["output_tokens"] - runs["short"]["output_tokens"]
    rate = n / (runs["answer"]["after_load_s"] - runs["short"]["after_load_s"])
    _note(result, "decode, tokens/s", TIME_LIMIT, (short["decode_tps"], rate))
    told_s = runs["long"]["ttft_s"] - runs["short"]["ttft_s"]
    _note(result, "the same, as those runs of g3n chat tell it, s", TIME_LIMIT, (told_s, outside_s))
    told_tps = runs["answer"]["decode_tps"]
    _note(result, "decode, as that run of g3n chat tells it", TIME_LIMIT, (told_tps, rate))


def compare_memory(result: dict[str, Any], model: Path, options: argparse.Namespace) -> None:
    """A round of ``g3n bench``, its measuring process watched from outside."""
    flags = ("-p", "512", "-n", "32", "-r", "1")
    process = subprocess.Popen(
        _bench_command(model, options.threads, *flags), stdout=subprocess.PIPE
    )
    peak, recent = 0, [0]
    assert process.stdout
    with process.stdout:
        while process.poll() is None:
            for child in _find_workers(process.pid):
                with contextlib.suppress(OSError, KeyError):  # it has just ended
                    peak = max(peak, _read_bytes(child, "status", "VmHWM"))
                    recent = [*recent[-99:], _read_bytes(child, "smaps_rollup", "Rss")]
            time.sleep(POLL_S)
        (case,) = json.load(process.stdout)["cases"]
    _note(result, "peak RSS beside VmHWM, bytes", MEMORY_LIMIT, (case["peak_rss_bytes"], peak))
    steady = (case["steady_rss_bytes"], max(recent))
    _note(result, "RSS beside smaps_rollup, bytes", MEMORY_LIMIT, steady)


def compare_llama(result: dict[str, Any], model: Path, *, is_first: bool) -> None:
    """A pair of ``pp`` and ``tg``: by ``g3n bench``, and by llama.cpp's counters."""
    found: dict[str, Any] = {}

    def ours() -> None:
        found["pp"] = _run_bench(model, 1, "-p", "512", "-n", "0", "-r", "1")["cases"][0]
        found["tg"] = _run_bench(model, 1, "-p", "0", "-n", "64", "-r", "1")["cases"][0]

    def theirs() -> None:
        numbers = ["1", str(EngineSettings.n_batch)]
        command = [sys.executable, "-m", "benchmarks.llama_perf", str(model), *numbers]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        found["llama.cpp"] = json.loads(done.stdout)

    for each in (ours, theirs) if is_first else (theirs, ours):
        each()
    told = found["llama.cpp"]
    pp, tg = found["pp"]["prefill_tps"], found["tg"]["decode_tps"]
    _note(
        result,
        "smollm2 pp512 beside llama.cpp, one thread, tokens/s",
        TIME_LIMIT,
        (pp, told["pp_tps"]),
    )
    _note(
        result,
        "smollm2 tg64 beside llama.cpp, one thread, tokens/s",
        TIME_LIMIT,
        (tg, told["tg_tps"]),
    )


def _note(result: dict[str, Any], name: str, limit: float, pair: tuple[float, float]) -> None:
    check = result["checks"].setdefault(name, {"limit": limit, "pairs": []})
    check["pairs"].append(pair)


def _time_chat(model: Path, options: argparse.Namespace, text: str, n: int) -> dict[str, Any]:
    """What ``g3n chat --json`` tells; "after_load_s": seconds that the rest of the process took."""
    command = [*G3N, "chat", "-m", str(model.resolve()), "--json", "--temp", "0", "-n", str(n)]
    command += ["--threads", str(options.threads)]
    started = time.perf_counter()
    done = subprocess.run(command, input=text.encode(), cwd=ROOT, capture_output=True, check=True)
    wall_s = time.perf_counter() - started
    told = json.loads(done.stdout)
    return {**told, "after_load_s": wall_s - told["load_s"]}


def _bench_command(model: Path, n_threads: int, *flags: str) -> list[str]:
    command = [*G3N, "bench", "-m", str(model.resolve()), "-o", "json", *flags]
    return [*command, "-t", str(n_threads)]


def _run_bench(model: Path, n_threads: int, *flags: str) -> dict[str, Any]:
    command = _bench_command(model, n_threads, *flags)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _find_workers(pid: int) -> list[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(pid).children()]
    return []


def _read_bytes(pid: int, file: str, name: str) -> int:
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    found = {key: rest for key, _, rest in (line.partition(":") for line in lines)}
    return int(found[name].split()[0]) * 1024


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agreement", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", help="GGUF file, or a shape to make: e2b-q4_0, ...")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--short", type=int, default=200, help="characters of the short prompt")
    parser.add_argument("--long", type=int, default=4000, help="characters of the long prompt")
    parser.add_argument("--tokens", type=int, default=256, help="of the long answer")
    parser.add_argument("--threads", type=int, default=count_physical_cores())
    parser.add_argument("--out", type=result_file, default="agreement.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
