"""Backends of devices beside the CPU, and the scheduler that runs a graph on both."""

from __future__ import annotations

import os
import termios
from ctypes import byref, c_size_t, c_void_p
from typing import Any, NoReturn

from g3n_cli.config import CPU
from g3n_cli.errors import DoesNotFitError, ExitCode, G3nError, UsageError
from g3n_cli.ggml import rpc
from g3n_cli.ggml.backend import Aborted, CpuBackend
from g3n_cli.ggml.bindings import DEVICE_TYPES, FATAL_CALLBACK, STATUS_ABORTED, STATUS_SUCCESS
from g3n_cli.ggml.graph import Graph
from g3n_cli.ggml.handles import Managed
from g3n_cli.ggml.library import load

_USABLE = ("gpu", "igpu")


def find_device(name: str) -> int:
    """Address of a device; servers are reached for.

    Args:
        name: As ``g3n devices`` lists it, in capitals or not, or ``rpc:HOST:PORT``.

    Raises:
        UsageError: there is no such device.
        ServerError: the server does not answer.
    """
    if rpc.is_rpc(name):
        return rpc.connect(name)
    devices = _list_usable()
    for found, device in devices.items():
        if found.lower() == name.lower():
            return device
    raise UsageError(
        f"no device is called {name!r}",
        f"there is {', '.join(devices)}; g3n devices tells how to build more in; servers are named"
        " as rpc:HOST:PORT or http://HOST:PORT/v1",
    )


def list_names() -> list[str]:
    """What models can run on here: ``cpu`` and each GPU, as ``find_device`` takes them."""
    return [CPU, *(name for name in _list_usable() if name.lower() != CPU)]


def _list_usable() -> dict[str, int]:
    lib = load()
    devices = map(lib.backend_dev_get, range(lib.backend_dev_count()))
    return {
        lib.backend_dev_name(device).decode(): int(device)
        for device in devices
        if DEVICE_TYPES[lib.backend_dev_type(device)] in (CPU, *_USABLE)
    }


def prepare_device(name: str) -> int:
    """``find_device``; from now on ggml ends the process with one line where it would abort it."""
    device = find_device(name)
    _explain_aborts(name)
    return device


class DeviceBackend(Managed):
    """A device that computes.

    Args:
        device: Its address.
        name: What messages call it.

    Raises:
        G3nError: it does not work.
    """

    def __init__(self, device: int, name: str) -> None:
        self.device, self.name = device, name
        self._ptr = load().backend_dev_init(device, None)
        if not self._ptr:
            raise G3nError(f"{name} cannot be used: ggml gives no reason")

    @classmethod
    def open(cls, name: str) -> DeviceBackend:
        """The device of a name; see ``find_device``."""
        return cls(prepare_device(name), name)

    @property
    def buffer_type(self) -> int:
        """Its memory."""
        return int(load().backend_get_default_buffer_type(self.ptr))

    @property
    def memory_free_bytes(self) -> int | None:
        """Memory that is free now; None where it does not tell."""
        free, total = c_size_t(), c_size_t()
        load().backend_dev_memory(self.device, byref(free), byref(total))
        return free.value if total.value else None

    def supports(self, node: int) -> bool:
        """Whether it can compute a node; servers are believed to compute all of them."""
        return bool(load().backend_dev_supports_op(self.device, node))

    def _free(self, ptr: int) -> None:
        load().backend_free(ptr)


class Scheduler(Managed):
    """Runs graphs on a device, and on the CPU what the device cannot or where weights lie there.

    It rewrites the graphs it is given and remembers the last one alone.

    Args:
        device: What computes all that it can, of which the CPU need not.
        cpu: What computes the rest.
        n_nodes: Most nodes of a graph.
    """

    def __init__(self, device: DeviceBackend, cpu: CpuBackend, n_nodes: int) -> None:
        self._device, self._cpu = device, cpu
        backends = (c_void_p * 2)(device.ptr, cpu.ptr)
        # Weights and inputs are among what it counts as nodes.
        self._ptr = load().backend_sched_new(backends, None, 2, 2 * n_nodes, False, False)

    @property
    def size(self) -> int:
        """Bytes of its buffer in the CPU's memory."""
        return int(load().backend_sched_get_buffer_size(self.ptr, self._cpu.ptr))

    def allocate(self, graph: Graph) -> bool:
        """Give the graph memory; True: no graph from before can be computed any more.

        Raises:
            DoesNotFitError: there is not enough.
        """
        lib = load()
        lib.backend_sched_reset(self.ptr)
        for node, on_device in graph.places:
            if not on_device:
                lib.backend_sched_set_tensor_backend(self.ptr, node.ptr, self._cpu.ptr)
            elif self._device.supports(node.ptr):
                lib.backend_sched_set_tensor_backend(self.ptr, node.ptr, self._device.ptr)
        if not lib.backend_sched_alloc_graph(self.ptr, graph.ptr):
            raise DoesNotFitError(
                "not enough memory for the compute buffers", "lower --ctx, --batch or --gpu-layers"
            )
        return True

    def compute(self, graph: Graph) -> None:
        """Compute the graph that was given memory last.

        Raises:
            Aborted: the CPU's flag was set before it was done.
            G3nError: ggml reports a failure.
        """
        status = load().backend_sched_graph_compute(self.ptr, graph.ptr)
        if status == STATUS_ABORTED or (self._cpu.abort.is_set() and status == STATUS_SUCCESS):
            raise Aborted
        if status != STATUS_SUCCESS:
            raise G3nError(f"{self._device.name} could not compute the graph (status {status})")

    def _free(self, ptr: int) -> None:
        load().backend_sched_free(ptr)


_kept: dict[str, Any] = {}  # the callback, which C holds on to, and how the terminal was


def _explain_aborts(name: str) -> None:
    """End with one line where ggml would abort with a stack: a server or a driver may fail."""

    def explain(message: bytes) -> None:
        reason = message.decode(errors="replace").partition(": ")[2].strip()
        _leave(f"{name} failed: {reason}", ExitCode.FAILURE)

    callback = FATAL_CALLBACK(explain)
    _kept.update(callback=callback, terminal=termios.tcgetattr(0) if os.isatty(0) else None)
    load().set_abort_callback(callback)


def leave(name: str) -> NoReturn:
    """End the process amid a computation on a device, which cannot be interrupted.

    Args:
        name: The device, which has been prepared.
    """
    _leave(f"{name} does not answer", ExitCode.INTERRUPTED)


def _leave(reason: str, code: ExitCode) -> NoReturn:
    """End the process with one line, and the terminal as it was found."""
    usual = _kept.get("terminal")
    if usual and termios.tcgetattr(0) != usual:  # typing is hidden amid an answer
        termios.tcsetattr(0, termios.TCSANOW, usual)
    line_break = "\n" if os.isatty(2) else ""
    os.write(2, f"{line_break}error: {reason}\n".encode())
    os._exit(code)
