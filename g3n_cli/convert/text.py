"""The text model of a checkpoint, as a GGUF file that llama.cpp reads too.

Source: llama.cpp ``conversion/gemma.py``, ``Gemma3NModel``, and ``src/llama-quant.cpp``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist

from g3n_cli.convert.plan import Part, Plan, fit_type, require, to_ne
from g3n_cli.convert.safetensors import Weight, open_weights, read_json
from g3n_cli.convert.settings import Section, describe, open_config, read_text_section
from g3n_cli.convert.vocabulary import Vocabulary, read_vocabulary
from g3n_cli.engine.gguf import Value
from g3n_cli.engine.gguf_types import GgmlType
from g3n_cli.engine.gguf_writer import TensorSpec, ValueType, make_array
from g3n_cli.engine.hparams import ARCHITECTURE, HParams
from g3n_cli.engine.validate import check_tensors, check_tokenizer
from g3n_cli.errors import ModelError

FILE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 7, "bf16": 32}
"""What a text model can be converted to, with the number that ``general.file_type`` has for it."""

MOST_LAYERS = 512
"""More than that no checkpoint has."""

QUANTIZATION_VERSION = 2
"""``general.quantization_version``: of ggml's block formats."""

_GLOBAL = {
    "embed_tokens": "token_embd",
    "embed_tokens_per_layer": "per_layer_token_embd",
    "per_layer_model_projection": "per_layer_model_proj",
    "per_layer_projection_norm": "per_layer_proj_norm",
    "norm": "output_norm",
}
_STACKED = {"altup_projections": "altup_proj", "altup_unembed_projections": "altup_unembd_proj"}
_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_feedforward_layernorm": "post_ffw_norm",
    "altup.correct_output_scale": "altup_correct_scale",
    "altup.correction_coefs": "altup_correct_coef",
    "altup.prediction_coefs": "altup_predict_coef",
    "altup.modality_router": "altup_router",
    "altup.router_norm": "altup_router_norm",
    "laurel.linear_left": "laurel_l",
    "laurel.linear_right": "laurel_r",
    "laurel.post_laurel_norm": "laurel_post_norm",
    "per_layer_input_gate": "inp_gate",
    "per_layer_projection": "proj",
    "post_per_layer_input_norm": "post_norm",
}
_TABLES = ("token_embd.weight", "per_layer_token_embd.weight")
_COEFFICIENTS = ("altup_correct_coef.weight", "altup_predict_coef.weight")
_UNQUANTIZED = ("altup", "laurel", "per_layer_model_proj")
_PREFIX = re.compile(r"(?:model\.)?(?:language_model\.)?(?:model\.)?")
_MEDIA = re.compile(r"(?:model\.)?(?:audio_tower|vision_tower|embed_audio|embed_vision)\.")
_LAYERED = re.compile(r"layers\.(\d{1,3})\.(.+)")
_IGNORED = re.compile(r"lm_head\.weight$|.*rotary_emb.*\.(?:\w+_)?inv_freq$")
_N_VOCAB, _MOST_TOKENS = 262_400, 1 << 20


def plan_text(folder: Path, kind: str) -> Plan:
    """Everything of a text model's file but the values.

    Args:
        folder: The checkpoint.
        kind: One of ``FILE_TYPES``.

    Raises:
        ModelError: it is no complete Gemma 3n whose tensors have the shapes its numbers say.
    """
    config = open_config(folder)
    text = read_text_section(config)
    weights = _select(open_weights(folder))
    vocabulary = read_vocabulary(folder, text.count("vocab_size", _N_VOCAB, _MOST_TOKENS))
    metadata: dict[str, Value] = {
        "general.architecture": ARCHITECTURE,
        "general.type": "model",
        **_read_sampling(folder),
        **describe(folder),
        **_make_keys(text),
        "general.file_type": FILE_TYPES[kind],
        **vocabulary.make_keys(config.values),
        "general.quantization_version": QUANTIZATION_VERSION,
    }
    plan = Plan(metadata, tuple(_make_parts(weights, folder, text, kind, vocabulary)))
    described = plan.describe(folder)
    check_tensors(described, HParams.from_gguf(described))
    check_tokenizer(described)
    return plan


def choose_type(name: str, ne: tuple[int, ...], kind: str) -> GgmlType:
    """The type of a tensor in a file of some type.

    Up to 8 bits as llama.cpp's converter does it, which then also takes LAuReL and AltUp to 8
    bits; in 4 bits as its quantizer does it with the converter's F16 file.
    """
    if len(ne) == 1 or name.endswith(("_norm.weight", *_COEFFICIENTS)):
        return GgmlType.F32
    wanted = GgmlType[kind.upper()]
    if wanted == GgmlType.Q4_0:
        if any(part in name for part in _UNQUANTIZED):
            return GgmlType.F16
        if name in _TABLES:
            wanted = GgmlType.Q6_K
    return fit_type(wanted, ne)


def _select(weights: Mapping[str, Weight]) -> dict[str, Weight]:
    """Tensors of the text model by their name within it.

    Raises:
        ModelError: one is unknown, or there twice.
    """
    found: dict[str, Weight] = {}
    for name, weight in weights.items():
        if _MEDIA.match(name) or _IGNORED.match(name):
            continue
        short = _PREFIX.sub("", name, count=1)
        stem = short.removesuffix(".weight")
        layered = _LAYERED.fullmatch(stem)
        stack, _, number = stem.rpartition(".")
        is_known = stem in _GLOBAL or (stack in _STACKED and number.isdecimal())
        if not (is_known or (layered and layered[2] in _LAYER)):
            raise ModelError(f"{weight.path}: unknown tensor {name!r}")
        if stem in found:
            raise ModelError(f"{weight.path}: tensor {name!r} is there as {found[stem].name!r} too")
        found[stem] = weight
    return found


def _make_parts(
    weights: Mapping[str, Weight], folder: Path, text: Section, kind: str, vocabulary: Vocabulary
) -> list[Part]:
    parts: list[Part] = []
    for stem, weight in weights.items():
        layered = _LAYERED.fullmatch(stem)
        if layered:
            parts.append(_make_part(f"blk.{layered[1]}.{_LAYER[layered[2]]}.weight", weight, kind))
        elif stem in _GLOBAL:
            parts.append(_make_part(f"{_GLOBAL[stem]}.weight", weight, kind))
    n_stacked = text.count("altup_num_inputs", 4) - 1
    if n_stacked < 1:
        raise text.wrong("altup_num_inputs", "more than one")
    for stem, name in _STACKED.items():
        sources = tuple(require(weights, f"{stem}.{i}", folder) for i in range(n_stacked))
        parts.append(_make_stack(f"{name}.weight", sources, kind))
    return [_fit_rows(part, len(vocabulary.tokens)) for part in parts]


def _make_part(name: str, weight: Weight, kind: str) -> Part:
    ne = to_ne(weight)
    return Part(TensorSpec(name, choose_type(name, ne, kind), ne), (weight,))


def _make_stack(name: str, sources: tuple[Weight, ...], kind: str) -> Part:
    shapes = {to_ne(source) for source in sources}
    if len(shapes) != 1:
        raise ModelError(f"{sources[0].path}: {name} is made of matrices of different shapes")
    ne = (*shapes.pop(), len(sources))
    return Part(TensorSpec(name, choose_type(name, ne, kind), ne), sources)


def _fit_rows(part: Part, n_tokens: int) -> Part:
    """Tables of one row a token; ids of media have no row of per-layer embeddings: zeros."""
    spec = part.spec
    if spec.name not in _TABLES or spec.ne[1:] == (n_tokens,) or len(spec.ne) != 2:
        return part
    padded = TensorSpec(spec.name, spec.type, (spec.ne[0], n_tokens))
    return Part(padded, part.sources, max(0, n_tokens - spec.ne[1]))


def _make_keys(text: Section) -> dict[str, Value]:
    """``gemma3n.*``, named and typed as llama.cpp's converter does."""
    n_layer = text.count("num_hidden_layers", 35, MOST_LAYERS)
    widths = _read_widths(text, n_layer)
    kinds = text.items("layer_types", _default_kinds(n_layer), str)
    n_sparse = min(10, n_layer)
    sparsity = text.items(
        "activation_sparsity_pattern",
        [0.95] * n_sparse + [0.0] * (n_layer - n_sparse),
        (float, int),
    )
    if not all(0 <= share < 1 for share in sparsity):
        raise text.wrong("activation_sparsity_pattern", "a list of shares below 1")
    base, base_swa = _read_rope(text)
    keys: dict[str, Value] = {
        "block_count": n_layer,
        "context_length": text.count("max_position_embeddings", 32768),
        "embedding_length": text.count("hidden_size", 2048),
        "feed_forward_length": make_array(ValueType.INT32, widths),
        "attention.head_count": text.count("num_attention_heads", 8),
        "attention.head_count_kv": text.count("num_key_value_heads", 2),
        "attention.layer_norm_rms_epsilon": text.number("rms_norm_eps", 1e-6),
        "attention.key_length": text.count("head_dim", 256),
        "attention.value_length": text.count("head_dim", 256),
        "attention.sliding_window": text.count("sliding_window", 512),
        "attention.sliding_window_pattern": make_array(
            ValueType.BOOL, [name == "sliding_attention" for name in kinds]
        ),
        "attention.shared_kv_layers": text.count("num_kv_shared_layers", 15),
        "altup.active_idx": text.count("altup_active_idx", 0),
        "altup.num_inputs": text.count("altup_num_inputs", 4),
        "embedding_length_per_layer_input": text.count("hidden_size_per_layer_input", 256),
        "activation_sparsity_scale": make_array(
            ValueType.FLOAT32, [_invert_share(float(share)) for share in sparsity]
        ),
        "rope.freq_base": base,
        "rope.freq_base_swa": base_swa,
        "final_logit_softcapping": text.number("final_logit_softcapping", 30.0),
    }
    return {f"{ARCHITECTURE}.{key}": value for key, value in keys.items()}


def _read_widths(text: Section, n_layer: int) -> list[int]:
    """Widths of the FFN by layer; some configurations have one number for all."""
    if not isinstance(text.values.get("intermediate_size"), list):
        return [text.count("intermediate_size", 16384)] * n_layer
    widths: list[int] = text.items("intermediate_size", [], int)
    if not all(0 < width < 1 << 31 for width in widths):
        raise text.wrong("intermediate_size", "a list of widths")
    return widths


def _default_kinds(n_layer: int) -> list[str]:
    """Every fifth layer sees everything."""
    return ["sliding_attention" if (i + 1) % 5 else "full_attention" for i in range(n_layer)]


def _invert_share(share: float) -> float:
    """Standard deviations below which that share of a normal distribution lies."""
    return NormalDist().inv_cdf(share) if share else float("-inf")


def _read_rope(text: Section) -> tuple[float, float]:
    """Bases of full and sliding layers, from the form of transformers 5 or the one before."""
    parameters = text.section("rope_parameters")
    full, sliding = parameters.section("full_attention"), parameters.section("sliding_attention")
    for section in (full, sliding, text.section("rope_scaling")):
        if section.values.get("rope_type", "default") != "default":
            raise text.wrong("rope_type", "'default', the only one Gemma 3n has")
    return (
        full.number("rope_theta", text.number("rope_theta", 1_000_000.0)),
        sliding.number("rope_theta", text.number("rope_local_base_freq", 10_000.0)),
    )


def _read_sampling(folder: Path) -> dict[str, Value]:
    """How the publisher advises to sample."""
    path = folder / "generation_config.json"
    advice = Section(path, read_json(path) if path.is_file() else {})
    sampling: dict[str, Value] = {}
    if "top_k" in advice.values:
        sampling["top_k"] = advice.count("top_k", 0)
    for name, key in (("top_p", "top_p"), ("temperature", "temp")):
        if name in advice.values:
            sampling[key] = advice.number(name, 0)
    return {f"general.sampling.{key}": value for key, value in sampling.items()}
