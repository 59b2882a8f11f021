"""The CPU backend: computes graphs, can be told to stop, knows its repacked layouts."""

from __future__ import annotations

import itertools

from g3n_cli.errors import G3nError
from g3n_cli.ggml.abort import AbortFlag
from g3n_cli.ggml.bindings import (
    GET_EXTRA_BUFTS,
    STATUS_ABORTED,
    STATUS_SUCCESS,
)
from g3n_cli.ggml.handles import Buffer, Context, Managed
from g3n_cli.ggml.library import load
from g3n_cli.ggml.tensor import Tensor


class Aborted(Exception):  # noqa: N818 - an outcome the caller asked for, not a fault
    """The computation was stopped by its backend's flag."""


class CpuBackend(Managed):
    """ggml's CPU backend with a fixed number of threads.

    Compute from one thread only: OpenMP keeps a team of threads per calling thread.

    Attributes:
        abort: Stops what is being computed.
    """

    def __init__(self, n_threads: int) -> None:
        lib = load()
        self._ptr = lib.backend_cpu_init()
        lib.backend_cpu_set_n_threads(self.ptr, n_threads)
        self.abort = AbortFlag()
        lib.backend_cpu_set_abort_callback(self.ptr, self.abort.callback, self.abort.address)

    @property
    def buffer_type(self) -> int:
        """Plain memory."""
        return int(load().backend_get_default_buffer_type(self.ptr))

    def compute(self, graph: int) -> None:
        """Compute a graph whose tensors have memory.

        Raises:
            Aborted: the flag was set before it was done.
            G3nError: ggml reports a failure.
        """
        status = load().backend_graph_compute(self.ptr, graph)
        if status == STATUS_ABORTED:
            raise Aborted
        if status != STATUS_SUCCESS:
            raise G3nError(f"ggml could not compute the graph (status {status})")

    def _free(self, ptr: int) -> None:
        load().backend_free(ptr)


def find_repack_type() -> int | None:
    """The buffer type whose tensors are stored in the layout the CPU's kernels prefer, if any."""
    lib = load()
    device = lib.backend_reg_dev_get(lib.backend_cpu_reg(), 0)
    name = b"ggml_backend_dev_get_extra_bufts"
    address = lib.backend_reg_get_proc_address(lib.backend_cpu_reg(), name)
    if not address:
        return None
    types = GET_EXTRA_BUFTS(address)(device)
    for index in itertools.takewhile(lambda i: types[i], itertools.count()):
        if lib.backend_buft_name(types[index]) == b"CPU_REPACK":
            return int(types[index])
    return None


def is_repackable(buffer_type: int, kind: int, ne: tuple[int, int]) -> bool:
    """Whether a matrix of ggml type ``kind`` and extents ``ne`` has a form in ``buffer_type``."""
    lib = load()
    device = lib.backend_reg_dev_get(lib.backend_cpu_reg(), 0)
    with Context(3) as context, Buffer.allocate(buffer_type, 0) as probe:
        weight = context.new_tensor(kind, *ne)
        product = Tensor(lib.mul_mat(context.ptr, weight.ptr, context.new_tensor(0, ne[0], 1).ptr))
        weight.struct.buffer = probe.ptr
        return bool(lib.backend_dev_supports_op(device, product.ptr))
