"""What the installed ggml can compute on."""

from __future__ import annotations

import itertools
from ctypes import byref, c_size_t
from dataclasses import dataclass

import psutil

from g3n_cli.ggml.bindings import DEVICE_TYPES, GET_FEATURES
from g3n_cli.ggml.library import load


@dataclass(frozen=True)
class Device:
    """Something that computes.

    Attributes:
        name: What ggml calls it: ``CPU``, ``CUDA0``, ``Vulkan1``.
        description: What its maker calls it.
        type: One of ``cpu``, ``gpu``, ``igpu`` (shares the CPU's memory), ``accel``, ``meta``.
        backend: Name of the backend it belongs to.
        memory_free_bytes: Memory that is free now.
        memory_total_bytes: All of its memory.
    """

    name: str
    description: str
    type: str
    backend: str
    memory_free_bytes: int
    memory_total_bytes: int


@dataclass(frozen=True)
class Backend:
    """A part of ggml for one kind of devices; it may find none of them.

    Attributes:
        name: What ggml calls it: ``CPU``, ``CUDA``, ``Vulkan``.
        features: What it was compiled for and finds here, as ggml names it.
    """

    name: str
    features: dict[str, str]


def list_devices() -> tuple[Device, ...]:
    """The devices that ggml finds on this machine, the CPU among them."""
    lib = load()
    return tuple(_read_device(lib.backend_dev_get(i)) for i in range(lib.backend_dev_count()))


def list_backends() -> tuple[Backend, ...]:
    """The backends that were compiled in."""
    lib = load()
    return tuple(_read_backend(lib.backend_reg_get(i)) for i in range(lib.backend_reg_count()))


def _read_device(device: int) -> Device:
    lib = load()
    kind = DEVICE_TYPES[lib.backend_dev_type(device)]
    free, total = c_size_t(), c_size_t()
    lib.backend_dev_memory(device, byref(free), byref(total))
    # All memory is free memory to ggml's CPU backend.
    n_free = psutil.virtual_memory().available if kind == "cpu" else free.value
    return Device(
        name=lib.backend_dev_name(device).decode(),
        description=lib.backend_dev_description(device).decode(errors="replace").strip(),
        type=kind,
        backend=lib.backend_reg_name(lib.backend_dev_backend_reg(device)).decode(),
        memory_free_bytes=n_free,
        memory_total_bytes=total.value,
    )


def _read_backend(registry: int) -> Backend:
    lib = load()
    features: dict[str, str] = {}
    if address := lib.backend_reg_get_proc_address(registry, b"ggml_backend_get_features"):
        listed = GET_FEATURES(address)(registry)
        for feature in itertools.takewhile(
            lambda f: f.name, (listed[i] for i in itertools.count())
        ):
            features[feature.name.decode()] = feature.value.decode(errors="replace")
    return Backend(lib.backend_reg_name(registry).decode(), features)
