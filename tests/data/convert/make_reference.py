"""Make a tiny Gemma 3n with all the real tensor names, and what others make of it.

Writes beside itself

    checkpoint/     random weights as Hugging Face publishes them: two files with an index, BF16
                    with some F16 and F32, tokenizer.model and tokenizer.json
    expected.json   what llama.cpp's converter writes: type, extents and a hash of each tensor
    logits.npz      float32 logits that transformers computes with the text model

Needs torch, transformers, timm, sentencepiece, and the sources of llama.cpp that llama-cpp-python
0.3.36 comes with:

    python make_reference.py LLAMA_CPP_SOURCES

Vision weights have the names of timm's ``mobilenetv5_300m_enc`` and their kernels, but at most 8
channels: this tests names and types, not the encoder. The converter stops at two audio tensors it
has no name for; it is given the one that it had in earlier versions.
"""

import hashlib
import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from sentencepiece import sentencepiece_model_pb2
from transformers import Gemma3nConfig, Gemma3nForCausalLM
from transformers.models.gemma3n.modeling_gemma3n import (
    Gemma3nAudioEncoder,
    Gemma3nMultimodalEmbedder,
)

HERE = Path(__file__).parent
CHECKPOINT = HERE / "checkpoint"
N_TEXT, N_VISION, N_AUDIO = 512, 8, 8
TEXT_KINDS, PROJECTOR_KINDS = ("f32", "f16", "bf16", "q8_0"), ("f32", "f16", "q8_0")
WORDS = re.findall(
    r"\w+",
    "the of and to in is it you that he was for on are with as his they be at one have this from "
    "or had by not but what some we can out other were all there when up use your how said an each "
    "she which do their time",
)
ADDED = dict(enumerate(("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")))
ADDED |= {261: "<start_of_turn>", 262: "<end_of_turn>"}
PLAIN_ADDED = {263: "\n", 264: "\n\n", 265: "<b>", 266: "\u2581\u2581\u2581"}
MEDIA = {512: "<end_of_image>", 513: "<image_soft_token>"}
MEDIA |= {520: "<end_of_audio>", 521: "<audio_soft_token>"}
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
RUN_CONVERTER = """
import runpy, sys
sources = sys.argv.pop(1)
sys.path[:0] = [sources, sources + "/gguf-py"]
import gguf
mapping = gguf.TensorNameMap.block_mappings_cfg
key = gguf.MODEL_TENSOR.A_ENC_CONV1D_NORM
mapping[key] += ("model.audio_tower.subsample_conv_projection.conv_{bid}.norm",)
sys.argv[0] = sources + "/convert_hf_to_gguf.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def make_config() -> Gemma3nConfig:
    """Four layers of which two share K/V; rows of 256, so that blocks of every type fit."""
    text = {
        "vocab_size": N_TEXT + N_VISION + N_AUDIO,
        "vocab_size_per_layer_input": N_TEXT,
        "hidden_size": 256,
        "hidden_size_per_layer_input": 64,
        "intermediate_size": [64] * 4,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "laurel_rank": 16,
        "num_kv_shared_layers": 2,
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "activation_sparsity_pattern": [0.95, 0.0, 0.0, 0.0],
        "max_position_embeddings": 1024,
    }
    audio = {
        "hidden_size": 32,
        "conf_num_attention_heads": 4,
        "conf_num_hidden_layers": 2,
        "sscp_conv_channel_size": [8, 4],
        "vocab_size": N_AUDIO,
        "vocab_offset": N_TEXT + N_VISION,
    }
    vision = {"hidden_size": 32, "vocab_size": N_VISION, "vocab_offset": N_TEXT}
    config = Gemma3nConfig(
        text_config=text,
        audio_config=audio,
        vision_config=vision,
        boi_token_id=267,
        boa_token_id=268,
        eoi_token_id=512,
        image_token_id=513,
        eoa_token_id=520,
        audio_token_id=521,
        eos_token_id=[1, 262],
        architectures=["Gemma3nForConditionalGeneration"],
        dtype="bfloat16",
    )
    config.text_config._attn_implementation = "eager"
    return config


def draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values that keep activations at a healthy size."""
    x = rng.standard_normal(shape, dtype=np.float32)
    if name == "model.language_model.norm.weight":  # else every token would predict itself
        return np.exp(0.2 * x) * rng.choice(np.float32([-1, 1]), shape)
    if "norm" in name or ".bn" in name:
        return 0.5 * np.exp(0.2 * x)
    if name.endswith("modality_router.weight"):
        return 4 * x
    if name.endswith(("correction_coefs.weight", "prediction_coefs.weight")):
        return 0.2 * x
    if len(shape) == 1:
        return 1 + 0.2 * x
    return x / math.sqrt(math.prod(shape[1:]))


def make_weights(config: Gemma3nConfig) -> dict[str, torch.Tensor]:
    """Every tensor of a published checkpoint, in the type it is stored in."""
    shapes = {}
    text, audio = config.text_config, config.audio_config
    with torch.device("meta"):
        parts = {
            "model.language_model.": Gemma3nForCausalLM(text).model,
            "model.audio_tower.": Gemma3nAudioEncoder(audio),
            "model.embed_audio.": Gemma3nMultimodalEmbedder(audio, text),
            "model.embed_vision.": Gemma3nMultimodalEmbedder(config.vision_config, text),
        }
        vision = timm.create_model("mobilenetv5_300m_enc", pretrained=False).state_dict()
    for prefix, part in parts.items():
        shapes |= {prefix + name: tuple(p.shape) for name, p in part.named_parameters()}
    for name, value in vision.items():
        shapes[f"model.vision_tower.timm_model.{name}"] = tuple(min(n, 8) for n in value.shape)
    for layer in (2, 3):  # what layers that share K/V have in published files, and nobody reads
        prefix = f"model.language_model.layers.{layer}.self_attn."
        shapes |= {prefix + "k_proj.weight": (32, 256), prefix + "v_proj.weight": (32, 256)}
        shapes |= {prefix + "k_norm.weight": (32,)}
    rng = np.random.default_rng(20261125)
    weights = {}
    for name in sorted(shapes):
        value = torch.from_numpy(draw(rng, name, shapes[name]))
        kind = torch.float16 if "audio" in name else torch.bfloat16
        kind = torch.float32 if "conv_stem" in name or "altup.p" in name else kind
        weights[name] = value.to(kind).contiguous()
    return weights


def save_weights(weights: dict[str, torch.Tensor]) -> None:
    names = list(weights)
    half = len(names) // 2
    index = {}
    for number, group in enumerate((names[:half], names[half:]), 1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: weights[name] for name in group}, CHECKPOINT / file, {"format": "pt"})
        index |= dict.fromkeys(group, file)
    table = {"metadata": {}, "weight_map": index}
    (CHECKPOINT / "model.safetensors.index.json").write_text(json.dumps(table))


def save_tokenizer() -> None:
    """512 pieces in Gemma's order: special ones, bytes, letters, and what merges of them give."""
    model = sentencepiece_model_pb2.ModelProto()
    kinds = model.SentencePiece
    pieces = [(ADDED[i], 0.0, kinds.CONTROL) for i in range(3)]
    pieces += [("<unk>", 0.0, kinds.UNKNOWN), ("<mask>", 0.0, kinds.USER_DEFINED)]
    pieces += [(f"<0x{i:02X}>", 0.0, kinds.BYTE) for i in range(256)]
    pieces += [(ADDED[i], 0.0, kinds.USER_DEFINED) for i in (261, 262)]
    pieces += [(text, 0.0, kinds.USER_DEFINED) for text in PLAIN_ADDED.values()]
    pieces += [(text, 0.0, kinds.USER_DEFINED) for text in ("<start_of_image>", "<start_of_audio>")]
    letters = ["\u2581", *"abcdefghijklmnopqrstuvwxyzT.,!?'"]
    merged = []
    for word in WORDS:
        merged += [word[:n] for n in range(2, len(word) + 1)]
        merged += ["\u2581" + word[:n] for n in range(1, len(word) + 1)]
    merged = sorted(dict.fromkeys(merged), key=lambda text: (len(text), text))
    merged = merged[: N_TEXT - len(pieces) - len(letters)]
    pieces += [(text, -float(i), kinds.NORMAL) for i, text in enumerate(merged)]
    pieces += [(text, -1000.0 - i, kinds.NORMAL) for i, text in enumerate(letters)]
    pieces += [(f"<unused{i}>", 0.0, kinds.USER_DEFINED) for i in range(N_TEXT - len(pieces))]
    assert len(pieces) == N_TEXT == len({text for text, _, _ in pieces})
    for text, score, kind in pieces:
        model.pieces.add(piece=text, score=score, type=kind)
    model.trainer_spec.model_type = model.trainer_spec.BPE
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.vocab_size = N_TEXT
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = True
    (CHECKPOINT / "tokenizer.model").write_bytes(model.SerializeToString())
    special = {**ADDED, 267: "<start_of_image>", 268: "<start_of_audio>", **MEDIA}
    added = {
        str(i): {
            "content": text,
            "special": i in special,
            **dict.fromkeys(("lstrip", "rstrip", "normalized"), False),
        }
        for i, text in sorted({**special, **PLAIN_ADDED}.items())
    }
    settings = {
        "added_tokens_decoder": added,
        "add_bos_token": True,
        "add_eos_token": False,
        **{f"{name}_token": f"<{name}>" for name in ("bos", "eos", "unk", "pad", "mask")},
        "chat_template": TEMPLATE,
        "tokenizer_class": "GemmaTokenizer",
    }
    (CHECKPOINT / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
    save_tokenizer_json(pieces, merged, added)


def save_tokenizer_json(pieces, merged, added) -> None:
    """The same as byte-pair encoding, its merges listed as transformers lists them."""
    ids = {text: i for i, (text, _, _) in enumerate(pieces)}
    merges = [
        [text[:n], text[n:]]
        for text in merged
        for n in range(1, len(text))
        if text[:n] in ids and text[n:] in ids
    ]
    table = {
        "version": "1.0",
        "added_tokens": [
            {"id": int(i), "single_word": False, **entry} for i, entry in added.items()
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": ids,
            "merges": merges,
        },
    }
    (CHECKPOINT / "tokenizer.json").write_text(json.dumps(table))


def convert(sources: Path) -> dict[str, object]:
    """What llama.cpp's converter makes of the checkpoint."""
    sys.path.insert(0, str(sources / "gguf-py"))
    from gguf import GGUFReader

    expected = {}
    jobs = [*(("text", k) for k in TEXT_KINDS), *(("mmproj", k) for k in PROJECTOR_KINDS)]
    for part, kind in jobs:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.gguf"
            options = ["--outfile", out, "--outtype", kind]
            options += ["--mmproj"] if part == "mmproj" else []
            command = [sys.executable, "-c", RUN_CONVERTER, sources, CHECKPOINT, *options]
            subprocess.run([str(word) for word in command], check=True)
            reader = GGUFReader(next(Path(folder).glob("*.gguf")))
            tensors = {
                t.name: [t.tensor_type.name, t.shape.tolist(), digest(t.data)]
                for t in reader.tensors
            }
            keys = {
                name: [[kind.name for kind in field.types], field.contents()]
                for name, field in reader.fields.items()
                if not name.startswith("GGUF.")
            }
            expected[f"{part}-{kind}"] = {"keys": keys, "tensors": tensors}
    return expected


def digest(values: np.ndarray) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()[:16]


def compute_logits(
    config: Gemma3nConfig, weights: dict[str, torch.Tensor]
) -> dict[str, np.ndarray]:
    model = Gemma3nForCausalLM(config.text_config).eval().float()
    prefix = "model.language_model."
    state = {
        name.replace(prefix, "model."): weight.float()
        for name, weight in weights.items()
        if name.startswith(prefix)
    }
    missing, _ = model.load_state_dict(state, strict=False)
    assert missing == ["lm_head.weight"], missing
    model.tie_weights()
    rng = np.random.default_rng(1)
    arrays = {}
    for i, n in enumerate((4, 40)):
        prompt = np.concatenate([[2], rng.integers(270, N_TEXT, n)]).astype(np.int32)
        with torch.no_grad():
            logits = model(torch.from_numpy(prompt)[None].long(), use_cache=False).logits
        arrays |= {f"prompt_{i}": prompt, f"logits_{i}": logits[0].numpy()}
    assert 0.5 < np.std(arrays["logits_1"]) < 8
    return arrays


def main() -> None:
    CHECKPOINT.mkdir(exist_ok=True)
    config = make_config()
    config.save_pretrained(CHECKPOINT)
    advice = {"do_sample": True, "temperature": 1.0, "top_k": 64, "top_p": 0.95}
    (CHECKPOINT / "generation_config.json").write_text(json.dumps(advice))
    weights = make_weights(config)
    save_weights(weights)
    save_tokenizer()
    np.savez_compressed(HERE / "logits.npz", **compute_logits(config, weights))
    (HERE / "expected.json").write_text(json.dumps(convert(Path(sys.argv[1]).resolve())))


if __name__ == "__main__":
    main()
