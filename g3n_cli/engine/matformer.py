"""The models nested in a Gemma 3n: narrower FFNs, and some layers left out.

A narrower FFN uses the first rows of gate and up and the first columns of down. Layers whose K/V
others read are never left out.

Source: MatFormer (arXiv 2310.07707), and the slicing rules of Google's MatFormer Lab.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from g3n_cli.config import NamedSize, Widths, parse_widths
from g3n_cli.engine.api import SizeInfo
from g3n_cli.engine.gguf import GgufFile, TensorInfo
from g3n_cli.engine.gguf_types import BLOCKS
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.tensors import PLE_TENSOR, find_unused
from g3n_cli.errors import UsageError

FULL = "full"
_FFN = ("ffn_gate", "ffn_up", "ffn_down")
_HEAD = "output.weight"
_EMBEDDINGS = (PLE_TENSOR, "token_embd.weight", _HEAD)
SPARSE_FROM = 1.0
"""Standard deviations from which on few enough gates are open, a sixth, to read single rows."""

_BY_LAYER = "per_layer_model_proj.weight"
_REARRANGED_MULTIPLE = 32
_SHARE = re.compile(r"(\d+(?:\.\d+)?)%")
_PARAMETERS = re.compile(r"e?(\d+(?:\.\d+)?)([bm])")
_UNITS = {"b": 1e9, "m": 1e6}


@dataclass(frozen=True)
class Size:
    """One of the nested models.

    Attributes:
        name: As it was asked for.
        widths: Of its layers.
    """

    name: str
    widths: Widths


class SizeResolver:
    """Finds the nested model that a text stands for.

    Args:
        gguf: The model's file.
        hparams: Of the model.
        named: Sizes that have names; those of other models are ignored.
        multiple: Widths are multiples of so many.
    """

    def __init__(
        self, gguf: GgufFile, hparams: HParams, named: Sequence[NamedSize], multiple: int
    ) -> None:
        self._gguf, self._hparams, self._multiple = gguf, hparams, multiple
        shape = hparams.n_ff
        self._named = {FULL: Size(FULL, shape)}
        for size in named:
            if (size.n_ff,) * size.n_layer == shape:
                meant = Size(FULL if size.widths == shape else size.name, size.widths)
                self._named |= dict.fromkeys((size.name, *size.aliases), meant)
        sizes = dict.fromkeys(self._named.values())
        self.offered = tuple(sorted(sizes, key=self._count, reverse=True))

    def resolve(self, text: str) -> Size:
        """The size called ``text``.

        It is ``full``, a published name, a share of the parameters (``70%``), their number
        (``3b``), or widths by layer (``8192*20,-*5,8192*10``; ``-`` leaves a layer out).

        Raises:
            UsageError: there is no such size.
        """
        wanted = text.strip().lower()
        if wanted in self._named:
            return self._named[wanted]
        if match := _SHARE.fullmatch(wanted):
            share = float(match[1]) / 100
            return self._mix(wanted, share * self.count_params(self._hparams.n_ff))
        if match := _PARAMETERS.fullmatch(wanted):
            return self._mix(wanted, round(float(match[1]) * _UNITS[match[2]]))
        if (widths := parse_widths(wanted)) is None:
            known = ", ".join(size.name for size in self.offered)
            raise UsageError(
                f"no size is called {text!r}",
                f"there is {known}; or a share like 70%, parameters like 3b, widths like 256*5,-*2",
            )
        size = Size(wanted, widths)
        self._check(size)
        return size

    def describe(self) -> tuple[SizeInfo, ...]:
        """The sizes on offer, the largest first."""
        return tuple(
            SizeInfo(
                name=size.name,
                n_params=self._count(size),
                n_bytes=self.count_bytes(size.widths),
                n_layer=sum(width > 0 for width in size.widths),
                read_bytes=self.count_read_bytes(size.widths),
            )
            for size in self.offered
        )

    def find_fitting(self, n_bytes: int) -> Size:
        """The largest size on offer whose weights take at most ``n_bytes``, else the smallest."""
        fitting = (size for size in self.offered if self.count_bytes(size.widths) <= n_bytes)
        return next(fitting, self.offered[-1])

    def _count(self, size: Size) -> int:
        return self.count_params(size.widths)

    def count_params(self, widths: Widths) -> int:
        """Effective parameters of a size, counted as Google does for the published ones.

        That is without token and per-layer embeddings; 3.98 billion for E4B, 1.91 for E2B.
        """
        kept = sum(width > 0 for width in widths) / len(widths)
        total = 0.0
        for info in self._gguf.tensors.values():
            if info.name not in _EMBEDDINGS:
                share = kept if info.name == _BY_LAYER else self._find_share(info, widths)
                total += math.prod(info.ne) * share
        return round(total)

    def count_bytes(self, widths: Widths) -> int:
        """Bytes of the weights that a size computes with: all but the per-layer embeddings."""
        return round(sum(n_bytes for _, n_bytes in self._find_used(widths)))

    def count_read_bytes(self, widths: Widths) -> int:
        """Bytes of them that a token reads: of ``ffn_up`` only rows whose gates are not cut off."""
        shares = {
            f"blk.{layer}.ffn_up.weight": math.erfc(z / math.sqrt(2)) / 2
            for layer, z in enumerate(self._hparams.sparsity)
            if z is not None and z >= SPARSE_FROM
        }
        if _HEAD in self._gguf.tensors:
            shares["token_embd.weight"] = 0.0  # a row
        used = self._find_used(widths)
        return round(sum(n_bytes * shares.get(info.name, 1.0) for info, n_bytes in used))

    def _find_used(self, widths: Widths) -> Iterator[tuple[TensorInfo, float]]:
        """Tensors with the bytes that a size has in memory of them."""
        left_out = find_unused(self._gguf, self._hparams) | {PLE_TENSOR}
        for info in self._gguf.tensors.values():
            if info.name not in left_out:
                yield info, info.n_bytes * self._find_share(info, widths)

    def _find_share(self, info: TensorInfo, widths: Widths) -> float:
        """How much of a tensor a size uses."""
        if not info.name.startswith("blk."):
            return 1.0
        _, number, part, *_ = info.name.split(".")
        width = widths[int(number)]
        return width / self._hparams.n_ff[int(number)] if part in _FFN else float(width > 0)

    def _mix(self, name: str, n_params: float) -> Size:
        """The largest size of at most ``n_params`` parameters between the smallest one and all.

        Source of the order: MatFormer Lab's advice.
        """
        full = self._hparams.n_ff
        half = tuple(-(-n // 2 // self._multiple) * self._multiple for n in full)
        least = min((s.widths for s in (*self.offered, Size("", half))), key=self.count_params)
        if n_params < (smallest := self.count_params(least)):
            raise UsageError(
                f"the size {name} is too small",
                f"the smallest has {format_params(smallest)} parameters, the full one"
                f" {format_params(self.count_params(full))}",
            )
        widths = list(least)
        for layer, width in self._widenings(least, half):
            before, widths[layer] = widths[layer], width
            if self.count_params(tuple(widths)) > n_params:
                widths[layer] = before
        return Size(name, tuple(widths))

    def _widenings(self, least: Widths, half: Widths) -> Iterator[tuple[int, int]]:
        """Layers and widths to go on to: left-out ones, then full ones, then from the last on."""
        hparams = self._hparams
        yield from ((layer, half[layer]) for layer, width in enumerate(least) if width == 0)
        layers = sorted(range(hparams.n_layer), key=lambda layer: (hparams.is_swa[layer], -layer))
        for layer in layers:
            steps = range(least[layer] or half[layer], hparams.n_ff[layer], 8 * self._multiple)
            yield from ((layer, width) for width in (*steps[1:], hparams.n_ff[layer]))

    def _check(self, size: Size) -> None:
        """Refuse a size that cannot be computed.

        Raises:
            UsageError: says which layer and why.
        """
        hparams, multiple = self._hparams, self._multiple
        if len(size.widths) != hparams.n_layer:
            raise UsageError(
                f"{size.name} gives {len(size.widths)} layers, the model has {hparams.n_layer}"
            )
        sources = {hparams.kv_source[i] for i in range(hparams.n_layer_kv, hparams.n_layer)}
        reserved = sources | {hparams.n_layer_kv - 1}
        for layer, (width, most) in enumerate(zip(size.widths, hparams.n_ff, strict=True)):
            if width == 0 and layer in reserved:
                raise UsageError(f"layer {layer} cannot be left out: later layers read its K/V")
            if width > most:
                raise UsageError(f"layer {layer} has a width of {most}, not of {width}")
            if width % multiple and width != most:
                raise UsageError(f"the width {width} is no multiple of {multiple}")


def find_width_multiple(gguf: GgufFile, *, repack: bool) -> int:
    """What widths of an FFN are multiples of: whole blocks of its matrices, and whole panels."""
    kinds = {
        info.type
        for info in gguf.tensors.values()
        if info.name.removesuffix(".weight").endswith(_FFN)
    }
    least = _REARRANGED_MULTIPLE if repack else 1
    return max(least, *(BLOCKS[kind][0] for kind in kinds))


def format_params(n: int) -> str:
    """Parameters as sizes are asked for: ``1.91b``, ``14.0m``."""
    return f"{n / 1e9:.2f}b" if n >= 1e8 else f"{n / 1e6:.1f}m"
