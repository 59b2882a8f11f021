"""The compiled kernels: which variant runs here, and its functions' addresses."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path

from g3n_cli.errors import G3nError, UsageError
from g3n_cli.kernels.build import VARIANTS, file_name

FOLDER = Path(__file__).parent
PANEL = 16
"""Rows of a panel."""

GROUP = 32
"""Channels of a group, as weights of convolutions lie in memory."""

LANES = 16
"""Values that the nodes without products take at a time."""

BLOCK = 32
"""Values that share a scale when they are quantized."""

_F16 = 1
_MOST_HEADS, _MOST_WIDTH = 32, 256
_NODES = (
    *("quantize", "product", "dense", "cutoff", "gated", "geglu"),
    *("attention", "predict", "correct", "residual", "get_rows"),
    *("convolve", "spread", "convolve_spread", "norm", "depthwise"),
)
_BITS = {"avx2": 1, "avxvnni": 2, "avx512vnni": 4, "neon": 8}


@dataclass(frozen=True)
class Kernels:
    """One variant of the kernels.

    Attributes:
        variant: Its name.
        quantize: Address of the node ``float32 [k, n]`` to activations; parameters n and what the
            largest value of a block becomes.
        product: Address of the node activations, matrix to ``float32 [rows, n]``.
        dense: Address of the node ``float32 [k, n]``, matrix to ``float32 [rows, n]``.
        cutoff: Address of the node gate ``float32 [n_ff, n]`` to ``float32 [n]``; parameter z.
        attention: Address of the node queries, keys, values, mask if there is one, to ``float32
            [d_v * n_head, n]``; see ``attention.c``.
        predict: Address of the node of AltUp's prediction; see ``altup.c``, parameter eps.
        correct: Address of the node of AltUp's correction; see ``altup.c``, parameter eps.
        residual: Address of the node of what goes into an FFN; see ``residual.c``, parameter eps.
        get_rows: Address of the node ids ``int32 [n]``, matrix to ``float32 [k, n]``.
        geglu: Address of the node gate, up ``float32 [n_ff, n]`` to the same; see ``ffn.c``.
        gated: Address of the node activations, up, gate to activations; see ``ffn.c``;
            parameters as of ``quantize``, and whether up is as in the file.
        convolve: Address of the node picture, weights to another picture; see ``convolve.c``;
            parameters side and stride.
        spread: Address of the node picture to what ``convolve_spread`` takes; parameter side.
        convolve_spread: Address of the node of a convolution of 3 x 3 with stride 1: what
            ``spread`` makes, weights to another picture; see ``convolve.c``; parameter side.
        norm: Address of the node ``float32 [n_channels, n]`` to the same; see ``pictures.c``;
            parameters eps and whether GELU follows.
        depthwise: Address of the node picture, weights to another picture; see ``pictures.c``;
            parameters as of ``norm``, then as of ``convolve``.
    """

    variant: str
    library: ctypes.CDLL
    quantize: int
    product: int
    dense: int
    cutoff: int
    geglu: int
    predict: int
    correct: int
    residual: int
    get_rows: int
    attention: int
    gated: int
    convolve: int
    spread: int
    convolve_spread: int
    norm: int
    depthwise: int

    def has_panels(self, kind: int, ne: tuple[int, ...]) -> bool:
        """Whether a matrix of ggml type ``kind`` can be stored in panels."""
        is_matrix = len(ne) in (2, 3) and ne[1] % PANEL == 0
        return is_matrix and self.count_row_bytes(kind, ne[0]) > 0

    def is_quantized(self, kind: int) -> bool:
        """Whether products with matrices of this type want quantized activations."""
        return kind != _F16

    def count_row_bytes(self, kind: int, k: int) -> int:
        """Bytes of a row of ``k`` values of ggml type ``kind``; 0 if it has no panels."""
        return int(self.library.g3n_row_bytes(kind, k))

    def count_activation_bytes(self, n: int, k: int) -> int:
        """Bytes of ``n`` columns of ``k`` quantized values."""
        return int(self.library.g3n_activation_bytes(n, k))

    def can_attend(self, n_heads: int, width_k: int, width_v: int) -> bool:
        """Whether the attention node takes ``n_heads`` query heads per K/V head of these widths."""
        widths = (width_k, width_v)
        return n_heads <= _MOST_HEADS and all(w % 16 == 0 and w <= _MOST_WIDTH for w in widths)

    def find_columns(
        self, kind: int, k: int, first: int, last: int
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """Bytes of a panel of ``k`` columns that hold those from ``first`` to ``last - 1``.

        Two ranges: values, and scales where they lie apart; else the second is empty.
        """
        find = self.library.g3n_column_offset
        values, scales = ((find(kind, k, first, i), find(kind, k, last, i)) for i in (0, 1))
        return values, scales

    def pack(
        self,
        kind: int,
        to: int,
        rows: memoryview,
        n_rows: int,
        k: int,
        columns: tuple[int, int] | None = None,
    ) -> None:
        """Store columns (or all) of ``n_rows`` rows of the file's bytes as panels at ``to``.

        Raises:
            ValueError: the type has no panels, or rows or columns are no whole ones.
        """
        first, last = columns or (0, k)
        n_bytes = n_rows * self.count_row_bytes(kind, k)
        are_whole = n_rows % PANEL == 0 and all(
            n == 0 or self.count_row_bytes(kind, n) > 0 for n in (first, last)
        )
        if not 0 < n_bytes == len(rows) or not are_whole or not 0 <= first <= last <= k:
            raise ValueError(f"{n_rows} rows of {k} values of type {kind} do not fill panels")
        source = (ctypes.c_uint8 * len(rows)).from_buffer(rows)
        self.library.g3n_pack(kind, to, source, n_rows // PANEL, k, first, last)


@functools.cache
def find_variants() -> tuple[str, ...]:
    """Variants that are installed and run on this machine, the best first."""
    installed = [name for name in VARIANTS if (FOLDER / file_name(name)).exists()]
    if "portable" not in installed:
        return ()
    bits = ctypes.CDLL(str(FOLDER / file_name("portable"))).g3n_cpu_variants()
    return tuple(name for name in reversed(installed) if _BITS.get(name, 0) & ~bits == 0)


@functools.cache
def load_kernels(name: str) -> Kernels | None:
    """The kernels that ``--kernels`` names.

    Args:
        name: ``own`` for the best variant that beats ggml, ``ggml`` for none, or a variant.

    Returns:
        None if ggml's products are to be used: also where only the portable variant runs, which is
        there to compare with.

    Raises:
        UsageError: the variant does not run here.
        G3nError: it was compiled from other sources.
    """
    variants = find_variants()
    if name == "own":
        name = next((variant for variant in variants if variant != "portable"), "ggml")
    if name == "ggml":
        return None
    if name not in variants:
        known = ", ".join(("own", "ggml", *variants))
        raise UsageError(f"--kernels {name} does not run here", f"there is: {known}")
    library = ctypes.CDLL(str(FOLDER / file_name(name)))
    try:
        return Kernels(name, library, **_declare(library))
    except AttributeError as error:
        hint = "install g3n again: make, or pip install"
        raise G3nError("the compiled kernels are older than g3n", hint) from error


def _declare(library: ctypes.CDLL) -> dict[str, int]:
    """Prototypes of what is called from Python; addresses of the nodes."""
    c_long, c_int, c_void_p = ctypes.c_int64, ctypes.c_int, ctypes.c_void_p
    prototypes: dict[str, tuple[type | None, ...]] = {
        # name: (result, arguments...)
        "activation_bytes": (c_long, c_long, c_long),
        "row_bytes": (c_long, c_int, c_long),
        "column_offset": (c_long, c_int, c_long, c_long, c_int),
        "pack": (None, c_int, c_void_p, c_void_p, c_long, c_long, c_long, c_long),
        "peak": (c_long, c_long, ctypes.c_int32),
    }
    for name, (result, *arguments) in prototypes.items():
        function = getattr(library, f"g3n_{name}")
        function.restype, function.argtypes = result, arguments
    return {
        node: ctypes.cast(getattr(library, f"g3n_{node}"), c_void_p).value or 0 for node in _NODES
    }
