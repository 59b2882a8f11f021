"""The vision and the audio part of a checkpoint in one file, complete.

Names are those llama.cpp's converter gives, which libmtmd reads. What the converter loses or
spoils is right here: the norms of the two convolutions before the conformer
(``a.conv1d.N.norm``), the shape of ``layer_scale.gamma``, the audio norms' epsilon.

Source: llama.cpp ``conversion/gemma.py``, ``Gemma3nVisionAudioModel``, and
``gguf-py/gguf/tensor_mapping.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from g3n_cli.convert.plan import Part, Plan, fit_type, require, to_ne
from g3n_cli.convert.safetensors import Weight, open_weights
from g3n_cli.convert.settings import Section, describe, open_config, read_text_section
from g3n_cli.convert.text import FILE_TYPES, MOST_LAYERS, QUANTIZATION_VERSION
from g3n_cli.engine.gguf import MAX_NAME, Value
from g3n_cli.engine.gguf_types import GgmlType
from g3n_cli.engine.gguf_writer import TensorSpec, ValueType, make_array
from g3n_cli.errors import ModelError

KINDS = ("f32", "f16", "q8_0")
"""What a projector file can be converted to."""

_PREFIX = re.compile(r"(?:model\.)?(?=(?:audio_tower|vision_tower|embed_audio|embed_vision)\.)")
_EMBEDDER = {
    "embedding": "embedding",
    "hard_embedding_norm": "hard_emb_norm",
    "soft_embedding_norm": "soft_emb_norm",
    "embedding_projection": "input_projection",
}
_AUDIO = {
    "subsample_conv_projection.conv_0.conv": "a.conv1d.0",
    "subsample_conv_projection.conv_0.norm": "a.conv1d.0.norm",
    "subsample_conv_projection.conv_1.conv": "a.conv1d.1",
    "subsample_conv_projection.conv_1.norm": "a.conv1d.1.norm",
    "subsample_conv_projection.input_proj_linear": "a.pre_encode.out",
}
_CONFORMER = {
    "ffw_layer_start.pre_layer_norm": "ffn_norm",
    "ffw_layer_start.ffw_layer_1": "ffn_up",
    "ffw_layer_start.ffw_layer_2": "ffn_down",
    "ffw_layer_start.post_layer_norm": "ffn_post_norm",
    "attention.pre_attn_norm": "ln1",
    "attention.post_norm": "ln2",
    "attention.attn.q_proj": "attn_q",
    "attention.attn.k_proj": "attn_k",
    "attention.attn.v_proj": "attn_v",
    "attention.post": "attn_out",
    "attention.attn.per_dim_scale": "per_dim_scale",
    "attention.attn.relative_position_embedding.pos_proj": "linear_pos",
    "lconv1d.pre_layer_norm": "conv_norm",
    "lconv1d.linear_start": "conv_pw1",
    "lconv1d.depthwise_conv1d": "conv_dw",
    "lconv1d.conv_norm": "norm_conv",
    "lconv1d.linear_end": "conv_pw2",
    "ffw_layer_end.pre_layer_norm": "ffn_norm_1",
    "ffw_layer_end.ffw_layer_1": "ffn_up_1",
    "ffw_layer_end.ffw_layer_2": "ffn_down_1",
    "ffw_layer_end.post_layer_norm": "ffn_post_norm_1",
    "norm": "layer_pre_norm",
}
_BLOCK = re.compile(r"audio_tower\.conformer\.(\d+)\.(.+)")
_VISION = re.compile(
    r"vision_tower\.timm_model\.(?:(blocks\.\d+\.\d+\..+)"
    r"|(conv_stem\.(?:conv|bn)\..+|msfa\.ffn\.pw_(?:exp|proj)\.(?:conv|bn)\.weight|msfa\.norm\.weight))"
)
_VISION_BLOCK_PART = re.compile(
    r"(?:conv_exp|bn1|conv_pwl|bn2|norm|(?:dw_start|dw_mid|pw_exp|pw_proj)\.(?:conv|bn)"
    r"|attn\.(?:query|key|value|output)\.proj|attn\.(?:key|value)\.(?:down_conv|norm))\.weight"
    r"|layer_scale\.gamma"
)
# What a stage or the end cannot be without; the blocks themselves may be of any kind.
_VISION_NEEDS = (
    "v.conv_stem.conv.weight",
    "v.conv_stem.conv.bias",
    "v.conv_stem.bn.weight",
    "v.msfa.ffn.pw_exp.conv.weight",
    "v.msfa.ffn.pw_exp.bn.weight",
    "v.msfa.ffn.pw_proj.conv.weight",
    "v.msfa.ffn.pw_proj.bn.weight",
    "v.msfa.norm.weight",
)
_N_STAGES = 4


def plan_projector(folder: Path, kind: str) -> Plan:
    """Everything of a projector file but the values.

    Args:
        folder: The checkpoint.
        kind: One of ``KINDS``.

    Raises:
        ModelError: it is no Gemma 3n, has no encoder, or one is incomplete.
    """
    config = open_config(folder)
    weights = dict(_select(open_weights(folder)))
    has_vision = any(name.startswith("v.") for name in weights)
    has_audio = any(name.startswith("a.") for name in weights)
    if not (has_vision or has_audio):
        raise ModelError(f"{folder} has neither a vision nor an audio part")
    n_embd_text = read_text_section(config).count("hidden_size", 2048)
    metadata: dict[str, Value] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        **describe(folder),
        "general.file_type": FILE_TYPES[kind],
        "general.quantization_version": QUANTIZATION_VERSION,
    }
    if has_vision:
        metadata |= make_vision_keys(config.section("vision_config"), n_embd_text)
        _check_vision(weights, folder)
    if has_audio:
        metadata |= _make_audio_keys(config.section("audio_config"), n_embd_text)
        _check_audio(weights, folder, config.section("audio_config"), n_embd_text)
    return Plan(metadata, tuple(_make_part(name, w, kind) for name, w in weights.items()))


def _select(weights: Mapping[str, Weight]) -> Iterator[tuple[str, Weight]]:
    """Tensors of the encoders by the name they get.

    Raises:
        ModelError: one of them is unknown.
    """
    for name, weight in weights.items():
        if not _PREFIX.match(name):
            continue
        new = _rename(_PREFIX.sub("", name, count=1))
        if new is None or len(new) > MAX_NAME:
            raise ModelError(f"{weight.path}: unknown tensor {name!r}")
        yield new, weight


def _rename(name: str) -> str | None:
    """A tensor's name in the file; None if it has none."""
    stem = name.removesuffix(".weight")
    if vision := _VISION.fullmatch(name):
        return _rename_vision(vision[1], vision[2])
    if block := _BLOCK.fullmatch(stem):
        part = _CONFORMER.get(block[2])
        suffix = "" if part == "per_dim_scale" else ".weight"
        return part and f"a.blk.{block[1]}.{part}{suffix}"
    tower, _, rest = stem.partition(".")
    if tower == "audio_tower":
        return f"{_AUDIO[rest]}.weight" if rest in _AUDIO else None
    prefix = {"embed_vision": "mm", "embed_audio": "mm.a"}.get(tower)
    return f"{prefix}.{_EMBEDDER[rest]}.weight" if prefix and rest in _EMBEDDER else None


def _rename_vision(block: str | None, other: str | None) -> str | None:
    if block is None:
        return f"v.{other}"
    _, stage, number, part = block.split(".", 3)
    return f"v.blk.{stage}.{number}.{part}" if _VISION_BLOCK_PART.fullmatch(part) else None


def _make_part(name: str, weight: Weight, kind: str) -> Part:
    ne = to_ne(weight)
    if name.endswith("layer_scale.gamma") or name == "v.conv_stem.conv.bias":
        ne = (1, 1, *ne, 1)  # one value a channel, as libmtmd multiplies and adds it
    return Part(TensorSpec(name, choose_type(name, ne, kind), ne), (weight,))


def choose_type(name: str, ne: tuple[int, ...], kind: str) -> GgmlType:
    """As the converter: norms, the stem, scales and the audio part's convolutions stay F32."""
    is_plain = name.startswith(("v.conv_stem.", "a.conv1d.")) or name.endswith(".conv_dw.weight")
    if len(ne) == 1 or is_plain or not name.endswith(".weight"):
        return GgmlType.F32
    if name == "a.pre_encode.out.weight":
        return GgmlType.F16
    return fit_type(GgmlType[kind.upper()], ne)


def make_vision_keys(vision: Section, n_embd_text: int) -> dict[str, Value]:
    """What libmtmd asks for; sizes of a transformer are placeholders, MobileNetV5 is none."""
    return {
        "clip.has_vision_encoder": True,
        "clip.vision.projector_type": "gemma3nv",
        "clip.vision.projection_dim": n_embd_text,
        "clip.vision.image_size": 768,
        "clip.vision.patch_size": 3,
        "clip.vision.embedding_length": vision.count("hidden_size", 2048),
        "clip.vision.feed_forward_length": 8192,
        "clip.vision.block_count": 128,
        "clip.vision.attention.head_count": 8,
        "clip.vision.attention.layer_norm_epsilon": vision.number("rms_norm_eps", 1e-6),
        "clip.vision.image_mean": make_array(ValueType.FLOAT32, [0.0] * 3),
        "clip.vision.image_std": make_array(ValueType.FLOAT32, [1.0] * 3),
    }


def _make_audio_keys(audio: Section, n_embd_text: int) -> dict[str, Value]:
    n_embd = audio.count("hidden_size", 1536)
    return {
        "clip.has_audio_encoder": True,
        "clip.audio.projector_type": "gemma3na",
        "clip.audio.projection_dim": n_embd_text,
        "clip.audio.embedding_length": n_embd,
        "clip.audio.feed_forward_length": 4 * n_embd,
        "clip.audio.block_count": audio.count("conf_num_hidden_layers", 12, MOST_LAYERS),
        "clip.audio.attention.head_count": audio.count("conf_num_attention_heads", 8),
        "clip.audio.num_mel_bins": audio.count("input_feat_size", 128),
        "clip.audio.attention.layer_norm_epsilon": audio.number("rms_norm_eps", 1e-6),
    }


def _check_vision(weights: Mapping[str, Weight], folder: Path) -> None:
    needed = [*_VISION_NEEDS, *(f"mm.{part}.weight" for part in _EMBEDDER.values())]
    for name in needed:
        require(weights, name, folder)
    for stage in range(_N_STAGES):
        numbers = {int(n.split(".")[3]) for n in weights if n.startswith(f"v.blk.{stage}.")}
        if not numbers or numbers != set(range(len(numbers))):
            raise ModelError(f"{folder}: blocks of stage {stage} of the vision part are missing")


def _check_audio(
    weights: Mapping[str, Weight], folder: Path, audio: Section, n_embd_text: int
) -> None:
    """All tensors of the conformer, with the shapes that its numbers say."""
    n, n_head = audio.count("hidden_size", 1536), audio.count("conf_num_attention_heads", 8)
    matrices = {
        "ffn_up": (n, 4 * n),
        "ffn_down": (4 * n, n),
        "ffn_up_1": (n, 4 * n),
        "ffn_down_1": (4 * n, n),
        "conv_pw1": (n, 2 * n),
        "conv_dw": (audio.count("conf_conv_kernel_size", 5), 1, n),
        "per_dim_scale": (n // max(n_head, 1),),
        **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_out"), (n, n)),
        **dict.fromkeys(("linear_pos", "conv_pw2"), (n, n)),
    }
    for block in range(audio.count("conf_num_hidden_layers", 12, MOST_LAYERS)):
        for part in _CONFORMER.values():
            suffix = "" if part == "per_dim_scale" else ".weight"
            weight = require(weights, f"a.blk.{block}.{part}{suffix}", folder)
            _check_shape(weight, matrices.get(part, (n,)))
    for name in _AUDIO.values():
        require(weights, f"{name}.weight", folder)
    for part in _EMBEDDER.values():
        require(weights, f"mm.a.{part}.weight", folder)
    _check_shape(weights["mm.a.input_projection.weight"], (n, n_embd_text))


def _check_shape(weight: Weight, ne: tuple[int, ...]) -> None:
    if to_ne(weight) != ne:
        shape = tuple(reversed(ne))
        raise ModelError(
            f"{weight.path}: tensor {weight.name!r} has the shape {weight.shape}, not {shape}"
        )
