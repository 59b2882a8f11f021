"""The vision part of a projector file: which blocks it consists of, and in what shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from g3n_cli.engine.encoders.mmproj import Mmproj
from g3n_cli.engine.gguf import TensorInfo
from g3n_cli.errors import ModelError

N_HARD = 128
"""Rows of the table of embeddings that stand for no picture."""

N_COLOURS = 3

BlockKind = Literal["edge", "inverted", "attention"]

_BLOCK = re.compile(r"v\.blk\.(\d{1,3})\.(\d{1,3})\.(.+)")
_KERNELS = (3, 5, 7)
_LEAST_STAGES = 2
_HINT = "make a projector file with both encoders from the original weights: g3n convert"


@dataclass(frozen=True)
class VisionBlock:
    """A block of MobileNetV5.

    Attributes:
        kind: What it computes: an edge residual, a universal inverted residual, or attention.
        stage: The stage it belongs to.
        n_in: Channels it takes.
        n_out: Channels it makes.
        stride: 2 if it halves the sides of the picture, else 1.
        tensors: By their names without prefix and ``.weight``.
    """

    kind: BlockKind
    stage: int
    n_in: int
    n_out: int
    stride: int
    tensors: Mapping[str, TensorInfo]

    @property
    def has_skip(self) -> bool:
        """Whether what it takes is added to what it makes."""
        return self.stride == 1 and self.n_in == self.n_out


@dataclass(frozen=True)
class VisionFile:
    """Sizes and tensors of a vision encoder.

    Attributes:
        mmproj: The file.
        n_embd: Channels of the encoder's output.
        n_text: Width of the embeddings it makes.
        stem: ``conv [3, 3, 3, n]``, ``bias [n]``, ``bn [n]``.
        blocks: In order.
        fusion: ``pw_exp.conv``, ``pw_exp.bn``, ``pw_proj.conv``, ``pw_proj.bn``: what the last two
            stages' outputs go through together.
        ends: Tensors behind it, by their names without ``.weight``.
    """

    mmproj: Mmproj
    n_embd: int
    n_text: int
    stem: Mapping[str, TensorInfo]
    blocks: tuple[VisionBlock, ...]
    fusion: Mapping[str, TensorInfo]
    ends: Mapping[str, TensorInfo]

    @property
    def fused(self) -> tuple[int, int]:
        """Indices of the last blocks of the last two stages."""
        last = self.blocks[-1].stage
        return max(i for i, block in enumerate(self.blocks) if block.stage < last), len(
            self.blocks
        ) - 1

    @classmethod
    def from_mmproj(cls, mmproj: Mmproj) -> VisionFile:
        """Read and check them.

        Raises:
            ModelError: there is no vision encoder, or a tensor is missing, unknown, or has the
                wrong shape.
        """
        if not mmproj.has_vision:
            raise ModelError(
                f"this model has no vision encoder: {mmproj.path} holds none of Gemma 3n's", _HINT
            )
        stem = _find_stem(mmproj)
        blocks = _find_blocks(mmproj, stem["conv"].ne[3])
        n_fused = blocks[-1].n_out + next(
            block.n_out for block in reversed(blocks) if block.stage < blocks[-1].stage
        )
        ffn = _Part(mmproj, "v.msfa.ffn")
        fusion = ffn.find_pointwise("pw_exp.conv", "pw_exp.bn", n_fused)
        fusion |= ffn.find_pointwise("pw_proj.conv", "pw_proj.bn", fusion["pw_exp.conv"].ne[1])
        n_embd = fusion["pw_proj.conv"].ne[1]
        ends = _find_ends(mmproj, n_embd)
        n_text = ends["mm.input_projection"].ne[1]
        return cls(mmproj, n_embd, n_text, stem, blocks, fusion, ends)


@dataclass(frozen=True)
class _Part:
    """Tensors whose names begin alike."""

    mmproj: Mmproj
    prefix: str

    def find(self, name: str, *ne: int) -> TensorInfo:
        ending = "" if name.endswith(("gamma", "bias")) else ".weight"
        return self.mmproj.find_shaped((f"{self.prefix}.{name}{ending}",), *ne)

    def find_filters(self, name: str, *ne: int) -> TensorInfo:
        """Of extents ``ne``, and as many of them as there are."""
        info = self.mmproj.find(f"{self.prefix}.{name}.weight")
        n_values = 1
        for n in ne:
            n_values *= n
        return self.find(name, *ne, max(1, info.n_values // n_values))

    def find_pointwise(self, conv: str, norm: str, n_in: int) -> dict[str, TensorInfo]:
        """A convolution of single pixels, ``[n_in, n_out]``, and the norm behind it."""
        found = self.find_filters(conv, n_in)
        return {conv: found, norm: self.find(norm, found.ne[1])}

    def find_depthwise(self, conv: str, norm: str, n: int) -> dict[str, TensorInfo]:
        """A convolution of each channel by itself, ``[k, k, 1, n]``, and the norm behind it."""
        side = self.mmproj.find(f"{self.prefix}.{conv}.weight").ne[0]
        if side not in _KERNELS:
            raise ModelError(
                f"{self.mmproj.path}: tensor {self.prefix}.{conv}.weight: a kernel of {side}"
            )
        return {conv: self.find(conv, side, side, 1, n), norm: self.find(norm, n)}


def _find_stem(mmproj: Mmproj) -> dict[str, TensorInfo]:
    part = _Part(mmproj, "v.conv_stem")
    conv = part.find_filters("conv", 3, 3, N_COLOURS)
    n = conv.ne[3]
    return {"conv": conv, "bias": part.find("conv.bias", n), "bn": part.find("bn", n)}


def _find_blocks(mmproj: Mmproj, n_in: int) -> tuple[VisionBlock, ...]:
    blocks: list[VisionBlock] = []
    for (stage, number), names in _list_blocks(mmproj).items():
        part = _Part(mmproj, f"v.blk.{stage}.{number}")
        stride = 2 if number == 0 else 1
        if "conv_exp" in names:
            kind: BlockKind = "edge"
            tensors = _find_edge(part, n_in)
            n_out = tensors["conv_pwl"].ne[1]
        elif "pw_exp.conv" in names:
            kind = "inverted"
            tensors = _find_inverted(part, names, n_in, stride)
            n_out = tensors["pw_proj.conv"].ne[1]
        else:
            kind = "attention"
            tensors = _find_attention(part, names, n_in)
            n_out = tensors["attn.output.proj"].ne[1]
        if unknown := names - set(tensors):
            raise ModelError(f"{mmproj.path}: unknown tensor {part.prefix}.{min(unknown)}")
        blocks.append(VisionBlock(kind, stage, n_in, n_out, stride, tensors))
        if kind == "attention" and not blocks[-1].has_skip:
            raise ModelError(f"{mmproj.path}: {part.prefix} cannot be attention")
        n_in = n_out
    return tuple(blocks)


def _list_blocks(mmproj: Mmproj) -> dict[tuple[int, int], set[str]]:
    """Names of tensors without ``.weight`` by stage and block, in order, without gaps."""
    found: dict[tuple[int, int], set[str]] = {}
    for name in mmproj.gguf.tensors:
        if match := _BLOCK.fullmatch(name):
            names = found.setdefault((int(match[1]), int(match[2])), set())
            names.add(match[3].removesuffix(".weight"))
    stages = sorted({stage for stage, _ in found})
    expected = [
        (stage, number)
        for stage in stages
        for number in range(sum(1 for other, _ in found if other == stage))
    ]
    is_whole = stages == list(range(len(stages))) and len(stages) >= _LEAST_STAGES
    if not is_whole or sorted(found) != expected:
        raise ModelError(f"{mmproj.path}: blocks of the vision encoder are missing")
    return {place: found[place] for place in expected}


def _find_edge(part: _Part, n_in: int) -> dict[str, TensorInfo]:
    conv = part.find_filters("conv_exp", 3, 3, n_in)
    n_hidden = conv.ne[3]
    return {
        "conv_exp": conv,
        "bn1": part.find("bn1", n_hidden),
        **part.find_pointwise("conv_pwl", "bn2", n_hidden),
    }


def _find_inverted(part: _Part, names: set[str], n_in: int, stride: int) -> dict[str, TensorInfo]:
    found: dict[str, TensorInfo] = {}
    if "dw_start.conv" in names:
        found |= part.find_depthwise("dw_start.conv", "dw_start.bn", n_in)
    found |= part.find_pointwise("pw_exp.conv", "pw_exp.bn", n_in)
    n_hidden = found["pw_exp.conv"].ne[1]
    if "dw_mid.conv" in names:
        found |= part.find_depthwise("dw_mid.conv", "dw_mid.bn", n_hidden)
    if stride > 1 and not {"dw_start.conv", "dw_mid.conv"} & set(found):
        raise ModelError(f"{part.mmproj.path}: {part.prefix} has nothing that halves the picture")
    found |= part.find_pointwise("pw_proj.conv", "pw_proj.bn", n_hidden)
    return found | _find_scale(part, names, found["pw_proj.conv"].ne[1])


def _find_attention(part: _Part, names: set[str], n_in: int) -> dict[str, TensorInfo]:
    found = {"norm": part.find("norm", n_in)}
    for name in ("key", "value"):
        if f"attn.{name}.down_conv" in names:
            found |= part.find_depthwise(f"attn.{name}.down_conv", f"attn.{name}.norm", n_in)
        found[f"attn.{name}.proj"] = part.find_filters(f"attn.{name}.proj", n_in)
    query = part.find_filters("attn.query.proj", n_in)
    width_k, width_v = (found[f"attn.{name}.proj"].ne[1] for name in ("key", "value"))
    n_head = query.ne[1] // width_k
    is_even = ("attn.key.down_conv" in found) == ("attn.value.down_conv" in found)
    if query.ne[1] != n_head * width_k or not is_even:
        raise ModelError(
            f"{part.mmproj.path}: {part.prefix}: queries of {query.ne[1]} values do not fit keys"
            f" of {width_k}"
        )
    found["attn.query.proj"] = query
    found["attn.output.proj"] = part.find_filters("attn.output.proj", n_head * width_v)
    return found | _find_scale(part, names, found["attn.output.proj"].ne[1])


def _find_scale(part: _Part, names: set[str], n: int) -> dict[str, TensorInfo]:
    name = "layer_scale.gamma"
    return {name: part.find(name, n)} if name in names else {}


def _find_ends(mmproj: Mmproj, n_embd: int) -> dict[str, TensorInfo]:
    part = _Part(mmproj, "mm")
    return {
        "v.msfa.norm": mmproj.find_shaped(("v.msfa.norm.weight",), n_embd),
        "mm.input_projection": part.find_filters("input_projection", n_embd),
        "mm.soft_emb_norm": part.find("soft_emb_norm", n_embd),
        "mm.hard_emb_norm": part.find("hard_emb_norm", n_embd),
        "mm.embedding": part.find("embedding", n_embd, N_HARD),
    }
