"""Make a tiny Gemma 3n that reads, sees and hears, and what transformers makes of a prompt.

Writes beside itself

    model.gguf, mmproj.gguf  the model as g3n converts it, in F32
    prompt.npz               what Gemma3nProcessor and Gemma3nForConditionalGeneration.forward make
                             of a question about picture-256.png and sweep_1s.wav:
        ids                  [n] token ids; 512 and up are placeholders and ends of media
        rows                 [positions with such ids, n_embd] what the text model gets for them
        positions, logits    [m], [m, n_vocab]: all text, and some of the rest
        answer               ids of the greedy continuation

Needs torch, timm, transformers and sentencepiece. Run from the root of the repository, with what
runs g3n behind:

    python -m tests.data.multimodal.make_reference g3n
"""

import json
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timm.layers import RmsNorm2d
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.mobilenetv5 import MobileNetV5MultiScaleFusionAdapter
from transformers import (
    Gemma3nAudioFeatureExtractor,
    Gemma3nConfig,
    Gemma3nForConditionalGeneration,
    Gemma3nProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessor,
)

from tests.data.convert import make_reference as checkpoint
from tests.data.vision import make_reference as vision

HERE = Path(__file__).parent
DATA = HERE.parent
N_TEXT, N_HARD, N_VISION = 512, 128, 32
EOI, IMAGE, EOA, AUDIO = N_TEXT, N_TEXT + 1, N_TEXT + N_HARD, N_TEXT + N_HARD + 1
SLIDING, FULL = "sliding_attention", "full_attention"
QUESTION = "what is it that they said?"
ANSWER_TOKENS, KEPT_STEP = 12, 16
BLOCKS = [
    ["er_r1_k3_s2_e1_c16"],
    ["uir_r1_a3_k5_s2_e2_c16"],
    ["uir_r1_a5_k5_s2_e2_c32", "mqa_r1_k3_h2_v2_s1_d16_c32", "uir_r1_a0_k0_s1_e2_c32"],
    ["uir_r1_a5_k5_s2_e2_c32", "mqa_r1_k3_h2_s1_d16_c32", "uir_r1_a0_k0_s1_e1_c32"],
]


def make_config() -> Gemma3nConfig:
    """A window that both media overrun, and layers that share K/V."""
    text = {
        "vocab_size": N_TEXT + 2 * N_HARD,
        "vocab_size_per_layer_input": N_TEXT,
        "hidden_size": 64,
        "hidden_size_per_layer_input": 16,
        "intermediate_size": [128] * 5,
        "num_hidden_layers": 5,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "laurel_rank": 16,
        "num_kv_shared_layers": 2,
        "sliding_window": 100,
        "layer_types": [SLIDING, SLIDING, FULL, SLIDING, FULL],
        "activation_sparsity_pattern": [0.95, 0.0, 0.0, 0.0, 0.0],
        "max_position_embeddings": 2048,
    }
    audio = {
        "hidden_size": 32,
        "conf_num_attention_heads": 4,
        "conf_num_hidden_layers": 2,
        "sscp_conv_channel_size": [8, 4],
        "vocab_size": N_HARD,
        "vocab_offset": EOA,
    }
    blocks = {"block_args": decode_arch_def(BLOCKS), "stem_size": 16}
    seen = {"hidden_size": N_VISION, "vocab_size": N_HARD, "vocab_offset": EOI}
    config = Gemma3nConfig(
        text_config=text,
        audio_config=audio,
        vision_config={**seen, "model_args": blocks},
        boi_token_id=267,
        boa_token_id=268,
        eoi_token_id=EOI,
        image_token_id=IMAGE,
        eoa_token_id=EOA,
        audio_token_id=AUDIO,
        eos_token_id=[1, 262],
    )
    config.text_config._attn_implementation = "eager"
    return config


def make_model() -> Gemma3nForConditionalGeneration:
    """All of it, with random weights that F16 holds exactly."""
    model = Gemma3nForConditionalGeneration(make_config())
    encoder = model.model.vision_tower.timm_model
    encoder.msfa = MobileNetV5MultiScaleFusionAdapter(  # its width is a constant in timm
        encoder.msfa_in_chs, N_VISION, encoder.msfa_output_resolution, norm_layer=RmsNorm2d
    )
    rng = np.random.default_rng(3)
    weights = {}
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if "vision" in name:
            weights[name] = vision.draw(rng, name.removeprefix(vision.TOWER), shape)
        else:
            values = torch.from_numpy(checkpoint.draw(rng, name, shape))
            weights[name] = values.half().float()
    missing, _ = model.load_state_dict(weights, strict=False)
    assert missing == ["lm_head.weight"], missing
    model.tie_weights()
    return model.eval()


def save_checkpoint(model: Gemma3nForConditionalGeneration, folder: Path) -> None:
    checkpoint.CHECKPOINT = folder
    checkpoint.MEDIA = {
        EOI: "<end_of_image>",
        IMAGE: "<image_soft_token>",
        EOA: "<end_of_audio>",
        AUDIO: "<audio_soft_token>",
    }
    config = model.config.to_dict()
    config["vision_config"] = {"hidden_size": N_VISION, "vocab_size": N_HARD, "vocab_offset": EOI}
    config["architectures"] = ["Gemma3nForConditionalGeneration"]
    (folder / "config.json").write_text(json.dumps(config, default=str))
    weights = {name: p.detach().contiguous() for name, p in model.named_parameters()}
    checkpoint.save_weights(weights)
    checkpoint.save_tokenizer()


def make_processor(folder: Path) -> Gemma3nProcessor:
    """As published, but for the tiny vocabulary and the size of pictures."""
    path = folder / "tokenizer.json"
    table = json.loads(path.read_text())
    names = {**{i: f"<media{i}>" for i in range(N_TEXT, N_TEXT + 2 * N_HARD)}, **checkpoint.MEDIA}
    table["model"]["vocab"] |= {text: i for i, text in names.items()}
    path.write_text(json.dumps(table))
    special = ("image_token", "audio_token", "boi_token", "boa_token", "eoi_token", "eoa_token")
    texts = ("image_soft_token", "audio_soft_token", "start_of_image", "start_of_audio")
    texts += ("end_of_image", "end_of_audio")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(path),
        extra_special_tokens={name: f"<{text}>" for name, text in zip(special, texts, strict=True)},
        bos_token="<bos>",
        pad_token="<pad>",
    )
    resizing = {"size": {"height": 256, "width": 256}, "do_normalize": False}
    return Gemma3nProcessor(
        Gemma3nAudioFeatureExtractor(), SiglipImageProcessor(**resizing), tokenizer
    )


def read_media() -> tuple[Image.Image, np.ndarray]:
    picture = Image.open(DATA / "vision" / "picture-256.png")
    with wave.open(str(DATA / "oracle" / "audio" / "wav" / "sweep_1s.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return picture, samples.astype(np.float32) / 32768


@torch.no_grad()
def main() -> None:
    model = make_model()
    picture, samples = read_media()
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "tiny-media"
        folder.mkdir()
        save_checkpoint(model, folder)
        for name in ("model.gguf", "mmproj.gguf"):
            command = [*(sys.argv[1:] or ["g3n"]), "convert", folder, "-o", HERE / name]
            command += ["--type", "f32", "--force"]
            subprocess.run([str(word) for word in command], check=True)
        processor = make_processor(folder)
    text = (
        "<bos><start_of_turn>user\n<image_soft_token><audio_soft_token>"
        f"{QUESTION}<end_of_turn>\n<start_of_turn>model\n"
    )
    inputs = processor(
        images=picture, audio=[samples], text=text, add_special_tokens=False, return_tensors="pt"
    )
    inputs.pop("token_type_ids", None)
    seen = {}
    model.model.language_model.register_forward_pre_hook(
        lambda _module, _args, given: seen.update(given), with_kwargs=True
    )
    logits = model(**inputs, use_cache=False).logits[0].numpy()
    ids = inputs["input_ids"][0].numpy().astype(np.int32)
    is_medium = ids >= N_TEXT
    rows = seen["inputs_embeds"][0].numpy()[is_medium]
    kept = ~is_medium | (np.arange(len(ids)) % KEPT_STEP == 0)
    answer = model.generate(**inputs, max_new_tokens=ANSWER_TOKENS, do_sample=False)[0, len(ids) :]
    assert 0.5 < logits[kept].std() < 8
    np.savez_compressed(
        HERE / "prompt.npz",
        ids=ids,
        rows=rows,
        positions=np.flatnonzero(kept).astype(np.int32),
        logits=logits[kept],
        answer=answer.numpy().astype(np.int32),
    )


if __name__ == "__main__":
    main()
