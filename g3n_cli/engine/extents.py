"""Which rows and columns of a model's matrices a nested model uses."""

from __future__ import annotations

import math

from g3n_cli.config import Widths
from g3n_cli.engine.gguf import TensorInfo
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.matformer import SPARSE_FROM

DOWN = "ffn_down"
NOTHING = (0, 0)

Extents = tuple[int, int]
"""Rows and columns of a tensor that are in memory, from the first on."""


def extents_of(info: TensorInfo) -> Extents:
    """All of a tensor."""
    return math.prod(info.ne[1:]), info.ne[0]


def find_used(info: TensorInfo, widths: Widths) -> Extents:
    """Rows and columns that a nested model uses."""
    if not info.name.startswith("blk."):
        return extents_of(info)
    width = widths[int(info.name.split(".")[1])]
    n_rows, n_columns = extents_of(info)
    match part_of(info):
        case _ if width == 0:
            return NOTHING
        case "ffn_gate" | "ffn_up":
            return min(width, n_rows), n_columns
        case "ffn_down":
            return n_rows, min(width, n_columns)
        case _:
            return n_rows, n_columns


def part_of(info: TensorInfo) -> str:
    """``ffn_down`` of ``blk.3.ffn_down.weight``."""
    return info.name.removesuffix(".weight").rpartition(".")[2]


def find_sparse(hparams: HParams) -> frozenset[str]:
    """Matrices of which a token uses few rows, as most of its gates are cut off."""
    layers = (i for i, z in enumerate(hparams.sparsity) if z is not None and z >= SPARSE_FROM)
    return frozenset(f"blk.{layer}.ffn_up.weight" for layer in layers)
