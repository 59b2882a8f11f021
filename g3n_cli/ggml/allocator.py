"""Memory for the tensors of graphs."""

from __future__ import annotations

from g3n_cli.errors import DoesNotFitError
from g3n_cli.ggml.backend import CpuBackend
from g3n_cli.ggml.graph import Graph
from g3n_cli.ggml.handles import Managed
from g3n_cli.ggml.library import load


class GraphAllocator(Managed):
    """One buffer for graphs that run one after another, grown as needed.

    Args:
        backend: Where they run.
        hint: What to tell a person when there is no memory for it.
    """

    def __init__(self, backend: CpuBackend, hint: str | None = None) -> None:
        self._hint = hint
        self._ptr = load().gallocr_new(backend.buffer_type)

    @property
    def size(self) -> int:
        """Bytes of the buffer."""
        return int(load().gallocr_get_buffer_size(self.ptr, 0))

    def allocate(self, graph: Graph) -> bool:
        """Give a graph memory; whether the buffer moved, and with it all older graphs' memory.

        Raises:
            DoesNotFitError: there is not enough.
        """
        before = self.size
        if not load().gallocr_alloc_graph(self.ptr, graph.ptr):
            raise DoesNotFitError("not enough memory for the compute buffer", self._hint)
        return self.size != before

    def _free(self, ptr: int) -> None:
        load().gallocr_free(ptr)
