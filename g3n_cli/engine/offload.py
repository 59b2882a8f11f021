"""The part of a Gemma 3n that a device computes: its weights there, and which layers they are.

The first layers go to the device, as a prompt runs through them all and past the last ones that
share K/V. Weights lie there as they are in the file, and all of them whatever the size in use. The
two tables of embeddings stay in the file: of them rows are read, and only the rows are copied.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import NoReturn

import numpy as np

from g3n_cli.config import EngineSettings
from g3n_cli.engine.file_read import read_exactly
from g3n_cli.engine.gguf import GgufFile, TensorInfo
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.tensors import PLE_TENSOR, find_unused
from g3n_cli.errors import DoesNotFitError
from g3n_cli.ggml.device_backend import DeviceBackend, leave
from g3n_cli.ggml.handles import Buffer, Context, write_tensor
from g3n_cli.ggml.tensor import Tensor
from g3n_cli.units import format_bytes

_CHUNK = 8 << 20
_EMBEDDINGS, _HEAD = "token_embd.weight", "output.weight"


class Offload:
    """The part of one model that lies on a device.

    Args:
        gguf: A validated file.
        hparams: Of the model.
        settings: Which device, and how many layers.
        device: The device; ownership passes to this object.

    Raises:
        DoesNotFitError: the device has not enough memory.
        ModelError: the file has changed since it was validated.

    Attributes:
        device: What computes.
        n_layer: First layers that lie there.
        tensors: Weights by their full names, the head as ``output.weight``.
        names: Tensors of the file that need not be loaded elsewhere.
    """

    def __init__(
        self, gguf: GgufFile, hparams: HParams, settings: EngineSettings, device: DeviceBackend
    ) -> None:
        self.device = device
        self.n_layer = count_layers(hparams, settings)
        self.names = find_offloaded(gguf, hparams, settings)
        self.tensors: Mapping[str, Tensor] = {}
        sources = {name: gguf.tensors[name] for name in self.names}
        with ExitStack() as stack:
            stack.callback(device.close)
            if _EMBEDDINGS in sources:
                rows = sources.pop(_EMBEDDINGS)
                sources.setdefault(_HEAD, rows)
                self._map_rows(gguf, rows, stack)
            if sources:
                self._load(gguf, sources, stack)
            self._owned = stack.pop_all()

    def close(self) -> None:
        """Free everything; closing twice is harmless."""
        self._owned.close()

    def _map_rows(self, gguf: GgufFile, info: TensorInfo, stack: ExitStack) -> None:
        """The table of token embeddings where it lies in the file."""
        with gguf.path.open("rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
        mapping.madvise(mmap.MADV_RANDOM)
        buffer = Buffer.map(mapping)
        stack.callback(buffer.close)
        buffer.mark_as_weights()
        context = Context(1)
        stack.callback(context.close)
        table = context.new_tensor(info.type, *info.ne)
        buffer.place(table, info.offset)
        self.tensors = {**self.tensors, info.name: table}

    def _load(self, gguf: GgufFile, sources: Mapping[str, TensorInfo], stack: ExitStack) -> None:
        """Copy tensors to the device, piece by piece."""
        n_bytes, free = sum(i.n_bytes for i in sources.values()), self.device.memory_free_bytes
        if free is not None and n_bytes > free:
            raise DoesNotFitError(
                f"{gguf.path.name} needs {format_bytes(n_bytes)} on {self.device.name},"
                f" {format_bytes(free)} are free",
                f"--gpu-layers {int(self.n_layer * free / n_bytes)} leaves the rest to the CPU",
            )
        context = Context(len(sources))
        stack.callback(context.close)
        found = {name: context.new_tensor(i.type, *i.ne) for name, i in sources.items()}
        buffer = Buffer.of_context(context, self.device.buffer_type)
        stack.callback(buffer.close)
        buffer.mark_as_weights()
        values = np.empty(_CHUNK, np.uint8)
        with gguf.path.open("rb") as file:
            for name, info in sources.items():
                for start in range(0, info.n_bytes, _CHUNK):
                    part = values[: min(_CHUNK, info.n_bytes - start)]
                    read_exactly(file.fileno(), part.data, info.offset + start, gguf.path)
                    write_tensor(found[name], part, start)
        self.tensors = {**self.tensors, **found}


def open_offload(gguf: GgufFile, hparams: HParams, settings: EngineSettings) -> Offload | None:
    """What is on the device that the settings name; None for the CPU.

    Raises:
        UsageError: there is no such device.
        ServerError: the server that lends it does not answer.
        DoesNotFitError: it has not enough memory.
    """
    if settings.is_on_cpu:
        return None
    return Offload(gguf, hparams, settings, DeviceBackend.open(settings.device))


def make_leave(settings: EngineSettings) -> Callable[[], NoReturn] | None:
    """What ends the process, for a person who no longer waits for a device; None for the CPU."""
    return None if settings.is_on_cpu else partial(leave, settings.device)


def count_layers(hparams: HParams, settings: EngineSettings) -> int:
    """First layers on the device."""
    if settings.is_on_cpu:
        return 0
    wanted = settings.gpu_layers
    return hparams.n_layer if wanted is None else min(wanted, hparams.n_layer)


def find_offloaded(gguf: GgufFile, hparams: HParams, settings: EngineSettings) -> frozenset[str]:
    """Tensors that are not loaded into the CPU's memory.

    Those of the first layers; with all layers also what belongs to none of them.
    """
    n_layer = count_layers(hparams, settings)
    used = gguf.tensors.keys() - find_unused(gguf, hparams) - {PLE_TENSOR}
    layers = {name: int(name.split(".")[1]) for name in used if name.startswith("blk.")}
    return frozenset(
        name
        for name in used
        if (layers[name] < n_layer if name in layers else n_layer == hparams.n_layer)
    )
