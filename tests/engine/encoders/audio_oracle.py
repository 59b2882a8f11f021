"""A tiny random audio encoder with what transformers computes for it."""

import wave
from pathlib import Path

import numpy as np
from gguf.quants import quantize

from tests.gguf_edit import Draft, read_draft

FOLDER = Path(__file__).parents[2] / "data" / "oracle" / "audio"
F32_FILE = FOLDER / "mmproj-audio-tiny-f32.gguf"
F16_FILE = FOLDER / "mmproj-audio-tiny-f16.gguf"
ENCODER = dict(np.load(FOLDER / "encoder.npz"))
FEATURES = dict(np.load(FOLDER / "features.npz"))
CASES = [str(name) for name in ENCODER["cases"]]
CLIPS = [str(name) for name in FEATURES["clips"]]
ENCODED_CLIPS = [name for name in CLIPS if f"{name}/soft" in FEATURES]
MOST_SAMPLES = 480_000
N_TEXT = 96

Q8_0, BF16 = 8, 30
_VECTORS = ("norm", "ln1", "ln2", "conv1d", "conv_dw", "per_dim_scale", "pre_encode")


def read_clip(name: str) -> np.ndarray:
    """Samples of a clip, as many as transformers hears."""
    with wave.open(str(FOLDER / "wav" / f"{name}.wav"), "rb") as file:
        raw = file.readframes(file.getnframes())
    return (np.frombuffer(raw, "<i2").astype(np.float32) / 32768)[:MOST_SAMPLES]


def make_draft(kind: int) -> Draft:
    """The file with its matrices in another type, converted by the gguf package."""
    draft = read_draft(F32_FILE)
    for tensor in list(draft.tensors):
        if any(part in tensor.name for part in _VECTORS):
            continue
        values = np.frombuffer(tensor.data[: 4 * np.prod(tensor.ne)], np.float32)
        rows = quantize(values.reshape(tensor.ne[::-1]), kind)
        draft.change(tensor.name, type=kind, data=rows.tobytes())
    return draft
