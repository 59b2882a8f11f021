"""``g3n estimate``: what running a model takes, before it is loaded."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import typer

from g3n_cli.commands.local_models import JsonOption, ModelArgument
from g3n_cli.commands.model_defaults import apply_defaults
from g3n_cli.commands.options import (
    BatchOption,
    CtxOption,
    DeviceOption,
    KernelsOption,
    KvOption,
    PleOption,
    SizeOption,
)
from g3n_cli.config import AUTO, CPU, EngineSettings
from g3n_cli.errors import UsageError
from g3n_cli.ui.text import align, escape_json

if TYPE_CHECKING:
    from g3n_cli.engine.estimate import Estimate

LABELS = {
    "weights": "Weights",
    "mapped_weights": "Weights in the mapped file",
    "kv": "Keys and values",
    "snapshots": "Copies of windows, in long talks",
    "compute": "Intermediate results",
    "ple": "Per-layer embeddings",
    "vocabulary": "Vocabulary",
    "program": "Python and libraries",
}


def estimate_model(  # noqa: PLR0913  one parameter for each flag
    model: ModelArgument,
    *,
    context: typer.Context,
    ctx: CtxOption = EngineSettings.n_ctx,
    batch: BatchOption = EngineSettings.n_batch,
    kv: KvOption = EngineSettings.kv,
    ple: PleOption = EngineSettings.ple,
    kernels: KernelsOption = EngineSettings.kernels,
    size: SizeOption = EngineSettings.size,
    device: DeviceOption = CPU,
    as_json: JsonOption = False,
) -> None:
    """Tell how much memory and disk a model takes, part by part, without loading it."""
    from g3n_cli.bench.memory import read_rss_bytes
    from g3n_cli.engine.estimate import estimate
    from g3n_cli.engine.fit import find_fitting, read_available
    from g3n_cli.engine.validate import open_model
    from g3n_cli.registry.models import read_sizes, resolve

    if device.lower() != CPU:
        raise UsageError(
            f"estimates are of the CPU's memory, not of what {device} has",
            f"--device {CPU}; g3n devices tells the free memory of this machine's devices",
        )
    spec = resolve(model)
    settings = EngineSettings(
        n_ctx=ctx,
        n_batch=batch,
        kv=kv,
        ple=ple,
        kernels=kernels,
        size=size,
        named_sizes=read_sizes(),
    )
    settings = apply_defaults(settings, spec.defaults, context)
    if settings.size == AUTO:
        raise UsageError("--size auto follows the free memory", "name a size")
    gguf = open_model(spec.path)
    found, free = estimate(gguf, settings), read_available()
    fitting = [] if found.total <= free else find_fitting(gguf, settings, free)
    # This process has loaded what every one loads; of the model it has nothing.
    parts = {**found.parts, "program": read_rss_bytes()}
    if as_json:
        values = {
            "model": model,
            "size": settings.size,
            "ctx": settings.n_ctx,
            "kv": settings.kv,
            "memory": parts,
            "memory_bytes": sum(parts.values()),
            "file_bytes": found.file_bytes,
            "left_on_disk_bytes": found.left_on_disk,
            "available_bytes": free,
            "fits": found.total <= free,
            "fitting": fitting,
        }
        sys.stdout.write(escape_json(json.dumps(values, indent=2)) + "\n")
        return
    sys.stdout.write(describe(found, parts, free, fitting) + "\n")


def describe(found: Estimate, parts: dict[str, int], free: int, fitting: list[str]) -> str:
    """Two tables, and whether it fits."""
    from g3n_cli.commands.show import format_size

    memory = [(LABELS[name], f"{format_size(n):>9}") for name, n in parts.items() if n]
    memory.append(("Memory in all", f"{format_size(sum(parts.values())):>9}"))
    disk = [
        ("File", f"{format_size(found.file_bytes):>9}"),
        ("Left on disk", f"{format_size(found.left_on_disk):>9}"),
        ("Free memory", f"{format_size(free):>9}"),
    ]
    verdict = "It fits." if found.total <= free else "It does not fit."
    hints = "".join(f" {flags} fits." for flags in fitting)
    return f"{align(memory)}\n\n{align(disk)}\n\n{verdict}{hints}"
