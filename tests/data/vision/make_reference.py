"""Make a tiny MobileNetV5 with every kind of block, and what timm and transformers make of it.

Writes beside itself

    mmproj-{f16,f32}.gguf    the encoder as g3n converts it; equal weights, all exact in F16
    picture-SIDE.png         what it looks at, 8-bit RGB
    encoder.npz              float32, computed in float64:
        rows_SIDE            [256, n_text] soft tokens of each picture
        hard                 [128, n_text] embeddings of the ids that stand for no picture
        stem_64, block_STAGE_NUMBER_64, fused_64, encoder_64
                             outputs [pixels, channels] for the smallest picture, row by row; fused
                             is the fusion before its pool and norm, encoder what comes out of it

Needs torch, timm and transformers. Run from the root of the repository, with what runs g3n behind:

    python tests/data/vision/make_reference.py g3n
"""

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.layers import RmsNorm2d
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.mobilenetv5 import MobileNetV5MultiScaleFusionAdapter
from transformers import Gemma3nTextConfig, Gemma3nVisionConfig
from transformers.models.gemma3n.modeling_gemma3n import Gemma3nMultimodalEmbedder

HERE = Path(__file__).parent
SIDES = (64, 128, 256, 512, 768)
N_TEXT, N_VISION, N_HARD = 32, 64, 128
TOWER = "model.vision_tower.timm_model."
BLOCKS = [
    ["er_r1_k3_s2_e2_c32", "er_r1_k3_s1_e1_c32"],
    ["uir_r1_a3_k5_s2_e2_c32", "uir_r1_a5_k0_s1_e2_c32", "uir_r1_a3_k0_s1_e2_c32"],
    [
        "uir_r1_a5_k5_s2_e2_c64",
        "uir_r1_a5_k0_s1_e2_c64",
        "uir_r1_a0_k0_s1_e1_c64",
        "mqa_r1_k3_h3_v2_s1_d32_c64",
        "uir_r1_a0_k0_s1_e2_c64",
    ],
    [
        "uir_r1_a5_k5_s2_e2_c64",
        "mqa_r1_k3_h2_s1_d32_c64",
        "uir_r1_a0_k0_s1_e2_c64",
    ],
]


def make_encoder() -> torch.nn.Module:
    """The code of ``mobilenetv5_300m_enc`` with fewer and narrower blocks."""
    encoder = timm.create_model(
        "mobilenetv5_300m_enc", block_args=decode_arch_def(BLOCKS), stem_size=32
    )
    # Its width is a constant in timm.
    encoder.msfa = MobileNetV5MultiScaleFusionAdapter(
        encoder.msfa_in_chs, N_VISION, encoder.msfa_output_resolution, norm_layer=RmsNorm2d
    )
    return encoder


def draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Values that keep activations at a healthy size and that F16 holds exactly."""
    x = rng.standard_normal(shape, dtype=np.float32)
    if name == "conv_stem.conv.bias":
        x = 0.3 * x
    elif name.endswith(("norm.weight", "bn.weight", "bn1.weight", "bn2.weight")):
        x = np.exp(0.3 * x)
    elif name.endswith("gamma"):
        x = 0.5 * np.exp(0.3 * x) * rng.choice(np.float32([-1, 1]), shape)
    elif name != "embedding.weight":
        x = x * (2 if "attn.query" in name else 1) / math.sqrt(math.prod(shape[1:]))
    return torch.from_numpy(x).half().float()


def load_random(module: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Give a module random weights; returns them."""
    rng = np.random.default_rng(seed)
    weights = {name: draw(rng, name, tuple(p.shape)) for name, p in module.named_parameters()}
    assert not module.load_state_dict(weights, strict=False).missing_keys
    module.double().eval()
    return weights


def save_projector(weights: dict[str, torch.Tensor], g3n: list[str]) -> None:
    config = {
        "architectures": ["Gemma3nForConditionalGeneration"],
        "text_config": {"hidden_size": N_TEXT},
        "vision_config": {"hidden_size": N_VISION},
    }
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "tiny-vision"
        checkpoint.mkdir()
        (checkpoint / "config.json").write_text(json.dumps(config))
        save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
        for kind in ("f16", "f32"):
            out = HERE / f"mmproj-{kind}.gguf"
            command = [*g3n, "convert", checkpoint, "-o", out, "--type", kind, "--force"]
            subprocess.run([str(word) for word in command], check=True)


def make_picture() -> np.ndarray:
    """Slopes, edges at all angles, and a piece of noise: ``[side, side, 3]`` uint8."""
    n = max(SIDES)
    y, x = np.mgrid[:n, :n] / n
    colours = np.stack([x, y, (1 - x) * y], axis=-1)
    colours[np.hypot(x - 0.3, y - 0.35) < 0.2] = (0.9, 0.1, 0.2)
    colours[abs(x - 0.75) + abs(y - 0.3) < 0.15] = (0.05, 0.2, 0.9)
    stripes = (y > 0.6) & (x < 0.5) & (np.sin(80 * (x + 0.4 * y)) > 0)
    colours[stripes] = (1, 1, 0.85)
    noise = np.random.default_rng(0).random((n // 8, n // 8, 3))
    colours[-n // 8 :, -n // 8 :] = noise
    return np.round(255 * colours).astype(np.uint8)


def save_pictures() -> dict[int, np.ndarray]:
    whole = Image.fromarray(make_picture())
    pictures = {}
    for side in SIDES:
        picture = whole.resize((side, side), Image.Resampling.BILINEAR)
        picture.save(HERE / f"picture-{side}.png", optimize=True)
        pictures[side] = np.asarray(picture)
    return pictures


def watch(encoder: torch.nn.Module) -> dict[str, np.ndarray]:
    """Filled with the output of every part whenever the encoder runs."""
    seen: dict[str, np.ndarray] = {}

    def keep(name: str):
        def hook(_module: torch.nn.Module, _inputs: tuple, out: torch.Tensor) -> None:
            seen[name] = out[0].flatten(1).T.float().numpy()

        return hook

    encoder.conv_stem.register_forward_hook(keep("stem"))
    for i, stage in enumerate(encoder.blocks):
        for j, block in enumerate(stage):
            block.register_forward_hook(keep(f"block_{i}_{j}"))
    encoder.msfa.ffn.register_forward_hook(keep("fused"))
    encoder.register_forward_hook(keep("encoder"))
    return seen


@torch.no_grad()
def main() -> None:
    encoder = make_encoder()
    embedder = Gemma3nMultimodalEmbedder(
        Gemma3nVisionConfig(hidden_size=N_VISION, vocab_size=N_HARD, vocab_offset=0),
        Gemma3nTextConfig(hidden_size=N_TEXT),
    )
    weights = {TOWER + name: w for name, w in load_random(encoder, 1).items()}
    parts = load_random(embedder, 2).items()
    weights |= {f"model.embed_vision.{name}": w for name, w in parts}
    save_projector(weights, sys.argv[1:] or ["g3n"])
    seen = watch(encoder)
    arrays = {"hard": embedder(input_ids=torch.arange(N_HARD)[None])[0].float().numpy()}
    for side, picture in save_pictures().items():
        pixels = torch.from_numpy(picture.astype(np.float64) / 255).permute(2, 0, 1)[None]
        found = encoder(pixels).flatten(2).transpose(1, 2) * math.sqrt(N_VISION)
        arrays[f"rows_{side}"] = embedder(inputs_embeds=found)[0].float().numpy()
        if side == min(SIDES):
            arrays |= {f"{name}_{side}": value for name, value in seen.items()}
        spread = {name: float(value.std()) for name, value in seen.items()}
        assert all(0.2 < s < 20 for s in spread.values()), spread
    assert arrays["rows_768"].std(0).mean() > 0.3
    np.savez_compressed(HERE / "encoder.npz", **arrays)


if __name__ == "__main__":
    main()
