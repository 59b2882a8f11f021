"""Plans: graphs built once per shape, given memory once, and replayed.

Set the inputs, compute, read the logits. All plans share one compute buffer, as only one runs at a
time; a plan that needs a larger one makes those built before it void.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from g3n_cli.engine.gemma3n import BuiltStep, StepShape
from g3n_cli.ggml.allocator import GraphAllocator
from g3n_cli.ggml.backend import CpuBackend
from g3n_cli.ggml.device_backend import Scheduler
from g3n_cli.ggml.graph import Graph
from g3n_cli.ggml.handles import MemoryRange, read_tensor, write_tensor
from g3n_cli.ggml.library import load

N_PLANS = 6

Inputs = Mapping[str, npt.NDArray[Any]]


class CpuExecutor(GraphAllocator):
    """Runs graphs on the CPU, in one buffer."""

    def __init__(self, backend: CpuBackend) -> None:
        super().__init__(backend, "lower --ctx or --batch")
        self._backend = backend

    def compute(self, graph: Graph) -> None:
        """Compute a graph that has memory; see ``CpuBackend.compute``."""
        self._backend.compute(graph.ptr)


class Plans:
    """The plans of one engine, least recently used ones dropped.

    Args:
        executor: What runs graphs; ``close`` closes it too.
        build: Makes the graph of a shape.
    """

    def __init__(
        self, executor: CpuExecutor | Scheduler, build: Callable[[StepShape], BuiltStep]
    ) -> None:
        self._executor = executor
        self._build = build
        self._steps: OrderedDict[StepShape, BuiltStep] = OrderedDict()

    @property
    def compute_bytes(self) -> int:
        """Bytes of the shared compute buffer in the CPU's memory."""
        return self._executor.size

    @property
    def memory_ranges(self) -> list[MemoryRange]:
        """Where the compute buffer lies, once there is a plan."""
        tensors = (t for step in self._steps.values() for t in step.inputs.values())
        buffer = next((t.struct.buffer for t in tensors if t.is_allocated), None)
        return [(load().backend_buffer_get_base(buffer), self.compute_bytes)] if buffer else []

    def replay(self, shape: StepShape, inputs: Inputs) -> npt.NDArray[np.float32]:
        """Compute a step and return its logits ``[n_out, n_vocab]``.

        Raises:
            Aborted: the backend was told to stop.
        """
        step = self.get(shape)
        for name, tensor in step.inputs.items():
            if tensor.is_allocated:
                write_tensor(tensor, np.ascontiguousarray(inputs[name]))
        self._executor.compute(step.graph)
        n_vocab = step.logits.ne[0] if step.logits else 0
        logits = np.empty((shape.n_out, n_vocab), np.float32)
        if step.logits:
            read_tensor(step.logits, logits)
        return logits

    def get(self, shape: StepShape) -> BuiltStep:
        """The plan of ``shape``, built if it is not at hand."""
        step = self._steps.pop(shape, None)
        if step is None:
            step = self._build(shape)
            if self._executor.allocate(step.graph):
                self._drop_all()
            elif len(self._steps) == N_PLANS:
                self._steps.popitem(last=False)[1].graph.close()
        self._steps[shape] = step
        return step

    def close(self) -> None:
        """Free all plans and the buffer; closing twice is harmless."""
        self._drop_all()
        self._executor.close()

    def _drop_all(self) -> None:
        for step in self._steps.values():
            step.graph.close()
        self._steps.clear()
