"""``g3n devices``: what models can be computed on here, and how to get more."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from g3n_cli.ui.text import align, escape_json, make_visible
from g3n_cli.units import format_bytes

if TYPE_CHECKING:
    from g3n_cli.ggml.devices import Backend, Device


@dataclass(frozen=True)
class Missing:
    """A backend that the installed ggml was built without.

    Attributes:
        name: What ggml calls it.
        runs_on: What it is for.
        needs: What its compilation takes.
        install: Command that builds llama-cpp-python with it, for a shell.
    """

    name: str
    runs_on: str
    needs: str
    install: str


_MORE = {
    # name: (CMake option, system, what it is for, what its compilation takes)
    "CUDA": ("GGML_CUDA", "linux", "NVIDIA GPUs", "the CUDA toolkit"),
    "ROCm": ("GGML_HIP", "linux", "AMD GPUs", "ROCm's HIP SDK"),
    "SYCL": ("GGML_SYCL", "linux", "Intel GPUs", "the oneAPI toolkit"),
    "Vulkan": ("GGML_VULKAN", "linux", "GPUs of any make", "Vulkan headers, glslc"),
    "RPC": ("GGML_RPC", "any", "devices of other machines", "nothing more"),
    "MTL": ("GGML_METAL", "darwin", "Apple's GPUs", "Xcode's command line tools"),
}
_WIDTH = 80
_BREAK = " \\\n    "
"""Between lines of one command."""


def devices(
    as_json: Annotated[  # noqa: FBT002 - typer passes it by name
        bool, typer.Option("--json", help="Write JSON, memory in bytes.")
    ] = False,
) -> None:
    """Show what the installed ggml can compute on, and how to build it for more."""
    from g3n_cli.ggml.bindings import GGML_VERSION
    from g3n_cli.ggml.devices import list_backends, list_devices
    from g3n_cli.kernels.library import find_variants

    found, backends, kernels = list_devices(), list_backends(), find_variants()
    missing = find_missing({backend.name for backend in backends}, sys.platform)
    if as_json:
        report = {
            "ggml": GGML_VERSION,
            "devices": [dataclasses.asdict(device) for device in found],
            "backends": [dataclasses.asdict(backend) for backend in backends],
            "kernels": kernels,
            "missing": [dataclasses.asdict(backend) for backend in missing],
        }
        text = escape_json(json.dumps(report, indent=2))
    else:
        parts = [show_devices(found), show_build(GGML_VERSION, backends, kernels)]
        text = make_visible("\n\n".join([*parts, *([show_missing(missing)] if missing else [])]))
    sys.stdout.write(text + "\n")


def find_missing(built: Collection[str], system: str) -> tuple[Missing, ...]:
    """Backends for ``system`` (as in ``sys.platform``) that are not among the ``built`` ones."""
    # This environment's own pip: the one that a shell finds may belong to another.
    python = shlex.quote(sys.executable)
    lines = (
        f"{python} -m pip install --force-reinstall --no-deps",
        f"--no-cache-dir --no-binary llama-cpp-python {_name_package()}",
    )
    return tuple(
        Missing(name, runs_on, needs, _BREAK.join((f'CMAKE_ARGS="-D{option}=on"', *lines)))
        for name, (option, home, runs_on, needs) in _MORE.items()
        if home in ("any", system) and name not in built
    )


def show_devices(found: Collection[Device]) -> str:
    """A table of devices."""
    rows = [("DEVICE", "TYPE", "BACKEND", "FREE", "TOTAL", "DESCRIPTION")]
    for device in found:
        free, total = map(format_bytes, (device.memory_free_bytes, device.memory_total_bytes))
        rows.append((device.name, device.type, device.backend, free, total, device.description))
    return align(rows)


def show_build(ggml: str, backends: Collection[Backend], kernels: Collection[str]) -> str:
    """What was compiled, by backend, the best of g3n's own kernels first."""
    rows = [("ggml", f"{ggml}, of {_name_package()}")]
    for backend in backends:
        features = " ".join(_show_feature(*feature) for feature in backend.features.items())
        first, *more = textwrap.wrap(features, _WIDTH - 16) or ["(tells no features)"]
        rows += [(backend.name, first), *(("", line) for line in more)]
    rows.append(("g3n's kernels", " ".join(kernels) or "none: no C compiler at installation"))
    return align(rows)


def show_missing(missing: Collection[Missing]) -> str:
    """How to get the backends that are not there."""
    lines = ["Not built in:"]
    for backend in missing:
        lines.append(f"\n{backend.name}: {backend.runs_on}, takes {backend.needs}")
        lines.append(f"  {backend.install}")
    return "\n".join(lines)


def _name_package() -> str:
    return f"llama-cpp-python=={version('llama-cpp-python')}"


def _show_feature(name: str, value: str) -> str:
    return name if value == "1" else f"{name}={value}"
