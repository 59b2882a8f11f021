"""What figures depend on and a reader cannot see: machine, program, models."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

import g3n_cli
from g3n_cli.bench.case import BenchModel
from g3n_cli.ggml.devices import list_backends
from g3n_cli.ggml.library import load
from g3n_cli.kernels.library import find_variants

CPU_FEATURES = (
    *("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8"),
    *("asimddp", "i8mm", "sve"),
)
"""Instruction sets that kernels are written for, as the kernel names them."""

_HASHED_BLOCKS, _BLOCK = 16, 1 << 16


def describe_environment(
    models: Iterable[BenchModel], sysfs: Path = Path("/sys")
) -> dict[str, Any]:
    """Plain values; None for what this machine does not tell.

    Args:
        models: Those that are measured.
        sysfs: Where the kernel shows its devices.
    """
    cpu = _read_cpu(Path("/proc/cpuinfo").read_text())
    features = cpu.get("flags", cpu.get("Features", "")).split()
    models = list(models)
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu.get("model name", platform.machine()),
        "cpu_features": [name for name in CPU_FEATURES if name in features],
        "cores": len(os.sched_getaffinity(0)),
        "physical_cores": psutil.cpu_count(logical=False),
        "memory_bytes": psutil.virtual_memory().total,
        "memory_available_bytes": psutil.virtual_memory().available,
        "system": platform.system(),
        "kernel": platform.release(),
        "is_virtual": "hypervisor" in features,
        "governor": _read_governor(sysfs),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "g3n": g3n_cli.__version__,
        "kernels": list(find_variants()),
        "ggml": load().version().decode(),
        "ggml_commit": load().commit().decode(),
        "ggml_features": {each.name: each.features for each in list_backends()},
        "llama_cpp_python": version("llama-cpp-python"),
        "openmp": {
            key: value for key, value in os.environ.items() if key.startswith(("OMP_", "GOMP_"))
        },
        "models": {each.name: _describe_model(each.path) for each in models if each.path},
        "encoders": [
            _describe_model(path) for path in dict.fromkeys(each.mmproj for each in models) if path
        ],
    }


def hash_model(path: Path) -> str:
    """A digest that tells files apart without reading gigabytes.

    SHA-256 of the size in decimal digits and of 16 blocks of 64 KiB from the file's beginning to
    its end, at equal distances; a file of less than that is read whole.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= _HASHED_BLOCKS * _BLOCK:
            digest.update(file.read())
        else:
            for i in range(_HASHED_BLOCKS):
                file.seek((size - _BLOCK) * i // (_HASHED_BLOCKS - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def _describe_model(path: Path) -> dict[str, Any]:
    return {"file": path.name, "bytes": path.stat().st_size, "sampled_sha256": hash_model(path)}


def _read_cpu(cpuinfo: str) -> dict[str, str]:
    """Keys of the last processor; all are alike where one model of them is built in."""
    pairs = (line.partition(":") for line in cpuinfo.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _read_governor(sysfs: Path) -> str | None:
    path = sysfs / "devices/system/cpu/cpu0/cpufreq/scaling_governor"
    return path.read_text().strip() if path.exists() else None
