"""Measure g3n beside peers that cannot load its file: transformers in torch, litert-lm, ollama.

Run from the root of the repository:

    python -m benchmarks.peers MODEL.gguf --litert MODEL.litertlm --ollama gemma3n:e2b \
        --torch-python VENV/bin/python --out benchmarks/results/peers.json

torch computes a model of the file's shape with weights of noise in bfloat16. litert-lm comes from
PyPI (``pip install litert-lm``), its models from Google; ollama's server must be running. A peer
that is not there is recorded as not run, with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import (
    describe_machine,
    describe_model,
    find_model,
    result_file,
    run_case,
    run_module,
    write_result,
)
from benchmarks.report import render_peers
from benchmarks.worker import Case
from g3n_cli.bench.tokens import Source, load_text
from g3n_cli.config import count_physical_cores

OLLAMA = "http://127.0.0.1:11434"
CHARACTERS_PER_TOKEN = 4.3  # of Gemma's vocabulary in English prose

Sample = dict[str, Any]
Run = Callable[[int], Sample]

_LITERT = {
    "prefill_tps": r"Prefill speed:\s*([\d.]+)",
    "decode_tps": r"Decode speed:\s*([\d.]+)",
    "load_s": r"Init time:\s*([\d.]+)",
    "ttft_s": r"Time to first token:\s*([\d.]+)",
}
"""Figures by the lines that ``litert-lm benchmark`` 0.18 writes."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all in turn; the result file is complete after each repetition."""
    options = _parse(arguments)
    model = find_model(options.model)
    peers: dict[str, Run] = {"g3n": lambda seed: run_g3n(model, options, seed)}
    missing: dict[str, str] = {}
    for name, found in (
        ("torch", _find_torch(model, options)),
        ("litert-lm", _find_litert(options)),
        ("ollama", _find_ollama(options)),
    ):
        if isinstance(found, str):
            missing[name] = found
        else:
            peers[name] = found
    result: dict[str, Any] = {
        "kind": "peers",
        "machine": describe_machine(),
        "models": {
            "g3n": describe_model(model),
            **({"torch": {"name": "bfloat16, transformers"}} if "torch" in peers else {}),
            **({"litert-lm": describe_model(options.litert)} if "litert-lm" in peers else {}),
            **({"ollama": {"name": options.ollama}} if "ollama" in peers else {}),
        },
        "settings": {
            "n_threads": options.threads,
            "n_prompt": options.prompt,
            "n_decode": options.decode,
        },
        "not_run": missing,
        "runs": {name: [] for name in peers},
    }
    for seed in range(options.rounds):
        for name in list(peers)[:: 1 if seed % 2 == 0 else -1]:
            result["runs"][name].append(peers[name](seed))
            write_result(result, options.out)
        sys.stderr.write(f"round {seed + 1} of {options.rounds} done\n")
    sys.stdout.write(render_peers(result))


def run_g3n(model: Path, options: argparse.Namespace, seed: int) -> Sample:
    """g3n's engine: a prompt, then single tokens."""
    case = Case(
        "g3n",
        str(model.resolve()),
        n_threads=options.threads,
        n_ctx=options.prompt + options.decode + 1,
        n_prompt=options.prompt,
        n_decode=options.decode,
        n_four=0,
        depth=0,
        seed=seed,
    )
    samples = run_case(case)
    return {
        "load_s": samples["load_s"],
        "ttft_s": samples["ttft_s"],
        "prefill_tps": options.prompt / samples["ttft_s"],
        "decode_tps": options.decode / sum(samples["decode_s"]),
        "peak_rss_bytes": samples["peak_rss_bytes"],
    }


def run_torch(model: Path, options: argparse.Namespace, seed: int) -> Sample:
    """The classes of transformers in torch, in a process and an environment of its own.

    Raises:
        SystemExit: it failed; its messages have been shown.
    """
    numbers = (options.prompt, options.decode, options.threads, seed)
    arguments = [str(model.resolve()), *map(str, numbers)]
    return run_module(
        "benchmarks.peer_torch", arguments, "torch failed", python=options.torch_python
    )


def run_litert(program: str, options: argparse.Namespace) -> Sample:
    """``litert-lm benchmark`` in a process of its own.

    Raises:
        SystemExit: it printed no figures; what it did print has been shown.
    """
    command = [program, "benchmark", str(options.litert), "-p", str(options.prompt)]
    command += ["-d", str(options.decode), "--runs", "1"]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0  # waited for; the program ends with 0 whatever happens
        out.seek(0)
        text = out.read()
    figures = read_litert(text)
    if not figures:
        sys.stderr.write(text)
        raise SystemExit("error: litert-lm told no figures")
    return {**figures, "peak_rss_bytes": usage.ru_maxrss * 1024}


def read_litert(text: str) -> Sample:
    """Figures of ``litert-lm benchmark``'s output; none if one of them is missing."""
    found = {name: re.search(pattern, text) for name, pattern in _LITERT.items()}
    return (
        {name: float(match[1]) for name, match in found.items() if match}
        if all(found.values())
        else {}
    )


def run_ollama(options: argparse.Namespace, seed: int) -> Sample:
    """A raw prompt to ollama's server, which tells its own times; its memory is not known."""
    length = round(options.prompt * CHARACTERS_PER_TOKEN)
    request = {
        "model": options.ollama,
        "prompt": Source("text", load_text()).make_text(length, seed),
        "raw": True,
        "stream": False,
        "options": {
            "num_predict": options.decode,
            "num_thread": options.threads,
            "num_ctx": options.prompt + options.decode + 64,
            "temperature": 0,
        },
    }
    body = json.dumps(request).encode()
    with urllib.request.urlopen(f"{OLLAMA}/api/generate", body) as response:
        return read_ollama(json.load(response))


def read_ollama(told: dict[str, Any]) -> Sample:
    """Figures of an answer of ``/api/generate``; its times are in nanoseconds."""
    prefill_s, decode_s = told["prompt_eval_duration"] / 1e9, told["eval_duration"] / 1e9
    return {
        "load_s": told["load_duration"] / 1e9,
        "ttft_s": prefill_s,
        "prefill_tps": told["prompt_eval_count"] / prefill_s,
        "decode_tps": told["eval_count"] / decode_s,
        "peak_rss_bytes": None,
    }


def _find_torch(model: Path, options: argparse.Namespace) -> Run | str:
    command = [options.torch_python, "-c", "import torch, transformers.models.gemma3n"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return "torch or transformers is not installed"
    return lambda seed: run_torch(model, options, seed)


def _find_litert(options: argparse.Namespace) -> Run | str:
    program = shutil.which("litert-lm")
    if program is None:
        return "litert-lm is not installed"
    if options.litert is None:
        return "no .litertlm file at hand"
    return lambda _seed: run_litert(program, options)


def _find_ollama(options: argparse.Namespace) -> Run | str:
    if shutil.which("ollama") is None:
        return "ollama is not installed"
    if options.ollama is None:
        return "no model named"
    return lambda seed: run_ollama(options, seed)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", help="GGUF file, or a shape to make: e2b-q4_0, ...")
    parser.add_argument("--torch-python", default=sys.executable, help="an interpreter with torch")
    parser.add_argument("--litert", type=Path, help="a .litertlm file of the same model")
    parser.add_argument("--ollama", metavar="NAME", help="what ollama calls the same model")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    parser.add_argument("--prompt", type=int, default=1024, help="tokens of the prompt")
    parser.add_argument("--decode", type=int, default=256, help="tokens decoded")
    parser.add_argument("--threads", type=int, default=count_physical_cores())
    parser.add_argument("--out", type=result_file, default="peers.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
