"""Run cases in processes of their own, describe the machine, keep results on disk."""

from __future__ import annotations

import ctypes  # noqa: TID251  (asks the installed libggml for its version; not part of g3n)
import json
import os
import platform
import subprocess
import sys
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import psutil

import g3n_cli
from benchmarks.worker import Case
from g3n_cli.bench.synthetic import Quant, ShapeName, make_model

HERE = Path(__file__).parent
ROOT = HERE.parent
CPU_FEATURES = (
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
)

SYNTHETIC: dict[str, tuple[ShapeName, Quant]] = {
    f"{shape}-{quant}": (shape, quant) for shape in get_args(ShapeName) for quant in get_args(Quant)
}


def run_case(case: Case, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Samples of one case, measured with the model's file in the page cache.

    Args:
        case: What to measure.
        environment: Variables to add for the process.

    Raises:
        SystemExit: The process failed; its messages have been shown.
    """
    warm(Path(case.model))
    failure = f"{case.engine} failed on {case.model}"
    return run_module("benchmarks.worker", [case.to_json()], failure, environment=environment)


def run_module(
    module: str,
    arguments: Sequence[str],
    failure: str,
    *,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What a module prints as JSON in a process of its own.

    Args:
        module: Of this repository.
        arguments: For it.
        failure: What to say if it fails.
        python: The interpreter, maybe of another environment.
        environment: Variables to add.

    Raises:
        SystemExit: It failed; its messages have been shown.
    """
    done = subprocess.run(
        [python, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise SystemExit(f"error: {failure}")
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def find_model(spec: str) -> Path:
    """The file a person means: a path, or a name like ``e2b-q4_0``, made once if need be.

    Raises:
        SystemExit: It is neither.
    """
    if spec not in SYNTHETIC:
        if not Path(spec).is_file():
            raise SystemExit(f"error: {spec} is no file and none of {', '.join(SYNTHETIC)}")
        return Path(spec)
    path = HERE / "models" / f"{spec}.gguf"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        sys.stderr.write(f"making {path.name} ...\n")
        make_model(*SYNTHETIC[spec], path)
    return path


def describe_model(path: Path) -> dict[str, Any]:
    """Name and size of a model's file."""
    return {"name": path.name, "bytes": path.stat().st_size}


def describe_machine() -> dict[str, Any]:
    """All that figures depend on and a reader cannot see."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
    features = cpu.get("flags", "").split()
    return {
        "cpu": cpu.get("model name", platform.machine()),
        "cpu_features": [name for name in CPU_FEATURES if name in features],
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "g3n": g3n_cli.__version__,
        "g3n_commit": _read_commit(),
        "llama_cpp_python": version("llama-cpp-python"),
        **_read_ggml_version(),
        "openmp": {
            key: value for key, value in os.environ.items() if key.startswith(("OMP_", "GOMP_"))
        },
    }


def result_file(text: str) -> Path:
    """The path of a result, refused before anything is measured if it cannot be written.

    Raises:
        ArgumentTypeError: Its folder does not exist.
    """
    path = Path(text)
    if not path.parent.is_dir():
        raise ArgumentTypeError(f"no folder {path.parent}")
    return path


def write_result(result: Mapping[str, Any], out: Path) -> None:
    """Write ``result`` so that an interruption leaves either the old file or the new."""
    part = out.with_name(out.name + ".part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.replace(out)


def warm(path: Path) -> None:
    """Read a file once: no run pays for the disk."""
    with path.open("rb", buffering=0) as file:
        while file.read(16 << 20):
            pass


def _read_commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    is_dirty = git("status", "--porcelain", "--", "g3n_cli", "benchmarks/*.py")
    return git("rev-parse", "HEAD") + (" with changes" if is_dirty else "")


def _read_ggml_version() -> dict[str, str]:
    package = find_spec("llama_cpp")
    assert package is not None
    assert package.origin is not None
    library = ctypes.CDLL(str(Path(package.origin).parent / "lib" / "libggml-base.so"))
    answers = {}
    for name in ("ggml_version", "ggml_commit"):
        function = getattr(library, name)
        function.restype = ctypes.c_char_p
        answers[name] = function().decode()
    return answers
