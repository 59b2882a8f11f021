"""A nested model as a file of its own.

The type of attention and the sparsity move with a kept layer, so any layers may be left out whose
K/V no other reads.

Source: the slicing rules of Google's MatFormer Lab.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from g3n_cli.engine.gguf import GgufArray, GgufFile, TensorInfo, Value, row_bytes
from g3n_cli.engine.gguf_types import BLOCKS, GgmlType
from g3n_cli.engine.gguf_writer import GgufWriter, TensorSpec, ValueType, make_array
from g3n_cli.engine.hparams import ARCHITECTURE, HParams
from g3n_cli.engine.matformer import Size
from g3n_cli.engine.tensors import PLE_TENSOR
from g3n_cli.errors import UsageError
from g3n_cli.ggml.quantize import convert_rows

_CHUNK = 16 << 20
_PLE_PROJECTION = "per_layer_model_proj.weight"
_BY_LAYER = ("attention.sliding_window_pattern", "activation_sparsity_scale")


def write_slice(
    gguf: GgufFile,
    hparams: HParams,
    size: Size,
    out: Path,
    ple_type: GgmlType | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the nested model ``size`` of a Gemma 3n file, its weights bit for bit.

    Args:
        gguf: The parent.
        hparams: Of the parent.
        size: One that the parent has.
        out: The file to make.
        ple_type: What the per-layer embeddings become; None leaves them as they are.
        on_progress: Called with bytes written and bytes in all.

    Raises:
        G3nError: the file cannot be written.
        UsageError: rows of the per-layer embeddings are no whole blocks of ``ple_type``.
    """
    kept = [layer for layer, width in enumerate(size.widths) if width]
    parts = [part for info in gguf.tensors.values() if (part := _cut(info, hparams, size, kept))]
    if ple_type is not None:
        parts = [_retype(part, ple_type) if part.is_ple else part for part in parts]
    specs = [part.spec for part in parts]
    metadata = _make_metadata(gguf, hparams, size, kept)
    with GgufWriter(out, metadata, specs, on_progress) as writer:
        for part in parts:
            writer.write_tensor(part.spec.name, part.read(gguf.path))


@dataclass(frozen=True)
class _Part:
    """What a slice takes of a tensor: first rows, some ranges of bytes of each, maybe retyped."""

    source: TensorInfo
    spec: TensorSpec
    rows: npt.NDArray[np.int64]
    columns: tuple[slice, ...]

    @property
    def is_ple(self) -> bool:
        """Whether it is the table of per-layer embeddings."""
        return self.source.name == PLE_TENSOR

    def read(self, path: Path) -> Iterator[bytes]:
        """The part's bytes, some rows at a time."""
        info = self.source
        shape = (info.n_bytes // info.row_bytes, info.row_bytes)
        whole: npt.NDArray[Any] = np.memmap(path, np.uint8, "r", info.offset, shape)
        step = max(1, _CHUNK // info.row_bytes)
        for start in range(0, len(self.rows), step):
            rows = whole[self.rows[start : start + step]]
            part = np.concatenate([rows[:, columns] for columns in self.columns], axis=1)
            if self.spec.type != info.type:
                part = convert_rows(part, info.type, self.spec.type, self.spec.ne[0])
            yield part.tobytes()


def _retype(part: _Part, kind: GgmlType) -> _Part:
    n_values, n_block = part.spec.ne[0], BLOCKS[kind][0]
    if n_values % n_block:
        raise UsageError(
            f"per-layer embeddings of {n_values} values are no whole blocks of {n_block}",
            "choose f16, q8_0 or q4_0",
        )
    return replace(part, spec=replace(part.spec, type=kind))


def _cut(info: TensorInfo, hparams: HParams, size: Size, kept: list[int]) -> _Part | None:
    """What a slice takes of a tensor; None if nothing."""
    name, ne = info.name, info.ne
    rows = np.arange(info.n_bytes // info.row_bytes)
    columns: tuple[slice, ...] = (slice(None),)
    by_layer = np.arange(hparams.n_layer * hparams.n_ple).reshape(hparams.n_layer, -1)
    if name.startswith("blk."):
        _, number, rest = name.split(".", 2)
        width = size.widths[int(number)]
        if not width:
            return None
        name = f"blk.{kept.index(int(number))}.{rest}"
        if rest.startswith(("ffn_gate.", "ffn_up.")):
            rows, ne = rows[:width], (ne[0], width)
        elif rest.startswith("ffn_down."):
            columns, ne = (slice(row_bytes(info.type, width)),), (width, ne[1])
    elif name == PLE_TENSOR:
        step = row_bytes(info.type, hparams.n_ple)
        columns = tuple(slice(layer * step, (layer + 1) * step) for layer in kept)
        ne = (hparams.n_ple * len(kept), ne[1])
    elif name == _PLE_PROJECTION:
        rows, ne = by_layer[kept].ravel(), (ne[0], hparams.n_ple * len(kept))
    return _Part(info, TensorSpec(name, info.type, ne), rows, columns)


def _make_metadata(
    gguf: GgufFile, hparams: HParams, size: Size, kept: list[int]
) -> dict[str, Value]:
    metadata = dict(gguf.metadata)
    metadata.pop("general.alignment", None)
    metadata.pop("general.size_label", None)
    if isinstance(name := metadata.get("general.name"), str):
        metadata["general.name"] = f"{name} {size.name}"
    for key in _BY_LAYER:
        values = metadata[f"{ARCHITECTURE}.{key}"]
        assert isinstance(values, GgufArray)
        items = values.to_numpy()[kept]
        metadata[f"{ARCHITECTURE}.{key}"] = GgufArray(values.type, len(kept), items.tobytes())
    widths = [size.widths[layer] for layer in kept]
    metadata[f"{ARCHITECTURE}.feed_forward_length"] = make_array(ValueType.UINT32, widths)
    metadata[f"{ARCHITECTURE}.block_count"] = len(kept)
    n_shared = sum(layer >= hparams.n_layer_kv for layer in kept)
    metadata[f"{ARCHITECTURE}.attention.shared_kv_layers"] = n_shared
    return metadata
