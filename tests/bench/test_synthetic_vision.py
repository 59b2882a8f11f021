from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from g3n_cli.bench.synthetic_audio import AudioShape
from g3n_cli.bench.synthetic_vision import (
    ENCODERS,
    VisionShape,
    list_vision_tensors,
    make_vision_mmproj,
)
from g3n_cli.engine.encoders.audio import open_audio_encoder
from g3n_cli.engine.encoders.mmproj import open_mmproj
from g3n_cli.engine.gguf import GgufFile

DATA = Path(__file__).parents[1] / "data" / "vision"
AUDIO = AudioShape(n_layer=1, n_embd=32, n_ff=128, n_head=4, channels=(8, 4), n_text=32)
TINY = replace(ENCODERS["tiny"][0], n_text=32)  # tests/data/vision/make_reference.py has it too


def describe(path):
    return {
        tensor.name: (tensor.type, tensor.ne) for tensor in GgufFile.open(path).tensors.values()
    }


@pytest.mark.parametrize("quant", ["f16", "f32"])
def test_files_hold_what_converted_ones_hold(tmp_path, quant):
    make_vision_mmproj(tmp_path / "v.gguf", quant, TINY)
    converted = GgufFile.open(DATA / f"mmproj-{quant}.gguf")
    assert describe(tmp_path / "v.gguf") == describe(converted.path)
    metadata = GgufFile.open(tmp_path / "v.gguf").metadata
    keys = [key for key in converted.metadata if key.startswith("clip.")]
    assert {key: metadata[key] for key in keys} == {key: converted.metadata[key] for key in keys}


def test_the_real_shape_has_as_many_values_as_timms():
    tensors = list_vision_tensors(VisionShape(), "f16")
    tower = [tensor for tensor in tensors if tensor.name.startswith("v.")]
    assert sum(tensor.n_rows * tensor.ne[0] for tensor in tower) == 294_126_912


def test_rows_differ_and_activations_stay_near_one(tmp_path):
    make_vision_mmproj(tmp_path / "v.gguf", "q8_0", TINY)
    mmproj = open_mmproj(tmp_path / "v.gguf")
    matrix = mmproj.read(mmproj.find("v.blk.3.2.pw_exp.conv.weight")).reshape(128, 64)
    assert len({row.tobytes() for row in matrix}) == len(matrix)
    assert np.std(matrix @ np.random.default_rng(0).standard_normal(64)) == pytest.approx(
        1, rel=0.3
    )


def test_both_encoders_fit_into_one_file(tmp_path):
    make_vision_mmproj(tmp_path / "m.gguf", "q8_0", TINY, audio=AUDIO)
    mmproj = open_mmproj(tmp_path / "m.gguf")
    assert mmproj.has_vision
    encoder = open_audio_encoder(tmp_path / "m.gguf", 1, n_embd=32)
    assert encoder.encode(np.zeros(16_000, np.float32)).shape == (7, 32)
    encoder.close()
