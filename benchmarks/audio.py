"""Measure the audio encoder: g3n at F16 and Q8_0 beside transformers in torch.

Run from the root of the repository, on an idle machine:

    python -m benchmarks.audio --out benchmarks/results/audio.json
    python -m benchmarks.audio --seconds 10 --sides q8_0,f16

The encoder has the released shape and random weights. Each side runs in processes of its own, in
turns; torch is left out where it or transformers is not installed. A time is from samples to rows,
without opening; RTFx is seconds of sound for each second it takes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure import HERE, ROOT, describe_machine, result_file, write_result
from benchmarks.report_media import render_audio
from g3n_cli.bench.synthetic_audio import make_audio_mmproj
from g3n_cli.config import count_physical_cores
from g3n_cli.engine.encoders.api import SAMPLE_RATE
from g3n_cli.engine.encoders.audio import open_audio_encoder

RESIDENT = "-resident"
SIDES = ("q8_0", "f16", "q8_0-resident", "f16-resident", "torch")
"""Types of the file, a block in memory at a time or all of them; and transformers in float32."""

Floats = npt.NDArray[np.float32]


def find_file(quant: str) -> Path:
    """The encoder's file, made once."""
    path = HERE / "models" / f"mmproj-audio-{quant}.gguf"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        sys.stderr.write(f"making {path.name} ...\n")
        make_audio_mmproj(path, "f16" if quant == "f16" else "q8_0")
    return path


def open_side(side: str, n_threads: int) -> Callable[[Floats], object]:
    """A function from samples to rows."""
    if side == "torch":
        return _open_torch(n_threads)
    path = find_file(side.removesuffix(RESIDENT))
    return open_audio_encoder(path, n_threads, is_resident=side.endswith(RESIDENT)).encode


def _open_torch(n_threads: int) -> Callable[[Floats], object]:
    import torch
    from transformers import Gemma3nAudioConfig, Gemma3nAudioFeatureExtractor, Gemma3nTextConfig
    from transformers.models.gemma3n import modeling_gemma3n as gemma3n

    torch.set_num_threads(n_threads)
    config = Gemma3nAudioConfig()
    encoder = gemma3n.Gemma3nAudioEncoder(config).eval()
    text = Gemma3nTextConfig(hidden_size=2048)
    embedder = gemma3n.Gemma3nMultimodalEmbedder(config, text).eval()
    extract = Gemma3nAudioFeatureExtractor()

    def encode(samples: Floats) -> object:
        features = extract(samples, return_tensors="pt")
        mel, padding = features["input_features"], ~features["input_features_mask"].bool()
        with torch.no_grad():
            return embedder(inputs_embeds=encoder(mel, padding).last_hidden_state)

    return encode


def measure(side: str, seconds: int, n_threads: int, repetitions: int) -> dict[str, Any]:
    """Samples of one side in this process."""
    start = time.perf_counter()
    encode = open_side(side, n_threads)
    open_s = time.perf_counter() - start
    n = SAMPLE_RATE * seconds
    samples = 0.1 * np.random.default_rng(0).standard_normal(n).astype(np.float32)
    times_s = []
    for _ in range(repetitions + 1):  # the first warms up
        start = time.perf_counter()
        encode(samples)
        times_s.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "open_s": open_s,
        "first_s": times_s[0],
        "encode_s": times_s[1:],
        "peak_rss_bytes": peak,
    }


def measure_apart(side: str, seconds: int, options: argparse.Namespace) -> dict[str, Any]:
    """``measure`` in a process of its own.

    Raises:
        SystemExit: It failed; its messages have been shown.
    """
    arguments = [f"--seconds={seconds}", f"--threads={options.threads}"]
    arguments += [f"--repetitions={options.repetitions}", f"--measure={side}"]
    command = [sys.executable, "-m", "benchmarks.audio", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {side} failed")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all sides in turns; the result file is complete after each."""
    options = _parse(arguments)
    if options.measure:
        (seconds,) = options.seconds
        result = measure(options.measure, seconds, options.threads, options.repetitions)
        sys.stdout.write(json.dumps(result))
        return
    sides = [s for s in options.sides if s != "torch" or _has_torch()]
    for side in sides:
        if side != "torch":
            find_file(side.removesuffix(RESIDENT))
    result = {
        "kind": "audio",
        "machine": describe_machine(),
        "settings": {"n_threads": options.threads, "repetitions": options.repetitions},
        "cases": [],
    }
    for seconds in options.seconds:
        for side in sides * options.rounds:
            case = measure_apart(side, seconds, options)
            result["cases"].append({"side": side, "seconds": seconds, **case})
            write_result(result, options.out)
            sys.stderr.write(f"{seconds} s, {side} done\n")
    sys.stdout.write(render_audio(result))


def _has_torch() -> bool:
    return all(find_spec(name) for name in ("torch", "transformers"))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audio", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--seconds", type=lambda s: [int(n) for n in s.split(",")], default=[10, 30]
    )
    parser.add_argument("--sides", type=lambda s: s.split(","), default=list(SIDES))
    parser.add_argument("--threads", type=int, default=count_physical_cores())
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2, help="times that sides take turns")
    parser.add_argument("--out", type=result_file, default="audio.json")
    parser.add_argument("--measure", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
