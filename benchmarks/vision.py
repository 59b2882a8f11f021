"""Measure the vision encoder: g3n beside libmtmd, and beside timm in torch.

Run from the root of the repository, on an idle machine:

    python -m benchmarks.vision --out benchmarks/results/vision.json
    python -m benchmarks.vision --torch-python VENV/bin/python --sides g3n,torch --sizes 768,256

The encoder has the released shape and random weights. Each side runs in processes of its own, in
turns. torch is left out where torch, timm and transformers are not installed; ``--torch-python``
names another environment that has them. ``--kernels avx2`` is for an environment whose llama.cpp
was compiled for AVX2. libmtmd knows pictures of 768 x 768 alone. A time is from pixels to rows,
without opening. The cosine of two rows tells how far sides agree.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from benchmarks.measure import (
    HERE,
    describe_machine,
    describe_model,
    result_file,
    run_module,
    write_result,
)
from benchmarks.report_media import render_vision
from benchmarks.vision_side import Floats
from g3n_cli.bench.synthetic_vision import make_vision_mmproj
from g3n_cli.config import KernelsName, count_physical_cores

SIDES = ("g3n", "g3n-ggml", "libmtmd", "torch")
"""g3n with its own kernels and with ggml's, llama.cpp's encoder, and timm in float32."""

MTMD_SIZE = 768
REFERENCES = ("torch", "libmtmd", "g3n-ggml", "g3n")
"""Whose rows the others are compared with: the first that is measured."""

_NEEDS = "import torch, timm, transformers"


def find_file(options: argparse.Namespace) -> Path:
    """The encoder's file, made once if none is named."""
    if options.mmproj is not None:
        return Path(options.mmproj).resolve()
    path = HERE / "models" / "mmproj-vision-f16.gguf"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        sys.stderr.write(f"making {path.name} ...\n")
        make_vision_mmproj(path, "f16")
    return path


def measure_apart(
    side: str, path: Path, size: int, options: argparse.Namespace
) -> tuple[dict[str, Any], Floats]:
    """Samples of one side in a process of its own, and the rows it made.

    Raises:
        SystemExit: It failed; its messages have been shown.
    """
    python = options.torch_python if side == "torch" else sys.executable
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.npy"
        numbers = [str(n) for n in (size, options.threads, options.repetitions)]
        given = [*numbers, options.kernels if side == "g3n" else "ggml"]
        arguments = [side, str(path), *given, str(out)]
        measured = run_module("benchmarks.vision_side", arguments, f"{side} failed", python=python)
        return measured, np.load(out)


def compare_rows(rows: Floats, wanted: Floats) -> dict[str, float]:
    """The smallest cosine of rows of the same place.

    Returns:
        It, as ``min``; and as ``min_centred`` that of what is left of the rows without the mean of
        all ``wanted``: random weights make rows that are much alike.
    """
    mean = wanted.mean(0)
    pairs = {"min": (rows, wanted), "min_centred": (rows - mean, wanted - mean)}
    return {
        name: float(
            (np.sum(a * b, 1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min()
        )
        for name, (a, b) in pairs.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all sides in turns; the result file is complete after each."""
    options = _parse(arguments)
    sides = [s for s in options.sides if s != "torch" or _has_torch(options.torch_python)]
    path = find_file(options)
    result: dict[str, Any] = {
        "kind": "vision",
        "machine": describe_machine(),
        "model": describe_model(path),
        "settings": {
            "n_threads": options.threads,
            "repetitions": options.repetitions,
            "kernels": options.kernels,
        },
        "cases": [],
        "cosines": [],
    }
    for size in options.sizes:
        here = [side for side in sides if side != "libmtmd" or size == MTMD_SIZE]
        rows: dict[str, Floats] = {}
        for turn in range(options.rounds):
            for side in here[:: 1 if turn % 2 == 0 else -1]:
                case, rows[side] = measure_apart(side, path, size, options)
                result["cases"].append({"side": side, "size": size, **case})
                write_result(result, options.out)
                sys.stderr.write(f"{size} x {size}, {side} done\n")
        reference = next(side for side in REFERENCES if side in rows)
        result["cosines"] += [
            {"size": size, "side": side, "with": reference, **compare_rows(x, rows[reference])}
            for side, x in rows.items()
            if side != reference
        ]
        write_result(result, options.out)
    sys.stdout.write(render_vision(result))


def _has_torch(python: str) -> bool:
    return not subprocess.run([python, "-c", _NEEDS], capture_output=True, check=False).returncode


def _list_sides(text: str) -> list[str]:
    sides = text.split(",")
    if not set(sides) <= set(SIDES):
        raise argparse.ArgumentTypeError(f"sides are {', '.join(SIDES)}")
    return sides


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vision", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--mmproj", help="projector file with F16 and F32 instead of a random one")
    parser.add_argument(
        "--sizes", type=lambda s: [int(n) for n in s.split(",")], default=[MTMD_SIZE]
    )
    parser.add_argument("--sides", type=_list_sides, default=list(SIDES))
    parser.add_argument("--torch-python", default=sys.executable, help="an interpreter with torch")
    parser.add_argument("--threads", type=int, default=count_physical_cores())
    parser.add_argument(
        "--kernels", choices=get_args(KernelsName), default="own", help="those of the side g3n"
    )
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2, help="times that sides take turns")
    parser.add_argument("--out", type=result_file, default="vision.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
