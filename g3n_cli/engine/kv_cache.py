"""Keys and values of past positions: rings for sliding layers, plain rows for full ones.

Only layers that own K/V have any. A full layer keeps position p in row p. All sliding layers keep
it in row ``p % n_ring`` of a ring that holds the window and one batch more, so a batch never
overwrites what its own positions still attend to. Memory is taken only as rows are touched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from g3n_cli.config import KvType
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.offload import Offload
from g3n_cli.errors import UsageError
from g3n_cli.ggml.device_backend import DeviceBackend
from g3n_cli.ggml.graph import F32, I64
from g3n_cli.ggml.handles import Buffer, Context, MemoryRange, read_tensor, write_tensor
from g3n_cli.ggml.library import load
from g3n_cli.ggml.tensor import Tensor

KV_TYPES: dict[KvType, int] = {"f32": 0, "f16": 1, "q8_0": 8, "q4_0": 2}
N_SNAPSHOTS = 4
UNWRITTEN = -1
STEP_MULTIPLE = 4
"""Positions of a step are filled up to a multiple of this: ggml's repacked products take four at a
time, and each one that is left over at the cost of a whole pass over the weights."""


def count_ring_rows(hparams: HParams, n_ctx: int, n_batch: int) -> int:
    """Rows of a sliding layer's ring: the window and a filled-up batch."""
    return min(n_ctx, hparams.n_swa + n_batch + STEP_MULTIPLE - 1)


def check_kv_type(hparams: HParams, kind: KvType) -> None:
    """Refuse a type whose blocks do not divide the model's heads.

    Raises:
        UsageError: it is one.
    """
    block = load().blck_size(KV_TYPES[kind])
    if hparams.n_embd_head_k % block or hparams.n_embd_head_v % block:
        raise UsageError(f"--kv {kind} needs heads of a multiple of {block} values")


@dataclass(frozen=True)
class RingSnapshot:
    """The rings' rows that a step at ``n_past`` can still see: ``{layer: (keys, values)}``."""

    n_past: int
    rows: npt.NDArray[np.int64]
    layers: dict[int, tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]

    @property
    def n_bytes(self) -> int:
        """Memory of the rows."""
        return sum(keys.nbytes + values.nbytes for keys, values in self.layers.values())


class KvCache:
    """K/V of one conversation.

    Args:
        hparams: Of the model.
        n_ctx: Positions it holds.
        n_batch: Most positions of a step, fillers apart.
        kind: Type of the values.
        offload: The device that holds those of its layers.

    Raises:
        UsageError: values of this type cannot be had.

    Attributes:
        n_past: Positions computed and kept.
        n_ring: Rows of a sliding layer's ring.
        keys: ``[n_head_kv * n_embd_head_k, rows]`` by owner layer.
        values: ``[n_head_kv * n_embd_head_v, rows]`` by owner layer.
    """

    def __init__(
        self,
        hparams: HParams,
        n_ctx: int,
        n_batch: int,
        kind: KvType,
        offload: Offload | None = None,
    ) -> None:
        self._hparams = hparams
        self.n_ring = count_ring_rows(hparams, n_ctx, n_batch)
        self.n_past = 0
        self._ring_positions = np.full(self.n_ring, UNWRITTEN, np.int64)
        self._snapshots: deque[RingSnapshot] = deque(maxlen=N_SNAPSHOTS)
        owners = range(hparams.n_layer_kv)
        widths = [hparams.n_head_kv * n for n in (hparams.n_embd_head_k, hparams.n_embd_head_v)]
        check_kv_type(hparams, kind)
        self._stack = ExitStack()
        n_offloaded = min(offload.n_layer, len(owners)) if offload else 0
        on_device, on_cpu = Context(2 * n_offloaded), Context(2 * len(owners))
        self._stack.callback(on_device.close)
        self._stack.callback(on_cpu.close)
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        for layer in owners:
            n_rows = self.n_ring if hparams.is_swa[layer] else n_ctx
            context = on_device if layer < n_offloaded else on_cpu
            for tensors, width in zip((self.keys, self.values), widths, strict=True):
                tensors[layer] = context.new_tensor(KV_TYPES[kind], width, n_rows)
        self._buffer: Buffer | None = None
        if n_offloaded < len(owners):
            self._place(owners[n_offloaded:])
        if offload and n_offloaded:
            buffer = Buffer.of_context(on_device, offload.device.buffer_type)
            self._stack.callback(buffer.close)
            buffer.clear()
            _check_writable(self.keys[0], offload.device, kind)

    @property
    def memory_ranges(self) -> list[MemoryRange]:
        """Where rows and snapshots lie in this process's memory."""
        saved = (
            (array.ctypes.data, array.nbytes)
            for snapshot in self._snapshots
            for pair in snapshot.layers.values()
            for array in pair
        )
        held = [(self._buffer.base, self._buffer.size)] if self._buffer else []
        return [*held, *saved]

    def close(self) -> None:
        """Free the memory; closing twice is harmless."""
        self._snapshots.clear()
        self._stack.close()

    def _place(self, layers: Sequence[int]) -> None:
        """Give tensors memory of the CPU's that is taken only as rows are touched."""
        places: list[tuple[Tensor, int]] = []
        size = 0
        for layer in layers:
            for tensor in (self.keys[layer], self.values[layer]):
                places.append((tensor, size))
                size += -(-load().nbytes(tensor.ptr) // 64) * 64
        self._buffer = Buffer.zeros(size)
        self._stack.callback(self._buffer.close)
        for tensor, offset in places:
            self._buffer.place(tensor, offset)

    # -------------------------------------------------------------------------------------- steps

    def reserve(self, n_tokens: int) -> npt.NDArray[np.int64]:
        """Ring rows [n_tokens] that positions ``n_past ..`` will be written to.

        What these rows held counts as lost from now on, so that a step that fails half-way leaves
        a cache in which they are unwritten.
        """
        rows = np.arange(self.n_past, self.n_past + n_tokens) % self.n_ring
        self._ring_positions[rows] = UNWRITTEN
        return rows

    def commit(self, n_tokens: int) -> None:
        """The reserved rows have been written: ``n_past`` moves on."""
        positions = np.arange(self.n_past, self.n_past + n_tokens)
        self._ring_positions[positions % self.n_ring] = positions
        self.n_past += n_tokens

    def full_mask(self, n_tokens: int, n_rows: int) -> npt.NDArray[np.float16]:
        """``[n_tokens, n_rows]``: 0 where a position of the next step sees a full layer's row."""
        positions = np.arange(self.n_past, self.n_past + n_tokens)[:, None]
        return _to_mask(np.arange(n_rows)[None] <= positions)

    def ring_mask(self, n_tokens: int, n_rows: int) -> npt.NDArray[np.float16]:
        """The same for rows of a ring, as they will be once the step's own are written."""
        positions = np.arange(self.n_past, self.n_past + n_tokens)
        held = self._ring_positions.copy()
        held[positions % self.n_ring] = positions
        held, query = held[None, :n_rows], positions[:, None]
        is_seen = (held != UNWRITTEN) & (held <= query) & (held > query - self._hparams.n_swa)
        return _to_mask(is_seen)

    # ----------------------------------------------------------------------------------- trimming

    def trim(self, n_past: int) -> int:
        """Forget positions from ``n_past`` on and return how many are really left.

        The rings may have lost the window before ``n_past``; then the nearest snapshot before it
        is restored, or nothing is left. The caller computes the difference again.
        """
        if n_past >= self.n_past:
            return self.n_past
        while self._snapshots and self._snapshots[-1].n_past > n_past:
            self._snapshots.pop()
        if self._has_window(n_past):
            self._ring_positions[self._ring_positions >= n_past] = UNWRITTEN
            self.n_past = n_past
        elif self._snapshots:
            self._restore(self._snapshots[-1])
        else:
            self._ring_positions[:] = UNWRITTEN
            self.n_past = 0
        return self.n_past

    def count_left(self, n_past: int) -> int:
        """How many positions ``trim(n_past)`` would leave."""
        if n_past >= self.n_past:
            return self.n_past
        if self._has_window(n_past):
            return n_past
        return max((s.n_past for s in self._snapshots if s.n_past <= n_past), default=0)

    @property
    def last_snapshot(self) -> RingSnapshot | None:
        """The latest that ``trim`` can come back to."""
        return self._snapshots[-1] if self._snapshots else None

    @property
    def is_whole(self) -> bool:
        """Whether the window goes back to the first position."""
        return self.n_past < self._hparams.n_swa

    def save_snapshot(self) -> None:
        """Keep the rings' window as it is now, so that a later ``trim`` can come back to here."""
        if self.n_past == 0 or (self._snapshots and self._snapshots[-1].n_past == self.n_past):
            return
        first = max(0, self.n_past - self._hparams.n_swa + 1)
        rows = np.arange(first, self.n_past)
        layers = {
            layer: (self._read_rows(self.keys[layer], rows), self._read_rows(value, rows))
            for layer, value in self.values.items()
            if self._hparams.is_swa[layer]
        }
        self._snapshots.append(RingSnapshot(self.n_past, rows, layers))

    # -------------------------------------------------------------------------------- set aside

    def export_rows(self) -> dict[str, npt.NDArray[np.uint8]]:
        """K/V of what is kept: full layers whole, of the rings the window that the next step sees.

        Raises:
            ValueError: the rings have lost it.
        """
        if not self._has_window(self.n_past):
            raise ValueError("the window is incomplete")
        return {
            f"{kind}{layer}": self._read_rows(tensor, self._kept_rows(layer, self.n_past))
            for kind, tensors in (("k", self.keys), ("v", self.values))
            for layer, tensor in tensors.items()
        }

    def describe_rows(self, n_past: int) -> dict[str, tuple[int, int]]:
        """Rows and bytes of a row that ``export_rows`` gives for so many positions."""
        return {
            f"{kind}{layer}": (len(self._kept_rows(layer, n_past)), tensor.nb[1])
            for kind, tensors in (("k", self.keys), ("v", self.values))
            for layer, tensor in tensors.items()
        }

    def count_bytes(self) -> int:
        """Bytes of what ``export_rows`` gives now and of the last snapshot."""
        n_bytes = sum(n_rows * row for n_rows, row in self.describe_rows(self.n_past).values())
        return n_bytes + (self.last_snapshot.n_bytes if self.last_snapshot else 0)

    def import_rows(
        self,
        n_past: int,
        rows: Mapping[str, npt.NDArray[np.uint8]],
        snapshot: RingSnapshot | None = None,
    ) -> None:
        """Take the place of all that is kept; ``rows`` are as ``describe_rows`` says.

        Args:
            n_past: Positions that there are then.
            rows: Their K/V.
            snapshot: Of these positions, for ``trim`` to come back to.
        """
        self.trim(0)
        self._snapshots.clear()
        if snapshot:
            self._snapshots.append(snapshot)
        for kind, tensors in (("k", self.keys), ("v", self.values)):
            for layer, tensor in tensors.items():
                positions = self._kept_rows(layer, n_past)
                self._write_rows(tensor, positions, np.ascontiguousarray(rows[f"{kind}{layer}"]))
        window = np.arange(max(0, n_past - self._hparams.n_swa + 1), n_past)
        self._ring_positions[window % self.n_ring] = window
        self.n_past = n_past

    def _kept_rows(self, layer: int, n_past: int) -> npt.NDArray[np.int64]:
        """Positions that a layer keeps: all, or those in a sliding layer's window."""
        is_swa = self._hparams.is_swa[layer]
        return np.arange(max(0, n_past - self._hparams.n_swa + 1) if is_swa else 0, n_past)

    # ----------------------------------------------------------------------------------- inside

    def _has_window(self, n_past: int) -> bool:
        """Whether the rings hold everything that a step at ``n_past`` would see."""
        wanted = np.arange(max(0, n_past - self._hparams.n_swa + 1), n_past)
        return bool(np.array_equal(self._ring_positions[wanted % self.n_ring], wanted))

    def _restore(self, snapshot: RingSnapshot) -> None:
        self._ring_positions[:] = UNWRITTEN
        for layer, (keys, values) in snapshot.layers.items():
            self._write_rows(self.keys[layer], snapshot.rows, keys)
            self._write_rows(self.values[layer], snapshot.rows, values)
        self._ring_positions[snapshot.rows % self.n_ring] = snapshot.rows
        self.n_past = snapshot.n_past

    def _read_rows(self, tensor: Tensor, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        out = np.empty((len(rows), tensor.nb[1]), np.uint8)
        for start, stop, row in self._runs(rows, tensor.ne[1]):
            read_tensor(tensor, out[start:stop], row * tensor.nb[1])
        return out

    def _write_rows(
        self, tensor: Tensor, rows: npt.NDArray[np.int64], values: npt.NDArray[np.uint8]
    ) -> None:
        for start, stop, row in self._runs(rows, tensor.ne[1]):
            write_tensor(tensor, values[start:stop], row * tensor.nb[1])

    def _runs(self, rows: npt.NDArray[np.int64], n_rows: int) -> list[tuple[int, int, int]]:
        """Consecutive positions as (first index, end index, row of ``n_rows``): two at most."""
        if not len(rows):
            return []
        first_row = int(rows[0]) % n_rows
        n_before_wrap = min(len(rows), n_rows - first_row)
        runs = [(0, n_before_wrap, first_row)]
        if n_before_wrap < len(rows):
            runs.append((n_before_wrap, len(rows), 0))
        return runs


def _check_writable(keys: Tensor, device: DeviceBackend, kind: KvType) -> None:
    """A device that cannot write into what it holds would make ggml abort."""
    lib = load()
    with Context(3) as context:
        values, rows = context.new_tensor(F32, keys.ne[0], 1), context.new_tensor(I64, 1)
        if not device.supports(lib.set_rows(context.ptr, keys.ptr, values.ptr, rows.ptr)):
            raise UsageError(f"{device.name} has no K/V of type {kind}", "try --kv f16")


def _to_mask(is_seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float16]:
    return np.where(is_seen, np.float16(0), np.float16(-np.inf))
